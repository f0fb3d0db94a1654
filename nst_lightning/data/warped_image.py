"""What a frame of a video should be by the painting of the frame before, and where that is to be trusted."""

from __future__ import annotations

import hashlib

from torch import Tensor

from nst_lightning.errors import UserError
from nst_lightning.images.files import Picture, read_image
from nst_lightning.images.guides import read_guide
from nst_lightning.images.resize import resize


class WarpedPicture:
    """Reads the picture and its mask, and gives them at each level's size.

    Args:
        picture: A picture of the result's shape; `None` for none.
        guide: Its mask: white where the picture is to be trusted; `None` for everywhere.
        max_pixels: Pictures of more pixels are refused.

    Raises:
        UserError: If there is a mask without a picture, or one of them can't be used.
    """

    def __init__(self, picture: str | None, guide: str | None, max_pixels: int) -> None:
        if picture is None and guide is not None:
            raise UserError("data.warped_guide says where data.warped is to be trusted, but that is not set; set it.")
        self._picture = None if picture is None else _read(picture, max_pixels)
        self._guide = None if guide is None else _read_guide(guide, self._picture, max_pixels)

    def at(self, size: tuple[int, int]) -> tuple[Tensor | None, Tensor | None]:
        """Give the picture, `(1, 3, *size)`, and its mask, `(1, 1, *size)`, both in [0, 1]."""
        picture = None if self._picture is None else resize(self._picture.pixels, size)
        return picture, None if self._guide is None else resize(self._guide, size)

    def digest(self) -> str:
        """Identify both; empty without a picture."""
        if self._picture is None:
            return ""
        mask = b"" if self._guide is None else self._guide.contiguous().numpy().tobytes()
        return f"warped {self._picture.digest} {hashlib.sha256(mask).hexdigest()}"


def _read(picture: str, max_pixels: int) -> Picture:
    try:
        return read_image(picture, max_pixels=max_pixels)
    except UserError as error:
        raise UserError(f"data.warped: {error}") from error


def _read_guide(guide: str, picture: Picture | None, max_pixels: int) -> Tensor:
    try:
        return read_guide(guide, picture, max_pixels=max_pixels)
    except UserError as error:
        raise UserError(f"data.warped_guide: {error}") from error
