"""The built-in images: two contents and three styles, drawn by this project's own code.

`sample:town` in a config means `sample_path("town")`. They are drawn by `python -m tools.draw_samples OUT_FOLDER`.
"""

from __future__ import annotations

from pathlib import Path

from nst_lightning.errors import UserError, did_you_mean

__all__ = ["SAMPLE", "SAMPLES", "sample_path"]

SAMPLE = "sample:"
"""Prefix of a built-in image's name, where a file may be given as well."""

SAMPLES: dict[str, str] = {
    "town": "town.jpg",
    "still_life": "still_life.jpg",
    "starry": "starry.jpg",
    "woodcut": "woodcut.jpg",
    "mosaic": "mosaic.jpg",
}
"""Name as a user writes it, and the file in `pictures/`."""


def sample_path(name: str) -> Path:
    """Return where a built-in image lies on disk.

    Args:
        name: Key of `SAMPLES`, without the `sample:` prefix that configs use.

    Returns:
        Path of the JPEG file in the installed package.

    Raises:
        UserError: If no image has this name; the message names the nearest one and lists all.
    """
    if name in SAMPLES:
        return Path(__file__).parent / "pictures" / SAMPLES[name]
    hint = f"{did_you_mean(name.lower(), SAMPLES, shown=repr, cutoff=0.5)} ".lstrip()
    raise UserError(f"no built-in picture is called {name!r}: {hint}there are {', '.join(SAMPLES)}")
