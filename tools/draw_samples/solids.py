"""Round solids as distance functions: fruit as a radius over the angle, vessels as a radius over the height.

Technique: Hart, "Sphere tracing" (1996). The two families here are not exact distances; each is scaled down
    by its
steepest slope, so that a step never passes through the surface.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tools.draw_samples.canvas import Array

__all__ = ["Handle", "Lathe", "Polar", "Solid"]


@dataclass(frozen=True)
class Solid:
    """Something round that stands in a scene; lengths in scene units (decimetres).

    Attributes:
        name: Picks the surface when the solid is shaded.
        center: Its origin in the scene.
        bound: Radius of a sphere around `middle` that holds all of it.
        lift: Height of that sphere's center above `center`, along the solid's own axis.
        axis: Direction of its stalk or neck, need not be of unit length.
        seed: Makes the surfaces of two apples differ.
    """

    name: str
    center: tuple[float, float, float]
    bound: float
    lift: float = 0.0
    axis: tuple[float, float, float] = (0.0, 1.0, 0.0)
    seed: int = 0

    @property
    def middle(self) -> Array:
        """Center of the bounding sphere, `(3,)`."""
        return np.asarray(np.asarray(self.center, np.float32) + self.lift * self._frame[1])

    @property
    def _frame(self) -> Array:
        """Side, axis and depth as rows of unit vectors, `(3, 3)`."""
        up = np.asarray(self.axis, np.float32)
        up = up / np.linalg.norm(up)
        side = np.cross(up, (0.31, 0.12, 0.94))
        side /= np.linalg.norm(side)
        return np.stack([side, up, np.cross(side, up)]).astype(np.float32)

    def local(self, points: Array) -> Array:
        """Scene points `(n, 3)` in the solid's own frame, its axis along the second coordinate."""
        return np.asarray((points - np.asarray(self.center, np.float32)) @ self._frame.T)

    def distance(self, points: Array) -> Array:
        """Lower bound `(n,)` of the distance from scene points `(n, 3)`, negative inside."""
        raise NotImplementedError


@dataclass(frozen=True)
class Polar(Solid):
    """A solid of revolution given by its radius over the angle from its axis.

    Attributes:
        radii: Radius at equal steps of the polar angle, from the top to the bottom.
        shell: Above 0 makes it hollow with a wall of this thickness.
        cut: Hollow solids end at this height above their center.
        slack: Factor for the distance, below the inverse of its steepest slope.
    """

    radii: tuple[float, ...] = (1.0, 1.0)
    shell: float = 0.0
    cut: float = 1e3
    slack: float = 0.8

    def distance(self, points: Array) -> Array:
        """See `Solid.distance`."""
        p = self.local(points)
        across = np.hypot(p[:, 0], p[:, 2])
        angle = np.arctan2(across, p[:, 1])
        table = _smooth(self.radii)
        away = np.hypot(across, p[:, 1]) - np.interp(angle, np.linspace(0, np.pi, len(table)), table)
        if self.shell:
            away = np.maximum(np.abs(away) - 0.5 * self.shell, p[:, 1] - self.cut)
        return np.asarray(away * self.slack, np.float32)


@dataclass(frozen=True)
class Lathe(Solid):
    """A vessel given by its radius over its height.

    Attributes:
        radii: Radius at equal steps of the height, from the foot to the rim.
        tall: Height of the rim above `center`.
        slack: As for `Polar`.
    """

    radii: tuple[float, ...] = (1.0, 1.0)
    tall: float = 1.0
    slack: float = 0.7

    def distance(self, points: Array) -> Array:
        """See `Solid.distance`."""
        p = self.local(points)
        table = _smooth(self.radii)
        radius = np.interp(p[:, 1], np.linspace(0, self.tall, len(table)), table)
        across = np.hypot(p[:, 0], p[:, 2])
        cavity = np.maximum(across - radius + 0.06, 0.8 * self.tall - p[:, 1])
        wall = np.maximum(across - radius, -cavity) * self.slack
        ends = np.abs(p[:, 1] - 0.5 * self.tall) - 0.5 * self.tall
        return np.asarray(np.maximum(wall, ends), np.float32)


@dataclass(frozen=True)
class Handle(Solid):
    """Part of a flattened ring, upright in its own first and second coordinate, cut off on one side.

    Attributes:
        ring: Radius of the ring's center line.
        thick: Radius of its section.
        keep: Only what lies beyond this first coordinate is there.
        stretch: Height of the ring over its width.
    """

    ring: float = 0.5
    thick: float = 0.1
    keep: float = 0.0
    stretch: float = 1.0

    def distance(self, points: Array) -> Array:
        """See `Solid.distance`."""
        p = self.local(points)
        around = np.hypot(p[:, 0], p[:, 1] / self.stretch) - self.ring
        tube = np.hypot(around, 0.75 * p[:, 2]) - self.thick
        return np.asarray(np.maximum(0.75 * tube, self.keep - p[:, 0]), np.float32)


@lru_cache(maxsize=64)
def _smooth(values: tuple[float, ...]) -> Array:
    """A Catmull-Rom curve through the control values, as a table of 256."""
    knots = np.asarray([values[0], *values, values[-1]], np.float32)
    at = np.linspace(0, len(values) - 1, 256)
    i = np.minimum(at.astype(int), len(values) - 2)
    t = at - i
    a, b, c, d = (knots[i + k] for k in range(4))
    curve = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    return np.asarray(curve, np.float32)
