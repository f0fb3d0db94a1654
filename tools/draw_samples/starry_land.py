"""What stands under `starry`'s sky: hills, a hamlet, an orchard, cypresses, each with its own strokes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tools.draw_samples.canvas import Array, grid, mask_of, mix, palette, ramp, smoothstep
from tools.draw_samples.noise import fractal

__all__ = ["Layer", "land_layers"]


@dataclass(frozen=True)
class Layer:
    """Something painted over the layers before it.

    Attributes:
        mask: `(H, W)`, where its strokes start; above 0.5 is inside.
        flow: `(H, W, 2)` unit directions of its strokes.
        color: `(H, W, 3)` in [0, 1].
        fineness: Multiplies the brushes' width and length.
    """

    mask: Array
    flow: Array
    color: Array
    fineness: float = 1.0


FAR = palette("10183f", "1d2f6e", "2f55a0", "5f8fc4", "a9c8d8")
MIDDLE = palette("0d1a3a", "173761", "22608a", "3f8f9c", "9cc4a4")
NEAR = palette("0b1c22", "123a35", "2a6247", "6d9150", "d2cf74")
CYPRESS = palette("080b10", "0f1f1c", "1c3a2a", "3c5a2c", "7d7638")

HOUSES = (
    (0.27, 0.668),
    (0.325, 0.676),
    (0.375, 0.664),
    (0.47, 0.674),
    (0.525, 0.664),
    (0.58, 0.676),
    (0.64, 0.668),
)
"""Left foot of each house of the hamlet, frame units."""


def land_layers(width: int, height: int) -> list[Layer]:
    """All layers from the farthest to the nearest, as fields of the given size."""
    x, y = grid(width, height)
    far = 0.545 - 0.045 * np.sin(3.1 * x + 0.2) - 0.018 * np.sin(11 * x + 1)
    middle = 0.600 + 0.030 * np.sin(4.6 * x + 2.2) + 0.010 * np.sin(13 * x)
    near = 0.672 + 0.022 * np.sin(5.2 * x + 0.4)
    return [
        _hill(x, y, far, FAR, seed=31),
        _hill(x, y, middle, MIDDLE, seed=37),
        _orchard(x, y, 0.628 + 0.012 * np.sin(9 * x)),
        *_hamlet(width, height),
        _hill(x, y, near, NEAR, seed=41),
        _cypress(x, y, foot=(0.905, 0.80), top=0.225, girth=0.040, seed=43),
        _cypress(x, y, foot=(0.845, 0.80), top=0.100, girth=0.058, seed=47),
    ]


def _hill(x: Array, y: Array, ridge: Array, colors: Array, seed: int) -> Layer:
    """A hill whose strokes run along its ridge and roll down its side."""
    depth = y - ridge
    slope = np.gradient(ridge, x[0, 1] - x[0, 0], axis=1)
    bend = 1.1 * fractal((3.0 * x, 5.0 * depth), seed=seed, octaves=2)
    angle = np.arctan(slope) * np.exp(-depth / 0.12) + bend * smoothstep(0.0, 0.06, depth)
    bands = fractal((4 * x + 3 * bend, 34 * depth), seed=seed + 1, octaves=3)
    tone = 0.34 + 0.42 * bands + 0.35 * np.exp(-(((depth - 0.008) / 0.009) ** 2)) - 0.25 * smoothstep(0.03, 0.15, depth)
    flow = np.stack([np.cos(angle), np.sin(angle)], -1)
    return Layer((depth > 0).astype(np.float32), flow, ramp(colors, tone))


def _orchard(x: Array, y: Array, crowns: Array) -> Layer:
    """Rows of round bushes: strokes curl around each crown, light from the moon on their left."""
    size = 0.030
    x = x + 0.008 * fractal((9 * x, 9 * y), seed=51, octaves=2)
    y = y + 0.010 * fractal((8 * x, 8 * y), seed=52, octaves=2)
    column = x / size
    row = np.floor((y - crowns) / (0.5 * size))
    cx = (np.floor(column + 0.5 * (row % 2)) + 0.5 - 0.5 * (row % 2)) * size
    cy = crowns + (row + 0.5) * 0.5 * size
    dx, dy = (x - cx) / size, (y - cy) / size
    angle = np.arctan2(dx, -dy - 0.25)
    light = 0.45 - 0.75 * dx - 0.7 * dy
    tone = light + 0.25 * fractal((20 * x, 20 * y), seed=53, octaves=2)
    edge = crowns - 0.010 * np.abs(np.cos(np.pi * x / size))
    mask = (y > edge) & (y < crowns + 0.075)
    return Layer(
        mask.astype(np.float32),
        np.stack([np.cos(angle), np.sin(angle)], -1),
        ramp(MIDDLE[:4], 0.9 * tone),
        0.7,
    )


def _hamlet(width: int, height: int) -> list[Layer]:
    """Seven houses and a chapel with lit windows, walls stroked upright and roofs along their slope."""
    rng = np.random.default_rng(59)
    walls, roofs, lights = [], [], []
    for left, ground in HOUSES:
        wide, tall, roof = rng.uniform(0.040, 0.052), rng.uniform(0.026, 0.034), rng.uniform(0.022, 0.030)
        walls.append(_box(left, ground - tall, wide, tall + 0.01))
        eaves = ground - tall
        roofs.append(
            np.array(
                [
                    (left - 0.004, eaves),
                    (left + 0.3 * wide, eaves - roof),
                    (left + wide, eaves - roof),
                    (left + wide + 0.006, eaves),
                ]
            )
        )
        lights += [_box(left + f * wide, ground - 0.72 * tall, 0.0075, 0.010) for f in (0.2, 0.62)]
    walls.append(_box(0.428, 0.585, 0.022, 0.09))
    spire = np.array([(0.424, 0.590), (0.439, 0.490), (0.454, 0.590)])
    lights.append(_box(0.435, 0.612, 0.008, 0.014))
    upright = np.tile(np.array([0.12, 0.99], np.float32), (height, width, 1))
    along = np.tile(np.array([0.97, 0.22], np.float32), (height, width, 1))
    x, y = grid(width, height)
    shade = 0.5 + 0.5 * fractal((40 * x, 40 * y), seed=61, octaves=2)
    wall_color = ramp(palette("2d4a7c", "86a6bd", "d3dccb"), shade)
    roof_color = ramp(palette("3a2440", "8a4038", "d08048"), 0.5 * shade + 0.25)
    light_color = ramp(palette("f6b83a", "ffe277"), shade)
    return [
        Layer(mask_of(walls, width, height), upright, wall_color, 0.42),
        Layer(mask_of(roofs, width, height), along, roof_color, 0.42),
        Layer(mask_of([spire], width, height), upright, roof_color, 0.42),
        Layer(mask_of(lights, width, height), upright, light_color, 0.22),
    ]


def _box(left: float, top: float, wide: float, tall: float) -> Array:
    """Corners of an upright rectangle."""
    return np.array([(left, top), (left + wide, top), (left + wide, top + tall), (left, top + tall)])


def _cypress(x: Array, y: Array, foot: tuple[float, float], top: float, girth: float, seed: int) -> Layer:
    """A flame of dark foliage: strokes climb and lick outwards, tips break the silhouette."""
    rise = np.clip((foot[1] - y) / (foot[1] - top), 0, 1.2)
    sway = 0.016 * np.sin(9 * rise + seed) * rise
    across = (x - foot[0] - sway) / girth
    profile = np.clip(1 - rise, 0, 1) ** 0.75 * (1 + 0.25 * np.sin(14 * rise + seed))
    licks = 0.28 * fractal((26 * x, 7 * y), seed=seed, octaves=3)
    inside = (np.abs(across) < profile + licks * np.sqrt(profile)) & (rise < 1)
    lean = 0.55 * across + 0.8 * fractal((14 * x, 4 * y), seed=seed + 1, octaves=2)
    angle = -np.pi / 2 + lean
    tone = 0.30 + 0.55 * fractal((45 * x + 4 * lean, 6 * y), seed=seed + 2, octaves=3) - 0.10 * across
    color = mix(
        ramp(CYPRESS, tone),
        palette("5c3a2c")[0],
        0.5 * smoothstep(0.25, 0.5, fractal((40 * x, 7 * y), seed + 3)),
    )
    return Layer(inside.astype(np.float32), np.stack([np.cos(angle), np.sin(angle)], -1), color)
