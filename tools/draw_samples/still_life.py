"""`still_life`: fruit in a bowl, a jug and a bottle on an oak table, lit by a window from the left."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from tools.draw_samples.canvas import (
    Array,
    grid,
    smoothstep,
    to_picture,
    to_srgb,
)
from tools.draw_samples.noise import fractal, perlin
from tools.draw_samples.solids import Solid
from tools.draw_samples.sphere_tracing import camera_rays, normals, occlusion, shadow, trace
from tools.draw_samples.still_life_light import ambient, glare, sunlight
from tools.draw_samples.still_life_scene import EYE, LAMP, SPREAD, TARGET, WALL, solids
from tools.draw_samples.still_life_surfaces import (
    BUMPS,
    GLOSS,
    cloth_cover,
    cloth_height,
    solid_color,
    table_color,
    wall_color,
)

__all__ = ["draw"]

ASPECT = 0.75
PORTION = 1 << 15
"""Rays traced at once."""


@dataclass
class Surface:
    """What the rays met: per ray a place, a unit normal, a linear color, and how it mirrors.

    Attributes:
        points: `(n, 3)` decimetres.
        facing: `(n, 3)` unit normals.
        color: `(n, 3)` linear.
        mirror: `(n,)` share of light mirrored head-on, 0 for none at any angle.
        blur: `(n,)` of the mirror image, as in `Gloss`.
    """

    points: Array
    facing: Array
    color: Array
    mirror: Array
    blur: Array


def draw(width: int = 1024) -> Image.Image:
    """Trace the image at twice the width and reduce it.

    Args:
        width: Pixels; the height is three quarters of it.

    Returns:
        An RGB image, the same bytes on every call.
    """
    columns = 2 * width
    rows = 2 * round(width * ASPECT)
    rays = camera_rays(EYE, TARGET, SPREAD, columns, rows)
    things = solids()
    blockers = _blockers(things)
    # in portions that stay in the processor's cache
    portions = (rays[start : start + PORTION] for start in range(0, len(rays), PORTION))
    radiance = np.concatenate([_radiance(things, blockers, portion) for portion in portions])
    return to_picture(_developed(radiance.reshape(rows, columns, 3)), width)


def _radiance(things: list[Solid], blockers: tuple[Array, Array], rays: Array) -> Array:
    """Linear light `(n, 3)` that comes along rays `(n, 3)` into the eye."""
    surface = _meet(things, rays)
    lamp_seen = shadow(things, surface.points + 0.012 * surface.facing, LAMP, softness=0.055)
    open_sky, bounce = occlusion(*blockers, surface.points, surface.facing)
    light = sunlight(surface.points, surface.facing) * lamp_seen[:, None]
    light += ambient(surface.points, surface.facing) * open_sky[:, None] + 0.22 * bounce
    shine = glare(surface.points, surface.facing, rays, surface.blur)
    # Schlick's rise of the mirror image towards grazing angles, weakened for dull skins
    grazing = (1 - np.clip(-np.sum(rays * surface.facing, 1), 0, 1)) ** 5 * 0.55
    share = np.where(surface.mirror > 0, surface.mirror + (1 - surface.mirror) * grazing, 0)
    return np.asarray(surface.color * light + share[:, None] * shine * (0.25 + 0.75 * open_sky[:, None]))


def _meet(things: list[Solid], rays: Array) -> Surface:
    """The nearest surface on every ray: a solid, the table or the wall."""
    hits = trace(things, EYE, rays)
    with np.errstate(divide="ignore"):
        to_table = np.where(rays[:, 1] < 0, -EYE[1] / rays[:, 1], np.inf)
    to_wall = (WALL - EYE[2]) / rays[:, 2]
    on_table = to_table < to_wall
    behind = np.minimum(to_table, to_wall)
    points = EYE + np.minimum(hits.distance, behind)[:, None] * rays
    surface = Surface(
        np.asarray(points, np.float32),
        np.zeros_like(rays),
        np.zeros_like(rays),
        np.zeros(len(rays), np.float32),
        np.ones(len(rays), np.float32),
    )
    free = hits.distance > behind
    _meet_table(surface, np.flatnonzero(free & on_table))
    wall = np.flatnonzero(free & ~on_table)
    surface.color[wall] = wall_color(surface.points[wall, 0], surface.points[wall, 1])
    surface.facing[wall] = (0, 0, -1)
    for index, thing in enumerate(things):
        _meet_solid(surface, thing, np.flatnonzero((hits.solid == index) & ~free))
    surface.facing /= np.linalg.norm(surface.facing, axis=1, keepdims=True)
    return surface


def _meet_table(surface: Surface, at: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> None:
    """Fill in the table top and the linen on it."""
    x, z = surface.points[at, 0], surface.points[at, 2]
    inside, linen = cloth_cover(x, z)
    covered = smoothstep(0.0, 0.015, inside)[:, None]
    # the linen's edge stands a thread's width above the wood and shades it on the side away from the window
    edge = cloth_cover(x - 0.05, z - 0.02)[0]
    shade = 1 - 0.6 * smoothstep(-0.02, 0.06, edge)[:, None]
    surface.color[at] = linen * covered + table_color(x, z) * shade * (1 - covered)
    step = 0.01
    rise_x = (cloth_height(x + step, z) - cloth_height(x - step, z)) / (2 * step)
    rise_z = (cloth_height(x, z + step) - cloth_height(x, z - step)) / (2 * step)
    surface.facing[at] = np.stack([-rise_x, np.ones_like(x), -rise_z], 1)
    surface.mirror[at] = 0.03 * (1 - covered[:, 0])
    surface.blur[at] = 0.45


def _meet_solid(surface: Surface, thing: Solid, at: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> None:
    """Fill in one solid."""
    if not len(at):
        return
    points = surface.points[at]
    surface.color[at] = solid_color(thing, points)
    facing = normals(thing, points)
    size, depth = BUMPS.get(thing.name, (1.0, 0.0))
    if depth:
        p = thing.local(points) * size
        shaken = [perlin((p[:, 0], p[:, 1], p[:, 2]), thing.seed + 200 + axis) for axis in range(3)]
        facing = facing + depth * np.stack(shaken, 1)
    surface.facing[at] = facing
    surface.mirror[at] = GLOSS[thing.name].mirror
    surface.blur[at] = GLOSS[thing.name].blur


def _blockers(things: list[Solid]) -> tuple[Array, Array]:
    """Spheres `(k, 4)` that stand in for the solids in ambient light, and their colors `(k, 3)`."""
    spheres, tints = [], []
    for thing in things:
        size = 0.62 if thing.bound > 1 else 0.78
        count = 3 if thing.name in ("bottle", "jug") and thing.bound > 1.5 else 1
        for step in range(count):
            middle = thing.middle + np.array((0, (step - (count - 1) / 2) * thing.bound * 0.62, 0))
            radius = thing.bound * size / (1.0 if count == 1 else 2.0 if thing.name == "bottle" else 1.15)
            spheres.append([*middle, radius])
            tints.append(solid_color(thing, np.asarray([thing.middle + np.array((0, 0, -0.5))], np.float32))[0])
    return np.asarray(spheres, np.float32), np.asarray(tints, np.float32)


def _developed(radiance: Array) -> Array:
    """From light to a print: exposure with a soft shoulder, darker corners, a little film grain."""
    rows, columns = radiance.shape[:2]
    x, y = grid(columns, rows)
    corners = 1 - 0.55 * smoothstep(0.35, 0.85, np.hypot(x - 0.46, y - 0.36))
    exposed = 1.5 * radiance * corners[..., None]
    print_ = to_srgb(1 - np.exp(-exposed)) * 1.03
    grain = fractal((420 * x, 420 * y), seed=101, octaves=1)
    return np.asarray(print_ + 0.012 * grain[..., None])
