"""Masks of regions, styles and content: read once, and resized for each level."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from torch import Tensor

from nst_lightning.errors import UserError, named_in_errors, user_path
from nst_lightning.images.files import LoadedImage, is_image_file
from nst_lightning.images.guides import ALPHA, Guides, read_guide, rest_of
from nst_lightning.images.resize import resize
from nst_lightning.utils.storage import look

REST = "rest"
"""Word for the region that the other masks leave."""


class GuideMasks:
    """Masks of regions, of parts of the styles, and of the content.

    Args:
        regions: Mask of the region of each style: an image file, `alpha` for the content's opacity, or, for
            one of them, `rest`; `None` for no guides.
        styles: Mask of the part that is used of each style: an image file, `alpha` for the style's opacity, or
            `None` for all of it; `None` for all of every style.
        content: Mask of the content's weight: an image file or `alpha`; `None` for 1 everywhere.
        content_image: Content as read; `None` if there is none.
        style_images: Styles as read.
        max_pixels: Most pixels of a mask; one with more is refused.

    Raises:
        UserError: If the lists have other lengths than the styles, or a mask can't be used.
    """

    def __init__(
        self,
        regions: Sequence[str] | None,
        styles: Sequence[str | None] | None,
        content: str | None,
        content_image: LoadedImage | None,
        style_images: Sequence[LoadedImage],
        max_pixels: int,
    ) -> None:
        _check_count(regions, style_images, "data.guides")
        _check_count(styles, style_images, "data.style_guides")
        self.names = tuple(regions or ())
        check_rest(self.names)
        self.regions = [
            None if name == REST else _read("data.guides", name, content_image, max_pixels) for name in self.names
        ]
        self._check_rest()
        self.styles = [
            None if name is None else _read("data.style_guides", name, image, max_pixels)
            for name, image in zip(styles or (), style_images, strict=bool(styles))
        ]
        self.content = None if content is None else _read("data.content_guide", content, content_image, max_pixels)

    def _check_rest(self) -> None:
        given = [region for region in self.regions if region is not None]
        if len(given) == len(self.regions):
            return
        height = max((region.shape[-2] for region in given), default=1)
        width = max((region.shape[-1] for region in given), default=1)
        if not bool(rest_of(given, (height, width)).any()):
            raise UserError("data.guides has the word rest, but the other masks leave nothing; leave that style out.")

    def at(self, size: tuple[int, int], style_sizes: Sequence[tuple[int, int]]) -> Guides | None:
        """Return the masks of one level.

        Args:
            size: Height and width of the level's image, pixels.
            style_sizes: Height and width of each style, pixels.

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
        """Return a digest of the masks; empty without any."""
        masks: list[Tensor | None] = [*self.regions, None, *self.styles, None, self.content]
        if all(mask is None for mask in masks) and not self.regions:
            return ""
        parts = [b"" if mask is None else mask.contiguous().numpy().tobytes() for mask in masks]
        return hashlib.sha256(b"\n".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


class RegionMasks:
    """Masks of the regions of each style, for many images.

    Args:
        names: For each style an image file, which is the mask of every image, a folder with a mask of each image's
            name, `alpha` for the image's own opacity, or, for one of them, `rest`.
        styles: Number of the styles.
        max_pixels: Most pixels of a mask.

    Raises:
        UserError: If there is another number of masks, or a file can't be used.
    """

    def __init__(self, names: Sequence[str], styles: int, max_pixels: int) -> None:
        if len(names) != styles:
            raise UserError(f"data.guides lists {len(names)} masks for {styles} styles; give one for each style.")
        check_rest(names)
        self.names = tuple(names)
        self.max_pixels = max_pixels
        self._found: dict[Path, dict[str, list[Path]]] = {}  # masks by folder and stem
        for name in self.names:
            if name not in (REST, ALPHA) and not user_path(name).is_dir():
                _read("data.guides", name, None, max_pixels)  # not after the first image was read

    def paths(self, image: PurePosixPath) -> list[str]:
        """Return the files of the masks of an image, given its name: its path below the folder that was searched."""
        return [name for name in self._of(image) if name not in (REST, ALPHA)]

    def at(self, name: PurePosixPath, image: LoadedImage, size: tuple[int, int]) -> tuple[Tensor, ...]:
        """Return the masks of an image.

        Args:
            name: Name of the image, as in `paths`.
            image: Image as read, at its own size.
            size: Height and width of the masks, pixels.

        Returns:
            A mask for each style, `(1, 1, *size)` in [0, 1].

        Raises:
            UserError: If a mask is missing, or does not belong to this image.
        """
        images = [image] * len(self.names)
        guides = GuideMasks(self._of(name), None, None, image, images, self.max_pixels).at(size, [])
        assert guides is not None
        return guides.regions

    def _of(self, image: PurePosixPath) -> list[str]:
        folders = {name for name in self.names if name not in (REST, ALPHA) and user_path(name).is_dir()}
        return [str(self._in_folder(user_path(name), image)) if name in folders else name for name in self.names]

    def _in_folder(self, folder: Path, image: PurePosixPath) -> Path:
        """Return the mask of an image in a folder: of the same name, with any suffix; PNG where there is none."""
        own = folder / image
        if own.parent not in self._found:  # once for all images: there may be many
            look(own.parent, deep=False)
            masks: dict[str, list[Path]] = {}
            for path in sorted(own.parent.glob("*")):
                if is_image_file(path):
                    masks.setdefault(path.stem, []).append(path)
            self._found[own.parent] = masks
        others = self._found[own.parent].get(image.stem, [])
        return own if own in others else next(iter(others), own.with_suffix(".png"))


def check_rest(names: Sequence[str]) -> None:
    """Refuse a list of masks that has the word `rest` more than once."""
    if list(names).count(REST) > 1:
        raise UserError("data.guides has the word rest more than once; one style at most takes what is left.")


def _read(option: str, mask: str, image: LoadedImage | None, max_pixels: int) -> Tensor:
    with named_in_errors(option):
        return read_guide(mask, image, max_pixels=max_pixels)


def _check_count(masks: Sequence[str | None] | None, styles: Sequence[LoadedImage], option: str) -> None:
    if masks is not None and len(masks) != len(styles):
        raise UserError(f"{option} lists {len(masks)} masks for {len(styles)} styles; give one for each style.")
