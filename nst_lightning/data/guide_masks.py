"""The masks that the user gave, read once and handed out at any level's size."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from torch import Tensor

from nst_lightning.errors import UserError
from nst_lightning.images.files import Picture
from nst_lightning.images.guides import Guides, read_guide, rest_of
from nst_lightning.images.resize import resize

REST = "rest"
"""The word for what the other masks leave."""


class GuideMasks:
    """Masks of regions, of parts of the styles, and of the content.

    Args:
        regions: For each style the mask of where it goes: a picture, `alpha` for the content's opacity, or, for
            one of them, `rest`; `None` for no guides.
        styles: For each style the mask of the part that is used: a picture, `alpha` for the style's opacity, or
            `None` for all of it; `None` for all of every style.
        content: Mask of how much the content counts: a picture or `alpha`; `None` for fully.
        content_picture: The content, if there is one.
        style_pictures: The styles.
        max_pixels: Masks of more pixels are refused.

    Raises:
        UserError: If the lists have other lengths than the styles, or a mask can't be used.
    """

    def __init__(
        self,
        regions: Sequence[str] | None,
        styles: Sequence[str | None] | None,
        content: str | None,
        content_picture: Picture | None,
        style_pictures: Sequence[Picture],
        max_pixels: int,
    ) -> None:
        _check_count(regions, style_pictures, "data.guides")
        _check_count(styles, style_pictures, "data.style_guides")
        self.names = tuple(regions or ())
        if self.names.count(REST) > 1:
            raise UserError("data.guides has the word rest more than once; one style at most takes what is left.")
        self.regions = [
            None if name == REST else _read("data.guides", name, content_picture, max_pixels) for name in self.names
        ]
        self._check_rest()
        self.styles = [
            None if name is None else _read("data.style_guides", name, picture, max_pixels)
            for name, picture in zip(styles or (), style_pictures, strict=bool(styles))
        ]
        self.content = None if content is None else _read("data.content_guide", content, content_picture, max_pixels)

    def _check_rest(self) -> None:
        given = [region for region in self.regions if region is not None]
        if len(given) == len(self.regions):
            return
        height = max((region.shape[-2] for region in given), default=1)
        width = max((region.shape[-1] for region in given), default=1)
        if not bool(rest_of(given, (height, width)).any()):
            raise UserError("data.guides has the word rest, but the other masks leave nothing; leave that style out.")

    def at(self, size: tuple[int, int], style_sizes: Sequence[tuple[int, int]]) -> Guides | None:
        """Give the masks for one level.

        Args:
            size: Height and width of the painted picture.
            style_sizes: Height and width of each style.

        Returns:
            The masks at these sizes, or `None` if there are none.
        """
        if not (self.regions or self.styles or self.content is not None):
            return None
        given = [region for region in self.regions if region is not None]
        return Guides(
            regions=tuple(rest_of(given, size) if region is None else resize(region, size) for region in self.regions),
            styles=tuple(
                None if style is None else resize(style, style_size)
                for style, style_size in zip(self.styles, style_sizes, strict=bool(self.styles))
            ),
            content=None if self.content is None else resize(self.content, size),
            names=self.names,
        )

    def digest(self) -> str:
        """Identify the masks; empty without any."""
        masks: list[Tensor | None] = [*self.regions, None, *self.styles, None, self.content]
        if all(mask is None for mask in masks) and not self.regions:
            return ""
        parts = [b"" if mask is None else mask.contiguous().numpy().tobytes() for mask in masks]
        return hashlib.sha256(b"\n".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def _read(option: str, mask: str, picture: Picture | None, max_pixels: int) -> Tensor:
    try:
        return read_guide(mask, picture, max_pixels=max_pixels)
    except UserError as error:
        raise UserError(f"{option}: {error}") from error


def _check_count(masks: Sequence[str | None] | None, styles: Sequence[Picture], option: str) -> None:
    if masks is not None and len(masks) != len(styles):
        raise UserError(f"{option} lists {len(masks)} masks for {len(styles)} styles; give one for each style.")
