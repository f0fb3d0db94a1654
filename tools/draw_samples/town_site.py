"""The town's plan: where the quay runs, where houses, church, bridge, banks and trees stand."""

from __future__ import annotations

import numpy as np

from tools.draw_samples.canvas import Array
from tools.draw_samples.town_houses import UP, bridge, church, house
from tools.draw_samples.town_model import Ball, Model, Skin

__all__ = ["build"]

START = np.array((28.0, 0.0, 12.0))
DOWN = np.array((-0.527, 0.0, 0.850))
"""Direction of the quay, away from the viewer."""
LAND = np.array((0.850, 0.0, 0.527))
"""From the river into the town."""
QUAY = 2.6
"""Height of the quay above the water."""
PLASTER = (
    (0.88, 0.76, 0.50),
    (0.86, 0.83, 0.75),
    (0.82, 0.62, 0.50),
    (0.78, 0.74, 0.62),
    (0.86, 0.70, 0.40),
    (0.74, 0.76, 0.74),
    (0.84, 0.66, 0.58),
    (0.90, 0.87, 0.80),
    (0.70, 0.50, 0.36),
    (0.80, 0.79, 0.68),
)


def _at(down: float, inland: float, height: float = 0.0) -> Array:
    """A place by its metres down the quay, inland from its edge, and above the water."""
    return np.asarray(START + down * DOWN + inland * LAND + height * UP)


def _rise(inland: float) -> float:
    """Height of the ground: level along the quay, then uphill."""
    return QUAY + 0.17 * max(inland - 14.0, 0.0)


def build() -> Model:
    """The whole town."""
    rng = np.random.default_rng(1477)
    model = Model()
    _ground(model)
    for row, inland in enumerate((7.0, 22.0, 37.0, 53.0)):
        _row(model, inland, 4.0 + 3.0 * row, rng)
    church(model, _at(76, 27.0, _rise(28.0) - 1), 6.2 * DOWN * -1, 6.2 * LAND, rng)
    bridge(model, _at(95, 0.0), _at(95, -62.0), 6.0 * DOWN, arches=5)
    _far_bank(model, rng)
    _plants(model, rng)
    return model


def _row(model: Model, inland: float, first: float, rng: np.random.Generator) -> None:
    """Houses side by side along the quay, from right to left as seen from the river."""
    down = first
    while down < 92:
        wide, tall = rng.uniform(6.8, 10.5), rng.uniform(7.0, 12.5)
        if inland > 15 and rng.random() < 0.15:
            down += wide * 0.6
            continue
        color = PLASTER[rng.integers(len(PLASTER))]
        kind = str(rng.choice(("plaster", "plaster", "shutters", "timber")))
        setback = rng.uniform(0.0, 2.2)
        # seen from the river the far end of the quay is on the left
        corner = _at(down + wide, inland + setback, _rise(inland) - 0.3)
        house(model, corner, -wide * DOWN, 11.0 * LAND, tall, Skin(kind, color), rng, bool(rng.random() < 0.68))
        down += wide + (rng.uniform(0.8, 2.2) if rng.random() < 0.3 else 0.05)


def _ground(model: Model) -> None:
    """Quay wall, its rail, the path on it, the slope behind and the bank on the viewer's left."""
    long = 130.0 * DOWN
    model.quad(_at(-15, 0.0), long, QUAY * UP, Skin("stone", (0.58, 0.52, 0.43), seed=2))
    model.box(_at(-15, 0.0, QUAY), long, 0.45 * LAND, 0.85, Skin("stone", (0.62, 0.56, 0.46), seed=4))
    model.quad(_at(-15, 0.0, QUAY), long, 14 * LAND, Skin("earth", (0.52, 0.47, 0.38)))
    model.quad(_at(-15, 14.0, QUAY), long, 70 * LAND + 70 * 0.17 * UP, Skin("grass", (0.30, 0.36, 0.18)))


def _far_bank(model: Model, rng: np.random.Generator) -> None:
    """Land and a few houses beyond the bridge."""
    wide = np.array((330.0, 0.0, 0.0))
    grass = Skin("grass", (0.32, 0.37, 0.19))
    model.quad(np.array((-160.0, 0.0, 150.0)), wide, np.array((0.0, 1.8, 2.0)), grass)
    model.quad(np.array((-160.0, 1.8, 152.0)), wide, np.array((0.0, 14.0, 90.0)), grass)
    for x, z in (
        (-92, 168),
        (-80, 160),
        (-69, 172),
        (-57, 163),
        (-46, 170),
        (-34, 165),
        (-22, 172),
        (-84, 190),
        (-63, 196),
        (-40, 192),
    ):
        corner = np.array((x, 1.8 + (z - 152) * 0.155, z), float)
        color = PLASTER[rng.integers(len(PLASTER))]
        turn = rng.uniform(-0.5, 0.3)
        along = rng.uniform(7, 10) * np.array((np.cos(turn), 0, np.sin(turn)))
        deep = 10.0 * np.array((-np.sin(turn), 0, np.cos(turn)))
        house(
            model,
            corner,
            along,
            deep,
            rng.uniform(6, 8.5),
            Skin("plaster", color),
            rng,
            bool(rng.random() < 0.5),
        )


def _plants(model: Model, rng: np.random.Generator) -> None:
    """Trees on the quay and beyond the bridge, ivy and bushes, a tall tree near the viewer on the left."""
    for down, inland, size in (
        (27, 3.2, 3.4),
        (38, 3.0, 4.4),
        (47, 3.4, 3.6),
        (58, 3.0, 5.0),
        (67, 3.3, 4.2),
        (77, 3.0, 5.2),
        (86, 3.2, 4.6),
    ):
        _tree(model, _at(down, inland, QUAY), size, rng)
    for _ in range(26):
        _bush(model, _at(rng.uniform(14, 92), rng.uniform(1.2, 2.6), QUAY), rng.uniform(0.5, 1.2), rng)
    for _ in range(24):
        x, z = rng.uniform(-110, 40), rng.uniform(151, 160)
        _tree(model, np.array((x, 1.5, z)), rng.uniform(5, 8), rng, leaves=260)
    for _ in range(34):
        inland = rng.uniform(66, 84)
        _tree(model, _at(rng.uniform(-5, 112), inland, _rise(inland) - 1), rng.uniform(6, 9), rng, leaves=200)
    _tree(model, np.array((-15.5, 0.0, 27.0)), 11.5, rng, leaves=8000)
    _boat(model, np.array((-2.5, 0.0, 34.0)), np.array((2.9, 0.0, 0.9)))


def _tree(model: Model, foot: Array, size: float, rng: np.random.Generator, leaves: int = 1100) -> None:
    """A broad tree of height about 1.6 `size`: lumps of leaves around a trunk; more leaves are finer ones."""
    trunk = Skin("wood", (0.26, 0.21, 0.16))
    girth = 0.05 * size
    model.box(foot - (girth, 0, girth), np.array((2 * girth, 0, 0)), np.array((0, 0, 2 * girth)), 1.0 * size, trunk)
    base = np.array((0.25, 0.31, 0.11)) * rng.uniform(0.8, 1.2) + rng.uniform(-0.02, 0.04, 3) * (
        1.6,
        0.8,
        0.3,
    )
    heart = foot + 1.1 * size * UP
    lumps = int(6 + leaves**0.42)
    tuft = 1.55 * size / leaves**0.5
    for _ in range(lumps):
        away = rng.normal(size=3)
        away /= np.linalg.norm(away)
        center = heart + away * size * (0.40, 0.44, 0.40) * rng.uniform(0.6, 1.1)
        radius = size * rng.uniform(0.14, 0.30)
        shade = rng.uniform(0.85, 1.15)
        for _ in range(leaves // lumps):
            out = rng.normal(size=3)
            out /= np.linalg.norm(out)
            place = center + out * radius * rng.uniform(0.6, 1.15) ** 0.6
            outward = 0.6 * out + 0.5 * away
            color = base * shade * rng.uniform(0.75, 1.25)
            ball = Ball(place, tuft * rng.uniform(0.6, 1.3), outward / np.linalg.norm(outward), color)
            model.balls.append(ball)


def _boat(model: Model, middle: Array, half: Array) -> None:
    """A flat river boat: two curved sides and a floor; `half` reaches from its middle to its bow."""
    side = np.cross(half, UP) / np.linalg.norm(half)
    wood, inside = Skin("wood", (0.36, 0.20, 0.12)), Skin("wood", (0.42, 0.33, 0.22))
    t = np.linspace(-1, 1, 11)
    beam = 0.75 * np.sqrt(np.clip(1 - t**2, 0, 1))
    sheer = 0.42 + 0.40 * t**2
    for sign in (-1.0, 1.0):
        top = [middle + half * a + sign * side * b + UP * h for a, b, h in zip(t, beam, sheer, strict=True)]
        low = [middle + half * a * 0.92 + sign * side * b * 0.75 for a, b in zip(t, beam, strict=True)]
        for k in range(len(t) - 1):
            corners = np.stack([low[k], low[k + 1], top[k + 1], top[k]])
            model.polygon(corners[:3], low[k], half, UP, wood)
            model.polygon(corners[[0, 2, 3]], low[k], half, UP, wood)
        for k in range(len(t) - 1):
            floor = np.stack([low[k], low[k + 1], middle + half * t[k + 1] * 0.92, middle + half * t[k] * 0.92])
            model.polygon(floor + 0.15 * UP, low[k] + 0.15 * UP, half, side, inside)
    for share in (-0.45, 0.35):
        model.box(middle + half * share - 0.7 * side + 0.30 * UP, 1.4 * side, 0.07 * half, 0.08, inside)


def _bush(model: Model, foot: Array, size: float, rng: np.random.Generator) -> None:
    """A low shrub."""
    base = np.array((0.24, 0.30, 0.12)) * rng.uniform(0.7, 1.3)
    for _ in range(40):
        out = rng.normal(size=3)
        out /= np.linalg.norm(out)
        place = foot + size * (0.55 * UP + out * (1.1, 0.7, 1.1) * rng.uniform(0.6, 1.0))
        model.balls.append(Ball(place, 0.17 * size, out, base * rng.uniform(0.75, 1.25)))
