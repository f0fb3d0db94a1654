"""What a batch leaves beside its pictures: a table, and a contact sheet if one was asked for."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import torch

from nst_lightning.errors import UserError
from nst_lightning.images.contact_sheet import Cell, contact_sheet
from nst_lightning.images.files import write_image
from nst_lightning.jobs.batch_pairs import Source
from nst_lightning.jobs.batch_place import Outcome, Place
from nst_lightning.jobs.image_source import read_small
from nst_lightning.jobs.report import term_names
from nst_lightning.utils.atomic import atomic_path

TABLE = "summary.csv"
MOST_ON_A_SHEET = 400

_SIZE = 256  # long side of a picture on the sheet, pixels


def write_summary(path: Path, places: Sequence[Place], outcomes: Sequence[Outcome]) -> None:
    """Write a CSV file, a row for each pair.

    Its columns are content, style, output, the options of a manifest, status, why it failed, steps, seconds of
    painting over all sessions, and the loss of the result with its terms (weighted, as they are minimised).

    Args:
        path: File to write.
        places: Of the pairs, in their order.
        outcomes: Of the same.
    """
    options = list(dict.fromkeys(name for place in places for name in place.pair.options))
    terms = term_names([outcome.loss for outcome in outcomes])
    header = ["content", "style", "output", *options, "status", "message", "steps", "seconds"]
    with (
        atomic_path(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*header, *(f"loss/{term}" for term in terms)])
        for place, outcome in zip(places, outcomes, strict=True):
            pair = place.pair
            writer.writerow(
                [
                    pair.content.path,
                    pair.style.path,
                    pair.output,
                    *(pair.options.get(name) for name in options),
                    outcome.status,
                    outcome.message,
                    outcome.steps,
                    outcome.seconds,
                    *(outcome.loss.get(term) for term in terms),
                ]
            )


def write_batch_sheet(path: Path, places: Sequence[Place], outcomes: Sequence[Outcome], title: str) -> None:
    """Write a contact sheet: a row for each content and a column for each style, both shown at the margins.

    Args:
        path: File to write.
        places: Of the pairs; of several with the same content and style the last one is shown.
        outcomes: Of the same.
        title: Stands above everything.
    """
    cells = {
        (place.pair.content, place.pair.style): _cell(str(place.pair.output), outcome)
        for place, outcome in zip(places, outcomes, strict=True)
    }
    contents = list(dict.fromkeys(content for content, _ in cells))
    styles = list(dict.fromkeys(style for _, style in cells))
    rows = [[_cell(source.path), *(cells.get((source, style), Cell(None)) for style in styles)] for source in contents]
    nothing = Cell(torch.ones(1, 3, 1, 1))  # white on white; a cell without a picture would be an empty field
    rows.insert(0, [nothing, *(_cell(style.path) for style in styles)])
    picture = contact_sheet(
        rows,
        row_titles=["", *(str(content.name) for content in contents)],
        column_titles=["", *(str(style.name) for style in styles)],
        title=title,
        cell_size=_SIZE,
    )
    write_image(path, picture)


def check_sheet(contents: Sequence[Source], styles: Sequence[Source]) -> None:
    """Refuse a sheet that nobody could look at.

    Raises:
        UserError: If it would show too many pictures.
    """
    count = len(set(contents)) * len(set(styles))
    if count > MOST_ON_A_SHEET:
        raise UserError(
            f"--contact_sheet would show {count} pictures, more than {MOST_ON_A_SHEET}; leave it out, or put a part of "
            "them together with nst compare."
        )


def _cell(path: str, outcome: Outcome | None = None) -> Cell:
    if outcome is not None and outcome.status != "complete":
        return Cell(None, outcome.status)
    try:
        return Cell(read_small(path, _SIZE))
    except UserError:  # a damaged content, whose pairs have failed
        return Cell(None, "unreadable")
