"""Painting in any style: in one piece, or tile by tile in bounded memory, and each region in a style of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import EllipsisType

import torch
from torch import Tensor

from nst_lightning.encoders.tiles import Span, Tile, grid_tiles, halo, stride_of
from nst_lightning.images.guides import region_shares
from nst_lightning.networks.any_style import (
    DRAFTED_TAP,
    GRID,
    MOVED_TAPS,
    PAINTED,
    STYLE_TAPS,
    AnyStyleNet,
    Smoothing,
    Statistics,
    at_level,
    describe,
    equal_parts,
    extend,
    halve,
    name_at,
    unsmoothed,
    with_draft,
)
from nst_lightning.networks.gaussians import Gaussian
from nst_lightning.networks.noise import NOISE_REACH

_FINE_TAPS = MOVED_TAPS[:-1]  # what the decoder reads beside its deep map, whether of a draft or not
_FINE_REACH = 40
"""Pixels around a tile that its painted pixels depend on by way of the decoder's maps: 1 for the last convolution, for
each level from the finest its 3 convolutions, and at each doubling half of the distance and one position more."""


@torch.no_grad()
def paint_in_styles(
    network: AnyStyleNet,
    images: Tensor,
    styles: Sequence[Statistics],
    weights: Tensor,
    *,
    regions: Sequence[Tensor] = (),
    tile_size: int | None = None,
    smoothing: Smoothing = unsmoothed,
) -> Tensor:
    r"""Return images painted in a blend of styles, or each region in its own.

    With regions the image is painted once for each style, whose statistics are given to those of its region, and the
    paintings are put together by `region_shares`: where no mask is, the image stays as it is.

    Args:
        network: Network that paints.
        images: sRGB in [0, 1], `(N, 3, H, W)`; with regions, one image.
        styles: Statistics of each style, from `AnyStyleNet.measure`.
        weights: Weights of the styles, `(S,)`; their sum is the strength, that of each region too.
        regions: Mask of each style's region, `(1, 1, H, W)` in [0, 1]; none for a blend everywhere.
        tile_size: Longest side of the tiles, pixels; `None` for one piece.
        smoothing: As in `AnyStyleNet.forward`. Names begin with the number of the region, where there are regions.

    Returns:
        sRGB in [0, 1], `(N, 3, H, W)`.

    Example:
        >>> network = AnyStyleNet(width=4, blocks=1).eval()
        >>> image, styles = torch.rand(1, 3, 24, 32), [network.measure(torch.rand(1, 3, 24, 24)) for _ in range(2)]
        >>> left = torch.zeros(1, 1, 24, 32)
        >>> left[..., :16] = 1
        >>> painted = paint_in_styles(network, image, styles, torch.tensor([0.5, 0.5]), regions=[left, 1 - left])
        >>> painted.shape
        torch.Size([1, 3, 24, 32])
    """
    if not regions:
        return _paint(network, images, styles, weights, None, tile_size, smoothing)
    result = images.clone()
    shares = region_shares(regions, weights)
    for number, (style, region, share) in enumerate(zip(styles, regions, shares, strict=True)):
        if not bool(share.any()):
            continue

        def smoothing_here(name: str, gaussian: Gaussian, number: int = number) -> Gaussian:
            return smoothing(f"{number}/{name}", gaussian)

        painted = _paint(network, images, [style], weights.sum()[None], region, tile_size, smoothing_here)
        result += share * (painted - images)
    return result.clamp_(0, 1)


def _paint(
    network: AnyStyleNet,
    images: Tensor,
    styles: Sequence[Statistics],
    weights: Tensor,
    region: Tensor | None,
    tile_size: int | None,
    smoothing: Smoothing,
) -> Tensor:
    if tile_size is not None:
        return paint_any_tiled(network, images, styles, weights, tile_size, region, smoothing)
    painted: Tensor = network(images, styles, weights, region, smoothing)
    return painted


@torch.no_grad()
def paint_any_tiled(
    network: AnyStyleNet,
    images: Tensor,
    styles: Sequence[Statistics],
    weights: Tensor | None,
    tile_size: int,
    region: Tensor | None = None,
    smoothing: Smoothing = unsmoothed,
) -> Tensor:
    """Return `network(images, styles, weights, region, smoothing)`, holding no more than tiles at full resolution.

    Passes over tiles, for each resolution from the coarsest on. The first adds the network's noise, or the draft; the
    second measures the image, and keeps the encoder's deepest map; the third turns that into the decoder's map of this
    resolution; the fourth encodes the finer layers once more, and paints; the last gives the whole its colors. A tile
    is computed with all it depends on around it, so that its own positions see what they see in the whole image;
    borders are replicated at the image's own only.

    The two maps kept take 18 bytes a pixel in float32, the image, the image with noise or draft and the result 12 each,
    the image at half of the resolution and its draft 3 each. A tile's memory does not grow with the image.

    Args:
        network: Network of any width and depth.
        images: sRGB in [0, 1], `(N, 3, H, W)`; on any device.
        styles: Statistics of each style, from `AnyStyleNet.measure`.
        weights: Weights of the styles, as in `AnyStyleNet.forward`.
        tile_size: Longest side of a tile, pixels.
        region: As in `AnyStyleNet.forward`; on any device.
        smoothing: As there.

    Returns:
        sRGB in [0, 1], `(N, 3, H, W)`, on the images' device; equal to the untiled one to rounding, since the
        statistics are summed in another order.

    Example:
        >>> network = AnyStyleNet(width=4, blocks=1).eval()
        >>> image, styles = torch.rand(1, 3, 90, 130), [network.measure(torch.rand(1, 3, 24, 24))]
        >>> tiled = paint_any_tiled(network, image, styles, None, tile_size=48)
        >>> torch.allclose(tiled, network(image, styles), atol=1e-4)
        True
    """
    height, width = images.shape[-2:]
    images, region = extend(images, network.grid), None if region is None else extend(region, network.grid)
    weights = equal_parts(weights, styles)
    return _paint_at(network, 0, images, styles, weights, tile_size, region, smoothing)[..., :height, :width]


def _paint_at(
    network: AnyStyleNet,
    level: int,
    images: Tensor,
    styles: Sequence[Statistics],
    weights: Tensor,
    tile_size: int,
    region: Tensor | None,
    smoothing: Smoothing,
) -> Tensor:
    """Return `network.forward_at` of the same arguments."""
    device = network.encoder.device
    drafted = level < network.drafts
    draft: Tensor | None = None
    if drafted:
        smaller = None if region is None else halve(region)
        draft = _paint_at(network, level + 1, halve(images), styles, weights, tile_size, smaller, smoothing)
    weights = network.weights_at(level, weights)
    read = _read(network, images, weights, tile_size, draft)
    del draft
    own, deepest = _measure(network, read, tile_size, region)
    own = {tap: smoothing(name_at(tap, level), gaussian) for tap, gaussian in own.items()}
    transport = network.transport(own, [at_level(style, level) for style in styles], weights, drafted)
    deep: Tensor | None = None
    reach = 1 + 2 * network.blocks  # of the convolutions of `decode_deep`
    for tile in grid_tiles(deepest.shape[-2], deepest.shape[-1], max(1, tile_size // 2), reach, 1):
        part = _inner(network.decode_deep(_outer(deepest, tile), transport), tile, 1)
        if deep is None:
            deep = part.new_empty(*part.shape[:2], *deepest.shape[-2:])
        _place(deep, tile, 1).copy_(part)
    del deepest
    assert deep is not None
    taps = (*_FINE_TAPS, DRAFTED_TAP) if drafted else _FINE_TAPS
    result, parts, areas = torch.empty_like(images), [], []
    for tile, seen in _fine_tiles(images, tile_size):
        maps = network.encode(_outer(read, seen).to(device), taps)
        # Of what was encoded only that is handed on which saw all it sees in the whole image.
        maps = {tap: maps[tap][_within(tile, seen, stride_of(tap))] for tap in taps}
        rows, columns = (slice(span.start // GRID, span.stop // GRID) for span in (tile.rows, tile.columns))
        painted = _inner(network.decode_fine(deep[..., rows, columns], maps, transport, drafted), tile, 1)
        weight = None if region is None else _place(region, tile, 1).to(device)
        parts.append(Gaussian.of(painted, weight))
        areas.append(_area(painted, weight))
        _place(result, tile, 1).copy_(painted)
    del read
    color_map = transport.color_map(smoothing(name_at(PAINTED, level), Gaussian.merged(parts, areas)))
    for tile in grid_tiles(images.shape[-2], images.shape[-1], tile_size, 0, GRID):
        painted, image = _outer(result, tile), _outer(images, tile)
        painted.copy_(network.finish(painted.to(device), color_map, image.to(device), transport))
    return result


def _read(network: AnyStyleNet, images: Tensor, weights: Tensor, tile_size: int, draft: Tensor | None) -> Tensor:
    """Return what is encoded of images: with their draft, or else with noise."""
    if draft is None and not network.noise:
        return images
    read = torch.empty_like(images)
    reach = NOISE_REACH if draft is None else GRID
    for tile in grid_tiles(images.shape[-2], images.shape[-1], tile_size, reach, GRID):
        part = _outer(images, tile).to(network.encoder.device)
        if draft is None:
            part = network.disturb(part, weights, tile.rows.start, tile.columns.start)
        else:
            rows, columns = (slice(span.start // 2, span.stop // 2) for span in (tile.rows, tile.columns))
            part = with_draft(part, draft[..., rows, columns].to(part.device), network.detail_at(weights))
        _place(read, tile, 1).copy_(_inner(part, tile, 1))
    return read


def _measure(
    network: AnyStyleNet, images: Tensor, tile_size: int, region: Tensor | None
) -> tuple[dict[str, Gaussian], Tensor]:
    """Return the statistics of whole images or of a region, and the deepest of `STYLE_TAPS`."""
    height, width = images.shape[-2:]
    deepest: Tensor | None = None
    parts: dict[str, list[Gaussian]] = {tap: [] for tap in STYLE_TAPS}
    areas = []
    for tile in grid_tiles(height, width, tile_size, halo(STYLE_TAPS), GRID):
        maps = network.encode(_outer(images, tile).to(network.encoder.device))
        weight = None if region is None else _place(region, tile, 1).to(network.encoder.device)
        inner = {tap: _inner(maps[tap], tile, stride_of(tap)) for tap in STYLE_TAPS}
        for tap, gaussian in describe(inner, weight).items():
            parts[tap].append(gaussian)
        own = inner[STYLE_TAPS[-1]]
        areas.append(_area(own, weight))  # that of each tap is the same multiple of it
        if deepest is None:
            deepest = own.new_empty(*own.shape[:2], height // GRID, width // GRID)
        _place(deepest, tile, GRID).copy_(own)
    assert deepest is not None
    return {tap: Gaussian.merged(parts[tap], areas) for tap in STYLE_TAPS}, deepest


def _fine_tiles(images: Tensor, tile_size: int) -> Iterator[tuple[Tile, Tile]]:
    """Yield each tile as the decoder computes it, and as the encoder does."""
    size = (images.shape[-2], images.shape[-1])
    further = -(-halo(_FINE_TAPS) // GRID) * GRID
    decoded, encoded = (grid_tiles(*size, tile_size, margin, GRID) for margin in (_FINE_REACH, _FINE_REACH + further))
    return zip(decoded, encoded, strict=True)


def _area(part: Tensor, weight: Tensor | None) -> float:
    return float(part.shape[-2] * part.shape[-1]) if weight is None else float(weight.sum())


def _outer(whole: Tensor, tile: Tile) -> Tensor:
    return whole[..., tile.pixels[0], tile.pixels[1]]


def _inner(part: Tensor, tile: Tile, stride: int) -> Tensor:
    return part[..., tile.rows.owned(stride)[0], tile.columns.owned(stride)[0]]


def _place(whole: Tensor, tile: Tile, stride: int) -> Tensor:
    return whole[..., tile.rows.owned(stride)[1], tile.columns.owned(stride)[1]]


def _within(tile: Tile, larger: Tile, stride: int) -> tuple[EllipsisType, slice, slice]:
    """Return the index of a tile in the map of a larger one around it."""

    def place(span: Span, around: Span) -> slice:
        return slice((span.start - around.start) // stride, (span.stop - around.start) // stride)

    return (..., place(tile.rows, larger.rows), place(tile.columns, larger.columns))
