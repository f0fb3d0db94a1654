"""Behind the town: an evening sky with clouds, and wooded hills that fade into the air."""

from __future__ import annotations

import numpy as np

from tools.draw_samples.canvas import Array, grid, mix, smoothstep
from tools.draw_samples.noise import fractal
from tools.draw_samples.town_view import Camera

__all__ = ["HAZE", "SUN", "backdrop", "hazed"]

SUN = np.array((-0.80, 0.40, -0.42)) / np.linalg.norm((-0.80, 0.40, -0.42))
HAZE = np.array((0.60, 0.66, 0.74))
HAZE_REACH = 1900.0
"""Metres after which about two thirds of the light come from the air."""


def hazed(color: Array, distance: Array) -> Array:
    """Linear color seen through air: bluish, and warmer on the image's left is left to the sky itself."""
    return mix(color, np.broadcast_to(HAZE, color.shape), 1 - np.exp(-distance / HAZE_REACH))


def _sky(x: Array, y: Array, horizon: float) -> Array:
    """Linear sky color: deep blue above, pale and warm near the horizon, cumulus lit from the left."""
    height = np.clip((horizon - y) / horizon, 0, 1)
    color = mix(np.array((0.66, 0.70, 0.72)), np.array((0.10, 0.24, 0.55)), smoothstep(-0.05, 1.0, height) ** 0.8)
    glow = np.exp(-3.2 * height) * smoothstep(1.0, -0.1, x)
    color = mix(color, np.broadcast_to(np.array((1.0, 0.74, 0.46)), color.shape), 0.62 * glow)
    # clouds lie in a layer: towards the horizon they are seen flatter and closer together
    far = 1 / (0.22 + height)
    place = (1.15 * (x - 0.5) * far + 3.0, 1.9 * far)
    lit_place = (place[0] - 0.10, place[1] + 0.05)
    warp = 0.25 * fractal(place, 61, 3)
    dense = fractal((place[0] + warp, place[1] + warp), 64, 7, gain=0.55)
    toward = fractal((lit_place[0] + warp, lit_place[1] + warp), 64, 5, gain=0.55)
    cover = smoothstep(-0.02, 0.42, dense + 0.10) * smoothstep(0.0, 0.12, height)
    light = np.clip(0.72 + 1.15 * (dense - toward) - 0.42 * smoothstep(0.1, 0.7, dense), 0.2, 1.2)
    shade = mix(np.array((0.36, 0.40, 0.50)), np.array((1.12, 1.02, 0.90)), light)
    return mix(color, shade, 0.88 * cover)


def _terrain(x: Array, z: Array) -> Array:
    """Height of the hills in metres at places in metres."""
    rolling = fractal((x / 420 + 7.3, z / 420), 71, 4)
    rise = smoothstep(230, 900, z) * (52 + 85 * rolling) + smoothstep(900, 2600, z) * (100 + 130 * rolling)
    crowns = np.abs(fractal((x / 9, z / 9), 74, 3)) * 4.5
    return rise + crowns * smoothstep(240, 330, z)


def backdrop(camera: Camera) -> Array:
    """Linear colors `(H, W, 3)` of sky and hills where nothing stands in front.

    Hills by marching all columns of the image outwards at once over a height field ("voxel space", as in
    Comanche, 1992), in steps that grow with the distance.
    """
    x, y = grid(camera.width, camera.height)
    color = _sky(x, y, camera.horizon)
    depths = 235 * 1.0085 ** np.arange(310)
    across = (np.arange(camera.width) + 0.5) / camera.width - 0.5
    wx, wz = np.meshgrid(across, depths)
    wx = wx * wz
    height = _terrain(wx, wz)
    top = camera.horizon - (height - camera.eye[1]) / wz
    skyline = np.minimum.accumulate(top, axis=0)
    # the first step whose skyline reaches a pixel is the ground it shows
    step = np.zeros(x.shape, np.int32)
    for line in skyline:
        step += line[None] > y
    hit = step < len(depths)
    rows, columns = np.nonzero(hit)
    steps = step[rows, columns]
    color[rows, columns] = _ground_color(wx, wz, height)[steps, columns]
    return color


def _ground_color(x: Array, z: Array, height: Array) -> Array:
    """Linear color of woods and meadows, lit by the sun, seen through air; shapes as the terrain's grid."""
    step = 5.0
    rise_x = (_terrain(x + step, z) - _terrain(x - step, z)) / (2 * step)
    rise_z = (_terrain(x, z + step) - _terrain(x, z - step)) / (2 * step)
    normal = np.stack([-rise_x, np.ones_like(x), -rise_z], -1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    lit = np.clip(normal @ SUN, 0, 1)
    fields = smoothstep(0.05, 0.20, fractal((x / 150, z / 190 + 4), 77, 3) - 0.0008 * height)
    tone = 0.75 + 0.5 * fractal((x / 9, z / 9), 78, 3)
    wood = np.array((0.045, 0.075, 0.024)) * tone[..., None]
    meadow = np.array((0.17, 0.19, 0.055)) * (0.85 + 0.15 * tone)[..., None]
    color = mix(wood, meadow, fields)
    light = lit[..., None] * np.array((3.4, 2.85, 2.1)) + np.array((0.42, 0.50, 0.62))
    return hazed(color * light, z)
