"""Tiles of a picture whose feature maps, put together, are exactly those of the whole picture."""

import itertools
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

    @property
    def computed(self) -> int:
        """The pixels that go through the network, those around its own included."""
        return (self.rows.stop - self.rows.start) * (self.columns.stop - self.columns.start)

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


def plan_tiles(height: int, width: int, taps: Sequence[str], tile_size: int | None, workers: int = 1) -> list[Tile]:
    """Cut a picture into tiles.

    Every position of every tap is owned by exactly one tile. A tile is computed with the `halo` around it and
    begins on the grid of the deepest pooling, so that its owned positions see all they see in the whole picture;
    at the picture's true border it ends there and gets the whole picture's padding. Tiles are as equal as that
    grid allows; for several workers there are more of them, where that leaves less to do for the busiest.

    Args:
        height: Of the picture, pixels.
        width: Of the picture, pixels.
        taps: The layers that are to be exact.
        tile_size: Longest side of the owned rectangles, pixels; rounded up to the deepest tap's stride. `None` for
            as large as possible: one tile for each worker.
        workers: Among whom the tiles will be dealt out (`deal`).

    Returns:
        The tiles, row by row.
    """
    margin, grid = halo(taps), smallest_side(taps)
    fewest, counts = [], []
    for length in (height, width):
        most = max(1, length // grid)  # a tile has at least one position of each tap
        least = 1 if tile_size is None else min(most, -(-length // (-(-tile_size // grid) * grid)))
        fewest.append(least)
        counts.append(range(least, min(most, least * workers) + 1))
    enough = fewest[0] * fewest[1] if workers == 1 else 2 * max(fewest[0] * fewest[1], workers)
    plans = [
        ([*_spans(height, rows, margin, grid)], [*_spans(width, columns, margin, grid)])
        for rows, columns in itertools.product(*counts)
        if rows * columns <= enough
    ]
    downs, acrosses = min(plans, key=lambda plan: (_busiest(plan[0], plan[1], workers), len(plan[0]) * len(plan[1])))
    return [Tile(down, across) for down in downs for across in acrosses]


def deal(tiles: Sequence[Tile], workers: int) -> list[list[Tile]]:
    """Deal tiles out so that the busiest of the workers has as little to do as a greedy choice gives.

    Args:
        tiles: All of a picture.
        workers: How many there are.

    Returns:
        The tiles of each worker, in the order of the picture; none for some if there are too few.
    """
    shares: list[list[int]] = [[] for _ in range(workers)]
    loads = [0] * workers
    for index in sorted(range(len(tiles)), key=lambda i: -tiles[i].computed):
        lightest = loads.index(min(loads))
        shares[lightest].append(index)
        loads[lightest] += tiles[index].computed
    return [[tiles[index] for index in sorted(share)] for share in shares]


def _busiest(rows: Sequence[Span], columns: Sequence[Span], workers: int) -> int:
    """Give the pixels that the busiest worker computes, were all tiles as large as the largest."""
    tall, wide = (max(span.stop - span.start for span in spans) for spans in (rows, columns))
    return tall * wide * -(-len(rows) * len(columns) // workers)


def _spans(length: int, count: int, margin: int, grid: int) -> Iterator[Span]:
    cells = -(-length // grid)
    bounds = [cells * index // count * grid for index in range(count)] + [length]
    for start, stop in itertools.pairwise(bounds):
        yield Span(max(0, start - margin), min(length, stop + margin), start, stop, length)
