"""Frozen convolutions, by either algorithm, against float64."""

import pytest
import torch
import torch.nn.functional as F

from nst_lightning.encoders import convolution as module
from nst_lightning.encoders.convolution import FrozenConvolution, winograd_pays

ROUNDING = {False: 2e-6, True: 3e-5}
"""Of the largest number, by algorithm."""


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def convolution(width, *, winograd):
    weight, bias = draw(width, 32, 3, 3) / 17, draw(width, seed=1)
    return FrozenConvolution.prepare(weight, bias, winograd=winograd)


def largest_error(found, expected):
    return float((found - expected).detach().abs().max() / expected.detach().abs().max())


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("padding", ["zeros", "replicate", "reflect"])
@pytest.mark.parametrize("winograd", [False, True])
def test_value_and_gradient_equal_those_in_float64(winograd, padding, layout, batch):
    frozen = convolution(64, winograd=winograd)
    x = draw(batch, 32, 19, 23, seed=2).relu().contiguous(memory_format=layout).requires_grad_()
    exact = x.detach().double().requires_grad_()
    padded = F.pad(exact, (1, 1, 1, 1), mode="constant" if padding == "zeros" else padding)
    expected = F.conv2d(padded, frozen.source.double(), frozen.bias.double())
    found = frozen(x, padding)
    slope = draw(*found.shape, seed=3)
    (gradient,) = torch.autograd.grad(found, x, slope)
    (expected_gradient,) = torch.autograd.grad(expected, exact, slope.double())
    assert found.shape == expected.shape
    assert largest_error(found, expected) < ROUNDING[winograd]
    assert largest_error(gradient, expected_gradient) < ROUNDING[winograd]


@pytest.mark.parametrize("padding", ["zeros", "replicate", "reflect"])
@pytest.mark.parametrize(("height", "width"), [(2, 2), (2, 5), (3, 2)])
def test_the_smallest_maps(padding, height, width):
    frozen = FrozenConvolution.prepare(draw(5, 4, 3, 3).double(), draw(5, seed=1).double(), winograd=False)
    x = draw(1, 4, height, width).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: frozen(x, padding), x)


@pytest.mark.parametrize("padding", [0, 1, 2])
def test_bands_of_rows_do_not_change_the_result(padding, monkeypatch):
    frozen, x = convolution(64, winograd=True), draw(2, 32, 20, 23, seed=2)
    whole = module._convolve_in_bands(x, frozen.weight, frozen.bias, padding)
    monkeypatch.setattr(module, "_BAND_NUMBERS", 1)
    in_bands = module._convolve_in_bands(x, frozen.weight, frozen.bias, padding)
    assert largest_error(in_bands, whole) < ROUNDING[True]


def test_winograds_algorithm_is_for_wide_float32_convolutions_on_a_cpu():
    assert winograd_pays(draw(64, 3, 3, 3)) == torch.backends.nnpack.is_available()
    assert not winograd_pays(draw(63, 3, 3, 3))
    assert not winograd_pays(draw(64, 3, 3, 3).double())
    assert not winograd_pays(draw(64, 3, 3, 3).bfloat16())
    assert not winograd_pays(draw(64, 3, 3, 3).to("meta"))
    assert convolution(64, winograd=False).turned is None


def test_nothing_of_a_maps_size_is_kept():
    x = draw(1, 32, 19, 23).requires_grad_()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        convolution(64, winograd=False)(x, "replicate")
    assert kept == []
