"""Contact sheets: images in rows and columns with titles and notes, as in a paper's figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from nst_lightning.images.resize import fit_long_side, resize
from nst_lightning.images.text import Font, TextBlock

_TEXT_COLOR = "#1a1a1a"
_NOTE_COLOR = "#595959"
_FIELD_COLOR = "#f0f0f0"
_NARROWEST = 0.6  # smallest width of a column, in cells, so that its title has room
_REFERENCE = 0.4  # long side of a reference image, in cells
_SIDE = 0.75  # width for row titles, in cells
_TITLE_LINES = 3


@dataclass(frozen=True, eq=False)
class Cell:
    """One place in a sheet.

    Attributes:
        picture: Image, sRGB in [0, 1], of shape `(1, 3, h, w)`; None draws an empty field.
        note: Small line under the image, such as a loss value, or `failed` in an empty field. A line break starts
            another line; a line that is too long is shortened.
    """

    picture: Tensor | None = None
    note: str = ""


def contact_sheet(
    rows: Sequence[Sequence[Cell]],
    *,
    row_titles: Sequence[str] = (),
    column_titles: Sequence[str] = (),
    corner: Sequence[tuple[str, Tensor]] = (),
    title: str = "",
    cell_size: int = 256,
) -> Tensor:
    """Return images drawn in rows and columns on white, with titles and notes.

    Every image gets the same long side, its aspect ratio kept to the pixel: larger ones are shrunk antialiased,
    smaller ones are enlarged bicubically, so that runs of several sizes are compared at one size (and a small one
    looks as soft as it is). A column is as wide as its widest image, a row as high as its highest; images stand
    in the center of their cells. The same input gives the same bytes.

    Args:
        rows: Cells from top to bottom and left to right. Rows may have different lengths; nothing is drawn where a
            row has ended.
        row_titles: Titles left of the rows; there may be fewer than rows.
        column_titles: Titles above the columns; there may be fewer than columns.
        corner: Labels and reference images, sRGB in [0, 1] of shape `(1, 3, h, w)`, such as content and style.
            They are drawn small, two in a line, where the row titles and the column titles meet; without row titles
            one below the other at the left.
        title: Title above everything. Titles are wrapped; what needs more than three lines is shortened with an
            ellipsis.
        cell_size: Long side of each image in pixels, at least 32. The size of the text follows from it.

    Returns:
        Sheet, float32 sRGB in [0, 1] of shape `(1, 3, H, W)`, on the CPU.

    Raises:
        ValueError: If an image has another shape, `cell_size` is below 32, or there are more titles than rows or
            columns.

    Example:
        >>> red, gray = torch.eye(3)[0].view(1, 3, 1, 1), torch.full((1, 3, 1, 1), 0.5)
        >>> row = [Cell(image.expand(1, 3, 24, 32), "loss 1.0") for image in (red, gray)]
        >>> sheet = contact_sheet([row], column_titles=["red", "gray"], cell_size=64)
        >>> sheet.shape[1], sheet.shape[3]  # two columns, a gap and margins
        (3, 148)
    """
    if cell_size < 32:
        raise ValueError(f"expected a cell_size of at least 32 pixels, got {cell_size}")
    sizes = _Sizes(cell_size)
    references = _References(sizes, corner, per_line=2 if row_titles else 1)
    grid = _Grid(sizes, rows, row_titles, column_titles, max(references.width, round(_SIDE * cell_size)))
    side = max(grid.side_width, references.width)
    left = sizes.margin + (side + sizes.wide_gap if side else 0)
    width = left + grid.width + sizes.margin
    heading = sizes.heading.block(title, width - 2 * sizes.margin, _TITLE_LINES)
    top = sizes.margin + (heading.height + sizes.wide_gap if heading.lines else 0)
    above = max(grid.header_height, references.height if row_titles else 0)
    body = top + (above + sizes.gap if above else 0)
    references_top = body - sizes.gap - references.height if row_titles else body
    bottom = max(body + grid.height, references_top + references.height)

    canvas = _Canvas(width, bottom + sizes.margin)
    canvas.text(heading, sizes.margin, sizes.margin)
    references.draw(canvas, sizes.margin, references_top)
    grid.draw(canvas, left, body)
    return canvas.sheet()


class _Sizes:
    """Sizes of text and white space that go with a size of images, in pixels.

    Args:
        cell_size: Long side of an image.
    """

    def __init__(self, cell_size: int) -> None:
        self.cell_size = cell_size
        self.heading = Font(max(13, round(0.085 * cell_size)))
        self.text = Font(max(11, round(0.066 * cell_size)))
        self.small = Font(max(10, round(0.054 * cell_size)))
        self.gap = max(4, round(0.04 * cell_size))
        self.wide_gap = 2 * self.gap
        self.margin = max(8, round(0.08 * cell_size))

    def fit(self, image: Tensor, cells: float = 1.0) -> Tensor:
        """Return an image `(1, 3, h, w)` with a long side of so many cells; raise ValueError for another shape."""
        if image.ndim != 4 or image.shape[:2] != (1, 3) or image.numel() == 0:
            raise ValueError(f"expected images of shape (1, 3, H, W), got {tuple(image.shape)}")
        size = fit_long_side(image.shape[-2], image.shape[-1], round(cells * self.cell_size))
        return resize(image.detach().float().cpu(), size)


class _Canvas:
    """White paper for fields and texts, over which the images are laid."""

    def __init__(self, width: int, height: int) -> None:
        self._paper = Image.new("RGB", (width, height), "white")
        self._draw = ImageDraw.Draw(self._paper)
        self._images: list[tuple[Tensor, int, int]] = []

    def image(self, pixels: Tensor, left: int, top: int) -> None:
        """Lay an image `(1, 3, h, w)` at a corner."""
        self._images.append((pixels, left, top))

    def empty_field(self, left: int, top: int, width: int, height: int) -> None:
        """Draw a light gray field where an image is missing."""
        self._draw.rectangle((left, top, left + width - 1, top + height - 1), fill=_FIELD_COLOR)

    def text(self, block: TextBlock, left: int, top: int, color: str = _TEXT_COLOR) -> None:
        """Draw text at a corner."""
        block.draw(self._draw, left, top, color)

    def sheet(self) -> Tensor:
        """Return the sheet, float32 sRGB in [0, 1] of shape `(1, 3, height, width)`."""
        sheet = torch.from_numpy(np.asarray(self._paper, np.float32) / 255).permute(2, 0, 1).unsqueeze(0).contiguous()
        for image, left, top in self._images:  # not through Pillow, which would round them to 8 bits
            sheet[..., top : top + image.shape[-2], left : left + image.shape[-1]] = image
        return sheet


class _Tile:
    """A cell's image at its size, and its note."""

    def __init__(self, sizes: _Sizes, cell: Cell, cells: float = 1.0) -> None:
        self.image = None if cell.picture is None else sizes.fit(cell.picture, cells)
        self.height, self.width = (0, 0) if self.image is None else self.image.shape[-2:]
        self.sizes, self.text = sizes, cell.note
        self.note = sizes.small.lines((), 0)

    def set_note(self, width: int) -> None:
        """Shorten the note to the width of the column, known when all tiles are."""
        self.note = self.sizes.small.lines(self.text.splitlines(), width)

    @property
    def note_height(self) -> int:
        """Height that the note adds below the image."""
        return self.note.height + self.sizes.gap // 2 if self.note.lines and self.image is not None else 0

    def draw(self, canvas: _Canvas, left: int, top: int, width: int, height: int) -> None:
        """Draw the image in the center of its place and the note below the place, or in an empty field."""
        note_left = left + (width - self.note.width) // 2
        if self.image is None:
            canvas.empty_field(left, top, width, height)
            canvas.text(self.note, note_left, top + (height - self.note.height) // 2, _NOTE_COLOR)
            return
        canvas.image(self.image, left + (width - self.width) // 2, top + (height - self.height) // 2)
        canvas.text(self.note, note_left, top + height + self.sizes.gap // 2, _NOTE_COLOR)


class _References:
    """The small labeled images in the corner."""

    def __init__(self, sizes: _Sizes, corner: Sequence[tuple[str, Tensor]], per_line: int) -> None:
        self.sizes, self.place = sizes, round(_REFERENCE * sizes.cell_size)
        tiles = [_Tile(sizes, Cell(image, label), _REFERENCE) for label, image in corner]
        for tile in tiles:
            tile.set_note(self.place)
        self.lines = [tiles[n : n + per_line] for n in range(0, len(tiles), per_line)]
        self.width = max((len(line) * (self.place + sizes.gap) - sizes.gap for line in self.lines), default=0)
        self.height = sum(map(self._height, self.lines)) + max(0, len(self.lines) - 1) * sizes.gap

    @staticmethod
    def _height(line: list[_Tile]) -> int:
        return max(tile.height for tile in line) + max(tile.note_height for tile in line)

    def draw(self, canvas: _Canvas, left: int, top: int) -> None:
        """Draw them from their upper left corner on."""
        for line in self.lines:
            for n, tile in enumerate(line):
                x = left + n * (self.place + self.sizes.gap)
                tile.draw(canvas, x, top, self.place, max(tile.height for tile in line))
            top += self._height(line) + self.sizes.gap


class _Grid:
    """Rows and columns with their titles and notes."""

    def __init__(
        self,
        sizes: _Sizes,
        rows: Sequence[Sequence[Cell]],
        row_titles: Sequence[str],
        column_titles: Sequence[str],
        side_room: int,
    ) -> None:
        columns = max(map(len, rows), default=0)
        if len(row_titles) > len(rows) or len(column_titles) > columns:
            raise ValueError(
                f"expected at most {len(rows)} row titles and {columns} column titles, "
                f"got {len(row_titles)} and {len(column_titles)}"
            )
        self.sizes = sizes
        self.tiles = [[_Tile(sizes, cell) for cell in row] for row in rows]
        self.widths = self._widths()
        for row in self.tiles:
            for tile, width in zip(row, self.widths, strict=False):
                tile.set_note(width)
        self.header = [
            sizes.text.block(title, width, _TITLE_LINES, "center")
            for title, width in zip(column_titles, self.widths, strict=False)
        ]
        self.side = [sizes.text.block(title, side_room, _TITLE_LINES, "right") for title in row_titles]
        self.heights = self._heights()
        self.note_heights = [max((tile.note_height for tile in row), default=0) for row in self.tiles]
        self.header_height = max((block.height for block in self.header), default=0)
        self.side_width = max((block.width for block in self.side), default=0)
        self.width = sum(self.widths) + max(0, columns - 1) * sizes.gap
        self.gap = sizes.wide_gap if any(self.note_heights) else sizes.gap  # a note belongs to what is above it
        self.height = sum(self.heights) + sum(self.note_heights) + max(0, len(self.tiles) - 1) * self.gap

    def _widths(self) -> list[int]:
        found = [max(tile.width for tile in column if tile) for column in zip_longest(*self.tiles)]
        narrowest = round(_NARROWEST * self.sizes.cell_size)
        usual = max(found, default=0) or self.sizes.cell_size  # of a column without images
        return [max(width or usual, narrowest) for width in found]

    def _heights(self) -> list[int]:
        found = [max((tile.height for tile in row), default=0) for row in self.tiles]
        usual = max(found, default=0) or self.sizes.cell_size
        titles: list[TextBlock | None] = [*self.side, *[None] * (len(found) - len(self.side))]
        return [max(height or usual, title.height if title else 0) for height, title in zip(found, titles, strict=True)]

    def draw(self, canvas: _Canvas, left: int, top: int) -> None:
        """Draw all; *left* and *top* are the first cell's corner."""
        x = left
        for block, width in zip(self.header, self.widths, strict=False):
            canvas.text(block, x + (width - block.width) // 2, top - self.sizes.gap - block.height)
            x += width + self.sizes.gap
        y = top
        for n, row in enumerate(self.tiles):
            x = left
            for tile, width in zip(row, self.widths, strict=False):
                tile.draw(canvas, x, y, width, self.heights[n])
                x += width + self.sizes.gap
            if n < len(self.side):
                block = self.side[n]
                canvas.text(block, left - self.sizes.wide_gap - block.width, y + (self.heights[n] - block.height) // 2)
            y += self.heights[n] + self.note_heights[n] + self.gap
