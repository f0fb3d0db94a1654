"""What a mosaic's design is made of: stones by name, and shapes in the order of laying."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tools.draw_samples.canvas import Array, palette
from tools.draw_samples.shapes import mirrored

__all__ = ["BAND", "STONES", "Cartoon", "box"]

STONES = {
    "gold": palette("8a6420", "c8962e", "e9c25a"),
    "white": palette("c9bfa6", "e6dec8", "f6f1e2"),
    "teal": palette("0e4a55", "1c7a80", "49aaa2"),
    "blue": palette("142a5c", "24519a", "4b86c2"),
    "navy": palette("0e1836", "182850", "243c6c"),
    "terracotta": palette("7c2f1c", "b0492a", "cf7446"),
    "green": palette("23452a", "4a7636", "87a04c"),
    "brown": palette("3c2416", "6a4024", "8f6238"),
    "purple": palette("371a3e", "5d2c5c", "86497a"),
    "black": palette("14120f", "24201b", "3a332b"),
    "sky": palette("6f9fb0", "9cc3c8", "c6dedb"),
}
"""Each stone as three colors from dark to light."""
BAND = 0.062
"""Width of the border in frame units."""


@dataclass
class Cartoon:
    """Shapes in the order of laying, the later over the earlier: outline in frame units and stone."""

    shapes: list[tuple[Array, str]]

    def add(self, outline: Array, stone: str, both: bool = False) -> None:
        """Add a shape, and with `both` its mirror image."""
        self.shapes.append((outline, stone))
        if both:
            self.shapes.append((mirrored(outline), stone))


def box(left: float, top: float, right: float, bottom: float) -> Array:
    """Corners of an upright rectangle."""
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.float32)
