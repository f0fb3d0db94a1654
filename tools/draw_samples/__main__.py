"""Redraw the built-in images: `python -m tools.draw_samples OUT_FOLDER [NAME ...]`."""

from __future__ import annotations

import argparse
from pathlib import Path

from tools.draw_samples.album import DRAWINGS, save


def main() -> None:
    """Draw all images, or those named, into the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where to write; made if missing")
    parser.add_argument("names", nargs="*", default=list(DRAWINGS), help=f"of {', '.join(DRAWINGS)}; default all")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(DRAWINGS)
    if unknown:
        parser.error(f"no drawing is called {', '.join(sorted(unknown))}: there are {', '.join(DRAWINGS)}")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for name in arguments.names:
        save(name, arguments.folder)


if __name__ == "__main__":
    main()
