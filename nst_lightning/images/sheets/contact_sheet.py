"""Labelled contact sheets: pictures in rows and columns, as in a paper's figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from torch import Tensor

from nst_lightning.images.sheets.layout import QUIET_INK, Drawing, Look
from nst_lightning.images.sheets.text import TextBlock

_NARROWEST = 0.6  # a column's least width, in cells, so that its title has room
_REFERENCE = 0.4  # long side of a reference picture, in cells
_SIDE = 0.75  # room for row titles, in cells
_TITLE_LINES = 3


@dataclass(frozen=True, eq=False)
class Cell:
    """One place in a sheet.

    Attributes:
        picture: sRGB in [0, 1], of shape `(1, 3, h, w)`; None draws an empty field.
        note: A small line under the picture, such as a loss value, or `failed` in an empty field. A line break starts
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
    """Draw pictures in rows and columns on white, with titles and notes.

    Every picture gets the same long side, its aspect ratio kept to the pixel: larger ones are shrunk antialiased,
    smaller ones are enlarged bicubically, so that runs of several sizes are compared at one size (and a small one
    looks as soft as it is). A column is as wide as its widest picture, a row as high as its highest; pictures stand
    in the centre of their cells. The same input gives the same bytes.

    Args:
        rows: Cells from top to bottom and left to right. Rows may have different lengths; nothing is drawn where a
            row has ended.
        row_titles: Stand left of the rows; there may be fewer than rows.
        column_titles: Stand above the columns; there may be fewer than columns.
        corner: Labels and reference pictures, sRGB in [0, 1] of shape `(1, 3, h, w)`, such as content and style.
            They are drawn small, two in a line, where the row titles and the column titles meet; without row titles
            one below the other at the left.
        title: Stands above everything. Titles are wrapped; what needs more than three lines is shortened with an
            ellipsis.
        cell_size: Long side of each picture in pixels, at least 32. The size of the text follows from it.

    Returns:
        The sheet, float32 sRGB in [0, 1] of shape `(1, 3, H, W)`, on the CPU.

    Raises:
        ValueError: If a picture has another shape, `cell_size` is below 32, or there are more titles than rows or
            columns.
    """
    if cell_size < 32:
        raise ValueError(f"expected a cell_size of at least 32 pixels, got {cell_size}")
    look = Look(cell_size)
    references = _References(look, corner, per_line=2 if row_titles else 1)
    grid = _Grid(look, rows, row_titles, column_titles, max(references.width, round(_SIDE * cell_size)))
    side = max(grid.side_width, references.width)
    left = look.margin + (side + look.wide_gap if side else 0)
    width = left + grid.width + look.margin
    heading = look.heading.block(title, width - 2 * look.margin, _TITLE_LINES)
    top = look.margin + (heading.height + look.wide_gap if heading.lines else 0)
    above = max(grid.header_height, references.height if row_titles else 0)
    body = top + (above + look.gap if above else 0)
    references_top = body - look.gap - references.height if row_titles else body

    drawing = Drawing()
    drawing.text(heading, look.margin, look.margin)
    references.draw(drawing, look.margin, references_top)
    grid.draw(drawing, left, body)
    bottom = max(body + grid.height, references_top + references.height)
    return drawing.render(width, bottom + look.margin)


class _Tile:
    """A cell's picture at its size, and its note."""

    def __init__(self, look: Look, cell: Cell, cells: float = 1.0) -> None:
        self.picture = None if cell.picture is None else look.fit(cell.picture, cells)
        self.height, self.width = (0, 0) if self.picture is None else self.picture.shape[-2:]
        self.look, self.text = look, cell.note
        self.note = look.small.lines((), 0)

    def set_note(self, width: int) -> None:
        """Break the note for the width of the column, known when all tiles are."""
        self.note = self.look.small.lines(self.text.splitlines(), width)

    @property
    def note_height(self) -> int:
        """What the note adds below the picture."""
        return self.note.height + self.look.gap // 2 if self.note.lines and self.picture is not None else 0

    def draw(self, drawing: Drawing, left: int, top: int, width: int, height: int) -> None:
        """Draw the picture in the centre of its place and the note below the place, or in an empty field."""
        note_left = left + (width - self.note.width) // 2
        if self.picture is None:
            drawing.empty_field(left, top, width, height)
            drawing.text(self.note, note_left, top + (height - self.note.height) // 2, QUIET_INK)
            return
        drawing.picture(self.picture, left + (width - self.width) // 2, top + (height - self.height) // 2)
        drawing.text(self.note, note_left, top + height + self.look.gap // 2, QUIET_INK)


class _References:
    """The small labelled pictures in the corner."""

    def __init__(self, look: Look, corner: Sequence[tuple[str, Tensor]], per_line: int) -> None:
        self.look, self.place = look, round(_REFERENCE * look.cell_size)
        tiles = [_Tile(look, Cell(picture, label), _REFERENCE) for label, picture in corner]
        for tile in tiles:
            tile.set_note(self.place)
        self.lines = [tiles[n : n + per_line] for n in range(0, len(tiles), per_line)]
        self.width = max((len(line) * (self.place + look.gap) - look.gap for line in self.lines), default=0)
        self.height = sum(map(self._height, self.lines)) + max(0, len(self.lines) - 1) * look.gap

    @staticmethod
    def _height(line: list[_Tile]) -> int:
        return max(tile.height for tile in line) + max(tile.note_height for tile in line)

    def draw(self, drawing: Drawing, left: int, top: int) -> None:
        """Draw them from a corner on."""
        for line in self.lines:
            for n, tile in enumerate(line):
                x = left + n * (self.place + self.look.gap)
                tile.draw(drawing, x, top, self.place, max(tile.height for tile in line))
            top += self._height(line) + self.look.gap


class _Grid:
    """Rows and columns with their titles and notes."""

    def __init__(
        self,
        look: Look,
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
        self.look = look
        self.tiles = [[_Tile(look, cell) for cell in row] for row in rows]
        self.widths = self._widths()
        for row in self.tiles:
            for tile, width in zip(row, self.widths, strict=False):
                tile.set_note(width)
        self.header = [
            look.text.block(title, width, _TITLE_LINES, "centre")
            for title, width in zip(column_titles, self.widths, strict=False)
        ]
        self.side = [look.text.block(title, side_room, _TITLE_LINES, "right") for title in row_titles]
        self.heights = self._heights()
        self.note_heights = [max((tile.note_height for tile in row), default=0) for row in self.tiles]
        self.header_height = max((block.height for block in self.header), default=0)
        self.side_width = max((block.width for block in self.side), default=0)
        self.width = sum(self.widths) + max(0, columns - 1) * look.gap
        self.gap = look.wide_gap if any(self.note_heights) else look.gap  # a note belongs to what is above it
        self.height = sum(self.heights) + sum(self.note_heights) + max(0, len(self.tiles) - 1) * self.gap

    def _widths(self) -> list[int]:
        found = [max(tile.width for tile in column if tile) for column in zip_longest(*self.tiles)]
        narrowest = round(_NARROWEST * self.look.cell_size)
        usual = max(found, default=0) or self.look.cell_size  # of a column without pictures
        return [max(width or usual, narrowest) for width in found]

    def _heights(self) -> list[int]:
        found = [max((tile.height for tile in row), default=0) for row in self.tiles]
        usual = max(found, default=0) or self.look.cell_size
        titles: list[TextBlock | None] = [*self.side, *[None] * (len(found) - len(self.side))]
        return [max(height or usual, title.height if title else 0) for height, title in zip(found, titles, strict=True)]

    def draw(self, drawing: Drawing, left: int, top: int) -> None:
        """Draw all; the first cell's corner is given."""
        x = left
        for block, width in zip(self.header, self.widths, strict=False):
            drawing.text(block, x + (width - block.width) // 2, top - self.look.gap - block.height)
            x += width + self.look.gap
        y = top
        for n, row in enumerate(self.tiles):
            x = left
            for tile, width in zip(row, self.widths, strict=False):
                tile.draw(drawing, x, y, width, self.heights[n])
                x += width + self.look.gap
            if n < len(self.side):
                block = self.side[n]
                drawing.text(block, left - self.look.wide_gap - block.width, y + (self.heights[n] - block.height) // 2)
            y += self.heights[n] + self.note_heights[n] + self.gap
