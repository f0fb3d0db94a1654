"""What visitors call their files: whole for the command, short to be shown; never part of a path here."""

from __future__ import annotations

import unicodedata
from urllib.parse import unquote

from nst_lightning.images.samples import SAMPLE

_LONGEST = 3000  # of a percent-encoded name: 255 letters of three bytes each are 2295


def base_name(header: str) -> str:
    """Give a file's name as its owner's shell needs it.

    Args:
        header: The name, percent-encoded.

    Returns:
        Its last part, without line breaks and other control characters. What is invisible otherwise stays: some
        languages and emoji are written with it.
    """
    name = unquote(header[:_LONGEST]).replace("\\", "/").rsplit("/", 1)[-1]
    name = "".join(letter for letter in name if unicodedata.category(letter) not in ("Cc", "Cs", "Zl", "Zp"))
    return name if name.strip(" .") else "picture"


def shown_name(name: str) -> str:
    """Make a name fit to be shown.

    Args:
        name: Of a file, or `sample:NAME`.

    Returns:
        At most 80 characters, none of them invisible: some turn the direction of writing.
    """
    name = "".join(letter for letter in name if unicodedata.category(letter)[0] != "C").strip()
    stem, dot, suffix = name.rpartition(".")
    name = f"{stem[:70]}{dot}{suffix[:9]}" if stem else suffix[:80]
    return name if name.strip(".") else "picture"


def as_argument(source: str, name: str) -> str:
    """Give what stands for a picture in a command.

    Args:
        source: Where the page has it, or `sample:NAME`.
        name: Of the visitor's file.

    Returns:
        `sample:NAME` for a sample only; a file of such a name is `./sample:NAME`.
    """
    if source.startswith(SAMPLE):
        return source
    return f"./{name}" if name.startswith(SAMPLE) else name
