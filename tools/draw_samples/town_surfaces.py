"""The skins of `town`: plaster with windows, timber, tiles, stone, grass; from places in metres."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tools.draw_samples.canvas import Array, mix, palette, smoothstep, to_linear
from tools.draw_samples.noise import fractal, perlin
from tools.draw_samples.town_model import Skin

__all__ = ["face_color"]

FLOOR = 2.9
"""Height of a storey in metres."""
PITCH = 2.15
"""Distance between window axes in metres."""


def face_color(skin: Skin, u: Array, v: Array) -> Array:
    """Linear color `(n, 3)` at skin coordinates in metres: `u` along the wall, `v` up."""
    return to_linear(np.clip(PAINTERS[skin.kind](skin, u, v), 0, 1))


def _plain(skin: Skin, u: Array, v: Array) -> Array:
    """Plaster without openings: cloudy, streaked by rain, darker at its foot."""
    cloudy = fractal((0.35 * u + skin.seed, 0.35 * v), 1, 4)
    streaks = fractal((1.6 * u + skin.seed, 0.12 * v), 2, 3)
    tone = 1 + 0.09 * cloudy + 0.07 * streaks - 0.16 * smoothstep(1.6, 0.0, v + 0.5 * cloudy)
    return np.asarray(np.asarray(skin.color, np.float32) * tone[:, None])


def _windows(skin: Skin, u: Array, v: Array, color: Array, shutters: bool) -> Array:
    """Windows in rows over a wall's color, as many as fit under the eaves and the gable."""
    wide, tall = skin.size
    count = max(int((wide - 0.8) / PITCH), 1)
    column = np.clip(np.floor((u - wide / 2) / PITCH + count / 2), 0, count - 1)
    middle = (column - count / 2 + 0.5) * PITCH + wide / 2
    storey = np.floor((v - 0.2) / FLOOR)
    x, y = u - middle, v - (storey * FLOOR + 1.85)
    slope = skin.peak / (wide / 2) if wide else 0.0
    roof = tall + (wide / 2 - np.abs(middle - wide / 2) - 0.75) * slope if skin.peak else np.full_like(u, tall)
    fits = (storey * FLOOR + 1.85 + 0.95 < roof) & (storey >= 0)
    ids = (storey * 17 + column * 5 + skin.seed).astype(int)
    chance = np.random.default_rng(skin.seed).random(512)[ids % 512]
    half_w, half_h = 0.50, 0.74
    if shutters:
        blind = (np.abs(np.abs(x) - 0.82) < 0.28) & (np.abs(y) < half_h + 0.04) & fits
        slats = 0.82 + 0.18 * np.sign(np.sin(y * 42))
        hue = palette("5d7a52", "6b3a35", "4f6a78", "7a6a4a")[skin.seed % 4]
        color = np.where(blind[:, None], hue * slats[:, None], color)
    frame = (np.abs(x) < half_w + 0.13) & (np.abs(y) < half_h + 0.13) & fits
    sill = (np.abs(x) < half_w + 0.2) & (np.abs(y + half_h + 0.16) < 0.06) & fits
    color = np.where((frame | sill)[:, None], palette("e6e0d2")[0], color)
    glass = (np.abs(x) < half_w) & (np.abs(y) < half_h) & fits
    bars = (np.abs(x) < 0.05) | (np.abs(y - 0.22) < 0.045) | (np.abs(np.abs(x) - half_w) < 0.05)
    sky = np.clip(0.5 + 0.5 * y / half_h, 0, 1) * (0.4 + 0.6 * chance)
    pane = mix(palette("171c22")[0], palette("6f8aa0")[0], 0.75 * sky)
    curtain = (chance > 0.62) & (np.abs(x) > 0.20)
    pane = np.where(curtain[:, None], palette("b9b3a4")[0] * (0.7 + 0.3 * sky)[:, None], pane)
    pane = np.where((y > half_h - 0.16)[:, None], pane * 0.5, pane)
    return np.where((glass & ~bars)[:, None], pane, color)


def _plaster(skin: Skin, u: Array, v: Array) -> Array:
    """Plaster with windows."""
    return _windows(skin, u, v, _plain(skin, u, v), shutters=False)


def _shutters(skin: Skin, u: Array, v: Array) -> Array:
    """Plaster with windows and shutters."""
    return _windows(skin, u, v, _plain(skin, u, v), shutters=True)


def _timber(skin: Skin, u: Array, v: Array) -> Array:
    """Half-timbering above a plastered ground floor."""
    color = _plain(skin, u, v)
    wide = skin.size[0]
    count = max(int((wide - 0.8) / PITCH), 1)
    grid_u = (u - wide / 2) / PITCH + count / 2
    storey = (v - 0.2) / FLOOR
    post = np.abs(grid_u - np.round(grid_u)) * PITCH < 0.11
    sill = np.abs(storey - np.round(storey)) * FLOOR < 0.15
    rail = np.abs((storey % 1) - 0.30) * FLOOR < 0.07
    brace = np.abs((grid_u % 1) * 1.0 - (storey % 1) / 0.30) < 0.10
    brace &= (storey % 1) < 0.30
    beam = (post | sill | rail | brace) & (v > FLOOR)
    wood = palette("4b3021")[0] * (1 + 0.2 * fractal((9 * u, 9 * v), 5, 2))[:, None]
    return _windows(skin, u, v, np.where(beam[:, None], wood, color), shutters=False)


def _roof(skin: Skin, u: Array, v: Array) -> Array:
    """Rows of plain tiles, each burnt a little differently, with moss in places."""
    row = np.floor(v / 0.34)
    tile = np.floor(u / 0.24 + 0.5 * (row % 2))
    burnt = np.random.default_rng(5).random(4096)[((row * 71 + tile * 13).astype(int) + skin.seed) % 4096]
    lap = (v / 0.34) % 1
    tone = (
        0.80 + 0.34 * burnt - 0.34 * smoothstep(0.22, 0.0, lap) + 0.12 * fractal((0.5 * u + skin.seed, 0.5 * v), 7, 3)
    )
    color = np.asarray(skin.color, np.float32) * tone[:, None]
    moss = smoothstep(0.15, 0.6, fractal((0.6 * u + skin.seed, 0.9 * v), 8, 4))
    return mix(color, palette("5c5440")[0], 0.55 * moss)


def _stone(skin: Skin, u: Array, v: Array) -> Array:
    """Coursed rubble with mortar."""
    row = np.floor(v / 0.42)
    wide = 0.85
    shift = np.random.default_rng(9).random(512)[row.astype(int) % 512]
    column = np.floor(u / wide + shift)
    hue = np.random.default_rng(10).random(4096)[((row * 57 + column * 11).astype(int) + skin.seed) % 4096]
    joint_v, joint_u = np.abs((v / 0.42) % 1 - 0.5) * 0.42, np.abs((u / wide + shift) % 1 - 0.5) * wide
    joint = np.maximum(smoothstep(0.165, 0.20, joint_v), smoothstep(0.375, 0.415, joint_u))
    worn = fractal((0.9 * u + skin.seed, 0.9 * v), 11, 5, gain=0.6)
    tone = 0.82 + 0.30 * hue + 0.22 * worn - 0.30 * joint
    color = np.asarray(skin.color, np.float32) * tone[:, None]
    damp = smoothstep(0.9, 0.0, v + 0.5 * worn)
    return mix(color, palette("39382c")[0], 0.75 * damp)


def _church(skin: Skin, u: Array, v: Array) -> Array:
    """Ashlar with tall pointed windows in two heights."""
    color = _stone(skin, u, v)
    wide, tall = skin.size
    opening = np.zeros(u.shape, bool)
    bars = np.zeros(u.shape, bool)
    slots = 1 if wide < 8 else max(int(wide / 4.2), 1)
    x = (u / wide * slots) % 1 * wide / slots - wide / slots / 2
    for foot, head in (
        (tall - 6.0, tall - 2.6),
        (tall - 13.0, tall - 10.2),
        (2.5, tall - 5.5 if wide > 8 else 4.8),
    ):
        if head <= foot or foot < 1:
            continue
        arch = np.where(v > head, np.abs(x) + 0.6 * np.clip(v - head, 0, None), np.abs(x)) < 0.72
        here = arch & (v > foot)
        opening |= here & (v < head + 1.4)
        bars |= here & (np.abs(x) < 0.08)
    color = np.where(opening[:, None], palette("20232a")[0], color)
    return np.where((opening & bars)[:, None], np.asarray(skin.color, np.float32) * 0.8, color)


def _ground(skin: Skin, u: Array, v: Array) -> Array:
    """Grass or trodden earth."""
    tone = 1 + 0.28 * fractal((0.25 * u, 0.25 * v), 21, 4) + 0.25 * perlin((3.1 * u, 3.1 * v), 22)
    return np.asarray(np.asarray(skin.color, np.float32) * tone[:, None])


def _slate(skin: Skin, u: Array, v: Array) -> Array:
    """Thin dark rows with a verdigris tint."""
    tone = 0.9 + 0.16 * np.sign(np.sin(v * 14)) * 0.5 + 0.25 * fractal((0.8 * u, 0.4 * v), 24, 3)
    return np.asarray(np.asarray(skin.color, np.float32) * tone[:, None])


def _wood(skin: Skin, u: Array, v: Array) -> Array:
    """Boards with a grain along them."""
    return np.asarray(skin.color, np.float32) * (1 + 0.18 * fractal((2 * u, 9 * v), 25, 3))[:, None]


def _dormer(skin: Skin, u: Array, v: Array) -> Array:
    """One window in a small wall."""
    color = np.broadcast_to(np.asarray(skin.color, np.float32), (len(u), 3))
    x, y = np.abs(u - 0.85), np.abs(v - 0.75)
    color = np.where(((x < 0.62) & (y < 0.56))[:, None], palette("e6e0d2")[0], color)
    glass = (x < 0.5) & (y < 0.45) & (x > 0.05)
    return np.where(glass[:, None], palette("2b333c")[0], color)


PAINTERS: dict[str, Callable[[Skin, Array, Array], Array]] = {
    "plaster": _plaster,
    "plaster_blank": _plain,
    "shutters": _shutters,
    "timber": _timber,
    "roof": _roof,
    "stone": _stone,
    "church": _church,
    "grass": _ground,
    "earth": _ground,
    "slate": _slate,
    "wood": _wood,
    "dormer": _dormer,
}
