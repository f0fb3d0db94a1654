"""Keeps the content's colours: what is done to the pictures before the run and to the result after it."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from nst_lightning.errors import UserError
from nst_lightning.images.color import match_colors
from nst_lightning.images.guides import Guides
from nst_lightning.images.luminance import luminance, match_luminance, with_chrominance

ColorPreservation = Literal["luminance", "cholesky", "pca", "symmetric", "histogram"]


class ColorKeeper:
    """Keeps the content's colours, in one of the ways of Gatys et al. 2016 (arXiv 1606.05897).

    * `luminance`: content and styles are turned grey, the styles with the content's mean and deviation of
      luminance; the result's luminance is put together with the content's chrominance.
    * `cholesky`, `pca`, `symmetric`: each style's colours are moved by a linear map, so that their mean and
      covariance are the content's.
    * `histogram`: each channel's histogram is made the content's.

    In the last four a style that has a region takes the colours of that region. A strength below 1 does part of
    it: pictures and chrominance are mixed with the untouched ones.

    Args:
        method: One of the above; `None` to leave colours alone.
        strength: From 0 to 1.

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
        """Give the content `(1, 3, H, W)` as the objective is to see it."""
        if self.method != "luminance":
            return content
        return torch.lerp(content, luminance(content).expand_as(content), self.strength)

    def prepare_style(self, style: Tensor, content: Tensor, guides: Guides | None, index: int) -> Tensor:
        """Give a style picture as the objective is to see it.

        Args:
            style: `(1, 3, h, w)`.
            content: `(1, 3, H, W)`, untouched.
            guides: Masks of the sizes of these pictures.
            index: The style's number, which picks its masks.

        Returns:
            `(1, 3, h, w)` in [0, 1].
        """
        if self.method is None:
            return style
        region = guides.regions[index] if guides and guides.regions else None
        part = guides.styles[index] if guides and guides.styles else None
        if self.method == "luminance":
            matched = match_luminance(style, content, picture_weights=part, reference_weights=region).expand_as(style)
        else:
            matched = match_colors(style, content, self.method, picture_weights=part, reference_weights=region)
        return torch.lerp(style, matched.clamp(0, 1), self.strength)

    def finish(self, picture: Tensor, content: Tensor) -> Tensor:
        """Give the painted picture `(1, 3, H, W)` the chrominance of the content of the same size."""
        return with_chrominance(picture, content, self.strength) if self.finishes else picture

    @property
    def finishes(self) -> bool:
        """Whether `finish` changes anything."""
        return self.method == "luminance"

    def digest(self) -> str:
        """Identify what is done; empty for nothing."""
        return "" if self.method is None else f"{self.method} {self.strength!r}"
