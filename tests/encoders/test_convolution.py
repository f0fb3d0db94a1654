"""Frozen convolutions, by either algorithm, against float64."""

import pytest
import torch
import torch.nn.functional as F

from nst_lightning.encoders import convolution as module
from nst_lightning.encoders.convolution import FrozenConvolution, winograd_pays

ROUNDING = {"never": 2e-6, "backward": 3e-5, "always": 3e-5}
"""Of the largest number, by algorithm."""


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def convolution(winograd):
    weight, bias = draw(64, 32, 3, 3) / 17, draw(64, seed=1)
    return FrozenConvolution.prepare(weight, bias, winograd)


@pytest.fixture(autouse=True)
def _narrow_is_wide(monkeypatch):
    monkeypatch.setitem(module._MIN_CHANNELS, "backward", 32)


def largest_error(found, expected):
    return float((found - expected).detach().abs().max() / expected.detach().abs().max())


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("padding", ["zeros", "replicate", "reflect"])
@pytest.mark.parametrize("winograd", ROUNDING)
def test_value_and_gradient_equal_those_in_float64(winograd, padding, layout, batch):
    frozen = convolution(winograd)
    x = draw(batch, 32, 19, 23, seed=2).relu().contiguous(memory_format=layout).requires_grad_()
    exact = x.detach().double().requires_grad_()
    padded = F.pad(exact, (1, 1, 1, 1), mode="constant" if padding == "zeros" else padding)
    expected = F.conv2d(padded, frozen.source.double(), frozen.bias.double())
    found = frozen(x, padding)
    grad_output = draw(*found.shape, seed=3)
    (gradient,) = torch.autograd.grad(found, x, grad_output)
    (expected_gradient,) = torch.autograd.grad(expected, exact, grad_output.double())
    assert found.shape == expected.shape
    assert largest_error(found, expected) < ROUNDING["always" if winograd == "always" else "never"]
    assert largest_error(gradient, expected_gradient) < ROUNDING[winograd]


@pytest.mark.parametrize("padding", ["zeros", "replicate", "reflect"])
@pytest.mark.parametrize(("height", "width"), [(2, 2), (2, 5), (3, 2)])
def test_the_smallest_maps(padding, height, width):
    frozen = FrozenConvolution.prepare(draw(5, 4, 3, 3).double(), draw(5, seed=1).double(), "never")
    x = draw(1, 4, height, width).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: frozen(x, padding), x)


@pytest.mark.parametrize("padding", [0, 1, 2])
def test_bands_of_rows_do_not_change_the_result(padding, monkeypatch):
    frozen, x = convolution("always"), draw(2, 32, 20, 23, seed=2)
    whole = module._convolve_in_bands(x, frozen.contiguous, frozen.bias, padding)
    monkeypatch.setattr(module, "_BAND_NUMBERS", 1)
    in_bands = module._convolve_in_bands(x, frozen.contiguous, frozen.bias, padding)
    assert largest_error(in_bands, whole) < ROUNDING["always"]


def test_winograds_algorithm_is_for_wide_float32_convolutions_on_a_cpu():
    assert winograd_pays(draw(64, 3, 3, 3), "always") == torch.backends.nnpack.is_available()
    assert not winograd_pays(draw(64, 3, 3, 3), "backward")
    assert winograd_pays(draw(32, 32, 3, 3), "backward") == torch.backends.nnpack.is_available()
    assert not winograd_pays(draw(63, 3, 3, 3), "always")
    for other in (draw(64, 64, 3, 3).double(), draw(64, 64, 3, 3).bfloat16(), draw(64, 64, 3, 3).to("meta")):
        assert not winograd_pays(other, "always")
    assert not winograd_pays(draw(64, 64, 3, 3), "never")


def test_nothing_of_a_maps_size_is_kept():
    x = draw(1, 32, 19, 23).requires_grad_()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        convolution("never")(x, "replicate")
    assert kept == []
