"""The built-in pictures: two contents and three styles, drawn by this project's own code.

`sample:town` in a config means `sample_path("town")`. The code that draws them is in `drawing`, is never
imported from here, and is run by `python -m tools.draw_samples OUT_FOLDER`.
"""

from __future__ import annotations

import difflib
from pathlib import Path

from nst_lightning.errors import UserError

__all__ = ["SAMPLE", "SAMPLES", "sample_path"]

SAMPLE = "sample:"
"""What a user writes before a built-in picture's name, where a file may be given as well."""

SAMPLES: dict[str, str] = {
    "town": "town.jpg",
    "still_life": "still_life.jpg",
    "starry": "starry.jpg",
    "woodcut": "woodcut.jpg",
    "mosaic": "mosaic.jpg",
}
"""Name as a user writes it, and the file in `pictures/`."""


def sample_path(name: str) -> Path:
    """Where a built-in picture lies on disk.

    Args:
        name: a key of `SAMPLES`, without the `sample:` prefix that configs use.

    Returns:
        The path of the JPEG file in the installed package.

    Raises:
        UserError: no picture has this name; the message names the nearest one and lists all.
    """
    if name in SAMPLES:
        return Path(__file__).parent / "pictures" / SAMPLES[name]
    nearest = difflib.get_close_matches(name.lower(), SAMPLES, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    raise UserError(f"no built-in picture is called {name!r}: {hint}there are {', '.join(SAMPLES)}")
