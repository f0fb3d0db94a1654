"""Keeping the content's colors: by changes of the images before the run, or of the result after it."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from nst_lightning.errors import UserError
from nst_lightning.images.color_matching import match_colors, match_luminance, with_chrominance
from nst_lightning.images.color_spaces import luminance
from nst_lightning.images.guides import Guides

ColorPreservation = Literal["luminance", "cholesky", "pca", "symmetric", "histogram"]


class ColorKeeper:
    """Keep the content's colors, in one of the ways of Gatys et al. 2016 (arXiv 1606.05897).

    * `luminance`: content and styles are turned gray, the styles with the content's mean and deviation of
      luminance; the result's luminance is put together with the content's chrominance.
    * `cholesky`, `pca`, `symmetric`: each style's colors are moved by a linear map, so that their mean and
      covariance are the content's.
    * `histogram`: each channel's histogram is made the content's.

    In the last four a style that has a region takes the colors of that region. A strength below 1 does part of
    it: images and chrominance are mixed with the untouched ones.

    Args:
        method: Name of one of these; `None` to leave colors alone.
        strength: Weight of the changed image, from 0 to 1.

    Raises:
        UserError: If the method is unknown or the strength out of range.
    """

    def __init__(self, method: ColorPreservation | None, strength: float) -> None:
        if method is not None and method not in get_args(ColorPreservation):
            raise UserError(
                f"data.preserve_color is {', '.join(get_args(ColorPreservation))} or null, but {method!r} was given."
            )
        if not 0 <= strength <= 1:
            raise UserError(f"data.color_strength must be from 0 to 1, but {strength} was given.")
        self.method = method if strength else None
        self.strength = strength

    def prepare_content(self, content: Tensor) -> Tensor:
        """Return the content `(1, 3, H, W)` as the objective is to see it."""
        if self.method != "luminance":
            return content
        return torch.lerp(content, luminance(content).expand_as(content), self.strength)

    def prepare_style(self, style: Tensor, content: Tensor, guides: Guides | None, index: int) -> Tensor:
        """Return a style image as the objective is to see it.

        Args:
            style: `(1, 3, h, w)`.
            content: `(1, 3, H, W)`, untouched.
            guides: Masks of the sizes of these images.
            index: Number of the style, which picks its masks.

        Returns:
            `(1, 3, h, w)` in [0, 1].
        """
        if self.method is None:
            return style
        region = guides.regions[index] if guides and guides.regions else None
        part = guides.styles[index] if guides and guides.styles else None
        if self.method == "luminance":
            matched = match_luminance(style, content, image_weights=part, reference_weights=region).expand_as(style)
        else:
            matched = match_colors(style, content, self.method, image_weights=part, reference_weights=region)
        return torch.lerp(style, matched.clamp(0, 1), self.strength)

    def finish(self, image: Tensor, content: Tensor) -> Tensor:
        """Return the result `(1, 3, H, W)` with the chrominance of the content, both of one size."""
        return with_chrominance(image, content, self.strength) if self.finishes else image

    @property
    def finishes(self) -> bool:
        """Whether `finish` changes anything."""
        return self.method == "luminance"

    def digest(self) -> str:
        """Return what is done in one word or two, as part of a digest; empty for nothing."""
        return "" if self.method is None else f"{self.method} {self.strength!r}"
