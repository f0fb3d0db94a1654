"""Waves for the woodcut: bodies of flowing bands and engraved lines, and foam that reaches out in claws."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tools.draw_samples.canvas import Array
from tools.draw_samples.printing import Blocks, Ink
from tools.draw_samples.shapes import disc, ribbon

__all__ = ["Wave", "bands", "body", "claws", "foam", "spray"]


@dataclass(frozen=True)
class Wave:
    """A wave between two curves of equally many points that run from its foot to the tip of its crest.

    Attributes:
        face: `(n, 2)`, the hollow side.
        back: `(n, 2)`, the outer side.
    """

    face: Array
    back: Array

    def between(self, share: float) -> Array:
        """The flow line `(n, 2)` at `share` of the way from the face (0) to the back (1)."""
        return np.asarray(self.face + (self.back - self.face) * share)


def body(blocks: Blocks, wave: Wave, ink: Ink) -> None:
    """The whole wave as one flat shape with a bold contour."""
    blocks.outlined([np.concatenate([wave.face, wave.back[::-1]])], ink, 0.0042)


def bands(blocks: Blocks, wave: Wave, low: float, high: float, count: int) -> None:
    """Dark bands that swell in the middle and thin out to the crest, with engraved lines between them.

    Args:
        blocks: Where to print.
        wave: Wave whose flow lines are followed.
        low: Share of the first band.
        high: Share of the last.
        count: How many bands.
    """
    step = (high - low) / count
    for index in range(count):
        share = low + (index + 0.5) * step
        half = 0.29 * step
        first, last = wave.between(share - half), wave.between(share + half)
        blocks.fill(np.concatenate([first, last[::-1]]), "blue" if index % 2 == 0 else "middle")
        gap = np.linalg.norm(wave.between(share + step) - wave.between(share), axis=1)
        for line, thick in ((0.34, 0.10), (0.50, 0.06), (0.64, 0.07)):
            path = wave.between(share + line * step)
            swell = np.sin(np.linspace(0.12, 0.97, len(path)) * np.pi) ** 0.7
            blocks.fill(ribbon(path, np.clip(thick * gap, 0.0008, 0.0042) * swell), "line")
        for line, thick in ((-0.15, 0.05), (0.02, 0.07), (0.16, 0.05)):
            path = wave.between(share + line * step)[len(gap) // 12 : -len(gap) // 8]
            swell = np.sin(np.linspace(0.05, 0.97, len(path)) * np.pi) ** 0.8
            width = np.clip(thick * gap[len(gap) // 12 : -len(gap) // 8], 0.0006, 0.0028) * swell
            blocks.fill(ribbon(path, width), "light" if index % 2 == 0 else "line")


def claws(x: float, y: float, heading: float, size: float, bend: float, rng: np.random.Generator) -> list[Array]:
    """One finger of foam that ends in a hook, with smaller fingers on its outer side.

    Args:
        x: Root, frame units.
        y: Root, frame units.
        heading: First direction in radians, 0 to the right, growing clockwise on the image.
        size: Length in frame units.
        bend: +1 hooks clockwise, -1 the other way.
        rng: Makes fingers differ.
    """
    steps = 18
    t = np.linspace(0, 1, steps)
    angle = heading + bend * (3.3 * t**2.2 - 0.35 * np.sin(np.pi * t))
    path = np.cumsum(np.stack([np.cos(angle), np.sin(angle)], 1) * size / steps, axis=0) + np.array((x, y))
    parts = [ribbon(path, size * 0.30 * (1 - t) ** 0.7 + 0.0010)]
    if size > 0.034:
        # twigs on the outer side of the hook bend with it, one on the inner side against it
        for at, turn, share in ((5, -0.80, 0.44), (9, -0.95, 0.40), (12, -1.0, 0.32), (6, 0.85, 0.34)):
            twig = size * share * rng.uniform(0.85, 1.2)
            side = bend if turn < 0 else -bend
            parts += claws(path[at, 0], path[at, 1], angle[at] + bend * turn, twig, side, rng)
    return parts


def foam(blocks: Blocks, line: Array, lean: float, size: float, bend: float, rng: np.random.Generator) -> None:
    """A mass of foam along a line with claws on its left side, as one walks along it.

    Args:
        blocks: Where to print.
        line: `(n, 2)` where the foam breaks.
        lean: How far the claws lean over from the line's normal, radians.
        size: Mean length of the claws.
        bend: Which way they hook, +1 or -1.
        rng: Places and sizes.
    """
    tangent = np.gradient(line, axis=0)
    normal = np.arctan2(-tangent[:, 0], tangent[:, 1])
    taper = np.sin(np.linspace(0.02, 3.12, len(line))) ** 0.45
    bulk = ribbon(line, size * 0.75 * taper)
    layers: tuple[tuple[Ink, float, float, int], ...] = (("light", 1.25, 0.35, 3), ("paper", 1.0, 0.22, 2))
    for ink, reach, scatter, every in layers:
        fringe = [bulk]
        for at in range(every, len(line) - 1, every):
            away = normal[at] + lean + rng.normal(0, scatter)
            long = size * reach * rng.uniform(0.75, 1.2) * taper[at]
            fringe += claws(line[at, 0], line[at, 1], away, long, bend, rng)
        blocks.outlined(fringe, ink, 0.0023)
    for at in range(2, len(line) - 2, 2):
        x, y = line[at] + size * 0.22 * np.array((-np.cos(normal[at]), -np.sin(normal[at])))
        tuft = claws(x, y, normal[at] + 1.2 * lean + rng.normal(0, 0.3), 0.80 * size * taper[at], bend, rng)
        blocks.outlined(tuft, "paper", 0.0018)
        # the root melts into the mass
        blocks.fill(disc(x, y, 0.13 * size), "paper")


def spray(blocks: Blocks, x: float, y: float, spread: float, count: int, rng: np.random.Generator) -> None:
    """Drops of foam around a place, thinning outwards."""
    for _ in range(count):
        dx, dy = rng.normal(0, spread, 2)
        radius = rng.uniform(0.0012, 0.0038)
        blocks.outlined([disc(x + dx, y + 0.7 * dy, radius)], "paper", 0.0012)
