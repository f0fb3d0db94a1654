import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import squeezenet1_1

from nst_lightning.errors import UserError
from nst_lightning.tasks.distillation.teacher_student import StudentVGG19, Teacher

LAYERS = ["features.1", "features.4.cat", "features.7.cat", "features.12.cat"]


@pytest.fixture(scope="module")
def squeezenet():
    torch.manual_seed(0)
    return squeezenet1_1().eval().requires_grad_(False)


@pytest.fixture
def weights(squeezenet, tmp_path):
    """Only the features, under other keys: a weights file as another program may have written it."""
    state = {key: value for key, value in squeezenet.state_dict().items() if key.startswith("features")}
    path = tmp_path / "squeezenet.safetensors"
    save_file(
        {key.replace("features.", "net/").replace("squeeze.", "squeeze1x1."): v for key, v in state.items()}, path
    )
    return str(path)


RENAME = {"^net/": "features.", "squeeze1x1": "squeeze"}


def picture(side=64):
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))


def stages(squeezenet, x):
    """The output of each stage of the network that torchvision itself would compute."""
    maps = []
    for layer in squeezenet.features:
        x = layer(x)
        maps.append(x.clone())  # ReLUs work in place
    return maps


def one_line(caught):
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("preprocessing", ["imagenet", "caffe"])
def test_the_maps_are_torchvisions(squeezenet, weights, preprocessing):
    image = picture()
    if preprocessing == "caffe":
        channels = [image[:, 2] * 255 - 103.939, image[:, 1] * 255 - 116.779, image[:, 0] * 255 - 123.68]
    else:
        mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        channels = [(image[:, i] - mean[i]) / std[i] for i in range(3)]
    expected = stages(squeezenet, torch.stack(channels, dim=1))
    maps = Teacher("squeezenet1_1", LAYERS, weights, rename=RENAME, preprocessing=preprocessing)(image)
    assert list(maps) == LAYERS
    for name, value in maps.items():
        reference = expected[int(name.split(".")[1])]
        torch.testing.assert_close(value, reference, rtol=0, atol=1e-5 * float(reference.abs().max()))


def test_padding_makes_squeezenets_grids_those_of_vgg(weights):
    student = StudentVGG19((1, 1, 1, 1, 1)).eval()
    grids = [
        tuple(value.shape[-2:]) for value in student(picture(), ["relu2_2", "relu3_4", "relu4_4", "relu5_4"]).values()
    ]
    assert grids == [(32, 32), (16, 16), (8, 8), (4, 4)]
    padded = Teacher("squeezenet1_1", LAYERS, weights, rename=RENAME, padding=1)
    assert [tuple(value.shape[-2:]) for value in padded(picture()).values()] == grids
    plain = Teacher("squeezenet1_1", LAYERS, weights, rename=RENAME)
    assert [tuple(value.shape[-2:]) for value in plain(picture()).values()] != grids


def test_padding_repeats_the_last_row_and_column(weights):
    image = picture()
    image = torch.cat([image, image[..., -1:]], dim=-1)
    image = torch.cat([image, image[..., -1:, :]], dim=-2)
    options = {"layers": LAYERS, "weights": weights, "rename": RENAME}
    padded = Teacher("squeezenet1_1", **options, padding=1)(picture())
    for name, value in Teacher("squeezenet1_1", **options)(image).items():
        torch.testing.assert_close(padded[name], value)


def test_it_stays_in_evaluation_mode_and_frozen(weights):
    teacher = Teacher("squeezenet1_1", LAYERS, weights, rename=RENAME)
    assert not any(module.training for module in teacher.modules())
    torch.nn.Sequential(teacher).train()
    assert not any(module.training for module in teacher.modules())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    image = picture().requires_grad_()
    teacher(image)["features.12.cat"].sum().backward()
    assert image.grad.abs().max() > 0


@pytest.mark.parametrize("suffix", [".pth", ".pt"])
def test_a_torch_file_with_torchvisions_keys_needs_no_renaming(squeezenet, weights, tmp_path, suffix):
    torch.save(squeezenet.state_dict(), tmp_path / f"whole{suffix}")
    expected = Teacher("squeezenet1_1", LAYERS, weights, rename=RENAME)(picture())
    for name, value in Teacher("squeezenet1_1", LAYERS, str(tmp_path / f"whole{suffix}"))(picture()).items():
        assert torch.equal(value, expected[name])


def test_what_is_not_tapped_may_be_missing(squeezenet, tmp_path):
    state = {key: value for key, value in squeezenet.state_dict().items() if key.startswith("features.0.")}
    save_file(state, tmp_path / "first.safetensors")
    teacher = Teacher("squeezenet1_1", ["features.1"], str(tmp_path / "first.safetensors"))
    assert teacher(picture())["features.1"].shape == (2, 64, 31, 31)


def test_missing_tensors(weights):
    with pytest.raises(
        UserError, match=r"lacks features\.0\.bias and \d+ more tensors; see the option rename"
    ) as caught:
        Teacher("squeezenet1_1", LAYERS, weights)
    assert weights in one_line(caught)


def test_a_missing_file(tmp_path):
    with pytest.raises(UserError, match="no teacher weights file") as caught:
        Teacher("squeezenet1_1", LAYERS, str(tmp_path / "none.pth"))
    one_line(caught)


@pytest.mark.parametrize("name", ["net.pth", "net.safetensors"])
def test_a_damaged_file(tmp_path, name):
    (tmp_path / name).write_bytes(b"no weights")
    with pytest.raises(UserError, match=f"{name} can't be read") as caught:
        Teacher("squeezenet1_1", LAYERS, str(tmp_path / name))
    one_line(caught)


def test_weights_of_another_shape(squeezenet, tmp_path):
    state = {**squeezenet.state_dict(), "features.0.weight": torch.zeros(64, 3, 5, 5)}
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(UserError, match=r"are not the model's .*features\.0\.weight") as caught:
        Teacher("squeezenet1_1", LAYERS, str(tmp_path / "net.pth"))
    one_line(caught)


@pytest.mark.parametrize(
    ("model", "layers", "said"),
    [("squeezenet9", LAYERS, "squeezenet9"), ("squeezenet1_1", ["features.99"], r"features\.99")],
)
def test_an_unknown_model_or_layer(weights, model, layers, said):
    with pytest.raises(UserError, match=f"teacher can't be built .*{said}") as caught:
        Teacher(model, layers, weights, rename=RENAME)
    one_line(caught)


def test_unknown_torchvision_weights():
    with pytest.raises(UserError, match="teacher can't be built"):
        Teacher("squeezenet1_1", LAYERS, "IMAGENET9")
