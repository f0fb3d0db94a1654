"""`nst compare`: pictures and runs side by side on one labelled sheet."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from nst_lightning.cli.options import CommandParser
from nst_lightning.errors import UserError, user_path
from nst_lightning.images.contact_sheet import Cell, contact_sheet
from nst_lightning.images.files import check_output, write_image
from nst_lightning.jobs.differences import differences
from nst_lightning.jobs.image_source import Found, distinct_names, find_picture, read_small

_log = logging.getLogger(__name__)

_MOST_COLUMNS = 5  # more are hard to see side by side on a page
_SIZES = (32, 4096)


def run_compare(words: Sequence[str]) -> int:
    """Run `nst compare A B C …`.

    Runs are labelled with the settings in which they differ, if each of them has its config.

    Args:
        words: The command and its options, such as `["compare", "a.png", "lightning_logs/starry"]`.

    Returns:
        0.

    Raises:
        UserError: If something the user gave can't be used.
    """
    options = _parser().parse_args(list(words[1:]))
    if not options.pictures:
        raise UserError("there is nothing to compare; give pictures or runs, such as nst compare a.png b.png")
    if options.columns is not None and options.columns < 1:
        raise UserError(f"--columns must be at least 1, but {options.columns} was given.")
    if not _SIZES[0] <= options.size <= _SIZES[1]:
        raise UserError(f"--size must be from {_SIZES[0]} to {_SIZES[1]} pixels, but {options.size} was given.")
    output = user_path(options.output)
    check_output(output)
    pictures = [find_picture(word) for word in options.pictures]
    for picture in pictures:
        if Path(picture.file).resolve() == output.resolve():
            raise UserError(f"--output {output} is one of the pictures compared; choose another name.")
    cells = [
        Cell(read_small(picture.file, options.size), note)
        for picture, note in zip(pictures, _notes(pictures), strict=True)
    ]
    columns = options.columns or _columns(len(cells))
    rows = [cells[n : n + columns] for n in range(0, len(cells), columns)]
    write_image(output, contact_sheet(rows, title=options.title, cell_size=options.size))
    _log.info("picture: %s", output)
    return 0


def _parser() -> CommandParser:
    parser = CommandParser(prog="nst compare", description="Put pictures and runs side by side on one labelled sheet.")
    parser.add_argument(
        "pictures",
        nargs="*",
        type=str,
        help="Picture files, sample:NAME, runs such as lightning_logs/starry/version_0, or folders of versions such as "
        "lightning_logs/starry, of which the newest with a picture is taken.",
    )
    parser.add_argument("--output", type=str, default="compare.png", help="Where the sheet is written.")
    parser.add_argument("--columns", type=int | None, default=None, help="Pictures in a row; at most 5 if unset.")
    parser.add_argument("--size", type=int, default=320, help="Long side of each picture on the sheet, in pixels.")
    parser.add_argument("--title", type=str, default="", help="Stands above the pictures.")
    return parser


def _notes(pictures: Sequence[Found]) -> list[str]:
    """Give each picture its name, and each run also what sets it apart."""
    runs = [picture.run for picture in pictures if picture.run is not None]
    told = iter(differences(runs))
    names = distinct_names(pictures)
    return [
        "\n".join([name, *([] if picture.run is None else next(told))])
        for name, picture in zip(names, pictures, strict=True)
    ]


def _columns(count: int) -> int:
    """Give rows of about the same length."""
    rows = -(-count // _MOST_COLUMNS)
    return -(-count // rows)
