"""Outlines for images that are cut or laid, not painted: curves, ribbons, discs, in frame units."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tools.draw_samples.canvas import Array

__all__ = ["disc", "mirrored", "ribbon", "smooth", "spiral"]

Points = Sequence[tuple[float, float]]


def smooth(points: Points | Array, closed: bool = True, per_knot: int = 10) -> Array:
    """Catmull-Rom curve `(n, 2)` through the points, `per_knot` pieces between neighbors."""
    knots = np.asarray(points, np.float32)
    count = len(knots) if closed else len(knots) - 1
    ring = np.concatenate([knots[-1:], knots, knots[:2]]) if closed else np.concatenate([knots[:1], knots, knots[-1:]])
    t = (np.arange(per_knot, dtype=np.float32) / per_knot)[:, None]
    pieces = []
    for i in range(count):
        a, b, c, d = ring[i : i + 4]
        pieces.append(b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a))))
    if not closed:
        pieces.append(knots[-1:])
    return np.concatenate(pieces)


def ribbon(path: Array, widths: Array | float) -> Array:
    """Closed outline `(2 n, 2)` of a band along an open path `(n, 2)`; `widths` are full, one or n."""
    tangent = np.gradient(path, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True) + 1e-9
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], 1)
    half = 0.5 * np.broadcast_to(np.asarray(widths, np.float32), (len(path),))[:, None]
    return np.concatenate([path + half * normal, (path - half * normal)[::-1]])


def disc(x: float, y: float, radius: float, stretch: float = 1.0, turn: float = 0.0) -> Array:
    """Outline `(40, 2)` of an ellipse: half-axes `radius * stretch`, at `turn` radians, and `radius`."""
    a = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    u, v = radius * stretch * np.cos(a), radius * np.sin(a)
    return np.stack([x + u * np.cos(turn) - v * np.sin(turn), y + u * np.sin(turn) + v * np.cos(turn)], 1)


def spiral(x: float, y: float, radius: float, start: float, turns: float) -> Array:
    """Open path `(60, 2)` that winds inwards around (x, y) from angle `start`; `turns` may be negative."""
    t = np.linspace(0, 1, 60)
    a = start + 2 * np.pi * turns * t
    r = radius * (1 - 0.9 * t**0.8)
    return np.stack([x + r * np.cos(a), y + r * np.sin(a)], 1)


def mirrored(points: Array) -> Array:
    """The same outline on the other side of the image's middle."""
    return np.stack([1 - points[:, 0], points[:, 1]], 1)
