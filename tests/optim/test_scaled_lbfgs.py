import copy

import pytest
import torch
from torch import Tensor

from nst_lightning.optim import ScaledLBFGS

SCALE = 255.0


def loss_of(pixels: Tensor) -> Tensor:
    """Rosenbrock's function of neighboring pixels from 0 to 255, in hundreds: no quadratic, no symmetry."""
    x = pixels.flatten() / 100
    return (100 * (x[1:] - x[:-1].square()).square() + (1 - x[:-1]).square()).sum()


def start() -> Tensor:
    return torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def closure_of(optimizer: torch.optim.Optimizer, image: Tensor, scale: float):
    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = loss_of(image * scale)
        loss.backward()
        return loss

    return closure


SETTINGS = [
    {"max_iter": 1, "tolerance_grad": 0.0, "tolerance_change": 0.0},
    {"max_iter": 7, "history_size": 3},
    {"max_iter": 7, "lr": 0.5, "line_search_fn": "strong_wolfe"},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_it_is_lbfgs_on_the_scaled_image(settings):
    pixels = torch.nn.Parameter(SCALE * start())
    plain = torch.optim.LBFGS([pixels], **settings)
    image = torch.nn.Parameter(start())
    scaled = ScaledLBFGS([image], scale=SCALE, **settings)
    for _ in range(6):
        expected = plain.step(closure_of(plain, pixels, 1.0))
        torch.testing.assert_close(scaled.step(closure_of(scaled, image, SCALE)), expected, rtol=1e-9, atol=0)
        torch.testing.assert_close(SCALE * image, pixels, rtol=1e-9, atol=1e-9)
    assert float(loss_of(pixels.detach())) < float(loss_of(SCALE * start())) / 2


def test_steps_without_curvature_are_as_short_as_the_unit():
    # A linear loss has none: the first step is as long as the unit, those that follow are the gradient in it.
    slope = torch.full((1, 1, 2, 2), 0.5, dtype=torch.float64)
    image = torch.nn.Parameter(torch.zeros_like(slope))
    optimizer = ScaledLBFGS([image], scale=SCALE, max_iter=1)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (SCALE**2 * slope * image).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    torch.testing.assert_close(image.detach(), torch.full_like(image, -1 / 4 / SCALE))
    optimizer.step(closure)
    torch.testing.assert_close(image.detach(), torch.full_like(image, -1 / 4 / SCALE - 0.5))


def test_a_closure_may_cut_the_image_off():
    pixels = torch.nn.Parameter(SCALE * start())
    plain = torch.optim.LBFGS([pixels], max_iter=5)
    image = torch.nn.Parameter(start())
    scaled = ScaledLBFGS([image], scale=SCALE, max_iter=5)

    def cut(optimizer: torch.optim.Optimizer, values: Tensor, scale: float):
        def closure() -> Tensor:
            with torch.no_grad():
                values.clamp_(0.2 * SCALE / scale, 0.8 * SCALE / scale)
            return closure_of(optimizer, values, scale)()

        return closure

    for _ in range(3):
        plain.step(cut(plain, pixels, 1.0))
        scaled.step(cut(scaled, image, SCALE))
    torch.testing.assert_close(SCALE * image, pixels, rtol=1e-9, atol=1e-9)


def test_an_error_in_the_closure_leaves_the_image():
    image = torch.nn.Parameter(start())
    optimizer = ScaledLBFGS([image], scale=SCALE)

    def closure() -> Tensor:
        raise MemoryError

    with pytest.raises(MemoryError):
        optimizer.step(closure)
    torch.testing.assert_close(image.detach(), start(), rtol=1e-15, atol=0)


def test_it_goes_on_from_its_state():
    image = torch.nn.Parameter(start().float())
    optimizer = ScaledLBFGS([image], scale=SCALE, max_iter=2)
    for _ in range(3):
        optimizer.step(closure_of(optimizer, image, SCALE))
    later = torch.nn.Parameter(image.detach().clone())
    other = ScaledLBFGS([later], scale=1.0)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for _ in range(3):
        optimizer.step(closure_of(optimizer, image, SCALE))
        other.step(closure_of(other, later, SCALE))
    assert torch.equal(image, later)


def test_another_scale_forgets_what_was_remembered_in_the_old_unit():
    image = torch.nn.Parameter(start())
    optimizer = ScaledLBFGS([image], scale=SCALE, max_iter=2)
    for _ in range(3):
        optimizer.step(closure_of(optimizer, image, SCALE))
    optimizer.param_groups[0]["scale"] = 2.0  # as when an option is changed on resume
    other = torch.nn.Parameter(image.detach().clone())
    fresh = ScaledLBFGS([other], scale=2.0, max_iter=2)
    for _ in range(3):
        optimizer.step(closure_of(optimizer, image, SCALE))
        fresh.step(closure_of(fresh, other, SCALE))
    assert torch.equal(image, other)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan")])
def test_a_scale_is_above_0(scale):
    with pytest.raises(ValueError, match=r"Invalid scale.*above 0"):
        ScaledLBFGS([torch.nn.Parameter(torch.zeros(1))], scale=scale)
