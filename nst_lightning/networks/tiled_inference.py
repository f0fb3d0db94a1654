"""Stylizing an image tile by tile: the result of one piece, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from nst_lightning.encoders.tiles import grid_tiles
from nst_lightning.networks.transformer import Moments, Stage, TransformerNet

_CELL = 4  # pixels: one position of the deepest maps; tiles consist of whole cells


class Span(NamedTuple):
    """Positions from `start` up to, not including, `stop`."""

    start: int
    stop: int

    @property
    def slice(self) -> slice:
        """The positions as an index."""
        return slice(self.start, self.stop)


class Reach(NamedTuple):
    """Input that a stage needs, in one direction, for some positions of its output.

    Attributes:
        seen: Positions of the input.
        before: Number of positions to reflect before those, where the image begins.
        after: Number of positions to reflect after those, where the image ends.
        wanted: Place of the output's positions in what comes out: a stage that upsamples may compute one more.
    """

    seen: Span
    before: int
    after: int
    wanted: slice


@dataclass(frozen=True)
class _Step:
    """A stage of which no whole map is kept.

    Attributes:
        stage: Stage that is computed.
        size: Height and width of its whole input.
        moments: Moments of its convolved map over the whole image; `None` before they are known.
    """

    stage: Stage
    size: tuple[int, int]
    moments: Moments | None = None


@torch.no_grad()
def paint_tiled(
    network: TransformerNet, images: Tensor, weights: Tensor, tile_size: int, store: torch.device | None = None
) -> Tensor:
    r"""Return `network(images, weights)`, holding no more than tiles at full resolution.

    Convolutions see a few pixels beyond a tile, which is cut out with that margin; reflections are made at the
    image's borders only. Instance normalization sees the whole image. So the stages are run one after
    another, each over all tiles, its moments are gathered, and then the next one begins. Between stages whole
    maps are kept at half and a quarter of the resolution only. The two normalized stages at full resolution are run
    twice: once for their moments and once on the way to the next stage.

    The maps kept take at most :math:`3 w` bytes a pixel in float32, where :math:`w` is `network.width`: one at half
    resolution, :math:`2 w`, and one at a quarter, :math:`w`; or three of the latter in a residual block. The image
    and the result take 12 bytes each. A tile's own memory, about :math:`25 w` bytes for each of its pixels, does not
    grow with the image.

    Args:
        network: Network of any width and depth.
        images: sRGB in [0, 1], `(N, 3, H, W)`, both sides at least `SMALLEST_SIDE`; on any device.
        weights: Weights of the styles, `(S,)` or `(N, S)`, on the network's device.
        tile_size: Longest side of a tile, pixels; at least 4.
        store: Device on which maps are kept between stages; `None` for the network's device.

    Returns:
        sRGB in [0, 1], `(N, 3, H, W)`, on the images' device; equal to the untiled one to rounding, since the moments
        are summed in another order.

    Example:
        >>> network = TransformerNet(width=4, blocks=1).eval()
        >>> image, weights = torch.rand(1, 3, 40, 56), torch.ones(1)
        >>> tiled = paint_tiled(network, image, weights, tile_size=16)
        >>> torch.allclose(tiled, network(image, weights), atol=1e-5)
        True
    """
    device = weights.device
    mixture = network.mixture(weights)
    size = (images.shape[-2], images.shape[-1])
    height, width = (-(-side // _CELL) for side in size)
    tiles = [tile.pixels for tile in grid_tiles(height, width, max(1, tile_size // _CELL), margin=0, grid=1)]
    factor = _CELL
    whole = entered = images
    steps: list[_Step] = []
    *normalized, last = (stage for stage in network.stages if isinstance(stage, Stage))
    for stage in normalized:
        if stage.block == "opens":
            entered = whole
        steps.append(_Step(stage, size))
        size = (_output(stage, size[0]), _output(stage, size[1]))
        factor = _output(stage, factor)
        places = _places(tiles, factor, size)
        moments, kept = _measure(steps, whole, places, mixture, size, None if factor == _CELL else store or device)
        if kept is None:
            steps[-1] = replace(steps[-1], moments=moments)
            continue
        whole, steps = kept, []
        for place in places:
            skipped = _at(entered, place).to(device) if stage.block == "closes" else None
            _at(whole, place).copy_(stage.finish(_at(whole, place).to(device), mixture, moments, skipped))
        if stage.block == "closes":
            entered = whole  # lets go of the map that was added
    result = torch.empty_like(images)
    steps.append(_Step(last, size))
    for place in _places(tiles, _CELL, size):
        finished = last.finish(_convolve(steps, whole, place, mixture), mixture)
        _at(result, place).copy_(network.blend(finished, _at(images, place).to(device), mixture))
    return result


def reach(stage: Stage, output: Span, length: int) -> Reach:
    """Return what a stage needs of its input in one direction.

    Args:
        stage: Stage that upsamples, pads and convolves.
        output: Wanted positions of its output.
        length: Length of the whole input.
    """
    stride, doubling = stage.convolution.stride[0], 2 if stage.upsample else 1
    start = output.start * stride - stage.margin
    stop = (output.stop - 1) * stride + stage.margin + 1
    before, after = max(0, -start), max(0, stop - length * doubling)
    start, stop = start + before, stop - after
    seen = Span(start // doubling, -(-stop // doubling))
    surplus = start - seen.start * doubling
    return Reach(seen, before, after, slice(surplus, surplus + output.stop - output.start))


def _measure(
    steps: Sequence[_Step],
    whole: Tensor,
    places: Sequence[tuple[Span, Span]],
    mixture: Tensor,
    size: tuple[int, int],
    store: torch.device | None,
) -> tuple[Moments, Tensor | None]:
    """Return the moments of the whole convolved map, and the map of that size, kept on *store* unless that is None."""
    norm = steps[-1].stage.norm
    assert norm is not None
    parts, kept = [], None
    for place in places:
        convolved = _convolve(steps, whole, place, mixture)
        parts.append(norm.moments(convolved))
        if store is not None:
            if kept is None:  # only now it is known what precision convolutions have
                shape = (*convolved.shape[:2], *size)
                kept = torch.empty(shape, dtype=convolved.dtype, device=store, memory_format=torch.channels_last)
            _at(kept, place).copy_(convolved)
    areas = [(rows.stop - rows.start) * (columns.stop - columns.start) for rows, columns in places]
    return Moments.merged(parts, areas), kept


def _convolve(steps: Sequence[_Step], whole: Tensor, place: tuple[Span, Span], mixture: Tensor) -> Tensor:
    """Return the steps' output for a part of a whole map, the last step without its normalization.

    Args:
        steps: Steps, all but the last with moments.
        whole: Map that the first one reads.
        place: Rows and columns of the last one's output.
        mixture: Weights of the styles.
    """
    reaches = []
    for step in reversed(steps):
        down, across = (reach(step.stage, span, length) for span, length in zip(place, step.size, strict=True))
        reaches.append((down, across))
        place = down.seen, across.seen
    x = _at(whole, place).to(mixture.device)
    for step in steps:
        down, across = reaches.pop()
        x = step.stage.convolve(x, (across.before, across.after, down.before, down.after))
        x = x[..., down.wanted, across.wanted]
        if step.moments is not None:
            x = step.stage.finish(x, mixture, step.moments)
    return x


def _at(whole: Tensor, place: tuple[Span, Span]) -> Tensor:
    return whole[..., place[0].slice, place[1].slice]


def _output(stage: Stage, length: int) -> int:
    return -(-length * (2 if stage.upsample else 1) // stage.convolution.stride[0])


def _places(tiles: Sequence[tuple[slice, slice]], factor: int, size: tuple[int, int]) -> list[tuple[Span, Span]]:
    """Return the rows and columns of tiles, which are in cells, in a map that has `factor` positions for each cell."""

    def scaled(cells: slice, length: int) -> Span:  # fewer at the end
        return Span(cells.start * factor, min(cells.stop * factor, length))

    return [(scaled(rows, size[0]), scaled(columns, size[1])) for rows, columns in tiles]
