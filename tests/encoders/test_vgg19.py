import pytest
import torch
from torch import nn
from torchvision.models.vgg import cfgs, make_layers

from nst_lightning.encoders.topology import CONVOLUTIONS, LAYERS
from nst_lightning.encoders.vgg19 import VGG19

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def assert_close(actual, expected):
    """Equal to float32 rounding, which after many layers is relative to the map's largest numbers."""
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def picture(height=37, width=45, seed=5):
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def torchvision_stack():
    """torchvision's `vgg19().features` without the 120 million weights of its classifier."""
    torch.manual_seed(0)
    features = make_layers(cfgs["E"])
    for layer in features:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.normal_(layer.bias, std=0.1)
    return features.requires_grad_(False)


@pytest.fixture(scope="module")
def torchvision_file(torchvision_stack, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "vgg19.pth"
    torch.save({f"features.{key}": value for key, value in torchvision_stack.state_dict().items()}, path)
    return str(path)


def normalized(image):
    """Written out for each channel, unlike the code under test."""
    return torch.stack([(image[:, i] - MEAN[i]) / STD[i] for i in range(3)], dim=1)


def stack_maps(stack, x):
    maps = {}
    for name, layer in zip(LAYERS, stack, strict=True):
        x = layer(x)
        maps[name] = x.clone()  # torchvision's ReLUs work in place
    return maps


def reference(encoder, image, *, padding_mode="zeros", layers="all", pooling=None):
    """Maps of the same weights in a stack of torch's own modules."""
    x, maps = normalized(image), {}
    for name in LAYERS:
        if name.startswith("conv"):
            weight, bias = encoder.get_buffer(f"{name}_weight"), encoder.get_buffer(f"{name}_bias")
            mode = padding_mode if layers == "all" or name == CONVOLUTIONS[0] else "zeros"
            layer = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1, padding_mode=mode)
            layer.load_state_dict({"weight": weight, "bias": bias})
        else:
            layer = nn.ReLU() if name.startswith("relu") else pooling or nn.MaxPool2d(2)
        x = layer(x)
        maps[name] = x.detach()
    return maps


@pytest.mark.slow
def test_all_taps_equal_torchvisions(torchvision_stack, torchvision_file):
    image = picture()
    expected = stack_maps(torchvision_stack, normalized(image))
    maps = VGG19(torchvision_file)(image, [*reversed(LAYERS), "input"])
    assert list(maps) == ["input", *LAYERS]
    assert maps["input"] is image
    for name in LAYERS:
        assert_close(maps[name], expected[name])


def test_the_gradient_equals_torchvisions(torchvision_stack, torchvision_file):
    taps = ["relu1_1", "conv2_2", "relu4_2"]

    def gradient(compute):
        image = picture(32, 40).requires_grad_()
        maps = compute(image)
        torch.stack([maps[name].square().mean() for name in taps]).sum().backward()
        return image.grad

    expected = gradient(lambda image: stack_maps(torchvision_stack, normalized(image)))
    assert expected.abs().max() > 1e-5
    assert_close(gradient(lambda image: VGG19(torchvision_file)(image, taps)), expected)


def test_taps_alone_equal_taps_together(tiny_file):
    encoder, image = VGG19(tiny_file()), picture()
    together = encoder(image, LAYERS)
    for name in LAYERS:
        alone = encoder(image, [name])
        assert list(alone) == [name]
        assert torch.equal(alone[name], together[name]), name


def test_relu_in_place_leaves_a_tapped_convolution_alone(tiny_file):
    maps = VGG19(tiny_file())(picture(), ["relu2_1", "conv2_1", "conv3_1"])
    assert (maps["conv2_1"] < 0).any()
    assert torch.equal(maps["conv2_1"].relu(), maps["relu2_1"])
    assert (maps["conv3_1"] < 0).any()


def test_the_picture_itself_is_not_changed(tiny_file):
    image = picture()
    for preprocessing in ("imagenet", "caffe"):
        maps = VGG19(tiny_file(), preprocessing=preprocessing)(image, ["input", "relu1_1"])
        assert torch.equal(maps["input"], picture())
    assert list(VGG19(tiny_file())(image, [])) == []


def test_caffe_preprocessing(tiny_file):
    """Blue, green, red in grey levels; what belongs to the file is taken unless the user says otherwise."""
    image = picture()
    red, green, blue = image[0] * 255
    prepared = torch.stack([blue - 103.939, green - 116.779, red - 123.68])[None]
    by_file = VGG19(tiny_file(preprocessing="caffe"))
    convolution = [by_file.get_buffer(f"conv1_1_{part}") for part in ("weight", "bias")]
    expected = nn.functional.conv2d(prepared, *convolution, padding=1)
    assert_close(by_file(image, ["conv1_1"])["conv1_1"], expected)
    by_option = VGG19(tiny_file(), preprocessing="caffe")
    assert_close(by_option(image, ["conv1_1"])["conv1_1"], expected)


def test_nothing_beyond_the_deepest_tap_runs(tiny_file, monkeypatch):
    calls = []
    convolve = torch.nn.functional.conv2d
    monkeypatch.setattr(torch.nn.functional, "conv2d", lambda *args, **kw: calls.append(1) or convolve(*args, **kw))
    VGG19(tiny_file())(picture(), ["relu1_1", "pool2"])
    assert len(calls) == 4


@pytest.mark.parametrize("layers", ["first", "all"])
@pytest.mark.parametrize("padding", ["zeros", "replicate", "reflect"])
def test_padding(tiny_file, padding, layers):
    encoder, image = VGG19(tiny_file(), padding=padding, padding_layers=layers), picture()
    expected = reference(encoder, image, padding_mode=padding, layers=layers)
    for name, value in encoder(image, LAYERS).items():
        assert_close(value, expected[name])


@pytest.mark.parametrize("rescale", [False, True])
def test_average_pooling(tiny_file, rescale):
    encoder, image = VGG19(tiny_file(), pooling="avg", rescale_pooling=rescale), picture()
    pooling = nn.Sequential(nn.AvgPool2d(2), Twice()) if rescale else nn.AvgPool2d(2)
    expected = reference(encoder, image, pooling=pooling)
    for name, value in encoder(image, LAYERS).items():
        assert_close(value, expected[name])


class Twice(nn.Module):
    def forward(self, x):
        return x + x


def test_max_pooling_is_not_rescaled(tiny_file):
    image = picture()
    plain, rescaled = (VGG19(tiny_file(), rescale_pooling=rescale)(image, ["pool3"]) for rescale in (False, True))
    assert torch.equal(plain["pool3"], rescaled["pool3"])
