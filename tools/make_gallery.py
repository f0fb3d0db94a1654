"""Paint the gallery of the documentation: `python -m tools.make_gallery [NAME ...]`.

The commands stand in `gallery.yaml` beside this file. Given names, only these are painted anew.
"""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from PIL import Image

ROOT = Path(__file__).parents[1]
ENTRIES = Path(__file__).with_name("gallery.yaml")
PAGE = ROOT / "docs" / "gallery.md"
MAX_BYTES = 60_000
"""Size of a picture's file."""

_WIDTH = 640  # pixels
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """A picture of the gallery.

    Attributes:
        name: Name of its file, without suffix.
        title: Caption.
        command: Command line that makes it.
        picture: File that the command leaves.
    """

    name: str
    title: str
    command: str
    picture: str


def read_entries(file: Path = ENTRIES) -> list[Entry]:
    """Return the entries of the gallery, in order."""
    return [Entry(**fields) for fields in yaml.safe_load(file.read_text(encoding="utf-8"))]


def write_mask(file: Path) -> None:
    """Write the mask of the sky that commands may name: white above, black below, with a soft edge."""
    width, height, top, edge = 1024, 768, 330, 60
    mask = Image.new("L", (width, height))
    mask.paste(255, (0, 0, width, top))
    mask.paste(Image.linear_gradient("L").rotate(180).resize((width, edge)), (0, top))
    mask.save(file)


def paint(entry: Entry, folder: Path) -> Path:
    """Run an entry's command and write its picture.

    Args:
        entry: What to paint.
        folder: Where the picture is written, as `NAME.jpg`.

    Returns:
        The picture's file.

    Raises:
        CalledProcessError: If the command fails.
    """
    command, *args = shlex.split(entry.command)
    if command != "nst":
        raise ValueError(f"{entry.name}: expected a command of nst, found {command!r}")
    with tempfile.TemporaryDirectory() as place:
        write_mask(Path(place) / "sky.png")
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
        subprocess.run([sys.executable, "-m", "nst_lightning", *args], cwd=place, env=environment, check=True)
        return save_small(Image.open(Path(place) / entry.picture), folder / f"{entry.name}.jpg")


def save_small(image: Image.Image, file: Path) -> Path:
    """Write an image as a JPEG of at most `MAX_BYTES`, and return *file*."""
    image = image.convert("RGB")
    image.thumbnail((_WIDTH, _WIDTH))
    for quality in range(90, 30, -5):
        image.save(file, quality=quality, optimize=True, progressive=True)
        if file.stat().st_size <= MAX_BYTES:
            return file
    raise ValueError(f"{file} is larger than {MAX_BYTES} bytes; make it smaller")


def describe(entries: Sequence[Entry]) -> str:
    """Return the gallery's page, Markdown."""
    parts = [
        "<!-- written by python -m tools.make_gallery; the commands are in tools/gallery.yaml -->",
        "# Gallery",
        "Every picture here is made by the command under it, out of the sample pictures that come with the package, "
        "and made a JPEG of at most 640 pixels. `sky.png` is a mask: white for the sky, black for the rest.",
    ]
    for entry in entries:
        parts += [
            f"## {entry.title}",
            f"![{entry.title}](gallery/{entry.name}.jpg)",
            f"```bash\n{entry.command}\n```",
        ]
    return "\n\n".join(parts) + "\n"


def main(args: Sequence[str] | None = None) -> int:
    """Paint the gallery and write its page; return the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    entries = read_entries()
    parser = argparse.ArgumentParser(prog="python -m tools.make_gallery", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="entries to paint; all if none is given")
    names = parser.parse_args(args).names
    if unknown := set(names) - {entry.name for entry in entries}:
        parser.error(f"there is no entry {', '.join(sorted(unknown))} in {ENTRIES}")
    folder = PAGE.with_suffix("")
    folder.mkdir(exist_ok=True)
    for entry in entries:
        if not names or entry.name in names:
            _log.info("%s", paint(entry, folder))
    PAGE.write_text(describe(entries), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
