"""Brush strokes with relief: curved, tapered, streaked by bristles, thick enough to catch light.

Technique: Hertzmann, "Painterly rendering with curved brush strokes of multiple sizes" (1998): long strokes
    along a
direction field, coarse layers first. Differs from the paper: the field is given, not measured on a
photograph, and the paint's thickness is kept and lit at the end (as in Hertzmann, "Fast paint texture",
2002).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tools.draw_samples.canvas import Array, blur, sample

__all__ = ["Brush", "Canvas", "follow", "lit", "paint"]


@dataclass(frozen=True)
class Brush:
    """One size of brush; lengths in frame units.

    Attributes:
        width: Full width of a stroke at its thickest.
        length: Mean length; each stroke takes 0.6 to 1.4 of it.
        thickness: Height of the paint, in frame units times an arbitrary scale; 1 is heavy impasto.
        streak: How far bristles vary in lightness, 0 to 1.
    """

    width: float
    length: float
    thickness: float = 1.0
    streak: float = 0.10


@dataclass
class Canvas:
    """Color `(H, W, 3)` in [0, 1] and paint height `(H, W)`, changed in place by `paint`."""

    color: Array
    height: Array


def follow(seeds: Array, flow: Array, length: Array, steps: int) -> Array:
    """Trace the direction field from each seed, half of the length to either side.

    Args:
        seeds: `(n, 2)` frame coordinates.
        flow: `(H, W, 2)` unit directions; the sign must be continuous along a stroke.
        length: `(n,)` frame units.
        steps: Segments per half.

    Returns:
        Paths `(n, 2 * steps + 1, 2)` in frame units.
    """
    scale = flow.shape[1]
    halves = []
    for sign in (-1.0, 1.0):
        point, points = seeds, []
        step = (sign * length / (2 * steps))[:, None]
        for _ in range(steps):
            point = point + step * sample(flow, point[:, 0] * scale - 0.5, point[:, 1] * scale - 0.5)
            points.append(point)
        halves.append(points)
    return np.stack([*halves[0][::-1], seeds, *halves[1]], axis=1)


def _spread(path: Array, width: float, rng: np.random.Generator) -> tuple[Array, Array, Array, NDArray[np.bool_]]:
    """Points that cover one stroke without gaps.

    Args:
        path: `(k, 2)` pixels.
        width: Full width in pixels.
        rng: For the ragged ends.

    Returns:
        `points (a, b, 2)` in pixels, `along (a, 1)` in [0, 1], `across (1, b)` in [-1, 1], and `kept (a, b)`,
        false where a bristle has not yet touched the canvas or has already left it.
    """
    segments = np.linalg.norm(np.diff(path, axis=0), axis=1)
    reached = np.concatenate([[0.0], np.cumsum(segments)])
    s = np.linspace(0, 1, max(int(reached[-1] / 0.68), 2), dtype=np.float32)
    x, y = (np.interp(s * reached[-1], reached, path[:, axis]).astype(np.float32) for axis in (0, 1))
    dx, dy = np.gradient(x), np.gradient(y)
    norm = np.hypot(dx, dy) + 1e-6
    # a loaded brush starts round and leaves the canvas in a taper
    profile = np.minimum(1, np.sqrt(s / 0.12 + 0.05)) * np.minimum(1, (1.02 - s) / 0.35) ** 0.6
    lanes = max(int(width / 0.68), 1)
    t = np.linspace(-1, 1, lanes, dtype=np.float32) if lanes > 1 else np.zeros(1, np.float32)
    reach = 0.5 * width * profile / norm
    px = x[:, None] - (dy * reach)[:, None] * t
    py = y[:, None] + (dx * reach)[:, None] * t
    ends, starts = 1 - 0.18 * rng.random(lanes) ** 2, 0.06 * rng.random(lanes)
    kept = (s[:, None] <= ends) & (s[:, None] >= starts)
    return np.stack([px, py], -1), s[:, None], t[None], kept


def paint(canvas: Canvas, paths: Array, colors: Array, brush: Brush, rng: np.random.Generator) -> None:
    """Lay strokes onto the canvas in the given order, each over what is there.

    Args:
        canvas: Changed in place.
        paths: `(n, k, 2)` frame units.
        colors: `(n, 3)` in [0, 1].
        brush: The size and the relief of all these strokes.
        rng: Bristles and small width changes.
    """
    rows, columns = canvas.height.shape
    for path, color in zip(paths, colors, strict=True):
        width = brush.width * columns * rng.uniform(0.7, 1.25)
        points, along, across, kept = _spread(path * columns, width, rng)
        bristles = rng.normal(size=9)
        lane = (across + 1) * 4
        bristle = np.interp(lane, np.arange(9), bristles) + 0.5 * np.sin(lane * 9 + 6 * bristles[0])
        # paint piles up at the sides and where the brush lifts
        relief = 0.55 + 0.34 * across**4 + 0.35 * along**3 + 0.24 * bristle
        x, y = points[..., 0], points[..., 1]
        kept &= (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
        at = y[kept].astype(np.int32), x[kept].astype(np.int32)
        shade = np.broadcast_to(1 + brush.streak * bristle, kept.shape)[kept]
        canvas.color[at] = color * shade[:, None]
        canvas.height[at] = 0.35 * canvas.height[at] + brush.thickness * relief[kept]


def lit(canvas: Canvas, strength: float) -> Array:
    """The canvas with raking light from the upper left on its relief.

    Args:
        canvas: Finished painting.
        strength: 0 is flat; 1 is clearly visible impasto.

    Returns:
        Color `(H, W, 3)` in [0, 1].
    """
    height = blur(canvas.height, canvas.height.shape[1] / 2048 * 0.8)
    rise_y, rise_x = np.gradient(height)
    slope = np.tanh((rise_x + rise_y) * 1.2) * strength
    # light edges go towards white, dark edges keep their hue
    light = np.clip(slope, 0, None)[..., None]
    dark = np.clip(-slope, 0, None)[..., None]
    color = np.clip(canvas.color, 0, 1)
    return np.asarray(np.clip(color * (1 - 0.62 * dark) + (1 - color) * 0.42 * light, 0, 1))
