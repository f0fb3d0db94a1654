"""The town as geometry: flat faces and balls of leaves; metres, x right, y up, z away."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tools.draw_samples.canvas import Array

__all__ = ["Ball", "Face", "Model", "Skin"]


@dataclass(frozen=True)
class Skin:
    """How a face is painted.

    Attributes:
        kind: The painter, a key of `town_surfaces.PAINTERS`.
        color: SRGB in [0, 1].
        size: Width and height of the whole wall in metres, for the places of its windows.
        peak: Height of a gable above `size[1]`, 0 for none.
        seed: Makes walls differ.
    """

    kind: str
    color: tuple[float, float, float]
    size: tuple[float, float] = (1.0, 1.0)
    peak: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Face:
    """A flat convex polygon.

    Attributes:
        corners: `(n, 3)` metres.
        origin: `(3,)` where the skin's coordinates start.
        along: `(3,)` unit vector of the skin's first coordinate.
        upward: `(3,)` unit vector of its second.
        skin: How it is painted.
    """

    corners: Array
    origin: Array
    along: Array
    upward: Array
    skin: Skin

    @property
    def normal(self) -> Array:
        """Unit normal, `(3,)`; either side."""
        normal = np.cross(self.along, self.upward)
        return np.asarray(normal / np.linalg.norm(normal))


@dataclass(frozen=True)
class Ball:
    """A tuft of leaves: center, radius, the crown's outward direction there, sRGB color."""

    center: Array
    radius: float
    outward: Array
    color: Array


@dataclass
class Model:
    """Everything that is drawn and casts a shadow."""

    faces: list[Face] = field(default_factory=list)
    balls: list[Ball] = field(default_factory=list)

    def quad(self, corner: Array, along: Array, upward: Array, skin: Skin) -> None:
        """A parallelogram from one corner and two edges; the skin's coordinates run along these edges."""
        corners = np.stack([corner, corner + along, corner + along + upward, corner + upward])
        self.polygon(corners, corner, along, upward, skin)

    def polygon(self, corners: Array, origin: Array, along: Array, upward: Array, skin: Skin) -> None:
        """Any convex polygon; `along` and `upward` need not be of unit length."""
        self.faces.append(Face(corners, origin, along / np.linalg.norm(along), upward / np.linalg.norm(upward), skin))

    def box(self, corner: Array, along: Array, deep: Array, tall: float, skin: Skin) -> None:
        """Four walls and a lid."""
        up = np.array((0.0, tall, 0.0))
        for start, edge in (
            (corner, along),
            (corner + along, deep),
            (corner + along + deep, -along),
            (corner + deep, -deep),
        ):
            self.quad(start, edge, up, skin)
        self.quad(corner + up, along, deep, skin)
