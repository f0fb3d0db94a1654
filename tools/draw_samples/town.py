"""`town`: an old town on a river in the evening sun, with a church, a bridge and wooded hills."""

from __future__ import annotations

import numpy as np
from PIL import Image

from tools.draw_samples.canvas import (
    Array,
    blur,
    grid,
    mix,
    sample,
    smoothstep,
    to_linear,
    to_picture,
    to_srgb,
)
from tools.draw_samples.noise import fractal
from tools.draw_samples.town_model import Model
from tools.draw_samples.town_site import build
from tools.draw_samples.town_sky import SUN, backdrop, hazed
from tools.draw_samples.town_surfaces import face_color
from tools.draw_samples.town_view import Camera, Seen, Sun, see

__all__ = ["draw"]

ASPECT = 0.75
SUNLIGHT = np.array((3.5, 2.85, 2.0))
SKYLIGHT = np.array((0.50, 0.60, 0.76))
WATER = np.array((0.020, 0.034, 0.026))


def draw(width: int = 1024) -> Image.Image:
    """Render the image at twice the width and reduce it.

    Args:
        width: Pixels; the height is three quarters of it.

    Returns:
        An RGB image, the same bytes on every call.
    """
    columns, rows = 2 * width, 2 * round(width * ASPECT)
    model = build()
    sun = Sun(2 * columns, 2 * columns, tuple(SUN), (-5.0, 8.0, 75.0), 190.0)
    shadows = see(model, sun)
    upright = Camera(columns, rows)
    seen = see(model, upright)
    behind = backdrop(upright)
    scene = _shaded(model, seen, upright, sun, shadows, behind)
    mirror = Camera(columns, rows, mirror=True)
    reflected = _shaded(model, see(model, mirror), mirror, sun, shadows, _upside_down(behind, upright))
    light = _with_water(scene, seen, reflected, upright)
    return to_picture(_developed(light), width)


def _upside_down(behind: Array, camera: Camera) -> Array:
    """Sky and hills as water shows them: far things are simply mirrored about the horizon."""
    rows = np.arange(camera.height)
    level = camera.horizon * camera.width
    above = np.clip(2 * level - rows, 0, camera.height - 1).astype(int)
    return np.asarray(behind[above])


def _shaded(model: Model, seen: Seen, camera: Camera, sun: Sun, shadows: Seen, behind: Array) -> Array:
    """Linear colors `(H, W, 3)` of what a camera sees."""
    color = behind.copy()
    order = np.argsort(seen.number, axis=None, kind="stable")
    numbers = seen.number.reshape(-1)[order]
    starts = np.flatnonzero(np.r_[True, numbers[1:] != numbers[:-1]])
    flip = np.array((1, -1, 1)) if camera.mirror else np.ones(3)
    for start, end in zip(starts, np.r_[starts[1:], len(numbers)], strict=True):
        number = int(numbers[start])
        if number < 0:
            continue
        rows, columns = np.divmod(order[start:end], camera.width)
        rays = camera.rays(columns + 0.5, rows + 0.5)
        points = (np.asarray(camera.eye) + seen.depth[rows, columns][:, None] * rays) * flip
        if number < len(model.faces):
            face = model.faces[number]
            offset = points - face.origin
            albedo = face_color(face.skin, offset @ face.along, offset @ face.upward)
            normal = face.normal
            view = np.asarray(camera.eye) * flip - points[0]
            normal = np.broadcast_to(normal * np.sign(normal @ view), points.shape)
        else:
            ball = model.balls[number - len(model.faces)]
            round_ = (points - ball.center) / ball.radius
            normal = 0.55 * ball.outward + 0.45 * round_
            albedo = np.broadcast_to(to_linear(ball.color), points.shape)
        lit = _light(points, normal, sun, shadows)
        color[rows, columns] = hazed(albedo * lit, seen.depth[rows, columns])
    return color


def _light(points: Array, normal: Array, sun: Sun, shadows: Seen) -> Array:
    """Sunlight with shadows, light of the sky from above, and of the warm ground from below: `(n, 3)`."""
    place = sun.place(points + 0.10 * normal)
    open_ = np.zeros(len(points))
    for dx, dy in ((0, 0), (1.6, 0.6), (-0.6, 1.6), (-1.6, -0.6), (0.6, -1.6)):
        x = np.clip(place[:, 0] + dx, 0, sun.width - 1).astype(int)
        y = np.clip(place[:, 1] + dy, 0, sun.height - 1).astype(int)
        open_ += shadows.depth[y, x] > place[:, 2] - 0.12
    facing = np.clip(normal @ SUN, 0, 1)
    up = np.clip(0.55 + 0.45 * normal[:, 1] - 0.15 * normal[:, 0], 0, 1)
    light = (facing * open_ / 5)[:, None] * SUNLIGHT + up[:, None] * SKYLIGHT
    return np.asarray(light + (0.12 - 0.12 * normal[:, 1])[:, None] * np.array((1.0, 0.82, 0.6)))


def _with_water(scene: Array, seen: Seen, reflected: Array, camera: Camera) -> Array:
    """The scene with the river in front: a rippled mirror over dark green depth."""
    rows, columns = scene.shape[:2]
    x, y = grid(columns, rows)
    below = np.clip(y - camera.horizon, 1e-4, None)
    depth = camera.eye[1] / below
    water = (y > camera.horizon) & (depth < seen.depth)
    wx, wz = (x - 0.5) * depth, depth
    calm = np.exp(-depth / 160)
    swell = fractal((0.16 * wx, 0.5 * wz), 91, 3)
    ripple = fractal((0.9 * wx + swell, 2.6 * wz), 92, 4, gain=0.6)
    breeze = 0.35 + 0.9 * smoothstep(-0.25, 0.45, fractal((0.03 * wx, 0.06 * wz), 95, 3))
    tilt = (0.010 * swell + 0.016 * ripple * breeze) * (0.35 + 0.65 * calm)
    shift = 0.35 * (0.010 * swell + 0.012 * ripple)
    mirrored = sample(reflected, (x + shift) * columns - 0.5, (y + tilt) * columns - 0.5)
    slant = np.clip(7.0 / np.hypot(depth, 7.0) - 2.2 * tilt, 0.02, 1)
    share = 0.06 + 0.94 * (1 - slant) ** 4
    river = mirrored * (0.9 * share)[..., None] + WATER * (1 + 1.5 * ripple)[..., None]
    return mix(scene, hazed(river, np.minimum(depth, 400)), water.astype(np.float32))


def _developed(light: Array) -> Array:
    """From light to a photograph: a soft shoulder, a little glow around highlights, fine grain."""
    rows, columns = light.shape[:2]
    x, y = grid(columns, rows)
    exposed = 1 - np.exp(-1.25 * light)
    exposed = exposed + 0.08 * blur(np.clip(exposed[::4, ::4] - 0.55, 0, 1), columns / 256).repeat(4, 0).repeat(4, 1)
    print_ = to_srgb(exposed)
    print_ = print_ + 0.10 * (print_ - 0.5) * (1 - np.abs(2 * print_ - 1))
    corners = 1 - 0.22 * smoothstep(0.38, 0.72, np.hypot(x - 0.5, y - 0.375))
    grain = fractal((410 * x, 410 * y), seed=99, octaves=1)
    return np.asarray(print_ * corners[..., None] + 0.014 * grain[..., None])
