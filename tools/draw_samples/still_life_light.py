"""The light of `still_life`: sun through a window, the room's dim light, and what shines in glaze."""

from __future__ import annotations

import numpy as np

from tools.draw_samples.canvas import Array, smoothstep
from tools.draw_samples.still_life_scene import LAMP

__all__ = ["ambient", "glare", "sunlight"]

WINDOW_PLANE = -5.0
"""First coordinate of the wall that holds the window."""
SUN = np.array((3.1, 2.72, 2.15), np.float32)
SKY = np.array((0.30, 0.34, 0.40), np.float32)
ROOM = np.array((0.085, 0.075, 0.065), np.float32)
TABLE_BOUNCE = np.array((0.22, 0.15, 0.09), np.float32)


def _panes(height: Array, depth: Array, soft: Array | float) -> Array:
    """How much light passes the window at a place on its plane: 2 x 3 panes, edges `soft` decimetres wide."""
    half = np.asarray(soft) * 0.5

    def edge(distance: Array) -> Array:
        t = np.clip((distance + half) / (2 * half + 1e-6), 0, 1)
        return np.asarray(t * t * (3 - 2 * t))

    frame = edge(np.minimum(2.6 - np.abs(depth + 2.7), 2.9 - np.abs(height - 4.6)))
    bars = edge(np.abs(depth + 2.7) - 0.12) * edge(np.abs(np.abs(height - 4.6) - 0.95) - 0.10)
    return np.asarray(frame * bars)


def sunlight(points: Array, facing: Array) -> Array:
    """Direct light `(n, 3)` at points `(n, 3)` with unit normals, before anything in the room shades it."""
    ray = LAMP - points
    ray = ray / np.linalg.norm(ray, axis=1, keepdims=True)
    travel = (WINDOW_PLANE - points[:, 0]) / ray[:, 0]
    height = points[:, 1] + travel * ray[:, 1]
    depth = points[:, 2] + travel * ray[:, 2]
    passed = 0.10 + 0.90 * _panes(height, depth, 0.45)
    # wrapped a little past the terminator, as from a lamp that is not a point
    cosine = np.clip((np.sum(ray * facing, axis=1) + 0.08) / 1.08, 0, 1)
    return np.asarray((passed * cosine)[:, None] * SUN)


def ambient(points: Array, facing: Array) -> Array:
    """Light `(n, 3)` from the sky in the window, the room, and the table below."""
    to_window = np.array((WINDOW_PLANE, 4.5, -2.7), np.float32) - points
    to_window /= np.linalg.norm(to_window, axis=1, keepdims=True)
    sky = np.clip(0.35 + 0.65 * np.sum(to_window * facing, axis=1), 0, 1)[:, None] * SKY
    near_table = np.exp(-np.clip(points[:, 1], 0, None) / 0.9)
    below = (np.clip(0.5 - 0.5 * facing[:, 1], 0, 1) * near_table)[:, None] * TABLE_BOUNCE
    return np.asarray(sky + ROOM + below)


def glare(points: Array, facing: Array, rays: Array, blur: Array) -> Array:
    """Light `(n, 3)` that a mirror would show: the bright window, the sky in it, a dark room, the table."""
    mirrored = rays - 2 * np.sum(rays * facing, axis=1, keepdims=True) * facing
    toward = np.where(mirrored[:, 0] < -0.02, mirrored[:, 0], -0.02)
    travel = (WINDOW_PLANE - points[:, 0]) / toward
    height = points[:, 1] + travel * mirrored[:, 1]
    depth = points[:, 2] + travel * mirrored[:, 2]
    softness = 0.15 + 9.0 * blur
    window = _panes(height, depth, softness) * (mirrored[:, 0] < -0.02) / (1 + 5.0 * blur)
    up = smoothstep(-0.15, 0.15, mirrored[:, 1])[:, None]
    room = up * (2.2 * ROOM) + (1 - up) * TABLE_BOUNCE
    return np.asarray(window[:, None] * np.array((9.0, 9.6, 10.4)) + room)
