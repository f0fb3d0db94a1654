"""VGG19 as a module: what it keeps, how it moves, and what it refuses."""

import pytest
import torch

from nst_lightning.encoders.vgg19 import VGG19
from nst_lightning.errors import UserError


def picture(height=37, width=45, seed=5):
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


def one_line(caught):
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_weights_are_neither_parameters_nor_in_a_checkpoint(tiny_file):
    encoder = VGG19(tiny_file())
    assert list(encoder.parameters()) == []
    assert encoder.state_dict() == {}
    assert len(list(encoder.buffers())) == 2 * 16 + 2


def test_buffers_move(tiny_file):
    encoder = VGG19(tiny_file())
    assert {buffer.device.type for buffer in encoder.to("meta").buffers()} == {"meta"}
    maps = encoder(torch.empty(2, 3, 32, 48, device="meta"), ["relu3_1", "pool5"])
    assert maps["relu3_1"].shape == (2, 4, 8, 12)
    assert maps["pool5"].shape == (2, 5, 1, 1)


def test_double_precision_runs_throughout(tiny_file):
    maps = VGG19(tiny_file()).double()(picture().double(), ["relu5_4"])
    assert maps["relu5_4"].dtype == torch.float64


def test_cast_converts_the_convolutions_only(tiny_file):
    encoder, image = VGG19(tiny_file()), picture().requires_grad_()
    expected = encoder(image, ["relu2_2"])["relu2_2"].detach()
    assert encoder.cast(torch.bfloat16) is encoder
    dtypes = {name: buffer.dtype for name, buffer in encoder.named_buffers()}
    assert {dtypes.pop("_scale"), dtypes.pop("_shift")} == {torch.float32}
    assert set(dtypes.values()) == {torch.bfloat16}
    maps = encoder(image, ["input", "relu2_2"])
    assert (maps["input"].dtype, maps["relu2_2"].dtype) == (torch.float32, torch.bfloat16)
    torch.testing.assert_close(maps["relu2_2"].float(), expected, rtol=0.05, atol=0.05 * float(expected.max()))
    maps["relu2_2"].float().sum().backward()
    assert image.grad.dtype == torch.float32
    assert image.grad.abs().max() > 0
    assert torch.equal(encoder.cast(torch.float32)(image, ["relu2_2"])["relu2_2"], expected)  # not rounded for ever
    assert encoder.state_dict() == {}


def test_the_digest_and_the_name_tell_the_weights(tiny_file):
    first, again, shorter = VGG19(tiny_file()), VGG19(tiny_file(), pooling="avg"), VGG19(tiny_file(last=3))
    assert first.digest == again.digest != shorter.digest
    assert first.weights_name == tiny_file()
    assert VGG19("random", seed=1).digest != VGG19("random", seed=2).digest


@pytest.mark.parametrize(
    ("options", "tap", "side"),
    [
        ({}, "relu1_2", 1),
        ({}, "pool5", 32),
        ({}, "relu5_4", 16),
        ({"padding": "replicate"}, "relu5_4", 16),
        ({"padding": "reflect"}, "relu1_1", 2),
        ({"padding": "reflect"}, "relu5_4", 32),
        ({"padding": "reflect"}, "pool5", 32),
        ({"padding": "reflect"}, "pool1", 2),
        ({"padding": "reflect", "padding_layers": "first"}, "relu1_1", 2),
        ({"padding": "reflect", "padding_layers": "first"}, "relu5_4", 16),
        ({"padding": "reflect"}, "input", 1),
    ],
)
def test_the_smallest_picture(tiny_file, options, tap, side):
    encoder = VGG19(tiny_file(), **options)
    assert min(encoder(picture(side, side + 9), [tap])[tap].shape[-2:]) >= 1
    if side > 1:
        with pytest.raises(
            UserError, match=f"{side + 9}×{side - 1} pixels is too small for .*needs {side} on"
        ) as caught:
            encoder(picture(side - 1, side + 9), [tap])
        one_line(caught)


def test_an_unknown_tap_is_told_its_nearest(tiny_file):
    with pytest.raises(UserError, match="no layer 'relu4-1'; did you mean 'relu4_1'") as caught:
        VGG19(tiny_file())(picture(), ["relu4-1"])
    one_line(caught)


def test_check_passes_what_runs(tiny_file):
    VGG19(tiny_file()).check(["relu5_4", "input"], 16, 900)


def test_weights_may_end_early(tiny_file):
    encoder, whole = VGG19(tiny_file(last=3)), VGG19(tiny_file())
    taps = ["conv1_1", "relu2_1"]
    for name, value in encoder(picture(), taps).items():
        assert torch.equal(value, whole(picture(), taps)[name])
    with pytest.raises(UserError, match=r"tiny3.*end before conv2_2") as caught:
        encoder(picture(), ["relu1_1", "relu3_1"])
    one_line(caught)
