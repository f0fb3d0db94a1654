"""`starry`: a windy night over hills, painted in thick strokes after the manner of van Gogh's nights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from tools.draw_samples.canvas import Array, sample, to_picture
from tools.draw_samples.starry_land import Layer, land_layers
from tools.draw_samples.starry_sky import light_mask, sky_color, sky_flow
from tools.draw_samples.strokes import Brush, Canvas, follow, lit, paint

__all__ = ["draw"]

ASPECT = 0.75
FIELD_WIDTH = 640
"""Pixels of the color and direction fields: finer than any stroke, and the same for every picture size."""


@dataclass(frozen=True)
class Stage:
    """One going-over: a brush, the distance between strokes in frame units, how far their colors stray."""

    brush: Brush
    spacing: float
    stray: float


SKY_STAGES = (
    Stage(Brush(width=0.020, length=0.10, thickness=0.7), spacing=0.0150, stray=0.05),
    Stage(Brush(width=0.0095, length=0.060, thickness=1.0), spacing=0.0090, stray=0.09),
    Stage(Brush(width=0.0062, length=0.042, thickness=1.3, streak=0.12), spacing=0.0095, stray=0.14),
)
LIGHT_STAGE = Stage(Brush(width=0.0062, length=0.026, thickness=1.3, streak=0.12), spacing=0.0046, stray=0.07)
LAND_STAGES = (
    Stage(Brush(width=0.014, length=0.06, thickness=0.7), spacing=0.0090, stray=0.04),
    Stage(Brush(width=0.0070, length=0.042, thickness=1.1), spacing=0.0065, stray=0.09),
)


def draw(width: int = 1024) -> Image.Image:
    """Paint the image.

    Args:
        width: Pixels; the height is three quarters of it.

    Returns:
        An RGB image, the same bytes on every call.
    """
    rng = np.random.default_rng(1889)
    columns = 2 * width
    rows = round(columns * ASPECT)
    canvas = Canvas(np.zeros((rows, columns, 3), np.float32), np.zeros((rows, columns), np.float32))
    canvas.color[:] = (0.09, 0.12, 0.30)
    field_height = round(FIELD_WIDTH * ASPECT)
    flow = sky_flow(FIELD_WIDTH, field_height)
    sky = Layer(np.ones((field_height, FIELD_WIDTH), np.float32), flow, sky_color(flow))
    for stage in SKY_STAGES:
        _go_over(canvas, sky, stage, rng)
    lights = Layer(light_mask(FIELD_WIDTH, field_height), flow, sky.color)
    _go_over(canvas, lights, LIGHT_STAGE, rng)
    for layer in land_layers(FIELD_WIDTH, field_height):
        for stage in LAND_STAGES:
            _go_over(canvas, layer, stage, rng)
    return to_picture(lit(canvas, strength=0.9), width)


def _go_over(canvas: Canvas, layer: Layer, stage: Stage, rng: np.random.Generator) -> None:
    """Cover the layer once: seeds on a shaken grid, in random order, colored from where they start."""
    spacing = stage.spacing * layer.fineness
    brush = Brush(
        stage.brush.width * layer.fineness,
        stage.brush.length * layer.fineness,
        stage.brush.thickness,
        stage.brush.streak,
    )
    axis_x, axis_y = np.arange(0, 1, spacing), np.arange(0, ASPECT, spacing)
    seeds = np.stack(np.meshgrid(axis_x, axis_y), -1).reshape(-1, 2)
    seeds = seeds + rng.uniform(0, spacing, seeds.shape)
    seeds = rng.permutation(seeds)
    at_x, at_y = seeds[:, 0] * FIELD_WIDTH - 0.5, seeds[:, 1] * FIELD_WIDTH - 0.5
    inside = sample(layer.mask, at_x, at_y) > 0.5
    seeds, at_x, at_y = seeds[inside], at_x[inside], at_y[inside]
    length = brush.length * rng.uniform(0.6, 1.4, len(seeds))
    paths = follow(seeds, layer.flow, length, steps=7)
    colors = _strayed(sample(layer.color, at_x, at_y), stage.stray, rng)
    paint(canvas, paths, colors, brush, rng)


def _strayed(colors: Array, stray: float, rng: np.random.Generator) -> Array:
    """Colors `(n, 3)` as a painter mixes them: each a little off in lightness and a little in hue."""
    lightness = rng.normal(0, stray, (len(colors), 1))
    hue = rng.normal(0, 0.35 * stray, colors.shape)
    return np.clip(colors * (1 + 1.2 * lightness) + 0.25 * lightness + hue, 0, 1)
