"""What a sheet is drawn with: sizes that go together, and the list of what is drawn where."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from nst_lightning.images.resize import fit_long_side, resize
from nst_lightning.images.sheets.text import Lettering, TextBlock

INK = "#1a1a1a"
QUIET_INK = "#595959"
_FIELD = "#f0f0f0"


class Look:
    """Sizes of text and white space that go with a size of pictures, in pixels.

    Args:
        cell_size: Long side of a picture.
    """

    def __init__(self, cell_size: int) -> None:
        self.cell_size = cell_size
        self.heading = Lettering(max(13, round(0.085 * cell_size)))
        self.text = Lettering(max(11, round(0.066 * cell_size)))
        self.small = Lettering(max(10, round(0.054 * cell_size)))
        self.gap = max(4, round(0.04 * cell_size))
        self.wide_gap = 2 * self.gap
        self.margin = max(8, round(0.08 * cell_size))

    def fit(self, picture: Tensor, cells: float = 1.0) -> Tensor:
        """Give a picture at the size at which it is drawn.

        Args:
            picture: sRGB in [0, 1], of shape `(1, 3, h, w)`.
            cells: Wanted long side, in cells.

        Raises:
            ValueError: If the shape is another.
        """
        if picture.ndim != 4 or picture.shape[:2] != (1, 3) or picture.numel() == 0:
            raise ValueError(f"expected pictures of shape (1, 3, H, W), got {tuple(picture.shape)}")
        size = fit_long_side(picture.shape[-2], picture.shape[-1], round(cells * self.cell_size))
        return resize(picture.detach().float().cpu(), size)


@dataclass
class Drawing:
    """Pictures, fields and texts with their places; the sheet's size is not needed before the end."""

    _pictures: list[tuple[Tensor, int, int]] = field(default_factory=list)
    _fields: list[tuple[int, int, int, int]] = field(default_factory=list)
    _texts: list[tuple[TextBlock, int, int, str]] = field(default_factory=list)

    def picture(self, pixels: Tensor, left: int, top: int) -> None:
        """Put a picture `(1, 3, h, w)` at a corner."""
        self._pictures.append((pixels, left, top))

    def empty_field(self, left: int, top: int, width: int, height: int) -> None:
        """Put a light grey field where a picture is missing."""
        self._fields.append((left, top, left + width - 1, top + height - 1))

    def text(self, block: TextBlock, left: int, top: int, ink: str = INK) -> None:
        """Put text at a corner."""
        self._texts.append((block, left, top, ink))

    def render(self, width: int, height: int) -> Tensor:
        """Draw everything on white.

        Returns:
            sRGB in [0, 1] of shape `(1, 3, height, width)`, float32.
        """
        canvas = Image.new("RGB", (width, height), "white")
        pen = ImageDraw.Draw(canvas)
        for corners in self._fields:
            pen.rectangle(corners, fill=_FIELD)
        for block, left, top, ink in self._texts:
            block.draw(pen, left, top, ink)
        sheet = torch.from_numpy(np.asarray(canvas, np.float32) / 255).permute(2, 0, 1).unsqueeze(0).contiguous()
        for picture, left, top in self._pictures:  # not through Pillow, which would round them to 8 bits
            sheet[..., top : top + picture.shape[-2], left : left + picture.shape[-1]] = picture
        return sheet
