"""The cartoon of `mosaic`: two peacocks at a fountain under a vine, fish below, a plaited border around."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tools.draw_samples.canvas import Array
from tools.draw_samples.mosaic_border import lay_border
from tools.draw_samples.mosaic_cartoon import BAND, STONES, Cartoon, box
from tools.draw_samples.shapes import disc, ribbon, smooth, spiral

__all__ = ["cartoon"]

# fmt: off
TAIL = (
    (0.245, 0.385), (0.190, 0.345), (0.130, 0.335), (0.090, 0.385), (0.083, 0.455), (0.098, 0.520),
    (0.150, 0.548), (0.225, 0.525), (0.280, 0.480),
)
BODY = (
    (0.395, 0.268), (0.372, 0.248), (0.346, 0.262), (0.335, 0.300), (0.322, 0.345), (0.285, 0.370),
    (0.240, 0.395), (0.222, 0.440), (0.245, 0.485), (0.295, 0.498), (0.340, 0.475), (0.366, 0.425),
    (0.374, 0.365), (0.378, 0.315),
)
BREAST = (
    (0.345, 0.300), (0.340, 0.345), (0.318, 0.385), (0.322, 0.440), (0.345, 0.455), (0.360, 0.420),
    (0.366, 0.360), (0.366, 0.310),
)
# fmt: on


def cartoon(width: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Draw the design.

    Args:
        width: Pixels; the height is three quarters of it.

    Returns:
        `(H, W)` number of the shape at each pixel, and `(k,)` index into `STONES` of each shape.
    """
    height = round(width * 0.75)
    design = Cartoon([])
    design.add(box(0, 0, 1, 0.75), "navy")
    design.add(box(BAND, BAND, 1 - BAND, 0.75 - BAND), "gold")
    _ground(design)
    _vine(design)
    _fountain(design)
    _peacock(design)
    _fish(design)
    lay_border(design)
    image = Image.new("I", (width, height), 0)
    draw = ImageDraw.Draw(image)
    for number, (outline, _) in enumerate(design.shapes):
        draw.polygon([(float(x) * width, float(y) * width) for x, y in outline], fill=number)
    return np.asarray(image), np.array([tuple(STONES).index(stone) for _, stone in design.shapes])


def _ground(design: Cartoon) -> None:
    """Meadow, bank and a pond with waves."""
    x = np.linspace(BAND, 1 - BAND, 60)
    bottom = np.array([(1 - BAND, 0.75 - BAND), (BAND, 0.75 - BAND)])
    for level, swing, stone in ((0.545, 0.008, "green"), (0.572, 0.006, "brown"), (0.586, 0.004, "blue")):
        top = np.stack([x, level + swing * np.cos(6 * np.pi * (x - 0.5))], 1)
        design.add(np.concatenate([top, bottom]), stone)
    for row in range(3):
        wave = np.stack([x, 0.606 + 0.028 * row + 0.005 * np.cos(24 * np.pi * (x - 0.5) + np.pi * row)], 1)
        design.add(ribbon(wave, 0.009), "sky" if row % 2 == 0 else "teal")


def _vine(design: Cartoon) -> None:
    """Two stems that rise from the fountain and roll up into spirals, with leaves and grapes."""
    stem = smooth([(0.492, 0.385), (0.470, 0.300), (0.430, 0.215), (0.345, 0.165), (0.250, 0.190)], closed=False)
    design.add(ribbon(stem, np.linspace(0.018, 0.010, len(stem))), "green", both=True)
    curls = (
        (0.195, 0.150, 0.062, 0.9, 1.25),
        (0.385, 0.125, 0.042, 1.6, -1.2),
        (0.128, 0.235, 0.040, -0.9, 1.1),
    )
    for x, y, radius, start, turn in curls:
        path = spiral(x, y, radius, start, turn)
        design.add(ribbon(path, np.linspace(0.012, 0.007, len(path))), "green", both=True)
    for x, y, turn in (
        (0.300, 0.120, -0.9),
        (0.445, 0.160, -0.5),
        (0.150, 0.290, 1.2),
        (0.120, 0.105, 0.6),
    ):
        design.add(_leaf(x, y, 0.040, turn), "green", both=True)
        design.add(_leaf(x, y, 0.020, turn), "teal", both=True)
    for cx, cy in ((0.205, 0.275), (0.297, 0.245)):
        for row, count in enumerate((3, 2, 1)):
            for i in range(count):
                design.add(disc(cx + 0.020 * (i - (count - 1) / 2), cy + 0.018 * row, 0.0105), "purple", both=True)
    design.add(disc(0.5, 0.140, 0.058), "navy")
    design.add(disc(0.5, 0.140, 0.050), "blue")
    points = [
        (0.5 + r * np.sin(a), 0.140 - r * np.cos(a))
        for a, r in zip(np.arange(16) * np.pi / 8, [0.044, 0.016] * 8, strict=True)
    ]
    design.add(np.array(points), "white")
    design.add(disc(0.5, 0.140, 0.014), "terracotta")


def _leaf(x: float, y: float, size: float, turn: float) -> Array:
    """A leaf with a point, its stalk at (x, y)."""
    outline = np.array([(0, 0), (0.35, -0.42), (0.75, -0.30), (1.25, 0), (0.75, 0.30), (0.35, 0.42)]) * size
    cos, sin = np.cos(turn), np.sin(turn)
    return smooth(outline @ np.array([(cos, sin), (-sin, cos)]) + (x, y))


def _fountain(design: Cartoon) -> None:
    """A two-handled cup with water in it."""
    half = [(0.430, 0.395), (0.436, 0.440), (0.462, 0.480), (0.488, 0.500), (0.486, 0.525), (0.455, 0.560)]
    cup = np.array(half + [(1 - x, y) for x, y in half[::-1]])
    for direction in (0.404,):
        design.add(ribbon(spiral(direction + 0.012, 0.425, 0.032, -0.6, -0.75), 0.011), "terracotta", both=True)
    design.add(smooth(cup), "terracotta")
    design.add(box(0.440, 0.425, 0.560, 0.440), "white")
    for i in range(5):
        design.add(disc(0.46 + 0.02 * i, 0.460 - 0.004 * abs(i - 2) + 0.004, 0.0068), "navy")
    design.add(disc(0.5, 0.396, 0.014, stretch=5.2), "white")
    design.add(disc(0.5, 0.396, 0.009, stretch=6.6), "sky")
    jet = smooth([(0.5, 0.396), (0.490, 0.330), (0.462, 0.318), (0.448, 0.362), (0.446, 0.392)], closed=False)
    design.add(ribbon(jet, 0.010), "sky", both=True)


def _peacock(design: Cartoon) -> None:
    """A peacock, and its mirror image, with a fan of eyed feathers."""
    design.add(smooth(TAIL), "green", both=True)
    for angle, length in ((2.55, 0.150), (2.95, 0.163), (3.35, 0.165), (3.75, 0.150)):
        x, y = 0.262 + length * np.cos(angle), 0.432 - length * 0.92 * np.sin(angle)
        shaft = np.array([(0.262, 0.432), (x, y)])
        design.add(ribbon(shaft, 0.006), "gold", both=True)
        for radius, stone in ((0.024, "gold"), (0.0175, "teal"), (0.0095, "navy")):
            design.add(disc(x, y, radius), stone, both=True)
    for foot in (0.268, 0.302):
        leg = smooth([(foot, 0.480), (foot + 0.006, 0.520), (foot, 0.552), (foot + 0.018, 0.556)], closed=False)
        design.add(ribbon(leg, 0.010), "terracotta", both=True)
    design.add(smooth(BODY), "blue", both=True)
    design.add(smooth(BREAST), "teal", both=True)
    design.add(np.array([(0.392, 0.262), (0.420, 0.276), (0.391, 0.283)]), "terracotta", both=True)
    for scale, stone in ((1.0, "white"), (0.78, "terracotta"), (0.50, "gold")):
        wing = np.array(
            [(0.322, 0.395), (0.285, 0.385), (0.240, 0.410), (0.190, 0.462), (0.245, 0.475), (0.300, 0.458)]
        )
        design.add(smooth((wing - (0.275, 0.430)) * scale + (0.275, 0.430)), stone, both=True)
    design.add(disc(0.371, 0.268, 0.0095), "white", both=True)
    design.add(disc(0.372, 0.268, 0.0050), "black", both=True)
    for dx in (-0.020, 0.0, 0.020):
        crest = np.array([(0.364, 0.250), (0.358 + dx, 0.218)])
        design.add(ribbon(crest, 0.005), "navy", both=True)
        design.add(disc(0.358 + dx, 0.214, 0.0075), "teal", both=True)


def _fish(design: Cartoon) -> None:
    """Two pairs of fish in the pond."""
    for x, y, stone in ((0.24, 0.640, "terracotta"), (0.405, 0.645, "white")):
        body = [
            (x - 0.055, y),
            (x - 0.02, y - 0.021),
            (x + 0.03, y - 0.014),
            (x + 0.05, y),
            (x + 0.03, y + 0.014),
            (x - 0.02, y + 0.021),
        ]
        tail = [(x + 0.045, y), (x + 0.078, y - 0.022), (x + 0.066, y), (x + 0.078, y + 0.022)]
        design.add(np.array(tail), "gold", both=True)
        design.add(smooth(body), stone, both=True)
        design.add(
            ribbon(np.array([(x - 0.014, y - 0.018), (x - 0.022, y), (x - 0.014, y + 0.018)]), 0.006),
            "gold",
            both=True,
        )
        design.add(disc(x - 0.036, y - 0.004, 0.005), "black", both=True)
