"""The pictures of a style transfer, coarse to fine."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from nst_lightning.data.batch import TransferBatch
from nst_lightning.data.loader import StepLoader
from nst_lightning.data.schedule import Level, Schedule, pyramid_sizes, steps_per_level
from nst_lightning.errors import UserError
from nst_lightning.images.files import Picture, read_image
from nst_lightning.images.resize import cover, fit_long_side, resize


class TransferData(LightningDataModule):
    """Reads the content and style pictures and hands them out level by level.

    A picture is a path, or `sample:NAME` for one that ships in the package. Without a content picture the
    style's texture is synthesised in the style's aspect ratio; without a style picture the content's features
    are inverted.

    Args:
        content: The picture whose objects are kept.
        style: The picture or pictures whose manner is taken over.
        style_weights: How much each style counts, in proportion; `None` for equal parts.
        style_scale: Long side of the styles over the long side of the result: larger makes larger strokes.
        size: Long side of the result, pixels.
        min_size: The pyramid starts at the smallest size, √2 apart, that is not below this.
        sizes: The long sides themselves, ascending, instead of `size` and `min_size`.
        steps: Optimiser steps at each level, or one number for each.
        first_steps: Steps at the first level where `steps` is one number.
        init: What the picture starts from: `content`, `noise` (uniform, seeded by `seed_everything`), `style`
            (the first one), or a picture. A picture of another shape is cropped at its centre, not squashed.
        max_pixels: Pictures of more pixels are refused, as decompression bombs.
        keep_alpha: Give the result the content's alpha channel.

    Raises:
        UserError: If a picture can't be read or the numbers don't fit together.
    """

    def __init__(
        self,
        content: str | None = None,
        style: str | list[str] | None = None,
        style_weights: list[float] | None = None,
        style_scale: float = 1.0,
        size: int = 512,
        min_size: int = 128,
        sizes: list[int] | None = None,
        steps: int | list[int] = 150,
        first_steps: int | None = None,
        init: str = "content",
        max_pixels: int = 200_000_000,
        keep_alpha: bool = False,
    ) -> None:
        super().__init__()
        styles = [style] if isinstance(style, str) else list(style or ())
        if content is None and not styles:
            raise UserError("there is no picture to work from; set data.content, data.style or both.")
        if init == "content" and content is None:
            raise UserError(
                "data.init is content, but data.content is not set; set data.init to noise or to a picture."
            )
        if init == "style" and not styles:
            raise UserError("data.init is style, but data.style is not set; set data.init to content or noise.")
        if style_scale <= 0:
            raise UserError(f"data.style_scale must be above 0, but {style_scale} was given.")
        self.sizes = _check_sizes(pyramid_sizes(size, min_size) if sizes is None else sizes)
        self.steps = steps_per_level(steps, first_steps, len(self.sizes))
        self.style_weights = _normalize(style_weights, len(styles))
        self.style_scale = style_scale
        self.init = init
        self.keep_alpha = keep_alpha
        self._paths = [Path(p).expanduser() for p in (content, *styles, init) if p is not None]
        self._moved: tuple[TransferBatch, TransferBatch] | None = None
        self.content = None if content is None else read_image(content, max_pixels=max_pixels)
        self.styles = [read_image(path, max_pixels=max_pixels) for path in styles]
        is_path = init not in ("content", "noise", "style")
        self.initial = _read_initial(init, max_pixels) if is_path else None
        self.schedule = Schedule(
            [Level(*self._fit(long_side), steps) for long_side, steps in zip(self.sizes, self.steps, strict=True)]
        )

    def _fit(self, long_side: int) -> tuple[int, int]:
        picture = self.content or self.styles[0]
        height, width = picture.pixels.shape[-2:]
        return fit_long_side(height, width, long_side)

    def train_dataloader(self) -> StepLoader:
        """Give the loader of all steps of all levels."""
        return StepLoader(self.schedule, self.batch)

    def transfer_batch_to_device(
        self, batch: TransferBatch, device: torch.device, dataloader_idx: int
    ) -> TransferBatch:
        """Copy a batch to the device unless it is the one that was copied last."""
        del dataloader_idx
        if self._moved is None or self._moved[0] is not batch:
            self._moved = (batch, batch.to(device))
        return self._moved[1]

    def batch(self, level: int) -> TransferBatch:
        """Resize the pictures for a level.

        Args:
            level: Index, 0 for the coarsest.

        Returns:
            The batch of each of the level's steps, on the CPU.
        """
        size = (self.schedule.levels[level].height, self.schedule.levels[level].width)
        content = self.content
        return TransferBatch(
            level=level,
            schedule=self.schedule,
            content=None if content is None else resize(content.pixels, size),
            styles=tuple(self._resize_style(style, self.sizes[level]) for style in self.styles),
            style_weights=self.style_weights,
            initial=self._initial(size) if level == 0 else None,
            digest=self._digest(),
        )

    def finish(self, picture: Tensor) -> Tensor:
        """Turn what was optimised into what is shown and written.

        Args:
            picture: `(1, 3, H, W)` in [0, 1].

        Returns:
            Of the same shape and range.
        """
        return picture

    def alpha(self, size: tuple[int, int]) -> Tensor | None:
        """Give the content's opacity, if the result is to have it.

        Args:
            size: Height and width of the picture it goes with.

        Returns:
            `(1, 1, *size)` in [0, 1], or `None`.
        """
        if self.content is None or self.content.alpha is None or not self.keep_alpha:
            return None
        return resize(self.content.alpha, size)

    def reads(self, path: Path) -> bool:
        """Tell whether a file is one of the pictures."""
        return path.exists() and any(path.samefile(p) for p in self._paths if p.exists())

    def _resize_style(self, style: Picture, long_side: int) -> Tensor:
        wanted = max(1, round(long_side * self.style_scale))
        height, width = style.pixels.shape[-2:]
        return resize(style.pixels, fit_long_side(height, width, wanted))

    def _initial(self, size: tuple[int, int]) -> Tensor:
        if self.init == "noise":
            # A generator of its own: the noise depends on the seed only, not on what was drawn before.
            generator = torch.Generator().manual_seed(torch.initial_seed())
            return torch.rand(1, 3, *size, generator=generator)
        if self.initial is not None:
            return cover(self.initial.pixels, size)
        if self.init == "style":
            return cover(self.styles[0].pixels, size)
        assert self.content is not None  # checked in __init__
        return resize(self.content.pixels, size)

    def _digest(self) -> str:
        # An absent content leaves its line empty: else it would be the same as one style less.
        digests = ["" if picture is None else picture.digest for picture in (self.content, *self.styles)]
        return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _read_initial(init: str, max_pixels: int) -> Picture:
    try:
        return read_image(init, max_pixels=max_pixels)
    except UserError as error:
        raise UserError(f"data.init is content, noise, style or a picture, but: {error}") from error


def _check_sizes(sizes: list[int]) -> list[int]:
    if not sizes or min(sizes) < 1 or sizes != sorted(set(sizes)):
        raise UserError(f"data.sizes must be ascending numbers of pixels from 1 up, but {sizes} was given.")
    return sizes


def _normalize(weights: list[float] | None, count: int) -> tuple[float, ...]:
    weights = [1.0] * count if weights is None else weights
    if len(weights) != count:
        raise UserError(f"data.style_weights lists {len(weights)} numbers for {count} styles; give one for each.")
    if count and not (min(weights) >= 0 and 0 < sum(weights) < math.inf):
        raise UserError(f"data.style_weights must be 0 or more and not all 0, but {weights} was given.")
    return tuple(weight / sum(weights) for weight in weights)
