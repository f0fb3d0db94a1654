"""What a step of style transfer is given, and the stateful loader that hands it out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from nst_lightning.data.schedule import Level, Schedule
from nst_lightning.images.guides import Guides


@dataclass(eq=False)
class TransferBatch:
    """The images of one pyramid level. All are float32 sRGB in [0, 1].

    The first batch of a level that a loader hands out has all of them; those of the steps after it, `without_images`,
    only name the level: images that have been measured need no memory.

    Attributes:
        level: Index of the level, 0 for the coarsest.
        schedule: All levels.
        content: `(1, 3, H, W)`, `H` and `W` being the level's; `None` for texture synthesis.
        styles: Each `(1, 3, h, w)` with its own size; empty for feature inversion.
        style_weights: One weight for each style; they sum to 1.
        guides: Masks of this level's sizes; `None` for none.
        initial: `(1, 3, H, W)`, image that the first level starts from; `None` at the others.
        digest: Identifies the images, their guides and colors, whatever the level.
        warped: `(1, 3, H, W)`, the painted frame before, warped to this one; `None` for no such frame.
        warped_guide: `(1, 1, H, W)` in [0, 1], the weight of each of its positions; `None` for 1 everywhere.
        begins_as_content: Whether `initial` is the content, in its own colors or others.
    """

    level: int
    schedule: Schedule
    content: Tensor | None
    styles: tuple[Tensor, ...]
    style_weights: tuple[float, ...]
    initial: Tensor | None
    digest: str
    guides: Guides | None = None
    warped: Tensor | None = None
    warped_guide: Tensor | None = None
    begins_as_content: bool = False

    @property
    def size(self) -> Level:
        """Height, width and steps of the level."""
        return self.schedule.levels[self.level]

    def initialize_from_warped(self, image: Tensor) -> Tensor:
        """Return the image that a level begins with: the warped frame by its weight, the rest from the image given.

        Args:
            image: `(1, 3, H, W)`, of this level's size.
        """
        if self.warped is None:
            return image
        return self.warped.clone() if self.warped_guide is None else image.lerp(self.warped, self.warped_guide)

    def without_images(self) -> TransferBatch:
        """Return the batch of the level's further steps: level, schedule, weights and digest alone."""
        return TransferBatch(self.level, self.schedule, None, (), self.style_weights, None, self.digest)

    def to(self, device: torch.device) -> TransferBatch:
        """Return the batch with its tensors on a device; those that are there already are shared."""

        def move(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device, non_blocking=True)

        return replace(
            self,
            content=move(self.content),
            styles=tuple(style.to(device, non_blocking=True) for style in self.styles),
            initial=move(self.initial),
            guides=None if self.guides is None else self.guides.to(device),
            warped=move(self.warped),
            warped_guide=move(self.warped_guide),
        )


class StepLoader:
    """An iterable that yields a batch for each optimizer step.

    The first batch of a level, after a resume too, has the level's images; those of its further steps come without:
    nothing is resized, copied to the device or kept in memory for longer than it takes to measure it. Lightning keeps
    `state_dict` in the checkpoint and hands it back on resume.

    Args:
        schedule: Levels and steps.
        make_batch: Function that makes the batch of a level, given its index.
    """

    def __init__(self, schedule: Schedule, make_batch: Callable[[int], TransferBatch]) -> None:
        self.schedule = schedule
        self._make_batch = make_batch
        self._step = 0

    def __len__(self) -> int:
        return self.schedule.total_steps

    def __iter__(self) -> Iterator[TransferBatch]:
        batch: TransferBatch | None = None
        while self._step < len(self):
            level = self.schedule.level_at(self._step)
            batch = self._make_batch(level) if batch is None or batch.level != level else batch.without_images()
            self._step += 1
            yield batch
        self._step = 0

    def state_dict(self) -> dict[str, Any]:
        """Return the number of batches handed out and the schedule that they belong to."""
        levels = [[level.height, level.width, level.steps] for level in self.schedule.levels]
        return {"step": self._step, "levels": levels}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on after `state["step"]` batches.

        Raises:
            UserError: If those were handed out under another schedule.
        """
        self.schedule.check_resumable(state["step"], state["levels"])
        self._step = state["step"]
