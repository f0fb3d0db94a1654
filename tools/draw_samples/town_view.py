"""From geometry to pixels: which face each pixel of a view sees first, and how far away it is.

A z-buffer holds a number and a depth per pixel; colors come later, from the number (deferred shading,
Deering et al. 1988). The sun's view of the same model gives the shadows (Williams, "Casting curved shadows on
curved surfaces", 1978).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.draw_samples.canvas import Array
from tools.draw_samples.town_model import Ball, Face, Model

__all__ = ["Camera", "Seen", "Sun", "View", "see"]

NEAR = 1.0


@dataclass(frozen=True)
class View:
    """A rectangle of pixels onto the scene; subclasses say how places map to it."""

    width: int
    height: int

    def place(self, points: Array) -> Array:
        """Pixel x, pixel y and depth `(n, 3)` of scene points `(n, 3)`."""
        raise NotImplementedError

    def depth_plane(self, face: Face, x: Array, y: Array) -> Array:
        """Depth at pixel coordinates of the plane that `face` lies in."""
        raise NotImplementedError

    def scale(self, depth: float) -> float:
        """Pixels per metre at a depth."""
        raise NotImplementedError


@dataclass(frozen=True)
class Camera(View):
    """A level pinhole camera that looks along z, its horizon anywhere in the image, as with a shift lens.

    Attributes:
        eye: Position, metres.
        horizon: Frame units from the top.
        mirror: Shows the scene upside down about the water, as its reflection appears in the same pixels.
    """

    eye: tuple[float, float, float] = (0.0, 7.0, 0.0)
    horizon: float = 0.44
    mirror: bool = False

    def place(self, points: Array) -> Array:
        """See `View.place`; depth is z."""
        flip = np.array((1, -1, 1)) if self.mirror else np.ones(3)
        offset = points * flip - np.asarray(self.eye)
        z = np.maximum(offset[:, 2], NEAR / 2)
        x = (0.5 + offset[:, 0] / z) * self.width
        y = (self.horizon - offset[:, 1] / z) * self.width
        return np.stack([x, y, offset[:, 2]], 1)

    def rays(self, x: Array, y: Array) -> Array:
        """Directions with z = 1 through pixel coordinates, shape `x.shape + (3,)`."""
        return np.stack([x / self.width - 0.5, self.horizon - y / self.width, np.ones_like(x)], -1)

    def depth_plane(self, face: Face, x: Array, y: Array) -> Array:
        """See `View.depth_plane`."""
        flip = np.array((1, -1, 1)) if self.mirror else np.ones(3)
        normal = face.normal * flip
        reach = float(np.dot(face.origin * flip - np.asarray(self.eye), normal))
        across = self.rays(x, y) @ normal
        return np.asarray(reach / np.where(np.abs(across) < 1e-9, 1e-9, across))

    def scale(self, depth: float) -> float:
        """See `View.scale`."""
        return self.width / depth


@dataclass(frozen=True)
class Sun(View):
    """A view along parallel rays of the sun.

    Attributes:
        toward: Unit vector to the sun.
        center: What the middle of the view shows.
        spread: Metres across the view.
    """

    toward: tuple[float, float, float] = (0.0, 1.0, 0.0)
    center: tuple[float, float, float] = (0.0, 0.0, 60.0)
    spread: float = 200.0

    @property
    def axes(self) -> Array:
        """Right, down and away from the sun as rows `(3, 3)`."""
        away = -np.asarray(self.toward)
        right = np.cross((0.0, 1.0, 0.0), away)
        right = right / np.linalg.norm(right)
        return np.stack([right, np.cross(right, away), away])

    def place(self, points: Array) -> Array:
        """See `View.place`; depth is measured away from the sun."""
        local = (points - np.asarray(self.center)) @ self.axes.T
        pixels = local[:, :2] / self.spread * self.width + np.array((self.width, self.height)) / 2
        return np.concatenate([pixels, local[:, 2:]], 1)

    def depth_plane(self, face: Face, x: Array, y: Array) -> Array:
        """See `View.depth_plane`."""
        normal = self.axes @ face.normal
        origin = (face.origin - np.asarray(self.center)) @ self.axes.T
        u = (x - self.width / 2) * self.spread / self.width
        v = (y - self.height / 2) * self.spread / self.width
        across = normal[2] if abs(normal[2]) > 1e-6 else 1e-6
        return np.asarray((origin @ normal - u * normal[0] - v * normal[1]) / across)

    def scale(self, depth: float) -> float:
        """See `View.scale`."""
        return self.width / self.spread


@dataclass
class Seen:
    """Per pixel: depth `(H, W)`, infinite for nothing; number `(H, W)` of the face, then the ball, or -1."""

    depth: Array
    number: NDArray[np.int32]


def see(model: Model, view: View) -> Seen:
    """Draw all faces and balls into a z-buffer."""
    seen = Seen(
        np.full((view.height, view.width), np.inf, np.float32),
        np.full((view.height, view.width), -1, np.int32),
    )
    for number, face in enumerate(model.faces):
        _see_face(seen, view, face, number)
    for number, ball in enumerate(model.balls):
        _see_ball(seen, view, ball, number + len(model.faces))
    return seen


def _clipped(corners: Array) -> Array:
    """The part of a polygon that lies in front of the camera's near plane (Sutherland & Hodgman 1974)."""
    kept = []
    for here, ahead in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if here[2] >= NEAR:
            kept.append(here)
        if (here[2] >= NEAR) != (ahead[2] >= NEAR):
            kept.append(here + (ahead - here) * (NEAR - here[2]) / (ahead[2] - here[2]))
    return np.asarray(kept)


def _window(view: View, low: Array, high: Array) -> tuple[slice, slice] | None:
    """Rows and columns between two pixel positions, or None outside the image."""
    left, top = (int(max(0, np.floor(v))) for v in low)
    right = int(min(view.width, np.ceil(high[0]) + 1))
    bottom = int(min(view.height, np.ceil(high[1]) + 1))
    return (slice(top, bottom), slice(left, right)) if right > left and bottom > top else None


def _see_face(seen: Seen, view: View, face: Face, number: int) -> None:
    """Draw one polygon."""
    corners = _clipped(face.corners) if isinstance(view, Camera) else face.corners
    if len(corners) < 3:
        return
    outline = view.place(corners)[:, :2]
    window = _window(view, outline.min(0), outline.max(0))
    if window is None:
        return
    rows, columns = window
    y, x = np.mgrid[rows, columns] + 0.5
    ahead = np.roll(outline, -1, axis=0)
    area = np.sum(outline[:, 0] * ahead[:, 1] - ahead[:, 0] * outline[:, 1])
    inside = np.ones(x.shape, bool)
    for (ax, ay), (bx, by) in zip(outline, ahead, strict=True):
        inside &= ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) * np.sign(area) >= -1e-6
    _keep(seen, window, view.depth_plane(face, x, y), inside, number)


def _see_ball(seen: Seen, view: View, ball: Ball, number: int) -> None:
    """Draw one tuft of leaves."""
    x0, y0, depth = view.place(ball.center[None])[0]
    if isinstance(view, Camera) and depth < NEAR:
        return
    radius = ball.radius * view.scale(float(depth))
    window = _window(view, np.array((x0 - radius, y0 - radius)), np.array((x0 + radius, y0 + radius)))
    if window is None:
        return
    rows, columns = window
    y, x = np.mgrid[rows, columns] + 0.5
    # lobes make a tuft of leaves out of a ball
    lobes = 0.78 + 0.22 * np.cos((3 + number % 4) * np.arctan2(y - y0, x - x0) + number)
    bulge = 1 - ((x - x0) ** 2 + (y - y0) ** 2) / (max(radius, 0.5) * lobes) ** 2
    _keep(seen, window, depth - ball.radius * np.sqrt(np.clip(bulge, 0, 1)), bulge > 0, number)


def _keep(seen: Seen, window: tuple[Any, Any], depth: Array, inside: NDArray[np.bool_], number: int) -> None:
    """Write what lies nearer than anything before."""
    nearer = inside & (depth < seen.depth[window]) & (depth > -1e6)
    seen.depth[window][nearer] = depth[nearer]
    seen.number[window][nearer] = number
