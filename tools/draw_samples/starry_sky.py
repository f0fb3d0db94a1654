"""The night sky that `starry` paints: which way the air flows and what color it has where."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tools.draw_samples.canvas import (
    Array,
    blur,
    grid,
    mix,
    palette,
    ramp,
    sample,
    smoothstep,
)
from tools.draw_samples.noise import fractal

__all__ = ["light_mask", "sky_color", "sky_flow"]

SKY = palette("0d1440", "14246b", "1c3a94", "2558b4", "3f86cc", "7db6dc", "bfdbe0", "f1efcf")
GLOW = palette("2a62b8", "6fb0cf", "c9dcb8", "f2e6a0", "f8d45a", "fbeaa0", "fffbe6")


@dataclass(frozen=True)
class Vortex:
    """A whirl: center and radius in frame units, `spin` +1 clockwise or -1."""

    x: float
    y: float
    radius: float
    spin: float


@dataclass(frozen=True)
class Star:
    """A light with a halo: center, radius of the light and of the halo in frame units."""

    x: float
    y: float
    radius: float
    halo: float


WHIRLS = (
    Vortex(0.375, 0.285, 0.125, 1.0),
    Vortex(0.605, 0.335, 0.085, -1.0),
    Vortex(0.175, 0.400, 0.050, -1.0),
    Vortex(0.735, 0.215, 0.040, 1.0),
)
MOON = Star(0.130, 0.130, 0.052, 0.120)
STARS = (
    Star(0.300, 0.070, 0.016, 0.045),
    Star(0.480, 0.095, 0.013, 0.036),
    Star(0.620, 0.125, 0.020, 0.058),
    Star(0.745, 0.070, 0.010, 0.030),
    Star(0.700, 0.455, 0.014, 0.040),
    Star(0.480, 0.455, 0.010, 0.030),
    Star(0.055, 0.310, 0.013, 0.038),
    Star(0.270, 0.465, 0.012, 0.034),
    Star(0.945, 0.090, 0.018, 0.050),
    Star(0.965, 0.330, 0.012, 0.036),
    Star(0.770, 0.320, 0.009, 0.026),
)


def sky_flow(width: int, height: int) -> Array:
    """Unit directions `(height, width, 2)` of the air: a wavy wind, whirls, circles around each light."""
    x, y = grid(width, height)
    wave = 0.35 * np.sin(6.5 * x + 1.0) + 0.5 * fractal((2.2 * x, 2.2 * y), seed=11, octaves=2)
    flow = np.stack([np.cos(wave), np.sin(wave)], -1)
    for whirl in WHIRLS:
        dx, dy = x - whirl.x, y - whirl.y
        distance = np.hypot(dx, dy) / whirl.radius
        pull = 0.28 * (1 - np.exp(-(distance**2)))
        turn = whirl.spin * np.stack([-dy, dx], -1) - pull[..., None] * np.stack([dx, dy], -1)
        turn /= np.linalg.norm(turn, axis=-1, keepdims=True) + 1e-6
        flow = mix(flow, turn, np.exp(-((distance / 1.35) ** 4)))
    for star in (MOON, *STARS):
        dx, dy = x - star.x, y - star.y
        distance = np.hypot(dx, dy)
        turn = np.stack([-dy, dx], -1) / (distance[..., None] + 1e-6)
        flow = mix(flow, turn, smoothstep(1.5 * star.halo, 0.8 * star.halo, distance))
    return np.asarray(flow / (np.linalg.norm(flow, axis=-1, keepdims=True) + 1e-6))


def _streaks(flow: Array, seed: int, reach: float) -> Array:
    """Noise smeared along the flow, in about [0, 1].

    Technique: line integral convolution, Cabral & Leedom 1993.

    Args:
        flow: `(H, W, 2)` unit directions.
        seed: Seed of the noise.
        reach: How far to smear to either side, frame units.
    """
    height, width = flow.shape[:2]
    x, y = grid(width, height)
    noise = fractal((26 * x, 26 * y), seed=seed, octaves=3)
    total = noise.copy()
    steps = 14
    for sign in (-1.0, 1.0):
        px, py = x * width - 0.5, y * width - 0.5
        for _ in range(steps):
            direction = sample(flow, px, py)
            px = px + sign * reach * width / steps * direction[..., 0]
            py = py + sign * reach * width / steps * direction[..., 1]
            total = total + sample(noise, px, py)
    total = total - total.mean()
    return np.asarray(0.5 + total / (4.2 * total.std()))


def sky_color(flow: Array) -> Array:
    """Colors `(H, W, 3)` in [0, 1] of the sky over which `flow` blows."""
    height, width = flow.shape[:2]
    x, y = grid(width, height)
    streaks = _streaks(flow, seed=5, reach=0.07)
    tone = 0.16 + 0.55 * streaks - 0.10 * smoothstep(0.2, 0.0, y)
    for whirl in WHIRLS:
        dx, dy = x - whirl.x, y - whirl.y
        distance = np.hypot(dx, dy) / whirl.radius
        arms = np.cos(2 * np.arctan2(dy, dx) * whirl.spin + 5.5 * np.log(distance + 0.15))
        tone = tone + (0.14 + 0.20 * arms) * np.exp(-((distance / 1.25) ** 4))
    # the bright river of air that passes under and over the whirls
    middle = 0.335 + 0.10 * np.sin(7.0 * x + 0.6) + 0.03 * np.sin(15 * x)
    tone = tone + 0.30 * np.exp(-(((y - middle) / 0.035) ** 2)) * smoothstep(1.0, 0.7, x)
    tone = tone + 0.26 * np.exp(-(((y - 0.515 - 0.03 * np.sin(5 * x)) / 0.035) ** 2))
    color = ramp(SKY, tone)
    color = mix(color, palette("e9cf74")[0], 0.55 * np.exp(-(((y - 0.535) / 0.022) ** 2)) * smoothstep(0.3, 0.7, tone))
    for star in (MOON, *STARS):
        distance = np.hypot(x - star.x, y - star.y) / star.halo
        ring = 0.10 * np.sin(22 * distance + 40 * star.x)
        inside = smoothstep(1.15, 0.55, distance + 0.25 * (streaks - 0.5))
        color = mix(color, ramp(GLOW, 1.05 - 0.95 * distance + ring), inside)
        light = smoothstep(1.1, 0.8, distance * star.halo / star.radius)
        color = mix(color, palette("fff6cf" if star.x < 0.5 else "f9c95a")[0], light)
    return blur(_crescent(color, x, y), 0.6)


def light_mask(width: int, height: int) -> Array:
    """1 around the moon and the stars, where finer strokes are wanted, 0 elsewhere; `(height, width)`."""
    x, y = grid(width, height)
    mask = np.zeros_like(x)
    for star in (MOON, *STARS):
        mask = np.maximum(mask, np.hypot(x - star.x, y - star.y) < 0.8 * star.halo)
    return np.asarray(mask, np.float32)


def _crescent(color: Array, x: Array, y: Array) -> Array:
    """The moon's sickle: an orange disc with a paler disc cut out of it."""
    disc = smoothstep(1.05, 0.95, np.hypot(x - MOON.x, y - MOON.y) / MOON.radius)
    cut = smoothstep(1.1, 0.9, np.hypot(x - MOON.x + 0.024, y - MOON.y + 0.012) / (0.82 * MOON.radius))
    color = mix(color, palette("f3c23c")[0], disc)
    return mix(color, palette("fbeeb0")[0], disc * cut)
