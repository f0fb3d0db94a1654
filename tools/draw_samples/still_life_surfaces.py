"""The skins of `still_life`: color, gloss and bumps of fruit, glaze, glass, wood, linen and plaster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tools.draw_samples.canvas import Array, mix, palette, ramp, smoothstep, to_linear
from tools.draw_samples.noise import fractal, perlin
from tools.draw_samples.solids import Solid

__all__ = [
    "BUMPS",
    "GLOSS",
    "Gloss",
    "cloth_cover",
    "cloth_height",
    "solid_color",
    "table_color",
    "wall_color",
]


@dataclass(frozen=True)
class Gloss:
    """How a surface shines: mirror share seen head-on, and blur of its highlights (0 sharp, 1 dull)."""

    mirror: float
    blur: float


GLOSS = {
    "jug": Gloss(0.05, 0.03),
    "bowl": Gloss(0.045, 0.06),
    "bottle": Gloss(0.06, 0.015),
    "cork": Gloss(0.0, 1.0),
    "stalk": Gloss(0.0, 1.0),
    "apple": Gloss(0.04, 0.16),
    "green": Gloss(0.04, 0.16),
    "orange": Gloss(0.03, 0.34),
    "lemon": Gloss(0.03, 0.30),
    "pear": Gloss(0.02, 0.36),
    "grape": Gloss(0.04, 0.08),
}

BUMPS = {
    "orange": (19.0, 0.16),
    "lemon": (15.0, 0.14),
    "cork": (20.0, 0.3),
    "pear": (7.0, 0.03),
    "jug": (1.6, 0.03),
}
"""Size in bumps per decimetre, and depth as the slope they add to the surface."""


def solid_color(solid: Solid, points: Array) -> Array:
    """Linear color `(n, 3)` of a solid at scene points `(n, 3)`."""
    p = solid.local(points)
    return to_linear(np.clip(_PAINTERS[solid.name](solid, p), 0, 1))


def _apple(solid: Solid, p: Array) -> Array:
    """Red over yellow in streaks from stalk to calyx, with pale dots."""
    angle = np.arctan2(p[:, 2], p[:, 0])
    up = p[:, 1] / 0.7
    ring = (3.2 * np.cos(angle), 3.2 * np.sin(angle), 0.5 * up)
    streak = fractal(ring, solid.seed, 4)
    fine = fractal((14 * np.cos(angle), 14 * np.sin(angle), 0.8 * up), solid.seed + 40, 3)
    blush = 0.55 + 0.5 * streak + 0.30 * fine - 0.5 * smoothstep(0.35, 1.0, up) - 0.25 * smoothstep(-0.4, -0.9, up)
    color = ramp(palette("d9b44a", "cf7a30", "b52a22", "8e1519"), blush + 0.12)
    color = mix(color, palette("e9c98a")[0], 0.6 * _dots(p, 9.0, solid.seed))
    return _stalk(color, p)


def _green(solid: Solid, p: Array) -> Array:
    """A green apple with a yellow cheek."""
    tone = 0.5 + 0.5 * fractal((1.6 * p[:, 0], 1.6 * p[:, 1], 1.6 * p[:, 2]), solid.seed, 4)
    color = ramp(palette("6f8f2c", "93ab3b", "bcc255"), tone)
    color = mix(color, palette("e2dda0")[0], 0.6 * _dots(p, 9.0, solid.seed))
    return _stalk(color, p)


def _stalk(color: Array, p: Array) -> Array:
    """Brown shade in the hollow around the stalk."""
    across = np.hypot(p[:, 0], p[:, 2])
    return mix(color, palette("6b5a24")[0], 0.8 * smoothstep(0.22, 0.02, across) * (p[:, 1] > 0))


def _dots(p: Array, scale: float, seed: int) -> Array:
    """Small pale lenticels, 0 to 1."""
    return smoothstep(0.34, 0.48, perlin((scale * p[:, 0], scale * p[:, 1], scale * p[:, 2]), seed + 90))


def _citrus(low: str, high: str, p: Array, seed: int) -> Array:
    """Even skin with pores."""
    tone = 0.5 + 0.4 * fractal((2.0 * p[:, 0], 2.0 * p[:, 1], 2.0 * p[:, 2]), seed, 3)
    pores = perlin((17 * p[:, 0], 17 * p[:, 1], 17 * p[:, 2]), seed + 7)
    return ramp(palette(low, high), tone + 0.35 * pores)


def _pear(solid: Solid, p: Array) -> Array:
    """Yellow-green with a rusty cheek and brown specks."""
    blush = fractal((1.3 * p[:, 0], 0.8 * p[:, 1], 1.3 * p[:, 2]), solid.seed, 4) - 0.5 * p[:, 0]
    color = ramp(palette("a9a544", "c4ac4a", "b9752f"), 0.45 + 0.6 * blush)
    specks = smoothstep(0.30, 0.42, perlin((34 * p[:, 0], 34 * p[:, 1], 34 * p[:, 2]), solid.seed + 3))
    color = mix(color, palette("6e4f22")[0], 0.55 * specks)
    return mix(color, palette("3c2814")[0], smoothstep(0.10, 0.05, np.hypot(p[:, 0], p[:, 2])) * (p[:, 1] > 0.9))


def _grape(solid: Solid, p: Array) -> Array:
    """Dark blue-violet with bloom on it."""
    rng = np.random.default_rng(solid.seed)
    base = mix(palette("3a1636")[0], palette("23204d")[0], np.asarray(rng.random()))
    bloom = 0.5 + 0.6 * fractal((6 * p[:, 0] + solid.seed, 6 * p[:, 1], 6 * p[:, 2]), 5, 3)
    return mix(np.broadcast_to(base, p.shape), palette("767a9c")[0], np.clip(0.30 * bloom, 0, 0.5))


def _jug(solid: Solid, p: Array) -> Array:
    """White tin glaze with blue bands, a wave and leaves around the belly."""
    angle = np.arctan2(p[:, 2], p[:, 0])
    tall = p[:, 1]
    uneven = 0.02 * fractal((3 * np.cos(angle), 3 * np.sin(angle), 3 * tall), 3, 3)
    blue = np.zeros_like(tall)
    for level, half in ((0.30, 0.035), (0.42, 0.012), (1.72, 0.035), (1.84, 0.012), (2.55, 0.05)):
        blue = np.maximum(blue, smoothstep(half + 0.012, half - 0.008, np.abs(tall - level + uneven)))
    vine = tall - 1.06 - 0.20 * np.sin(6 * angle)
    blue = np.maximum(blue, smoothstep(0.030, 0.014, np.abs(vine + uneven)))
    for sign in (-1.0, 1.0):
        turn = (6 * angle / np.pi + 0.5 * sign) % 2 - 1
        leaf = np.hypot(turn / 0.30, (tall - 1.06 - 0.19 * sign * -1 - 0.15 * turn) / 0.13)
        blue = np.maximum(blue, 0.8 * smoothstep(1.05, 0.9, leaf) * (tall > 0.5))
    if solid.center[1] > 0:
        blue = smoothstep(0.05, 0.02, np.abs(np.hypot(p[:, 0], p[:, 1] / 1.35) - 0.60))
    glaze = ramp(palette("d8d2c4", "efeade"), 0.6 + 10 * uneven)
    return mix(glaze, palette("24418c")[0], np.clip(blue * (0.85 + 8 * uneven), 0, 0.95))


def _bowl(solid: Solid, p: Array) -> Array:
    """Terracotta outside, with a cream slip on the rim and inside."""
    tone = 0.5 + 0.5 * fractal((2 * p[:, 0], 9 * p[:, 1], 2 * p[:, 2]), 23, 4)
    color = ramp(palette("8e4a2a", "a85c34", "bd7244"), tone)
    slip = smoothstep(-0.55, -0.50, p[:, 1] + 0.03 * np.sin(9 * np.arctan2(p[:, 2], p[:, 0])))
    inside = np.linalg.norm(p, axis=1) < 1.44
    slip = np.where(solid.bound > 1, np.maximum(slip, inside), 0)
    return mix(color, palette("e0cfa6")[0], slip)


def _bottle(solid: Solid, p: Array) -> Array:
    """Dark green glass with a paper label."""
    angle = np.arctan2(p[:, 0], -p[:, 2])
    edge = 0.02 * fractal((8 * angle, 8 * p[:, 1]), 4, 2)
    label = (np.abs(angle + 0.25 + edge) < 0.95) & (np.abs(p[:, 1] - 1.15 + edge) < 0.48)
    lines = (np.abs(np.abs(p[:, 1] - 1.15) - 0.40) < 0.018) | (
        (np.abs((p[:, 1] * 9) % 1 - 0.5) < 0.16) & (np.abs(angle + 0.25) < 0.6) & (np.abs(p[:, 1] - 1.12) < 0.27)
    )
    paper = mix(np.broadcast_to(palette("d9c9a0")[0], p.shape), palette("6b3a2a")[0], 0.75 * lines)
    glass = np.broadcast_to(palette("12301c")[0], p.shape)
    return mix(glass, paper, label.astype(np.float32))


_PAINTERS: dict[str, Callable[[Solid, Array], Array]] = {
    "apple": _apple,
    "green": _green,
    "orange": lambda solid, p: _citrus("c9661a", "ea9a30", p, solid.seed),
    "lemon": lambda solid, p: _citrus("d2ac28", "efd857", p, solid.seed),
    "pear": _pear,
    "grape": _grape,
    "jug": _jug,
    "bowl": _bowl,
    "bottle": _bottle,
    "stalk": lambda solid, p: ramp(
        palette("3a2a16", "5e4826"), 0.5 + fractal((9 * p[:, 0], 9 * p[:, 1], 9 * p[:, 2]), 4)
    ),
    "cork": lambda solid, p: ramp(
        palette("8a6440", "c19a6b"), 0.5 + fractal((9 * p[:, 0], 9 * p[:, 1], 9 * p[:, 2]), 2)
    ),
}


def table_color(x: Array, z: Array) -> Array:
    """Linear color of an old oak table top: planks, grain, knots."""
    plank = np.floor((z + 0.35) / 1.1)
    shift = 3.7 * plank
    warp = 0.35 * fractal((0.35 * x + shift, 1.2 * z), 71, 3)
    rings = fractal((0.25 * x + shift, 5.0 * (z + warp)), 72, 4)
    fibres = fractal((1.4 * x, 42 * (z + 0.1 * warp)), 73, 3)
    tone = 0.48 + 0.38 * rings + 0.20 * fibres + 0.10 * np.sin(2.4 * plank)
    color = ramp(palette("3a2010", "64391c", "8a552c", "ab7541"), tone)
    gap = np.abs((z + 0.35) / 1.1 - np.round((z + 0.35) / 1.1)) * 1.1
    return to_linear(mix(color, palette("1c0e06")[0], 0.85 * smoothstep(0.03, 0.008, gap)))


def cloth_cover(x: Array, z: Array) -> tuple[Array, Array]:
    """The linen runner: distance inside its outline in decimetres, and its linear color."""
    along, across = 0.94 * x + 0.34 * z, -0.34 * x + 0.94 * z
    inside = np.minimum(1.75 - np.abs(across + 0.55), 3.35 - np.abs(along + 2.2))
    inside = inside + 0.05 * fractal((1.5 * x, 1.5 * z), 83, 2)
    weave = 0.5 + 0.25 * np.sign(np.sin(95 * along)) * np.sign(np.sin(95 * across))
    tone = weave * 0.35 + 0.35 + 0.25 * fractal((4 * x, 4 * z), 81, 4)
    color = ramp(palette("c6bda6", "e6dfcd"), tone)
    for low, high in ((0.22, 0.36), (0.43, 0.47)):
        stripe = smoothstep(low - 0.01, low, inside) * smoothstep(high + 0.01, high, inside)
        color = mix(color, palette("9c2f2a")[0], 0.85 * stripe)
    return inside, to_linear(color)


def cloth_height(x: Array, z: Array) -> Array:
    """Folds of the linen in decimetres above the table, 0 beside it."""
    along, across = 0.94 * x + 0.34 * z, -0.34 * x + 0.94 * z
    inside = np.minimum(1.75 - np.abs(across + 0.55), 3.35 - np.abs(along + 2.2))
    folds = fractal((0.55 * along, 1.5 * across), 85, 2)
    ridges = 0.16 * (1 - np.abs(folds)) ** 3 + 0.012 * fractal((3 * along, 3 * across), 86, 2)
    crease = 0.02 * np.exp(-(((along + 1.9) / 0.05) ** 2)) + 0.02 * np.exp(-((across / 0.05) ** 2))
    return np.asarray((ridges + crease) * smoothstep(-0.02, 0.25, inside))


def wall_color(x: Array, y: Array) -> Array:
    """Linear color of lime plaster."""
    cloudy = fractal((0.5 * x, 0.5 * y), 91, 6, gain=0.62)
    return to_linear(ramp(palette("8d8878", "a9a391", "bdb6a2"), 0.5 + 0.45 * cloudy))
