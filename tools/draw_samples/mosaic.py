"""`mosaic`: peacocks at a fountain, laid in some seven thousand small stones after the manner of Ravenna."""

from __future__ import annotations

import numpy as np
from PIL import Image

from tools.draw_samples.canvas import (
    Array,
    blur,
    grid,
    mix,
    palette,
    ramp,
    smoothstep,
    to_picture,
)
from tools.draw_samples.mosaic_cartoon import STONES
from tools.draw_samples.mosaic_motif import cartoon
from tools.draw_samples.noise import fractal
from tools.draw_samples.tesserae import edge_distance, lay, owners, turns

__all__ = ["draw"]

PLAN_WIDTH = 560
"""Pixels on which the tiles are arranged: the same for every picture size."""
SPACING = 0.0113
"""Mean distance of tiles in frame units."""
SUPERSAMPLING = 2


def draw(width: int = 1024) -> Image.Image:
    """Lay the mosaic.

    Args:
        width: Pixels; the height is three quarters of it.

    Returns:
        An RGB image, the same bytes on every call.
    """
    rng = np.random.default_rng(526)
    plan, _ = cartoon(PLAN_WIDTH)
    angle = turns(edge_distance(plan, reach=64))
    sites, homes = lay(plan, angle, SPACING * PLAN_WIDTH, rounds=14, rng=rng)
    at = np.clip(sites.astype(int), 0, (PLAN_WIDTH - 1, plan.shape[0] - 1))
    columns = round(width * SUPERSAMPLING)
    labels, stones = cartoon(columns)
    scale = columns / PLAN_WIDTH
    tiles = owners(sites * scale, homes, angle[at[:, 1], at[:, 0]], labels, 1.45 * SPACING * columns)
    colors = _tile_colors(stones[homes], sites / PLAN_WIDTH, rng)
    return to_picture(_laid(tiles, colors, rng), width)


def _tile_colors(
    stones: np.ndarray[tuple[int, ...], np.dtype[np.int64]], places: Array, rng: np.random.Generator
) -> Array:
    """Color `(n, 3)` of every tile: its stone, darker or lighter in drifts and from tile to tile."""
    drift = fractal((5 * places[:, 0], 5 * places[:, 1]), seed=3, octaves=3)
    tone = 0.5 + 0.35 * drift + rng.normal(0, 0.22, len(places))
    colors = np.zeros((len(places), 3), np.float32)
    for index, colors_of_stone in enumerate(STONES.values()):
        own = stones == index
        colors[own] = ramp(colors_of_stone, tone[own])
    return np.clip(colors + rng.normal(0, 0.018, colors.shape), 0, 1)


def _laid(tiles: np.ndarray[tuple[int, ...], np.dtype[np.int64]], colors: Array, rng: np.random.Generator) -> Array:
    """The finished surface `(H, W, 3)`: tiles with broken edges and rounded shoulders in a bed of mortar."""
    rows, columns = tiles.shape
    x, y = grid(columns, rows)
    count = len(colors)
    tile_color = np.concatenate([colors, [(0.2, 0.18, 0.15)]])[tiles]
    inward = edge_distance(tiles, reach=16) / (SPACING * columns)
    chipped = inward + 0.045 * fractal((150 * x, 150 * y), seed=7, octaves=2)
    stone = smoothstep(0.06, 0.13, chipped) * (tiles < count)
    height = blur(0.5 * smoothstep(0.05, 0.30, inward), columns / 1024 * 0.8) * columns / 1024
    rise_y, rise_x = np.gradient(height)
    tilt = rng.normal(0, 0.055, (count + 1, 2))[tiles]
    slope = 0.9 * (rise_x + rise_y) * 1024 / columns * 3 + tilt.sum(-1)
    grain = fractal((230 * x, 230 * y), seed=9, octaves=2)
    face = tile_color * (1 + np.clip(slope, -0.5, 0.5) + 0.035 * grain)[..., None]
    gleam = np.clip(tilt.sum(-1) * 3.2 - 0.12, 0, 0.25) * smoothstep(0.1, 0.3, inward)
    face = mix(face, palette("fffbe8")[0], gleam)
    mortar = ramp(palette("1d1813", "352d24", "51463a"), 0.45 + 0.4 * fractal((160 * x, 160 * y), seed=8, octaves=3))
    return mix(mortar, face, stone)
