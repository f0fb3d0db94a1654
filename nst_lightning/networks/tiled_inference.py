"""Painting a picture tile by tile: the same picture as in one piece, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product
from typing import NamedTuple

import torch
from torch import Tensor

from nst_lightning.networks.normalization import Moments
from nst_lightning.networks.transformer import Stage, TransformerNet

_CELL = 4  # pixels: one position of the deepest maps; tiles consist of whole cells


class Span(NamedTuple):
    """Positions from `start` up to, not including, `stop`."""

    start: int
    stop: int

    @property
    def slice(self) -> slice:
        """As an index."""
        return slice(self.start, self.stop)

    def scaled(self, factor: int, length: int) -> Span:
        """Give the same extent in a map of `length` positions, `factor` for each of these (fewer at the end)."""
        return Span(self.start * factor, min(self.stop * factor, length))


class Reach(NamedTuple):
    """What a stage has to see in one direction so as to compute some positions of its output.

    Attributes:
        seen: Positions of its input.
        before: Positions to reflect before those, where the picture begins.
        after: The same where it ends.
        wanted: Where the output's positions are in what comes out: a stage that upsamples may compute one more.
    """

    seen: Span
    before: int
    after: int
    wanted: slice


@dataclass(frozen=True)
class _Step:
    """A stage of which no whole map is kept.

    Attributes:
        stage: What is computed.
        size: Height and width of its whole input.
        moments: Of its convolved map over the whole picture; `None` before they are known.
    """

    stage: Stage
    size: tuple[int, int]
    moments: Moments | None = None


@torch.no_grad()
def paint_tiled(
    network: TransformerNet, images: Tensor, weights: Tensor, tile_size: int, store: torch.device | None = None
) -> Tensor:
    r"""Paint as `network(images, weights)` does, holding no more than tiles at full resolution.

    Convolutions see a few pixels beyond a tile, which is cut out with that margin; reflections are made at the
    picture's borders only. Instance normalisation sees the whole picture. So the stages are run one after
    another, each over all tiles, its moments are gathered, and then the next one begins. Between stages whole
    maps are kept at half and a quarter of the resolution only. The two normalised stages at full resolution are run
    twice: once for their moments and once on the way to the next stage.

    The maps kept take at most :math:`3 w` bytes a pixel in float32, where :math:`w` is `network.width`: one at half
    resolution, :math:`2 w`, and one at a quarter, :math:`w`; or three of the latter in a residual block. The picture
    and the result take 12 bytes each. A tile's own memory, about :math:`25 w` bytes for each of its pixels, does not
    grow with the picture.

    Args:
        network: Of any width and depth.
        images: sRGB in [0, 1], `(N, 3, H, W)`, both sides at least `SMALLEST_SIDE`; on any device.
        weights: Of the styles, `(S,)` or `(N, S)`, on the network's device.
        tile_size: Longest side of a tile, pixels; at least 4.
        store: Where maps are kept between stages; `None` for the network's device.

    Returns:
        sRGB in [0, 1], `(N, 3, H, W)`, on the pictures' device; equal to the untiled one to rounding, since the moments
        are summed in another order.
    """
    device = weights.device
    mixture = network.mixture(weights)
    size = (images.shape[-2], images.shape[-1])
    tiles, factor = _plan(size, tile_size), _CELL
    whole = entered = images
    steps: list[_Step] = []
    *normalised, last = (stage for stage in network.stages if isinstance(stage, Stage))
    for stage in normalised:
        if stage.block == "opens":
            entered = whole
        steps.append(_Step(stage, size))
        size = (_output(stage, size[0]), _output(stage, size[1]))
        factor = _output(stage, factor)
        places = _places(tiles, factor, size)
        kept = None if factor == _CELL else _Kept(size, store or device)
        moments = _measure(steps, whole, places, mixture, kept)
        if kept is None:
            steps[-1] = replace(steps[-1], moments=moments)
            continue
        whole, steps = kept.map, []
        for place in places:
            skipped = _at(entered, place).to(device) if stage.block == "closes" else None
            _at(whole, place).copy_(stage.finish(_at(whole, place).to(device), mixture, moments, skipped))
        if stage.block == "closes":
            entered = whole  # lets go of the map that was added
    painted = torch.empty_like(images)
    steps.append(_Step(last, size))
    for place in _places(tiles, _CELL, size):
        finished = last.finish(_convolve(steps, whole, place, mixture), mixture)
        _at(painted, place).copy_(network.leave(finished, _at(images, place).to(device), mixture))
    return painted


def reach(stage: Stage, output: Span, length: int) -> Reach:
    """Tell what a stage sees in one direction.

    Args:
        stage: Upsamples, pads and convolves.
        output: The positions wanted.
        length: Of the whole input.
    """
    stride, doubling = stage.convolution.stride[0], 2 if stage.upsample else 1
    start = output.start * stride - stage.margin
    stop = (output.stop - 1) * stride + stage.margin + 1
    before, after = max(0, -start), max(0, stop - length * doubling)
    start, stop = start + before, stop - after
    seen = Span(start // doubling, -(-stop // doubling))
    surplus = start - seen.start * doubling
    return Reach(seen, before, after, slice(surplus, surplus + output.stop - output.start))


class _Kept:
    """A whole map that is put together.

    Args:
        size: Its height and width.
        device: Where it is kept.

    Attributes:
        map: `(N, C, *size)`, once something was pasted: only then it is known what precision convolutions have.
    """

    map: Tensor

    def __init__(self, size: tuple[int, int], device: torch.device) -> None:
        self._size = size
        self._device = device

    def paste(self, part: Tensor, place: tuple[Span, Span]) -> None:
        """Put a part where it belongs."""
        if not hasattr(self, "map"):
            shape = (*part.shape[:2], *self._size)
            self.map = torch.empty(shape, dtype=part.dtype, device=self._device, memory_format=torch.channels_last)
        _at(self.map, place).copy_(part)


def _measure(
    steps: Sequence[_Step], whole: Tensor, places: Sequence[tuple[Span, Span]], mixture: Tensor, kept: _Kept | None
) -> Moments:
    """Convolve all tiles and give the moments of the whole; keep the map if there is something to keep it in."""
    norm = steps[-1].stage.norm
    assert norm is not None
    parts = []
    for place in places:
        convolved = _convolve(steps, whole, place, mixture)
        parts.append(norm.moments(convolved))
        if kept is not None:
            kept.paste(convolved, place)
    areas = [(rows.stop - rows.start) * (columns.stop - columns.start) for rows, columns in places]
    return Moments.merged(parts, areas)


def _convolve(steps: Sequence[_Step], whole: Tensor, place: tuple[Span, Span], mixture: Tensor) -> Tensor:
    """Run steps on a part of a whole map, the last one without its normalisation.

    Args:
        steps: All but the last with moments.
        whole: What the first one reads.
        place: Rows and columns of the last one's output.
        mixture: Of the styles.
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


def _plan(size: tuple[int, int], tile_size: int) -> list[tuple[Span, Span]]:
    """Cut a picture into tiles as equal as their grid allows, row by row; they are given in cells."""
    return [*product(_spans(size[0], tile_size), _spans(size[1], tile_size))]


def _spans(length: int, tile_size: int) -> list[Span]:
    cells = -(-length // _CELL)
    count = -(-cells // max(1, tile_size // _CELL))
    return [Span(*bounds) for bounds in pairwise(cells * index // count for index in range(count + 1))]


def _places(tiles: Sequence[tuple[Span, Span]], factor: int, size: tuple[int, int]) -> list[tuple[Span, Span]]:
    """Give the tiles' rows and columns in a map that has `factor` positions for each cell."""
    return [(rows.scaled(factor, size[0]), columns.scaled(factor, size[1])) for rows, columns in tiles]
