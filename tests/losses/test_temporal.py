"""The temporal loss against its formula, alone, in the objective, and tile by tile."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from nst_lightning import VGG19, GramStyleLoss, UserError
from nst_lightning.losses import TemporalLoss
from nst_lightning.losses.objective import Objective, References, Targets
from nst_lightning.losses.tiling.distributed import TileGroup, Tiling


def draw(*shape: int, seed: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ruder(image: Tensor, warped: Tensor, trusted: Tensor) -> float:
    """The sum over pixels and channels, over all of them, written as loops."""
    x, omega, c = image.numpy()[0], warped.numpy()[0], trusted.numpy()[0, 0]
    channels, height, width = x.shape
    total = 0.0
    for channel, row, column in np.ndindex(channels, height, width):
        total += c[row, column] * (x[channel, row, column] - omega[channel, row, column]) ** 2
    return total / (channels * height * width)


def evaluate(loss: TemporalLoss, image: Tensor, warped: Tensor, trusted: Tensor | None) -> Tensor:
    targets = loss.prepare(loss.measure({"input": warped}))
    (term,) = loss({"input": image}, targets, *([] if trusted is None else [{"input": trusted}])).values()
    return term


def test_value_and_gradient_are_those_of_the_paper() -> None:
    image, warped, trusted = (
        draw(1, 3, 5, 7, seed=1).requires_grad_(),
        draw(1, 3, 5, 7, seed=2),
        draw(1, 1, 5, 7, seed=3),
    )
    trusted[..., :2] = 0
    term = evaluate(TemporalLoss(weight=4.0), image, warped, trusted)
    term.backward()
    assert term.item() == pytest.approx(4 * ruder(image.detach(), warped, trusted), rel=1e-12)
    # d/dx of c (x - ω)² / D
    torch.testing.assert_close(image.grad, 8 * trusted * (image.detach() - warped) / 105, rtol=1e-12, atol=0)


def test_without_a_mask_every_pixel_counts() -> None:
    image, warped = draw(1, 3, 4, 6, seed=1), draw(1, 3, 4, 6, seed=2)
    term = evaluate(TemporalLoss(), image, warped, None)
    assert term.item() == pytest.approx(ruder(image, warped, torch.ones(1, 1, 4, 6)), rel=1e-12)


def test_half_precision_pictures_are_compared_in_float32() -> None:
    image, warped = torch.full((1, 3, 64, 64), 1.0), torch.full((1, 3, 64, 64), 0.996)
    term = evaluate(TemporalLoss(), image.bfloat16(), warped, None)
    assert term.dtype == torch.float32
    assert term.item() == pytest.approx(0.004**2, rel=1e-3)


def test_a_picture_of_another_size_is_refused() -> None:
    with pytest.raises(UserError, match="expected a reference of shape"):
        evaluate(TemporalLoss(), draw(1, 3, 4, 6, seed=1), draw(1, 3, 4, 5, seed=2), None)


def make_objective(encoder_file: str) -> Objective:
    objective = Objective(
        VGG19(encoder_file, padding="replicate").double(),
        [GramStyleLoss(["relu1_1", "relu2_1"], weight=5.0), TemporalLoss(weight=3.0)],
    )
    objective.encoder.cast(torch.float64)
    return objective


def gradient_of(objective: Objective, image: Tensor, targets: Targets) -> tuple[dict[str, Tensor], Tensor]:
    leaf = image.clone().requires_grad_()
    total, terms = objective(leaf, targets)
    total.backward()
    assert leaf.grad is not None
    return terms, leaf.grad


def test_the_objective_compares_with_the_warped_picture_where_the_mask_says(encoder_file: str) -> None:
    image, warped, trusted = draw(1, 3, 40, 52, seed=1), draw(1, 3, 40, 52, seed=2), draw(1, 1, 40, 52, seed=3).round()
    objective = make_objective(encoder_file)
    references = References(None, [draw(1, 3, 30, 30, seed=4)], [1.0], None, warped, trusted)
    terms, gradient = gradient_of(objective, image, objective.measure(references))
    assert list(terms) == ["style/relu1_1", "style/relu2_1", "temporal"]
    assert terms["temporal"].item() == pytest.approx(3 * ruder(image, warped, trusted), rel=1e-12)

    tiled = objective.measure(references, tiling=Tiling(16))
    tiled_terms, tiled_gradient = gradient_of(objective, image, tiled)
    assert tiled_terms["temporal"].item() == pytest.approx(terms["temporal"].item(), rel=1e-12)
    torch.testing.assert_close(tiled_gradient, gradient, rtol=1e-9, atol=1e-12)


def test_of_two_processes_one_has_it(encoder_file: str) -> None:
    image, warped = draw(1, 3, 24, 24, seed=1), draw(1, 3, 24, 24, seed=2)
    shares = []
    for rank in range(2):
        objective = Objective(VGG19(encoder_file), [TemporalLoss(weight=3.0)])
        targets = objective.measure(References(warped=warped), tiling=Tiling(None, _Silent(rank, 2)))
        shares.append(objective(image, targets)[1]["temporal"].item())
    assert sum(shares) == pytest.approx(3 * ruder(image, warped, torch.ones(1, 1, 24, 24)), rel=1e-6)


class _Silent(TileGroup):
    """Processes that are evaluated one after another and added up by the test."""

    def all_reduce_sum(self, tensors: object) -> None:
        """Exchange nothing."""


def test_without_a_warped_picture_it_is_refused_by_name(encoder_file: str) -> None:
    objective = Objective(VGG19(encoder_file), [TemporalLoss(name="time")])
    with pytest.raises(UserError, match="the loss 'time' compares with a warped picture, but there is none; set data"):
        objective.measure(References())
