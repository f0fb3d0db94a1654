"""Tiles of a picture whose feature maps, put together, are exactly those of the whole picture."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nst_lightning.encoders.topology import LAYERS, deepest, smallest_side


@dataclass(frozen=True)
class Span:
    """A tile's extent in one direction, in pixels.

    Attributes:
        start: First pixel that is computed.
        stop: End of those.
        owned_start: First pixel that the tile owns.
        owned_stop: End of those.
        length: Of the whole picture.
    """

    start: int
    stop: int
    owned_start: int
    owned_stop: int
    length: int

    def owned(self, stride: int) -> tuple[slice, slice]:
        """Give the owned positions of a feature map.

        Args:
            stride: Pixels between two of its positions, a power of 2.

        Returns:
            Where they are in the tile's map, and in the whole picture's.
        """
        # Poolings round down: at the picture's end a last incomplete cell has no position.
        start, stop = self.owned_start // stride, min(self.owned_stop, self.length // stride * stride) // stride
        offset = self.start // stride
        return slice(start - offset, max(stop, start) - offset), slice(start, max(stop, start))


@dataclass(frozen=True)
class Tile:
    """A rectangle of a picture with what is computed around it.

    Attributes:
        rows: Its extent from top to bottom.
        columns: Its extent from left to right.
    """

    rows: Span
    columns: Span

    @property
    def pixels(self) -> tuple[slice, slice]:
        """What is cut out of the picture: rows and columns."""
        return slice(self.rows.start, self.rows.stop), slice(self.columns.start, self.columns.stop)

    def inner(self, tap: str) -> tuple[slice, slice]:
        """Give the owned positions of a tap within the tile's own feature map."""
        stride = stride_of(tap)
        return self.rows.owned(stride)[0], self.columns.owned(stride)[0]

    def outer(self, tap: str) -> tuple[slice, slice]:
        """Give the owned positions of a tap within the whole picture's feature map."""
        stride = stride_of(tap)
        return self.rows.owned(stride)[1], self.columns.owned(stride)[1]


def stride_of(tap: str) -> int:
    """Give the pixels between two positions of a tap: 1 for `input`, 16 for `relu5_1`."""
    return smallest_side([tap])


def halo(taps: Sequence[str]) -> int:
    """Give how many pixels around a tile reach one of its positions.

    A convolution sees one position further; a pooling halves the distance, rounded up. The result is rounded up
    to the deepest tap's stride, so that tiles stay on the pooling grid.

    Args:
        taps: Layer names.

    Returns:
        A multiple of the deepest tap's stride: 80 for `relu5_1`.
    """
    reach = 0
    for name in LAYERS[: deepest(taps)]:
        if name.startswith("conv"):
            reach += 1
        elif name.startswith("pool"):
            reach = (reach + 1) // 2
    return reach * smallest_side(taps) if deepest(taps) else 0


def plan_tiles(height: int, width: int, taps: Sequence[str], tile_size: int) -> list[Tile]:
    """Cut a picture into tiles.

    Every position of every tap is owned by exactly one tile. A tile is computed with the `halo` around it and
    begins on the grid of the deepest pooling, so that its owned positions see all they see in the whole picture;
    at the picture's true border it ends there and gets the whole picture's padding.

    Args:
        height: Of the picture, pixels.
        width: Of the picture, pixels.
        taps: The layers that are to be exact.
        tile_size: Side of the owned squares, pixels; rounded up to the deepest tap's stride.

    Returns:
        The tiles, row by row; one that is the whole picture if it is no larger than a tile.
    """
    margin, grid = halo(taps), smallest_side(taps)
    side = -(-tile_size // grid) * grid
    return [
        Tile(rows, columns)
        for rows in _spans(height, side, margin, grid)
        for columns in _spans(width, side, margin, grid)
    ]


def _spans(length: int, side: int, margin: int, grid: int) -> Iterator[Span]:
    starts = list(range(0, length, side))
    if len(starts) > 1 and length - starts[-1] < grid:
        starts.pop()  # too short for a position of the deepest tap: the tile before takes it along
    for start, stop in zip(starts, [*starts[1:], length], strict=True):
        yield Span(max(0, start - margin), min(length, stop + margin), start, stop, length)
