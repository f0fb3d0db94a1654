"""The style images of `nst predict`, and what the settings about several styles mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from nst_lightning.data.colors import ColorKeeper, ColorPreservation
from nst_lightning.data.guide_masks import GuideMasks
from nst_lightning.errors import UserError
from nst_lightning.images.files import read_image
from nst_lightning.images.guides import ALPHA
from nst_lightning.images.resize import fit_long_side, resize

STYLE_SIZE = 512
"""Long side of a style at scale 1, pixels: the networks of any style are trained at about this scale."""


@dataclass(eq=False)
class StyleImages:
    """Images whose style is given to others.

    Attributes:
        images: Each `(1, 3, h, w)`, float32 sRGB in [0, 1], with its own size, on the CPU.
        weights: One weight for each; they sum to 1.
        paths: Paths of their files, or `sample:NAME`.
        colors: Whether the painted images keep their own colors, and how.
        parts: Mask of the part that is used of each style, `(1, 1, h, w)` of its size; `None` for all of it.
        masks: Files of those masks.
    """

    images: tuple[Tensor, ...]
    weights: tuple[float, ...]
    paths: tuple[str, ...]
    colors: ColorKeeper
    parts: tuple[Tensor | None, ...]
    masks: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the files."""
        return tuple(Path(path).name for path in self.paths)

    @classmethod
    def read(
        cls,
        paths: Sequence[str],
        weights: list[float] | None = None,
        scale: float | list[float] = 1.0,
        preserve_color: ColorPreservation | None = None,
        color_strength: float = 1.0,
        max_pixels: int = 200_000_000,
        guides: Sequence[str | None] | None = None,
    ) -> StyleImages:
        """Read style images; see `PredictData` for the arguments.

        Raises:
            UserError: If an image can't be read or the numbers don't fit together.
        """
        read = [read_image(path, max_pixels=max_pixels) for path in paths]
        sides = [max(1, round(STYLE_SIZE * each)) for each in style_scales(scale, len(paths))]
        sizes = [
            fit_long_side(each.pixels.shape[-2], each.pixels.shape[-1], side)
            for each, side in zip(read, sides, strict=True)
        ]
        masks = GuideMasks(None, guides, None, None, read, max_pixels).at((1, 1), sizes)
        return cls(
            tuple(resize(image.pixels, size) for image, size in zip(read, sizes, strict=True)),
            style_shares(weights, len(paths)),
            tuple(paths),
            ColorKeeper(preserve_color, color_strength),
            (None,) * len(paths) if masks is None else masks.styles,
            tuple(guide for guide in guides or () if guide not in (None, ALPHA)),
        )


def style_scales(scale: float | list[float], count: int) -> list[float]:
    """Return the scale of each of some styles.

    Args:
        scale: Value of `data.style_scale`.
        count: Number of styles.

    Raises:
        UserError: If there is another number of scales, or one is not above 0.
    """
    scales = scale if isinstance(scale, list) else [scale] * count
    if len(scales) != count:
        raise UserError(f"data.style_scale lists {len(scales)} numbers for {count} styles; give one for each.")
    if not all(0 < scale < math.inf for scale in scales):
        raise UserError(f"data.style_scale must be above 0, but {scale} was given.")
    return scales


def style_shares(weights: list[float] | None, count: int) -> tuple[float, ...]:
    """Return the weights of some styles, summing to 1.

    Args:
        weights: Value of `data.style_weights`.
        count: Number of styles.

    Raises:
        UserError: If there is another number of weights, or they can't be shares.
    """
    weights = [1.0] * count if weights is None else weights
    if len(weights) != count:
        raise UserError(f"data.style_weights lists {len(weights)} numbers for {count} styles; give one for each.")
    if count and not (min(weights) >= 0 and 0 < sum(weights) < math.inf):
        raise UserError(f"data.style_weights must be 0 or more and not all 0, but {weights} was given.")
    return tuple(weight / sum(weights) for weight in weights)
