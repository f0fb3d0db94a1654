"""Where the targets of tiles are kept: the content's own device, or another that has more room."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from nst_lightning import VGG19, ContentLoss, GramStyleLoss
from nst_lightning.losses.objective import Objective, References, Targets
from nst_lightning.losses.tiling.distributed import Tiling

ELSEWHERE = torch.device("meta")
"""Stands for the other device."""


class Elsewhere(TorchFunctionMode):
    """Makes a device of `meta`: what is moved there is remembered, and given back when it is moved here."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[tuple[Tensor, Tensor]] = []
        self.fetched: list[int] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is Tensor.to and args[1] == ELSEWHERE:
            self.held.append((args[0].to(ELSEWHERE), args[0].clone()))
            return self.held[-1][0]
        if func is Tensor.to and args[0].device == ELSEWHERE:
            (index,) = (index for index, (away, _) in enumerate(self.held) if away is args[0])
            self.fetched.append(index)
            return self.held[index][1].clone()
        return func(*args, **(kwargs or {}))


def evaluate(encoder_file: str, store: torch.device | None) -> tuple[Targets, dict[str, Tensor], Tensor]:
    """Draw pictures; evaluate a tiled objective of two content layers."""
    generator = torch.Generator().manual_seed(0)
    image, content, style = (torch.rand(1, 3, 40, 52, generator=generator) for _ in range(3))
    objective = Objective(VGG19(encoder_file), [ContentLoss(["relu1_1", "relu2_1"]), GramStyleLoss(["relu1_1"])])
    targets = objective.measure(References(content, [style], [1.0]), tiling=Tiling(16, store=store))
    leaf = image.clone().requires_grad_()
    total, terms = objective(leaf, targets)
    total.backward()
    assert leaf.grad is not None
    return targets, terms, leaf.grad


def parts(targets: Targets) -> list[dict[str, Tensor]]:
    assert targets.tiled is not None
    return targets.tiled.contents[0].parts


def test_targets_wait_elsewhere_and_come_tile_by_tile(encoder_file: str) -> None:
    _, terms, gradient = evaluate(encoder_file, None)
    with Elsewhere() as elsewhere:
        targets, stored_terms, stored_gradient = evaluate(encoder_file, ELSEWHERE)
    torch.testing.assert_close((stored_terms, stored_gradient), (terms, gradient))
    kept = [target for part in parts(targets) for target in part.values()]
    assert len(kept) == 2 * 3 * 4  # layers, rows and columns of tiles
    assert {target.device for target in kept} == {ELSEWHERE}
    assert elsewhere.fetched == list(range(len(kept)))  # each once, in the order of the tiles


@pytest.mark.parametrize("store", [None, torch.device("cpu")])
def test_what_lies_around_a_tile_is_not_kept(store: torch.device | None, encoder_file: str) -> None:
    targets, _, _ = evaluate(encoder_file, store)
    for part in parts(targets):
        for target in part.values():
            assert target.untyped_storage().nbytes() == 4 * target.numel()
    owned = sum(target.numel() for part in parts(targets) for target in part.values())
    assert owned == 4 * 40 * 52 + 8 * 20 * 26
