"""Guides: masks that say where a style goes, which part of a style is used, where the content counts."""

import os
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nst_lightning.errors import UserError
from nst_lightning.images.files import Picture, read_image
from nst_lightning.images.luminance import luminance
from nst_lightning.images.resize import resize

ALPHA = "alpha"
"""The word that stands for a picture's own opacity."""

_ASPECT_TOLERANCE = 0.02  # a mask drawn on a reduced copy of the picture is off by rounding


@dataclass(frozen=True, eq=False)
class Guides:
    """Weights of positions, from 0 to 1, for one size of the pictures.

    Attributes:
        regions: `(1, 1, H, W)` for each style: where in the painted picture it goes. Empty for everywhere.
        styles: `(1, 1, h, w)` for each style: which part of it is used; `None` for all of it.
        content: `(1, 1, H, W)`: how much the content counts; `None` for fully everywhere.
        names: What each region's mask is called in messages.
    """

    regions: tuple[Tensor, ...] = ()
    styles: tuple[Tensor | None, ...] = ()
    content: Tensor | None = None
    names: tuple[str, ...] = ()

    def to(self, device: torch.device) -> "Guides":
        """Give the same guides on a device."""
        return replace(
            self,
            regions=tuple(region.to(device) for region in self.regions),
            styles=tuple(None if style is None else style.to(device) for style in self.styles),
            content=None if self.content is None else self.content.to(device),
        )


def read_guide(mask: str | os.PathLike[str], picture: Picture | None, *, max_pixels: int = 200_000_000) -> Tensor:
    """Read a mask: white is 1, black is 0, greys are weights between; of colours the luminance is taken.

    Args:
        mask: A picture file, or `alpha` for the opacity of the picture that is guided.
        picture: The picture that is guided; `None` if there is none, as in texture synthesis.
        max_pixels: Masks of more pixels are refused.

    Returns:
        `(1, 1, h, w)` in [0, 1], at the mask's own size.

    Raises:
        UserError: If the mask can't be read, is black all over, or has another shape than the picture.
    """
    if mask == ALPHA:
        if picture is None or picture.alpha is None:
            raise UserError("a guide is the word alpha, but the picture it guides is opaque; give a mask picture")
        if not bool(picture.alpha.any()):
            raise UserError("a guide is the word alpha, but the picture it guides is transparent all over")
        return picture.alpha
    guide = luminance(read_image(mask, max_pixels=max_pixels).pixels).clamp(0, 1)
    if not bool(guide.any()):
        raise UserError(f"expected a mask with something white in it, found {mask} black all over; check the file")
    if picture is not None:
        _check_shape(mask, guide, picture)
    return guide


def rest_of(guides: list[Tensor], size: tuple[int, int]) -> Tensor:
    """Give what other masks leave: 1 minus their sum, not below 0.

    Args:
        guides: `(1, 1, h, w)` each, at any size.
        size: Height and width of the result.

    Returns:
        `(1, 1, *size)` in [0, 1].
    """
    covered = [resize(guide, size) for guide in guides]
    return 1 - torch.stack([torch.zeros(1, 1, *size), *covered]).sum(0).clamp(0, 1)


def _check_shape(mask: str | os.PathLike[str], guide: Tensor, picture: Picture) -> None:
    (height, width), (wanted_height, wanted_width) = guide.shape[-2:], picture.pixels.shape[-2:]
    if abs(height * wanted_width / (width * wanted_height) - 1) > _ASPECT_TOLERANCE:
        raise UserError(
            f"expected a mask in the shape of its picture, {wanted_width}×{wanted_height}, found {mask} with "
            f"{width}×{height}; draw it over the picture"
        )
