"""Stone tiles that follow outlines: where each tile lies, and which pixels are its own.

Technique: Hausner, "Simulating decorative mosaics" (2001): a centroidal Voronoi diagram with square cells,
    each turned
along the nearest outline. Differs from the paper: a tile may own only pixels of its own region, so that
outlines stay sharp without widening them. Distances by jump flooding, Rong & Tan 2006.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.draw_samples.canvas import Array, blur

__all__ = ["edge_distance", "lay", "owners", "turns"]


def edge_distance(labels: NDArray[Any], reach: int) -> Array:
    """Distance in pixels `(H, W)` to the nearest pixel with another label, at most about twice `reach`.

    Args:
        labels: `(H, W)` integers.
        reach: Power of two; distances up to it are right.
    """
    rows, columns = labels.shape
    edge = np.zeros(labels.shape, bool)
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edge[1:] |= labels[1:] != labels[:-1]
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float32)
    far = np.float32(4 * (rows + columns))
    near_x, near_y = np.where(edge, x, far), np.where(edge, y, far)
    best = (near_x - x) ** 2 + (near_y - y) ** 2
    step = reach
    while step >= 1:
        for dy, dx in (
            (0, step),
            (0, -step),
            (step, 0),
            (-step, 0),
            (step, step),
            (-step, -step),
            (step, -step),
            (-step, step),
        ):
            there = _shifted_slices(rows, dy), _shifted_slices(columns, dx)
            to = there[0][0], there[1][0]
            come = there[0][1], there[1][1]
            other = (near_x[come] - x[to]) ** 2 + (near_y[come] - y[to]) ** 2
            closer = other < best[to]
            best[to] = np.where(closer, other, best[to])
            near_x[to] = np.where(closer, near_x[come], near_x[to])
            near_y[to] = np.where(closer, near_y[come], near_y[to])
        step //= 2
    return np.asarray(np.minimum(np.sqrt(best), 2.0 * reach))


def _shifted_slices(size: int, shift: int) -> tuple[slice, slice]:
    """Slices of one axis so that `to` reads from `to + shift`."""
    if shift >= 0:
        return slice(0, size - shift), slice(shift, size)
    return slice(-shift, size), slice(0, size + shift)


def turns(distance: Array) -> Array:
    """Angle `(H, W)` of the rows of tiles: along the outlines, from the slope of the distance to them."""
    soft = blur(distance, distance.shape[1] / 320)
    rise_y, rise_x = np.gradient(soft)
    # square tiles look the same after a quarter turn, so average the angle times four
    angle = 4 * np.arctan2(rise_y, rise_x)
    weight = np.hypot(rise_x, rise_y) + 1e-4
    radius = distance.shape[1] / 200
    return np.asarray(np.arctan2(blur(weight * np.sin(angle), radius), blur(weight * np.cos(angle), radius)) / 4)


def owners(sites: Array, homes: NDArray[Any], angles: Array, labels: NDArray[Any], reach: float) -> NDArray[np.int64]:
    """Which tile owns each pixel.

    Args:
        sites: `(n, 2)` tile centers in pixels.
        homes: `(n,)` region of each tile; it owns pixels of no other.
        angles: `(n,)` turn of each tile.
        labels: `(H, W)` regions.
        reach: Farthest pixel from a center to look at, in each direction.

    Returns:
        `(H, W)` tile numbers, `n` where no tile reaches.
    """
    rows, columns = labels.shape
    span = np.arange(-int(reach), int(reach) + 1)
    nobody = np.iinfo(np.int64).max
    best = np.full(rows * columns, nobody, np.int64)
    cos, sin = np.cos(angles), np.sin(angles)
    base = np.floor(sites).astype(np.int64)
    number = np.arange(len(sites), dtype=np.int64)
    for dy, dx in itertools.product(span, span):
        x, y = base[:, 0] + dx, base[:, 1] + dy
        ox, oy = x + 0.5 - sites[:, 0], y + 0.5 - sites[:, 1]
        u, v = np.abs(ox * cos + oy * sin), np.abs(oy * cos - ox * sin)
        # mostly the square's metric; the round part breaks ties along diagonals
        away = np.maximum(u, v) + 0.15 * np.hypot(u, v)
        inside = (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
        at = np.where(inside, y * columns + x, 0)
        inside &= labels.reshape(-1)[at] == homes
        key = (away[inside] * 1024).astype(np.int64) * len(sites) + number[inside]
        np.minimum.at(best, at[inside], key)
    tiles = np.where(best == nobody, len(sites), best % len(sites))
    return np.asarray(tiles.reshape(rows, columns), np.int64)


def lay(
    labels: NDArray[Any], angle: Array, spacing: float, rounds: int, rng: np.random.Generator
) -> tuple[Array, NDArray[Any]]:
    """Spread tiles evenly inside every region by Lloyd's rounds.

    Args:
        labels: `(H, W)` regions.
        angle: `(H, W)` from `turns`.
        spacing: Mean distance between centers in pixels.
        rounds: How often every tile moves to the middle of what it owns.
        rng: The first places.

    Returns:
        Centers `(n, 2)` in pixels and regions `(n,)`.
    """
    rows, columns = labels.shape
    axis_x, axis_y = np.arange(spacing / 2, columns, spacing), np.arange(spacing / 2, rows, spacing)
    sites = np.stack(np.meshgrid(axis_x, axis_y), -1).reshape(-1, 2)
    sites = np.clip(sites + rng.uniform(-0.4, 0.4, sites.shape) * spacing, 0, (columns - 1, rows - 1))
    homes = labels[sites[:, 1].astype(int), sites[:, 0].astype(int)]
    y, x = (axis.reshape(-1) + 0.5 for axis in np.mgrid[0:rows, 0:columns])
    for turn in range(rounds):
        angles = angle[sites[:, 1].astype(int), sites[:, 0].astype(int)]
        tiles = owners(sites, homes, angles, labels, 1.5 * spacing)
        owned = tiles.reshape(-1)
        count = np.bincount(owned, minlength=len(sites) + 1)[: len(sites)]
        middle = [np.bincount(owned, axis, len(sites) + 1)[: len(sites)] for axis in (x, y)]
        kept = count > 0
        sites, homes = np.stack(middle, 1)[kept] / count[kept, None], homes[kept]
        if turn < rounds - 1:
            orphans = _orphans(tiles, len(count), spacing)
            sites = np.concatenate([sites, orphans])
            homes = np.concatenate([homes, labels[orphans[:, 1].astype(int), orphans[:, 0].astype(int)]])
    return sites, homes


def _orphans(tiles: NDArray[np.int64], nobody: int, spacing: float) -> Array:
    """A new center in every patch that no tile owns: regions too small for any center so far."""
    y, x = np.nonzero(tiles == nobody)
    cells = np.floor(y / spacing) * tiles.shape[1] + np.floor(x / spacing)
    _, first = np.unique(cells, return_index=True)
    return np.stack([x[first], y[first]], 1) + 0.5
