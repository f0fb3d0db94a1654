"""The border of `mosaic`: a plait of two strands between white lines, with rosettes in the corners."""

from __future__ import annotations

import numpy as np

from tools.draw_samples.canvas import Array
from tools.draw_samples.mosaic_cartoon import BAND, Cartoon, box
from tools.draw_samples.shapes import disc, ribbon

__all__ = ["lay_border"]

MIDDLE = BAND / 2


def lay_border(design: Cartoon) -> None:
    """Add the border to a design of 1 by 0.75."""
    for line in (BAND - 0.005, 0.005):
        for outline in (
            box(line - 0.004, line - 0.004, 1 - line + 0.004, line + 0.004),
            box(line - 0.004, 0.75 - line - 0.004, 1 - line + 0.004, 0.75 - line + 0.004),
            box(line - 0.004, line, line + 0.004, 0.75 - line),
            box(1 - line - 0.004, line, 1 - line + 0.004, 0.75 - line),
        ):
            design.add(outline, "white")
    for across in (MIDDLE, 0.75 - MIDDLE):
        _plait(design, across, 1.0, loops=14, upright=False)
    for across in (MIDDLE, 1 - MIDDLE):
        _plait(design, across, 0.75, loops=10, upright=True)
    for x in (MIDDLE, 1 - MIDDLE):
        for y in (MIDDLE, 0.75 - MIDDLE):
            for radius, stone in ((0.027, "white"), (0.021, "terracotta"), (0.012, "gold"), (0.005, "navy")):
                design.add(disc(x, y, radius), stone)


def _plait(design: Cartoon, across: float, length: float, loops: int, upright: bool) -> None:
    """Two strands that cross `loops` times, each on top in turn, with an eye in every loop.

    Args:
        design: Where to add.
        across: The middle of the plait, x if upright, else y.
        length: Length of this side of the image; the corners are left free.
        loops: Number of crossings.
        upright: Along y instead of along x.
    """

    def place(outline: Array) -> Array:
        moved = np.stack([outline[:, 0], across + outline[:, 1]], 1)
        return moved[:, ::-1] if upright else moved

    pitch = (length - 2 * BAND) / loops
    for loop in range(loops):
        t = np.linspace(-0.5, 0.5, 12) * pitch
        center = BAND + (loop + 0.5) * pitch
        strands = ((1.0, "teal"), (-1.0, "terracotta"))
        swing = 0.0165 * np.sin(np.pi * t / pitch) * (1 if loop % 2 else -1)
        for sign, stone in strands if loop % 2 else strands[::-1]:
            strand = np.stack([center + t, sign * swing], 1)
            design.add(place(ribbon(strand, 0.017)), "white")
            design.add(place(ribbon(strand, 0.010)), stone)
        design.add(place(disc(center + pitch / 2, 0.0, 0.006)), "gold")
