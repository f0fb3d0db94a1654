"""What many runs leave beside them: a table of numbers and a sheet of images."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nst_lightning.callbacks.image_writer import FILE_NAME
from nst_lightning.errors import UserError
from nst_lightning.images.contact_sheet import Cell, contact_sheet
from nst_lightning.images.files import read_image, write_image
from nst_lightning.images.resize import fit_long_side, resize
from nst_lightning.jobs.grid import Axis, Run, Sheet, axis_name
from nst_lightning.jobs.job import VERSION, Outcome
from nst_lightning.jobs.pairs import Pair, Source
from nst_lightning.utils.addresses import shown
from nst_lightning.utils.atomic import atomic_file
from nst_lightning.utils.storage import fetch

MOST_ON_A_SHEET = 400

_PER_LINE = 6  # images of a single axis
_PAIR_SIZE = 256  # long side of an image on the sheet of a batch, pixels
_MOST_PIXELS = 64_000_000  # of all images on the sheet of a sweep, each counted as a square
_SMALLEST = 32  # long side of an image on a sheet, pixels


def write_table(
    path: Path,
    rows: Sequence[Mapping[str, Any]],
    outcomes: Sequence[Outcome],
    fields: Sequence[str],
    images: Sequence[str | None] | None = None,
) -> None:
    """Write a CSV file, a row for each run.

    Its columns are those given, fields of the outcomes, and the loss of the results with its terms (weighted, as they
    are minimized).

    Args:
        path: File to write.
        rows: First cells of each row, the same columns in each; at least one row.
        outcomes: Outcome of each run.
        fields: Attributes of `Outcome` that have a column.
        images: Image of each run for a last column; `None` for no such column.
    """
    terms = _term_names([outcome.loss for outcome in outcomes])
    with (
        atomic_file(path) as opened,
        io.TextIOWrapper(opened, "utf-8", errors="backslashreplace", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        last = [] if images is None else ["picture"]
        writer.writerow([*rows[0], *fields, *(f"loss/{term}" for term in terms), *last])
        for number, (row, outcome) in enumerate(zip(rows, outcomes, strict=True)):
            cells = [*row.values(), *(getattr(outcome, name) for name in fields), *map(outcome.loss.get, terms)]
            writer.writerow([*cells, *([] if images is None else [images[number]])])


def _term_names(losses: Sequence[Mapping[str, float]]) -> list[str]:
    """Return the names of all terms of all runs, those of a loss together."""
    found = list(dict.fromkeys(name for loss in losses for name in loss))
    groups = list(dict.fromkeys(name.split("/")[0] for name in found))
    return sorted(found, key=lambda name: groups.index(name.split("/")[0]))


def write_grid_table(path: Path, axes: Sequence[Axis], runs: Sequence[Run], outcomes: Sequence[Outcome]) -> None:
    """Write the table of a sweep: the axes, how far each run got, its loss and its image, relative to the table.

    Args:
        path: File to write, in the sweep's folder.
        axes: Axes of the grid.
        runs: All runs, in the grid's order.
        outcomes: Outcome of each run.
    """
    rows = [{axis.name: choice.text for axis, choice in zip(axes, run.choices, strict=True)} for run in runs]
    images = [image_of(path.parent, run) for run in runs]
    names = [image.relative_to(path.parent).as_posix() if image.exists() else None for image in images]
    write_table(path, rows, outcomes, ("status", "steps", "seconds"), names)


def image_of(sweep: Path, run: Run, name: str = FILE_NAME) -> Path:
    """Return the file of a run's image, below the sweep's folder."""
    return sweep / run.label / VERSION / name


def write_grid_sheet(
    path: Path,
    axes: Sequence[Axis],
    runs: Sequence[Run],
    outcomes: Sequence[Outcome],
    sheet: Sheet,
    data: Mapping[str, Any],
) -> None:
    """Write the contact sheet of a sweep.

    Of two axes the first one runs down and the second across; of more the last one runs across. The images of a
    single axis stand side by side, six to a line. With `sheet.steps` each run is a row.

    Args:
        path: File to write, in the sweep's folder.
        axes: Axes of the grid.
        runs: All runs, in the grid's order.
        outcomes: Outcome of each run.
        sheet: Look of the sheet.
        data: Arguments of the data module that all runs share; those that name images are used for the corner unless
            they vary.
    """
    bound = math.isqrt(_MOST_PIXELS // (len(runs) * max(1, len(sheet.steps))))
    size = min(sheet.size, max(_SMALLEST, bound))

    def cells(name: str = FILE_NAME) -> list[Cell]:
        files = [image_of(path.parent, run, name) for run in runs]
        return [_cell(file, outcome, size) for file, outcome in zip(files, outcomes, strict=True)]

    row_titles: list[str] = []
    column_titles = [choice.title for choice in axes[-1].choices]
    if sheet.steps:
        rows = [list(row) for row in zip(*(cells(f"steps/{step:06d}.png") for step in sheet.steps), strict=True)]
        row_titles = [_title(run) for run in runs]
        column_titles = [f"step {step}" for step in sheet.steps]
    elif len(axes) > 1:
        rows = _lines(cells(), len(column_titles))
        row_titles = [_title(run, -1) for run in runs[:: len(column_titles)]]
    elif len(runs) <= _PER_LINE:
        rows = [cells()]
    else:
        noted = [
            Cell(cell.picture, f"{title}\n{cell.note}".strip())
            for cell, title in zip(cells(), column_titles, strict=True)
        ]
        rows, column_titles = _lines(noted, _PER_LINE), []
    drawn = contact_sheet(
        rows,
        row_titles=row_titles,
        column_titles=column_titles,
        corner=_references(axes, data, size),
        title=sheet.title,
        cell_size=size,
    )
    write_image(path, drawn)


def _lines(cells: Sequence[Cell], length: int) -> list[list[Cell]]:
    return [list(cells[start : start + length]) for start in range(0, len(cells), length)]


def _title(run: Run, end: int | None = None) -> str:
    return ", ".join(choice.title for choice in run.choices[:end])


def _cell(file: Path, outcome: Outcome, size: int) -> Cell:
    note = "" if outcome.status == "complete" else outcome.status
    if outcome.status == "failed" or not file.exists():
        return Cell(None, note)
    return Cell(read_small(file, size), note)


def _references(axes: Sequence[Axis], data: Mapping[str, Any], size: int) -> list[tuple[str, Tensor]]:
    varied = {axis_name(key) for axis in axes for choice in axis.choices for key, _ in choice.options}
    found: list[tuple[str, Tensor]] = []
    for name in ("content", "style"):
        given = data.get(name) or []
        for path in [given] if isinstance(given, str) else given:
            try:
                found += [(name, read_small(path, size))] if name not in varied else []
            except UserError:  # moved away since the runs were painted
                continue
    return found


def write_summary(path: Path, pairs: Sequence[Pair], outcomes: Sequence[Outcome]) -> None:
    """Write the table of a batch: content, style, output, the options of a manifest, and how far each pair got.

    Args:
        path: File to write.
        pairs: All pairs.
        outcomes: Outcome of each pair.
    """
    options = list(dict.fromkeys(name for pair in pairs for name in pair.options))
    rows = [
        dict[str, Any](content=pair.content.path, style=pair.style.path, output=shown(pair.output))
        | {name: pair.options.get(name) for name in options}
        for pair in pairs
    ]
    write_table(path, rows, outcomes, ("status", "message", "steps", "seconds"))


def is_summary(path: Path) -> bool:
    """Return whether a file is a table that `write_summary` has written."""
    try:
        with fetch(path).open(encoding="utf-8", errors="replace") as file:
            return file.readline().startswith("content,style,output,")
    except OSError:
        return False


def write_pairs_sheet(path: Path, pairs: Sequence[Pair], outcomes: Sequence[Outcome], title: str) -> None:
    """Write the contact sheet of a batch: a row for each content and a column for each style, shown at the margins.

    Args:
        path: File to write.
        pairs: All pairs; of several with the same content and style the last one is shown.
        outcomes: Outcome of each pair.
        title: Text above everything.
    """
    cells = {
        (pair.content, pair.style): _shown(str(pair.output))
        if outcome.status == "complete"
        else Cell(None, outcome.status)
        for pair, outcome in zip(pairs, outcomes, strict=True)
    }
    contents = list(dict.fromkeys(content for content, _ in cells))
    styles = list(dict.fromkeys(style for _, style in cells))
    rows = [[_shown(source.path), *(cells.get((source, style), Cell(None)) for style in styles)] for source in contents]
    nothing = Cell(torch.ones(1, 3, 1, 1))  # white on white; a cell without an image would be an empty field
    rows.insert(0, [nothing, *(_shown(style.path) for style in styles)])
    drawn = contact_sheet(
        rows,
        row_titles=["", *(str(content.name) for content in contents)],
        column_titles=["", *(str(style.name) for style in styles)],
        title=title,
        cell_size=_PAIR_SIZE,
    )
    write_image(path, drawn)


def _shown(path: str) -> Cell:
    try:
        return Cell(read_small(path, _PAIR_SIZE))
    except UserError:  # a damaged content, whose pairs have failed
        return Cell(None, "unreadable")


def check_sheet(contents: Sequence[Source], styles: Sequence[Source]) -> None:
    """Refuse the sheet of a batch that nobody could look at.

    Raises:
        UserError: If it would show too many images.
    """
    count = len(set(contents)) * len(set(styles))
    if count > MOST_ON_A_SHEET:
        raise UserError(
            f"--contact_sheet would show {count} pictures, more than {MOST_ON_A_SHEET}; leave it out, or put a part of "
            "them together with nst compare."
        )


def read_small(file: str | Path, size: int) -> Tensor:
    """Read an image no larger than a sheet needs, so that many large ones fit into memory.

    Args:
        file: Image file or `sample:NAME`.
        size: Long side, pixels.

    Returns:
        Image of shape `(1, 3, h, w)`, sRGB in [0, 1].

    Raises:
        UserError: If it can't be read.
    """
    pixels = read_image(file).pixels
    return resize(pixels, fit_long_side(pixels.shape[-2], pixels.shape[-1], size))
