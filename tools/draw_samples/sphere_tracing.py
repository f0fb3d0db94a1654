"""Where rays meet round solids, which points lie in their shadow, and how much sky they hide.

Technique: Hart, "Sphere tracing" (1996); soft shadows from the closest pass of the shadow ray, after Quilez.
    Each solid
is traced alone, and only by the rays that meet its bounding sphere, which makes a scene of thirty solids
affordable in numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tools.draw_samples.canvas import Array
from tools.draw_samples.solids import Solid

__all__ = ["Hits", "camera_rays", "normals", "occlusion", "shadow", "trace"]


@dataclass
class Hits:
    """First meetings of `n` rays.

    Attributes:
        distance: `(n,)` along the ray, infinite where nothing is met.
        solid: `(n,)` index of what is met, -1 for nothing.
    """

    distance: Array
    solid: np.ndarray[tuple[int, ...], np.dtype[np.int32]]


def camera_rays(eye: Array, target: Array, spread: float, width: int, height: int) -> Array:
    """Unit directions `(height * width, 3)` of a pinhole camera.

    Args:
        eye: Position, `(3,)`.
        target: What the middle of the image shows, `(3,)`.
        spread: Width of the image over its distance from the eye.
        width: Pixels.
        height: Pixels.
    """
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross((0.0, 1.0, 0.0), forward)
    right /= np.linalg.norm(right)
    up = np.cross(forward, right)
    across = (np.arange(width) + 0.5 - width / 2) / width * spread
    upward = (height / 2 - np.arange(height) - 0.5) / width * spread
    rays = forward + across[None, :, None] * right + upward[:, None, None] * up
    rays = rays.reshape(-1, 3)
    return np.asarray(rays / np.linalg.norm(rays, axis=1, keepdims=True), np.float32)


def _interval(solid: Solid, origins: Array, rays: Array) -> tuple[Array, Array]:
    """Where rays `(n, 3)` enter and leave the bounding sphere; the exit comes first where they miss."""
    offset = origins - solid.middle
    along = np.einsum("ij,ij->i", np.broadcast_to(offset, rays.shape), rays)
    inside = along**2 - (np.sum(offset**2, axis=-1) - solid.bound**2)
    half = np.sqrt(np.clip(inside, 0, None))
    enter, leave = -along - half, -along + half
    return np.clip(enter, 0, None), np.where(inside > 0, leave, -1.0)


def trace(solids: Sequence[Solid], eye: Array, rays: Array, steps: int = 48) -> Hits:
    """First solid that each ray from `eye` meets; `steps` limits the march."""
    hits = Hits(np.full(len(rays), np.inf, np.float32), np.full(len(rays), -1, np.int32))
    for index, solid in enumerate(solids):
        enter, leave = _interval(solid, eye, rays)
        ray = np.flatnonzero((leave > enter) & (enter < hits.distance))
        t, end = enter[ray], leave[ray]
        for _ in range(steps):
            gap = solid.distance(eye + t[:, None] * rays[ray])
            done = gap < 4e-4 * t / 9
            met = ray[done]
            nearer = t[done] < hits.distance[met]
            hits.distance[met[nearer]] = t[done][nearer]
            hits.solid[met[nearer]] = index
            t = t + gap
            open_ = ~done & (t < end)
            ray, t, end = ray[open_], t[open_], end[open_]
            if not len(ray):
                break
    return hits


def normals(solid: Solid, points: Array) -> Array:
    """Outward unit normals at surface points `(n, 3)`, by central differences over a tetrahedron."""
    corners = np.array([(1, -1, -1), (-1, -1, 1), (-1, 1, -1), (1, 1, 1)], np.float32)
    total = sum(corner * solid.distance(points + 2e-3 * corner)[:, None] for corner in corners)
    total = np.asarray(total, np.float32)
    return np.asarray(total / (np.linalg.norm(total, axis=1, keepdims=True) + 1e-9))


def shadow(solids: Sequence[Solid], points: Array, light: Array, softness: float, steps: int = 28) -> Array:
    """How much of a lamp each point sees.

    Args:
        solids: What may stand in the way.
        points: `(n, 3)`, lifted a little off their own surface.
        light: Position of the lamp, `(3,)`.
        softness: Radius of the lamp over its distance.
        steps: Limits the march.

    Returns:
        `(n,)` in [0, 1], 1 where nothing is in the way.
    """
    rays = light - points
    rays = rays / np.linalg.norm(rays, axis=1, keepdims=True)
    clear = np.ones(len(points), np.float32)
    for solid in solids:
        # a fattened bound, or the penumbra would end at the bounding sphere
        enter, leave = _interval(_Fat(solid), points, rays)
        ray = np.flatnonzero((leave > enter) & (clear > 0.01))
        t, end = enter[ray] + 0.01, leave[ray]
        for _ in range(steps):
            gap = solid.distance(points[ray] + t[:, None] * rays[ray])
            clear[ray] = np.minimum(clear[ray], 0.5 + 0.5 * np.clip(gap / (softness * t), -1, 1))
            t = t + np.clip(np.abs(gap), 0.025, 0.4)
            open_ = (t < end) & (clear[ray] > 0.01)
            ray, t, end = ray[open_], t[open_], end[open_]
            if not len(ray):
                break
    return clear * clear * (3 - 2 * clear)


class _Fat(Solid):
    """The bound of another solid, wide enough for its penumbra."""

    def __init__(self, solid: Solid) -> None:
        super().__init__(solid.name, solid.center, solid.bound * 1.15 + 0.15, solid.lift, solid.axis)


def occlusion(spheres: Array, tints: Array, points: Array, facing: Array) -> tuple[Array, Array]:
    """Ambient light that spheres hide from a surface, and the color they send instead.

    Technique: the closed form for a sphere over a plane, cos(angle) * (radius / distance)^2.

    Args:
        spheres: `(k, 4)`, center and radius.
        tints: `(k, 3)`, linear color of each.
        points: `(n, 3)`.
        facing: `(n, 3)` unit normals.

    Returns:
        `(n,)` what is left of the ambient light, and `(n, 3)` the light that bounces off the spheres.
    """
    left = np.ones(len(points), np.float32)
    bounce = np.zeros((len(points), 3), np.float32)
    for sphere, tint in zip(spheres, tints, strict=True):
        offset = sphere[:3] - points
        distance = np.linalg.norm(offset, axis=1) + 1e-6
        cosine = np.einsum("ij,ij->i", offset, facing) / distance
        size = (sphere[3] / np.maximum(distance, sphere[3])) ** 2
        hidden = np.clip(cosine * 0.8 + 0.2, 0, 1) * size
        # its own sphere covers a surface with nothing: the cosine is negative there
        left *= 1 - 0.85 * hidden
        bounce += hidden[:, None] * tint
    return left, bounce
