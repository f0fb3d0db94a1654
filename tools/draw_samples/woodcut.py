"""`woodcut`: a breaker over a small boat before a low sun, as a woodcut in the manner of Hokusai's time."""

from __future__ import annotations

import numpy as np
from PIL import Image

from tools.draw_samples.breakers import Wave, bands, body, foam, spray
from tools.draw_samples.canvas import Array, to_picture
from tools.draw_samples.printing import Blocks, pressed
from tools.draw_samples.shapes import disc, ribbon, smooth

__all__ = ["draw"]

ASPECT = 0.75


def draw(width: int = 1024) -> Image.Image:
    """Cut the blocks and print them.

    Args:
        width: Pixels; the height is three quarters of it.

    Returns:
        An RGB image, the same bytes on every call.
    """
    rng = np.random.default_rng(1831)
    blocks = Blocks()
    _sky(blocks)
    _islands(blocks)
    _far_sea(blocks)
    _breaker(blocks, rng)
    _boat(blocks, 0.235, 0.600, 0.115, 0.10)
    _front(blocks, rng)
    columns = 2 * width
    return to_picture(pressed(blocks.ink_map(columns, round(columns * ASPECT))), width)


def _flow(points: list[tuple[float, float]]) -> Array:
    """A curve through the points as 120 evenly spaced ones, so that two of them can be blended."""
    path = smooth(points, closed=False, per_knot=24)
    steps = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    at = np.linspace(0, steps[-1], 120)
    return np.stack([np.interp(at, steps, path[:, 0]), np.interp(at, steps, path[:, 1])], 1)


def _sky(blocks: Blocks) -> None:
    """Gray air, a low sun, and lines that grow thicker towards the top."""
    blocks.fill(np.array([(0, 0), (1, 0), (1, 0.75), (0, 0.75)]), "paper")
    blocks.fill(np.array([(0, 0), (1, 0), (1, 0.30), (0, 0.30)]), "grey")
    x = np.linspace(-0.02, 1.02, 60)
    for row in range(26):
        y = 0.012 + 0.0185 * row + 0.0022 * np.sin(9 * x + 0.8 * row)
        thick = 0.0062 * (1 - row / 26) ** 1.3 + 0.0006
        blocks.fill(ribbon(np.stack([x, y], 1), thick), "blue" if row < 5 else "middle" if row < 9 else "light")
    blocks.outlined([disc(0.195, 0.400, 0.082)], "red", 0.0026)
    for low, left, right in (
        (0.366, 0.02, 0.245),
        (0.398, 0.13, 0.40),
        (0.425, 0.05, 0.27),
        (0.075, 0.02, 0.22),
        (0.105, 0.10, 0.34),
    ):
        middle = np.stack([np.linspace(left, right, 40), low + 0.004 * np.sin(np.linspace(0, 7, 40))], 1)
        blocks.outlined([ribbon(middle, 0.015 * np.sin(np.linspace(0.0, np.pi, 40)).clip(0) ** 0.5)], "paper", 0.0018)


def _islands(blocks: Blocks) -> None:
    """Two far mountains with hatched flanks."""
    for peak, foot, half in ((0.335, 0.385, 0.17), (0.050, 0.425, 0.13)):
        t = np.linspace(-1, 1, 41)
        slope = foot + (0.56 - foot) * np.abs(t) ** 0.72 + 0.004 * np.sin(17 * t)
        ridge = np.stack([peak + half * t, slope], 1)
        blocks.outlined([np.concatenate([ridge, [(peak + half, 0.60), (peak - half, 0.60)]])], "light", 0.0026)
        snow = np.array(
            [(peak + half * s, foot + (0.56 - foot) * abs(s) ** 0.72) for s in np.linspace(-0.17, 0.17, 15)]
        )
        teeth = [(peak + half * s, foot + 0.068 + 0.022 * (i % 2)) for i, s in enumerate(np.linspace(0.17, -0.17, 9))]
        blocks.fill(np.concatenate([snow, np.array(teeth)]), "paper")
        for line in np.linspace(0.10, 0.95, 15):
            top = (peak + half * line, foot + (0.56 - foot) * line**0.72 + 0.006)
            end = (peak + half * (line * 0.72 + 0.02), top[1] + 0.075 * (1 - 0.5 * line))
            blocks.fill(ribbon(np.linspace(top, end, 12), np.linspace(0.0028, 0.0004, 12)), "line")


def _far_sea(blocks: Blocks) -> None:
    """Rows of small crests up to the horizon."""
    for row in range(9):
        y = 0.520 + 0.0045 * row**1.55
        x = np.linspace(-0.02, 1.02, 160)
        pitch = 34 - 2.4 * row
        crest = y - (0.004 + 0.0016 * row) * np.abs(np.sin(pitch * x + 1.3 * row)) ** 0.8
        outline = np.concatenate([np.stack([x, crest], 1), [(1.02, 0.80), (-0.02, 0.80)]])
        blocks.outlined([outline], ("middle", "light", "blue")[row % 3], 0.0020)
        for line in range(2):
            under = np.stack([x, crest + 0.005 + 0.005 * line], 1)
            blocks.fill(ribbon(under, 0.0013 + 0.0006 * np.sin(20 * x + row)), "paper" if row % 3 != 1 else "line")


def _breaker(blocks: Blocks, rng: np.random.Generator) -> None:
    """The great wave: it rises on the right and bows to the left, hung with foam."""
    face = _flow(
        [
            (0.02, 0.735),
            (0.25, 0.690),
            (0.42, 0.625),
            (0.515, 0.535),
            (0.545, 0.430),
            (0.515, 0.335),
            (0.440, 0.275),
            (0.350, 0.255),
            (0.285, 0.275),
        ]
    )
    back = _flow(
        [
            (1.10, 1.10),
            (1.12, 0.60),
            (1.05, 0.300),
            (0.92, 0.145),
            (0.76, 0.070),
            (0.60, 0.062),
            (0.46, 0.105),
            (0.35, 0.180),
            (0.285, 0.275),
        ]
    )
    wave = Wave(face, back)
    body(blocks, wave, "paper")
    blocks.fill(np.concatenate([wave.between(0.0), wave.between(0.60)[::-1]]), "light")
    bands(blocks, wave, 0.0, 0.62, 7)
    for share in np.linspace(0.70, 0.97, 9):
        path = wave.between(share)[10:92]
        blocks.fill(ribbon(path, 0.0022 * np.sin(np.linspace(0.05, 3.1, len(path)))), "middle")
    foam(blocks, wave.between(0.62)[36:114:2], 0.55, 0.078, -1.0, rng)
    foam(blocks, wave.between(0.28)[78:120:2], 0.6, 0.074, -1.0, rng)
    foam(blocks, wave.between(0.80)[76:120:2], 0.75, 0.076, -1.0, rng)
    for x, y, count in ((0.27, 0.36, 60), (0.40, 0.36, 50), (0.22, 0.26, 30), (0.47, 0.45, 20)):
        spray(blocks, x, y, 0.055, count, rng)


def _boat(blocks: Blocks, x: float, y: float, size: float, tilt: float) -> None:
    """A long boat with bowed rowers."""
    t = np.linspace(-1, 1, 25)
    top = np.stack([size * t, 0.30 * size * np.abs(t) ** 2.4 * -1 + 0.02 * size], 1)
    keel = np.stack([size * t[::-1] * 0.92, 0.16 * size - 0.36 * size * np.abs(t[::-1]) ** 3], 1)
    cos, sin = np.cos(tilt), np.sin(tilt)
    turn = np.array([(cos, sin), (-sin, cos)])
    for i in range(6):
        rower = np.array([(-0.52 + 0.2 * i, -0.02)]) * size @ turn + (x, y)
        blocks.outlined([disc(rower[0, 0], rower[0, 1] - 0.006, 0.0085, 1.25, -0.5)], "blue", 0.0016)
        blocks.outlined([disc(rower[0, 0] - 0.007, rower[0, 1] - 0.0165, 0.0048)], "paper", 0.0016)
    blocks.outlined([np.concatenate([top, keel]) @ turn + (x, y)], "ochre", 0.0026)
    for depth in (0.35, 0.65):
        plank = (top * (1 - depth) + keel[::-1] * depth) @ turn + (x, y)
        blocks.fill(ribbon(plank, 0.0016), "line")


def _front(blocks: Blocks, rng: np.random.Generator) -> None:
    """Swells in front: a peaked one on the left, a long one on the right."""
    face = _flow([(0.66, 0.86), (0.47, 0.765), (0.33, 0.705), (0.255, 0.655), (0.205, 0.640), (0.165, 0.655)])
    back = _flow([(-0.30, 0.95), (-0.15, 0.80), (-0.03, 0.700), (0.06, 0.635), (0.12, 0.618), (0.165, 0.655)])
    left = Wave(face, back)
    body(blocks, left, "light")
    bands(blocks, left, 0.0, 1.0, 7)
    foam(blocks, left.between(0.8)[52:120:3], 0.7, 0.052, 1.0, rng)
    spray(blocks, 0.24, 0.60, 0.035, 26, rng)
    face = _flow([(0.20, 0.82), (0.42, 0.765), (0.60, 0.700), (0.74, 0.640), (0.86, 0.615), (1.06, 0.640)])
    back = _flow([(0.30, 1.10), (0.55, 0.98), (0.78, 0.90), (0.95, 0.86), (1.05, 0.80), (1.06, 0.70)])
    right = Wave(face, back)
    body(blocks, right, "light")
    bands(blocks, right, 0.02, 0.98, 7)
    foam(blocks, right.between(0.02)[50:118:3], -0.7, 0.050, -1.0, rng)
    spray(blocks, 0.80, 0.585, 0.05, 30, rng)
