"""Which pictures the words of a command line mean, and what they are called."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from nst_lightning.errors import UserError, user_path
from nst_lightning.images.files import read_image
from nst_lightning.images.resize import fit_long_side, resize


@dataclass(frozen=True)
class Found:
    """A picture, and where it comes from.

    Attributes:
        file: As `read_image` takes it: a file, or `sample:NAME`.
        names: What it may be called, from the shortest name to the most exact.
        run: The folder of the run that painted it; `None` if it is only a picture.
    """

    file: str
    names: tuple[str, ...]
    run: Path | None = None


def find_picture(word: str) -> Found:
    """Give the picture that a word means.

    Args:
        word: A picture file, `sample:NAME`, the folder of a run (`lightning_logs/starry/version_0`), or a folder of
            versions (`lightning_logs/starry`), of which the one with the highest number that has a picture is taken.

    Returns:
        The picture; whether a file is there and can be read is left to `read_image`.

    Raises:
        UserError: If the word is a folder without a run that has a picture.
    """
    if word.startswith("sample:"):
        return Found(word, (word.removeprefix("sample:"), word))
    path = user_path(word)
    if path.is_dir():
        return _find_run(path.resolve(), word)
    exact = path.parent.resolve() / path.name
    longer = [f"{parent}{name}" for parent in _endings(exact.parent) for name in (exact.stem, exact.name)]
    return Found(str(path), (exact.stem, *longer))


def distinct_names(pictures: Sequence[Found]) -> list[str]:
    """Give each picture the shortest name that no other has.

    Args:
        pictures: Any number; the same picture twice has the same name twice.

    Returns:
        A name for each.
    """
    lengths = [0] * len(pictures)
    while True:
        names = [picture.names[length] for picture, length in zip(pictures, lengths, strict=True)]
        meant = {name: {p.names[-1] for p, n in zip(pictures, names, strict=True) if n == name} for name in names}
        longer = [
            length + (len(meant[name]) > 1 and length + 1 < len(picture.names))
            for picture, name, length in zip(pictures, names, lengths, strict=True)
        ]
        if longer == lengths:
            return names
        lengths = longer


def _find_run(folder: Path, word: str) -> Found:
    # The file's name belongs to the callback that writes it; Lightning comes along, so not for mere pictures.
    from nst_lightning.callbacks.image_writer import FILE_NAME

    run = folder
    if not (folder / FILE_NAME).is_file():
        versions = [(int(n[1]), path.parent) for path in folder.glob(f"*/{FILE_NAME}") if (n := _version(path.parent))]
        if not versions:
            raise UserError(f"expected a run that has painted {FILE_NAME}, found none in {word}; {_hint(Path(word))}")
        run = max(versions)[1]
    return Found(str(run / FILE_NAME), tuple(f"{parent}{run.name}" for parent in _endings(run.parent)), run)


def _version(folder: Path) -> re.Match[str] | None:
    return re.fullmatch(r"version_(\d+)", folder.name)


def _hint(folder: Path) -> str:
    from nst_lightning.callbacks.image_writer import FILE_NAME

    below = sorted(folder.glob(f"*/{FILE_NAME}")) + sorted(folder.glob(f"*/*/{FILE_NAME}"))
    return f"name a run, such as {below[0].parent}" if below else "run nst fit first, or name a picture"


def _endings(folder: Path) -> list[str]:
    """Give the last part of a path, the last two and so on, each with a slash at its end."""
    parts = [part for part in folder.parts if part != folder.anchor]
    return ["".join(f"{part}/" for part in parts[-n:]) for n in range(1, len(parts) + 1)]


def read_small(file: str | Path, size: int) -> Tensor:
    """Read a picture no larger than a sheet needs, so that many large ones fit into memory.

    Args:
        file: A picture file or `sample:NAME`.
        size: Long side in pixels.

    Returns:
        `(1, 3, h, w)` sRGB in [0, 1].

    Raises:
        UserError: If it can't be read.
    """
    pixels = read_image(file).pixels
    return resize(pixels, fit_long_side(pixels.shape[-2], pixels.shape[-1], size))
