"""What people built: gabled houses, a church, a bridge with arches, quay walls."""

from __future__ import annotations

import itertools

import numpy as np

from tools.draw_samples.canvas import Array
from tools.draw_samples.town_model import Model, Skin

__all__ = ["bridge", "church", "house"]

UP = np.array((0.0, 1.0, 0.0))
STONE = (0.66, 0.60, 0.50)
TILES = ((0.52, 0.25, 0.17), (0.47, 0.23, 0.17), (0.56, 0.30, 0.20), (0.42, 0.24, 0.19), (0.36, 0.27, 0.24))


def house(
    model: Model,
    corner: Array,
    along: Array,
    deep: Array,
    tall: float,
    skin: Skin,
    rng: np.random.Generator,
    gable_in_front: bool = True,
) -> None:
    """One house.

    Args:
        model: Where to build.
        corner: Left front corner on the ground.
        along: The front edge, left to right.
        deep: From the front to the back.
        tall: Height of the eaves.
        skin: Kind and color of the walls.
        rng: Roof color, chimneys, dormers.
        gable_in_front: The ridge runs to the back; otherwise along the front.
    """
    if not gable_in_front:
        # the same house, seen as if its left side were the front
        corner, along, deep = corner + deep, -deep, along
    wide, length = float(np.linalg.norm(along)), float(np.linalg.norm(deep))
    peak = wide * rng.uniform(0.48, 0.62)
    roof = Skin("roof", TILES[rng.integers(len(TILES))], seed=int(rng.integers(1000)))
    for start, edge in ((corner, along), (corner + along + deep, -along)):
        front = Skin(skin.kind, skin.color, (wide, tall), peak, int(rng.integers(1000)))
        top = start + tall * UP
        gable = np.stack([start, start + edge, top + edge, top + edge / 2 + peak * UP, top])
        model.polygon(gable, start, edge, UP, front)
    for start, edge in ((corner + along, deep), (corner + deep, -deep)):
        model.quad(start, edge, tall * UP, Skin(skin.kind, skin.color, (length, tall), 0.0, int(rng.integers(1000))))
    _roof(model, corner + tall * UP, along, deep, peak, roof)
    _on_roof(model, corner, along, deep, tall, peak, skin, roof, rng)


def _on_roof(
    model: Model,
    corner: Array,
    along: Array,
    deep: Array,
    tall: float,
    peak: float,
    wall: Skin,
    roof: Skin,
    rng: np.random.Generator,
) -> None:
    """Chimneys and dormers of a house; places as for `house`."""
    wide, length = float(np.linalg.norm(along)), float(np.linalg.norm(deep))
    for _ in range(int(rng.integers(1, 3))):
        side = rng.choice((0.32, 0.68))
        place = corner + along * side + deep * rng.uniform(0.2, 0.8) + (tall + 0.5 * peak) * UP
        chimney = Skin("stone", (0.50, 0.34, 0.27), seed=3)
        model.box(place, along / wide * 0.8, deep / length * 0.8, 0.5 * peak + 0.6, chimney)
    for step in range(int(rng.integers(1, 4))):
        spot = corner + deep * (0.25 + 0.24 * step) + tall * UP
        _dormer(model, spot, along, deep / length, peak, Skin(wall.kind, wall.color, (1.7, 1.5)), roof)


def _roof(model: Model, eaves: Array, along: Array, deep: Array, peak: float, skin: Skin) -> None:
    """Two slopes that stand over the walls on all sides."""
    over = 0.55 * deep / np.linalg.norm(deep)
    ridge = eaves + along / 2 + peak * UP - over
    length = deep + 2 * over
    for start in (eaves - over, eaves + along - over):
        slope = ridge - start
        lower = start - 0.09 * slope + 0.03 * UP
        model.quad(lower, length, ridge + 0.03 * UP - lower, skin)
        model.quad(lower - 0.16 * UP, length, 0.16 * UP, Skin("wood", (0.30, 0.22, 0.17)))
        # the barge board along the gable
        model.quad(lower - 0.22 * UP, ridge - lower, 0.24 * UP, Skin("wood", (0.34, 0.25, 0.19)))


def _dormer(model: Model, spot: Array, along: Array, back: Array, peak: float, wall: Skin, roof: Skin) -> None:
    """A window house on the roof's left slope, which faces away from `along`."""
    out = along / np.linalg.norm(along)
    rise = 0.28
    base = spot + along * 0.5 * rise + peak * rise * UP
    across, inward = 1.7 * back, 1.6 * out
    model.quad(base + across, -across, 1.5 * UP, Skin("dormer", wall.color, (1.7, 1.5)))
    for start in (base, base + across):
        model.quad(start, inward, 1.5 * UP, Skin("plaster_blank", wall.color))
    top = base + 1.5 * UP
    gable = np.stack([top, top + across, top + across / 2 + 0.7 * UP])
    model.polygon(gable, top, across, UP, Skin("plaster_blank", wall.color))
    crest = top + across / 2 + 0.72 * UP - 0.25 * out
    for start in (top - 0.15 * back, top + across + 0.15 * back):
        model.quad(start - 0.25 * out, 2.4 * out, crest - start + 0.25 * out, roof)


def church(model: Model, corner: Array, along: Array, deep: Array, rng: np.random.Generator) -> None:
    """A nave and, at its front, a square tower with a gallery, four pinnacles and an eight-sided spire."""
    wide = float(np.linalg.norm(along))
    house(model, corner + 1.05 * along, 1.5 * along, 3.4 * deep, 14.0, Skin("church", STONE), rng)
    levels = ((21.0, 1.0), (5.0, 0.86))
    base, scale_before = corner, 1.0
    for tall, scale in levels:
        base = base + (along + deep) * (scale_before - scale) / 2
        model.box(base, along * scale, deep * scale, tall, Skin("church", STONE, (wide * scale, tall), 0.0, 7))
        base, scale_before = base + tall * UP, scale
        model.box(
            base - 0.04 * (along + deep),
            along * (scale + 0.08),
            deep * (scale + 0.08),
            0.6,
            Skin("stone", STONE),
        )
    side, back = along * scale_before, deep * scale_before
    middle = base + side / 2 + back / 2
    slate = Skin("slate", (0.27, 0.29, 0.33))
    ring = [
        middle + 0.56 * (np.cos(a) * side + np.sin(a) * back) + 0.5 * UP for a in np.arange(9) * np.pi / 4 + np.pi / 8
    ]
    for left, right in itertools.pairwise(ring):
        model.polygon(np.stack([left, right, middle + 13.0 * UP]), left, right - left, UP * 13 + middle - left, slate)
    for dx, dz in itertools.product((0.0, 0.86), repeat=2):
        _pinnacle(model, base + side * dx + back * dz, side * 0.14, back * 0.14, slate)


def _pinnacle(model: Model, foot: Array, side: Array, back: Array, slate: Skin) -> None:
    """A small pillar with a pointed cap."""
    model.box(foot, side, back, 2.2, Skin("stone", STONE))
    tip = foot + (side + back) / 2 + 4.6 * UP
    feet = [foot + 2.2 * UP + side * u + back * v for u, v in ((0, 0), (1, 0), (1, 1), (0, 1), (0, 0))]
    for left, right in itertools.pairwise(feet):
        model.polygon(np.stack([left, right, tip]), left, right - left, UP, slate)


def bridge(model: Model, start: Array, end: Array, deep: Array, arches: int) -> None:
    """A stone bridge with round arches between two points at water level; `deep` is across its roadway."""
    span = (end - start) / arches
    length = float(np.linalg.norm(span))
    pier, deck = 0.12 * length, 6.6
    skin = Skin("stone", STONE, seed=5)
    ahead = span / length
    for arch in range(arches):
        first = start + arch * span
        radius = length / 2 - pier
        angles = np.linspace(np.pi, 0, 19)
        curve = [
            first + ahead * (length / 2 + radius * np.cos(a)) + UP * (0.4 + 0.92 * radius * np.sin(a)) for a in angles
        ]
        edge = [first - UP * 0, *curve, first + span]
        edge = [first, first + ahead * pier, *curve, first + ahead * (length - pier), first + span]
        for side in (np.zeros(3), deep):
            for left, right in itertools.pairwise(edge):
                if np.linalg.norm((right - left) * (1, 0, 1)) < 1e-6:
                    continue
                roof = [p * (1, 0, 1) + UP * deck for p in (right, left)]
                model.polygon(np.stack([left, right, *roof]) + side, start + side, ahead, UP, skin)
        for left, right in itertools.pairwise(curve):
            model.quad(left, right - left, deep, Skin("stone", (0.50, 0.46, 0.40), seed=6))
        for corner in (first + ahead * pier, first + ahead * (length - pier)):
            model.quad(corner, deep, 0.4 * UP, skin)
        _cutwater(model, first, ahead, deep, pier)
    model.quad(start + deck * UP, end - start, deep, Skin("stone", (0.45, 0.43, 0.40)))
    for side in (np.zeros(3), 0.93 * deep):
        model.box(start + side + deck * UP, end - start, 0.07 * deep, 0.95, Skin("stone", STONE, seed=8))


def _cutwater(model: Model, foot: Array, ahead: Array, deep: Array, pier: float) -> None:
    """The pointed foot of a pier, on the side of the viewer."""
    tip = foot - 0.35 * deep
    left, right = foot - ahead * pier, foot + ahead * pier
    skin = Skin("stone", (0.60, 0.55, 0.46), seed=9)
    for a, b in ((left, tip), (tip, right)):
        model.quad(a, b - a, 3.0 * UP, skin)
    cap = np.stack([left + 3 * UP, tip + 3 * UP, right + 3 * UP, foot + 4 * UP])
    model.polygon(cap[[0, 1, 3]], cap[0], cap[1] - cap[0], UP, skin)
    model.polygon(cap[[1, 2, 3]], cap[1], cap[2] - cap[1], UP, skin)
