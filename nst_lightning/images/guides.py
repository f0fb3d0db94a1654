"""Guides: masks that say where a style goes, which part of a style is used, where the content counts."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nst_lightning.errors import UserError
from nst_lightning.images.color_spaces import luminance
from nst_lightning.images.files import LoadedImage, read_image
from nst_lightning.images.resize import resize

ALPHA = "alpha"
"""Word that stands for an image's own opacity."""

_ROUNDING = 0.5  # pixels
_ASPECT_TOLERANCE = 0.02  # a mask drawn on a reduced copy of the image is off by rounding


@dataclass(frozen=True, eq=False)
class Guides:
    """Weights of positions, from 0 to 1, for one size of the images.

    Attributes:
        regions: Region of the output in which each style is used, `(1, 1, H, W)` each; empty for everywhere.
        styles: Part of each style image that is used, `(1, 1, h, w)` each; `None` for all of it.
        content: Weight of the content at each position, `(1, 1, H, W)`; `None` for 1 everywhere.
        names: Name of each region's mask in messages.
    """

    regions: tuple[Tensor, ...] = ()
    styles: tuple[Tensor | None, ...] = ()
    content: Tensor | None = None
    names: tuple[str, ...] = ()

    def to(self, device: torch.device) -> "Guides":
        """Return the guides on a device."""
        return replace(
            self,
            regions=tuple(region.to(device) for region in self.regions),
            styles=tuple(None if style is None else style.to(device) for style in self.styles),
            content=None if self.content is None else self.content.to(device),
        )


def read_guide(mask: str | os.PathLike[str], image: LoadedImage | None, *, max_pixels: int = 200_000_000) -> Tensor:
    """Return a mask: white is 1, black is 0, grays are weights between; of colors the luminance is taken.

    What is transparent in the mask is 0: a layer of white strokes and nothing else is a mask as it stands.

    Args:
        mask: Image file, or `alpha` for the opacity of the guided image.
        image: Guided image; `None` if there is none, as in texture synthesis.
        max_pixels: Largest number of pixels that a mask may have.

    Returns:
        `(1, 1, h, w)` in [0, 1], at the mask's own size.

    Raises:
        UserError: If the mask can't be read, is black all over, or has another shape than the image.
    """
    if mask == ALPHA:
        if image is None or image.alpha is None:
            raise UserError("a guide is the word alpha, but the picture it guides is opaque; give a mask picture")
        if not bool(image.alpha.any()):
            raise UserError("a guide is the word alpha, but the picture it guides is transparent all over")
        return image.alpha
    read = read_image(mask, max_pixels=max_pixels)
    guide = luminance(read.pixels).clamp(0, 1)
    if read.alpha is not None:
        guide = (guide - (1 - read.alpha)).clamp(0, 1)  # on black, where images are read on white
    if not bool(guide.any()):
        found = "black all over" if read.alpha is None else "black or transparent all over"
        raise UserError(f"expected a mask with something white in it, found {mask} {found}; check the file")
    if image is not None:
        _check_shape(mask, guide, image)
    return guide


def rest_of(guides: list[Tensor], size: tuple[int, int]) -> Tensor:
    """Return what other masks leave: 1 minus their sum, not below 0.

    Args:
        guides: Masks, `(1, 1, h, w)` each, at any size.
        size: Height and width of the result.

    Returns:
        `(1, 1, *size)` in [0, 1].
    """
    covered = [resize(guide, size) for guide in guides]
    return 1 - torch.stack([torch.zeros(1, 1, *size), *covered]).sum(0).clamp(0, 1)


def region_shares(regions: Sequence[Tensor], weights: Tensor) -> list[Tensor]:
    r"""Return the share of each region at each position, where images of several regions are put together.

    :math:`s_i = m_i w_i / \sum_j m_j w_j \cdot \min(1, \sum_j m_j)` for masks :math:`m` and weights :math:`w`: the sum
    is 1 where the masks cover a position, and what is missing is left for another image.

    Args:
        regions: Mask of each region, `(1, 1, H, W)` in [0, 1], at least one.
        weights: Weight of each region, `(S,)`.

    Returns:
        Shares `(1, 1, H, W)` in [0, 1], one for each region; 0 where no mask is.

    Example:
        >>> masks = torch.tensor([1.0, 1.0, 0.0]).view(1, 1, 1, 3), torch.tensor([0.0, 1.0, 0.5]).view(1, 1, 1, 3)
        >>> [share.flatten().tolist() for share in region_shares(masks, torch.tensor([0.75, 0.25]))]
        [[1.0, 0.75, 0.0], [0.0, 0.25, 0.5]]
    """
    weighted = [region * weight for region, weight in zip(regions, weights.to(regions[0]), strict=True)]
    total = torch.stack(weighted).sum(0).clamp_min(torch.finfo(weights.dtype).tiny)
    covered = torch.stack(list(regions)).sum(0).clamp(max=1)
    return [part / total * covered for part in weighted]


def _check_shape(mask: str | os.PathLike[str], guide: Tensor, image: LoadedImage) -> None:
    (height, width), (wanted_height, wanted_width) = guide.shape[-2:], image.pixels.shape[-2:]
    expected = width * wanted_height / wanted_width  # of a panorama's reduced copy a few pixels, rounded
    if abs(height - expected) > max(_ROUNDING, _ASPECT_TOLERANCE * expected):
        raise UserError(
            f"expected a mask in the shape of its picture, {wanted_width}×{wanted_height}, found {mask} with "
            f"{width}×{height}; draw it over the picture"
        )
