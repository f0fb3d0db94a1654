"""A color woodcut's mechanics: blocks that print shapes with contour lines, and how ink sits on paper.

Shapes are collected in printing order and drawn three times too large; the wood's grain, the paper's fibres
and a slight misfit between the color blocks and the line block come afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw

from tools.draw_samples.canvas import Array, blur, grid, mix, palette, smoothstep
from tools.draw_samples.noise import fractal

__all__ = ["INKS", "Blocks", "Ink", "pressed"]

Ink = Literal["paper", "grey", "light", "middle", "blue", "line", "ochre", "red"]
INKS: dict[Ink, str] = {
    "paper": "f0e6cd",
    "grey": "cdc8b8",
    "light": "9dbfc4",
    "middle": "4a7ba3",
    "blue": "21416f",
    "line": "16233f",
    "ochre": "d2a356",
    "red": "bf6a43",
}
LINE = 0.0030
"""Thickness of a contour line in frame units."""


@dataclass
class Blocks:
    """Filled outlines in printing order; each entry is an outline in frame units and an ink."""

    prints: list[tuple[Array, Ink]] = field(default_factory=list)

    def fill(self, outline: Array, ink: Ink) -> None:
        """Print a flat shape."""
        self.prints.append((outline, ink))

    def outlined(self, outlines: list[Array], ink: Ink, line: float = LINE) -> None:
        """Print the union of shapes in one ink with a contour around it.

        Args:
            outlines: Shapes that melt into one.
            ink: Ink of the inside.
            line: Thickness of the contour in frame units.
        """
        self.prints += [(_grown(outline, line), "line") for outline in outlines]
        self.prints += [(outline, ink) for outline in outlines]

    def ink_map(self, width: int, height: int) -> Array:
        """Colors `(height, width, 3)` in [0, 1] of the flat print, before pressing."""
        scale = 2
        image = Image.new("P", (width * scale, height * scale), 0)
        names = list(INKS)
        draw = ImageDraw.Draw(image)
        for outline, ink in self.prints:
            draw.polygon([(float(x) * width * scale, float(y) * width * scale) for x, y in outline], names.index(ink))
        colors = palette(*INKS.values())[np.asarray(image)]
        return np.asarray(colors.reshape(height, scale, width, scale, 3).mean((1, 3)), np.float32)


def _grown(outline: Array, by: float) -> Array:
    """The outline moved outwards along its normals; good for smooth outlines."""
    ahead, behind = np.roll(outline, -1, 0), np.roll(outline, 1, 0)
    tangent = ahead - behind
    tangent = tangent / (np.linalg.norm(tangent, axis=1, keepdims=True) + 1e-9)
    area = np.sum(outline[:, 0] * ahead[:, 1] - ahead[:, 0] * outline[:, 1])
    normal = np.stack([tangent[:, 1], -tangent[:, 0]], 1) * np.sign(area)
    return np.asarray(outline + by * normal)


def pressed(inks: Array) -> Array:
    """The print on paper: grain of the block, fibres and age of the sheet, ink squeezed to the edges.

    Args:
        inks: `(H, W, 3)` from `Blocks.ink_map`.

    Returns:
        Colors `(H, W, 3)` in [0, 1].
    """
    rows, columns = inks.shape[:2]
    x, y = grid(columns, rows)
    paper = palette(INKS["paper"])[0]
    dense = np.clip(np.abs(inks - paper).sum(-1) / 1.6, 0, 1)
    bend = 0.02 * fractal((2 * x, 5 * y), seed=3, octaves=2)
    grain = fractal((3 * x, 150 * (y + bend)), seed=5, octaves=3)
    starved = smoothstep(0.05, 0.75, grain) * (0.10 + 0.22 * dense)
    mottled = 0.5 + 0.5 * fractal((60 * x, 60 * y), seed=7, octaves=4, gain=0.65)
    color = mix(inks, np.broadcast_to(paper, inks.shape), starved * (0.5 + mottled))
    # ink is pressed out towards the edges of its block, and lies thinner inside
    rim = blur(dense, columns / 1024 * 2.2)
    color = color * (1 - 0.10 * np.clip(dense - rim, 0, 1))[..., None]
    fibres = fractal((260 * x, 260 * y), seed=9, octaves=2) + fractal((30 * x, 30 * y), seed=10, octaves=3)
    color = color * (1 + 0.022 * fibres)[..., None]
    stain = smoothstep(0.30, 0.62, np.hypot((x - 0.5) * 0.9, y - 0.375))
    return np.clip(mix(color, color * palette("e6d3a8")[0], 0.45 * stain), 0, 1)
