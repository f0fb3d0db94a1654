"""All drawings by name, and how they become files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PIL import Image

from nst_lightning.images.samples import SAMPLES
from tools.draw_samples import mosaic, starry, still_life, town, woodcut

__all__ = ["DRAWINGS", "save"]

DRAWINGS: dict[str, Callable[[int], Image.Image]] = {
    "town": town.draw,
    "still_life": still_life.draw,
    "starry": starry.draw,
    "woodcut": woodcut.draw,
    "mosaic": mosaic.draw,
}
"""Name as in `SAMPLES`, and the function that draws it at a width in pixels."""

QUALITY = {"town": 91, "still_life": 93, "starry": 90, "woodcut": 90, "mosaic": 84}
"""JPEG quality; what is full of fine detail gets a little less, so that no file is much over 450 kB."""


def save(name: str, folder: Path, width: int = 1024) -> Path:
    """Draw one image and write it as JPEG without color subsampling.

    Args:
        name: A key of `DRAWINGS`.
        folder: Must exist.
        width: Pixels of the long side.

    Returns:
        The file's path, with the name it has in the package.
    """
    path = folder / SAMPLES[name]
    DRAWINGS[name](width).save(path, quality=QUALITY[name], subsampling=0, optimize=True)
    return path
