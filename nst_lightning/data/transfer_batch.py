"""What one optimiser step is given."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nst_lightning.data.schedule import Level, Schedule
from nst_lightning.images.guides import Guides


@dataclass(eq=False)
class TransferBatch:
    """The pictures of one pyramid level. All are float32 sRGB in [0, 1].

    Attributes:
        level: Index of the level, 0 for the coarsest.
        schedule: All levels.
        content: `(1, 3, H, W)`, `H` and `W` being the level's; `None` for texture synthesis, and once it was measured
            tile by tile.
        styles: Each `(1, 3, h, w)` with its own size; empty for feature inversion.
        style_weights: One weight for each style; they sum to 1.
        guides: Masks of this level's sizes; `None` for none.
        initial: `(1, 3, H, W)`, what the picture starts from at the first level; `None` at the others, and
            once the picture was made of it.
        digest: Identifies the pictures, their guides and colours, whatever the level.
        warped: `(1, 3, H, W)`, what the picture should be by the frame before; `None` for none.
        warped_guide: `(1, 1, H, W)` in [0, 1], where that is to be trusted; `None` for everywhere.
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

    @property
    def size(self) -> Level:
        """The level itself: height, width and steps."""
        return self.schedule.levels[self.level]

    def foretold(self, picture: Tensor) -> Tensor:
        """Give what a level begins with: the warped picture where that is to be trusted, elsewhere what is given.

        Args:
            picture: `(1, 3, H, W)`, of this level's size.
        """
        if self.warped is None:
            return picture
        return self.warped.clone() if self.warped_guide is None else picture.lerp(self.warped, self.warped_guide)

    def to(self, device: torch.device) -> TransferBatch:
        """Give the same batch with its tensors on a device."""

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
