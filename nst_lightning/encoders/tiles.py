"""Tiles of an image whose feature maps, put together, are those of the whole image, to rounding."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nst_lightning.encoders.topology import LAYERS, deepest, smallest_side


@dataclass(frozen=True)
class Span:
    """A tile's extent in one direction, in pixels.

    Attributes:
        start: First pixel that is computed.
        stop: End of the pixels that are computed.
        owned_start: First pixel that the tile owns.
        owned_stop: End of the pixels that the tile owns.
        length: Side of the whole image.
    """

    start: int
    stop: int
    owned_start: int
    owned_stop: int
    length: int

    def owned(self, stride: int) -> tuple[slice, slice]:
        """Return the owned positions of a feature map.

        Args:
            stride: Pixels between two of its positions, a power of 2.

        Returns:
            Their range in the tile's map, and in the whole image's.
        """
        # Poolings round down: at the image's end a last incomplete cell has no position.
        start, stop = self.owned_start // stride, min(self.owned_stop, self.length // stride * stride) // stride
        offset = self.start // stride
        return slice(start - offset, max(stop, start) - offset), slice(start, max(stop, start))


@dataclass(frozen=True)
class Tile:
    """A rectangle of an image with what is computed around it.

    Attributes:
        rows: Extent from top to bottom.
        columns: Extent from left to right.
    """

    rows: Span
    columns: Span

    @property
    def pixels(self) -> tuple[slice, slice]:
        """What is cut out of the image: rows and columns."""
        return slice(self.rows.start, self.rows.stop), slice(self.columns.start, self.columns.stop)

    @property
    def computed(self) -> int:
        """Number of pixels that go through the network, those around its own included."""
        return (self.rows.stop - self.rows.start) * (self.columns.stop - self.columns.start)

    def inner(self, tap: str) -> tuple[slice, slice]:
        """Return the owned positions of a tap within the tile's own feature map."""
        stride = stride_of(tap)
        return self.rows.owned(stride)[0], self.columns.owned(stride)[0]

    def outer(self, tap: str) -> tuple[slice, slice]:
        """Return the owned positions of a tap within the whole image's feature map."""
        stride = stride_of(tap)
        return self.rows.owned(stride)[1], self.columns.owned(stride)[1]


def stride_of(tap: str) -> int:
    """Return the pixels between two positions of a tap: 1 for `input`, 16 for `relu5_1`."""
    return smallest_side([tap])


def halo(taps: Sequence[str]) -> int:
    """Return how many pixels around a tile reach one of its positions.

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
    """Cut an image into tiles.

    Every position of every tap is owned by exactly one tile. A tile is computed with the `halo` around it and
    begins on the grid of the deepest pooling, so that its owned positions see all they see in the whole image;
    at the image's true border it ends there and gets the whole image's padding. Tiles are as equal as that
    grid allows; for several workers there are more of them, where that leaves less to do for the busiest.

    Args:
        height: Height of the image, pixels.
        width: Width of the image, pixels.
        taps: Layers that are to be exact.
        tile_size: Longest side of the owned rectangles, pixels; rounded up to the deepest tap's stride. `None` for
            as large as possible: one tile for each worker.
        workers: Number of workers among whom the tiles will be dealt out (`deal`).

    Returns:
        The tiles, row by row.
    """
    margin, grid = halo(taps), smallest_side(taps)
    fewest = [_fewest(length, tile_size, grid) for length in (height, width)]
    enough = fewest[0] * fewest[1] if workers == 1 else 2 * max(fewest[0] * fewest[1], workers)
    axes = []
    for length, least, other in ((height, *fewest), (width, *reversed(fewest))):
        most = min(_most(length, grid), least * workers, enough // other)
        axes.append({count: [*_spans(length, count, margin, grid)] for count in range(least, most + 1)})
    tall, wide = ({count: _longest(spans) for count, spans in axis.items()} for axis in axes)
    _, _, rows, columns = min(
        # What the busiest worker computes, were all tiles as large as the largest; then the number of tiles.
        (tall[rows] * wide[columns] * -(-rows * columns // workers), rows * columns, rows, columns)
        for rows, columns in itertools.product(tall, wide)
        if rows * columns <= enough
    )
    return [Tile(down, across) for down in axes[0][rows] for across in axes[1][columns]]


def grid_tiles(height: int, width: int, tile_size: int, margin: int, grid: int) -> list[Tile]:
    """Cut a map into as few tiles as a longest side allows, whatever is computed of it.

    Args:
        height: Height of the map, positions.
        width: Width of the map, positions.
        tile_size: Longest side of the owned rectangles, positions; rounded up to the grid.
        margin: Positions that are computed around a tile, a multiple of the grid.
        grid: Positions that tiles begin at multiples of.

    Returns:
        The tiles, row by row.
    """
    down, across = ([*_spans(length, _fewest(length, tile_size, grid), margin, grid)] for length in (height, width))
    return [Tile(rows, columns) for rows, columns in itertools.product(down, across)]


def deal(tiles: Sequence[Tile], workers: int) -> list[list[Tile]]:
    """Deal tiles out so that the busiest of the workers has as little to do as a greedy choice gives.

    Args:
        tiles: All tiles of an image.
        workers: Number of workers.

    Returns:
        The tiles of each worker, in the order of the image; none for some if there are too few.
    """
    shares: list[list[int]] = [[] for _ in range(workers)]
    loads = [0] * workers
    for index in sorted(range(len(tiles)), key=lambda i: -tiles[i].computed):
        lightest = loads.index(min(loads))
        shares[lightest].append(index)
        loads[lightest] += tiles[index].computed
    return [[tiles[index] for index in sorted(share)] for share in shares]


def _most(length: int, grid: int) -> int:
    """Return into how many parts a side may be cut: each has at least one position of each tap."""
    return max(1, length // grid)


def _fewest(length: int, tile_size: int | None, grid: int) -> int:
    """Return into how many parts a side has to be cut, so that none is longer than *tile_size*."""
    return 1 if tile_size is None else min(_most(length, grid), -(-length // (-(-tile_size // grid) * grid)))


def _longest(spans: Sequence[Span]) -> int:
    return max(span.stop - span.start for span in spans)


def _spans(length: int, count: int, margin: int, grid: int) -> Iterator[Span]:
    cells = -(-length // grid)
    bounds = [cells * index // count * grid for index in range(count)] + [length]
    for start, stop in itertools.pairwise(bounds):
        yield Span(max(0, start - margin), min(length, stop + margin), start, stop, length)
