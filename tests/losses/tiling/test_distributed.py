"""The tiled objective by several processes against the untiled one."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from nst_lightning import VGG19, ContentLoss, GramStyleLoss, Loss, TotalVariationLoss, WassersteinStyleLoss
from nst_lightning.images.guides import Guides
from nst_lightning.losses.loss import Features, Measured
from nst_lightning.losses.objective import Objective, References
from nst_lightning.losses.tiling.distributed import TileGroup, Tiling


class Meeting:
    """Where threads add up what each brings."""

    def __init__(self, size: int) -> None:
        self.barrier = threading.Barrier(size, timeout=30)
        self.brought: list[Sequence[Tensor]] = [[] for _ in range(size)]


class Threads(TileGroup):
    """A group whose processes are threads."""

    def __init__(self, rank: int, size: int, meeting: Meeting) -> None:
        super().__init__(rank, size)
        object.__setattr__(self, "meeting", meeting)

    def all_reduce_sum(self, tensors: Sequence[Tensor]) -> None:
        meeting: Meeting = self.meeting  # type: ignore[attr-defined]
        meeting.brought[self.rank] = [tensor.clone() for tensor in tensors]
        meeting.barrier.wait()
        for index, tensor in enumerate(tensors):
            tensor.copy_(torch.stack([brought[index] for brought in meeting.brought]).sum(0))
        meeting.barrier.wait()


class Brightness(Loss):
    """A loss of the pixels of which nothing else is known."""

    reference = "none"

    def forward(self, features: Features, targets: Measured) -> dict[str, Tensor]:
        return {self.name: self.weigh("input", features["input"].square().mean().view(1))}


def evaluate(
    objective: Objective, references: References, image: Tensor, tiling: Tiling | None = None
) -> tuple[dict[str, Tensor], Tensor]:
    leaf = image.clone().requires_grad_()
    total, terms = objective(leaf, objective.measure(references, tiling=tiling))
    total.backward()
    assert leaf.grad is not None
    return terms, leaf.grad


@pytest.mark.slow
@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize(
    ("size", "tile_size", "style"),
    [(2, None, GramStyleLoss), (3, 16, WassersteinStyleLoss), (33, None, GramStyleLoss), (3, 64, GramStyleLoss)],
)
def test_members_have_the_terms_and_gradient_of_the_whole(
    size: int, tile_size: int | None, style: type[Loss], guided: bool, encoder_file: str
) -> None:
    """Thirty-three are more than there are cells of 8 pixels: some have nothing to do."""
    generator = torch.Generator().manual_seed(0)
    pictures = [
        torch.rand(1, 3, h, w, generator=generator, dtype=torch.float64) for h, w in [(50, 41), (50, 41), (60, 33)]
    ]
    image, content, example = pictures
    region = torch.linspace(0, 1, 41, dtype=torch.float64).expand(1, 1, 50, 41)
    guides = Guides((region, 1 - region), (None, None), region.sqrt(), ("a", "b")) if guided else None
    styles = [example, example.flip(3)] if guided else [example]
    references = References(content, styles, [1 / len(styles)] * len(styles), guides)

    def objective() -> Objective:
        encoder = VGG19(encoder_file, padding="reflect").double()
        losses: list[Loss] = [ContentLoss(["relu3_1"], convention="mean"), style(["relu1_1", "relu4_1"], weight=3.0)]
        losses += [TotalVariationLoss(kind="crowsonkb"), Brightness(layers=["input"], name="bright")]
        return Objective(encoder, losses)

    terms, gradient = evaluate(objective(), references, image)
    meeting = Meeting(size)

    def member(rank: int) -> tuple[dict[str, Tensor], Tensor]:
        return evaluate(objective(), references, image, Tiling(tile_size, Threads(rank, size, meeting)))

    with ThreadPoolExecutor(size) as threads:
        found = list(threads.map(member, range(size)))
    for found_terms, found_gradient in found:
        torch.testing.assert_close(found_gradient, gradient, rtol=1e-9, atol=1e-12)
        assert found_terms.keys() == terms.keys()
        for name, term in terms.items():
            torch.testing.assert_close(found_terms[name], term, rtol=1e-9, atol=1e-12)
