"""What the page's process asks of a painting process, and hears from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nst_lightning.app.names import as_argument, shown_name
from nst_lightning.app.recipe import Recipe

NAME = "page"
"""Of the runs, below each order's own folder."""

PICTURE = "picture.png"
"""The result, in the order's folder."""

PREVIEW = "preview.jpg"
"""The picture as it is, in the order's folder."""


@dataclass(frozen=True)
class Order:
    """A run, or what is left of it.

    Attributes:
        id: Of the job.
        recipe: How to paint.
        content: A file, or `sample:NAME`.
        style: The same.
        names: What the visitor calls the two.
        folder: Where everything is written.
        max_pixels: Larger pictures are refused.
    """

    id: str
    recipe: Recipe
    content: str
    style: str
    names: tuple[str, str]
    folder: Path
    max_pixels: int

    @property
    def arguments(self) -> tuple[str, str]:
        """The two in a command of the visitor's."""
        content, style = self.names
        return as_argument(self.content, content), as_argument(self.style, style)

    def without_paths(self, line: str) -> str:
        """Put the visitor's names in the place of this machine's paths."""
        for path, name in zip((self.content, self.style), self.names, strict=True):
            line = line.replace(path, shown_name(name))
        return line.replace(str(self.folder), "the page's folder")


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        step: That is done.
        steps: Of each level.
        level: Index of the present one.
        width: Of the picture at that level, pixels.
        height: Of the picture at that level, pixels.
        fraction: Of the work that is done, from 0 to 1.
        seconds_left: As far as one can tell.
        previews: That were written by this run.
    """

    step: int
    steps: tuple[int, ...]
    level: int
    width: int
    height: int
    fraction: float
    seconds_left: float | None
    previews: int
