"""What a sweep leaves beside its runs: a table of numbers and a sheet of pictures."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from nst_lightning.callbacks.checkpoint import FOLDER, LAST
from nst_lightning.callbacks.image_writer import FILE_NAME
from nst_lightning.errors import UserError
from nst_lightning.images.contact_sheet import Cell, contact_sheet
from nst_lightning.images.files import write_image
from nst_lightning.jobs.grid import Axis, Run, axis_name
from nst_lightning.jobs.image_source import read_small
from nst_lightning.jobs.request import Sheet
from nst_lightning.jobs.worker import FAILED, RESULT, SECONDS, VERSION
from nst_lightning.utils.atomic import atomic_path

TABLE = "results.csv"
SHEET = "sheet.png"

_PER_LINE = 6  # of a single axis


@dataclass(frozen=True)
class Outcome:
    """How far a run got, as its folder tells.

    Attributes:
        run: Which.
        folder: `version_0`, where its picture is.
        status: `complete`, `failed`, `stopped`, or `not run`.
        steps: Done; `None` unless complete.
        seconds: Of painting, over all sessions; `None` if nothing was painted.
        loss: Of the result: `total` and the terms; empty unless complete.
    """

    run: Run
    folder: Path
    status: str
    steps: int | None = None
    seconds: float | None = None
    loss: Mapping[str, float] | None = None


def read_outcome(run: Run, sweep: Path) -> Outcome:
    """Find out how far a run got.

    Args:
        run: Of the grid.
        sweep: The sweep's folder.

    Returns:
        What is there.
    """
    folder = sweep / run.label / VERSION
    noted = folder / SECONDS
    seconds = float(noted.read_text()) if noted.exists() else None
    if (folder / RESULT).exists():
        result: dict[str, Any] = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        return Outcome(run, folder, "complete", result["steps"], seconds, result["loss"])
    if (sweep / run.label / FAILED).exists():
        return Outcome(run, folder, "failed", seconds=seconds)
    return Outcome(run, folder, "stopped" if (folder / FOLDER / LAST).exists() else "not run", seconds=seconds)


def write_table(path: Path, axes: Sequence[Axis], outcomes: Sequence[Outcome]) -> None:
    """Write a CSV file, a row for each run.

    Its columns are the axes, the status, the steps, the seconds of painting, the loss of the result with its terms
    (weighted, as they are minimised), and the picture, relative to the table.

    Args:
        path: File to write.
        axes: Of the grid.
        outcomes: In the grid's order.
    """
    terms = term_names([outcome.loss or {} for outcome in outcomes])
    header = [*(axis.name for axis in axes), "status", "steps", "seconds", *(f"loss/{t}" for t in terms), "picture"]
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for outcome in outcomes:
            picture = outcome.folder / FILE_NAME
            writer.writerow(
                [
                    *(choice.text for choice in outcome.run.choices),
                    outcome.status,
                    outcome.steps,
                    outcome.seconds,
                    *((outcome.loss or {}).get(term) for term in terms),
                    picture.relative_to(path.parent).as_posix() if picture.exists() else None,
                ]
            )


def term_names(losses: Sequence[Mapping[str, float]]) -> list[str]:
    """Give the names of all terms of all runs, those of a loss together."""
    found = list(dict.fromkeys(name for loss in losses for name in loss))
    groups = list(dict.fromkeys(name.split("/")[0] for name in found))
    return sorted(found, key=lambda name: groups.index(name.split("/")[0]))


def write_sheet(
    path: Path, axes: Sequence[Axis], outcomes: Sequence[Outcome], sheet: Sheet, data: Mapping[str, Any]
) -> None:
    """Write a contact sheet of all pictures.

    Of two axes the first one runs down and the second across; of more the last one runs across. The pictures of a
    single axis stand side by side, six to a line. With `sheet.steps` each run is a row.

    Args:
        path: File to write.
        axes: Of the grid.
        outcomes: In the grid's order.
        sheet: How it looks.
        data: Arguments of the data module that all runs share; those that name the pictures are used for the corner
            unless they vary.
    """
    rows, row_titles, column_titles = _arrange(axes, outcomes, sheet)
    picture = contact_sheet(
        rows,
        row_titles=row_titles,
        column_titles=column_titles,
        corner=_references(axes, data, sheet.size),
        title=sheet.title,
        cell_size=sheet.size,
    )
    write_image(path, picture)


def _arrange(
    axes: Sequence[Axis], outcomes: Sequence[Outcome], sheet: Sheet
) -> tuple[list[list[Cell]], list[str], list[str]]:
    if sheet.steps:
        rows = [[_cell(outcome, sheet.size, f"steps/{step:06d}.png") for step in sheet.steps] for outcome in outcomes]
        return rows, [_titles(outcome) for outcome in outcomes], [f"step {step}" for step in sheet.steps]
    titles = [choice.title for choice in axes[-1].choices]
    cells = [_cell(outcome, sheet.size) for outcome in outcomes]
    if len(axes) > 1:
        lines = range(0, len(cells), len(titles))
        return (
            [cells[start : start + len(titles)] for start in lines],
            [_titles(outcomes[start], -1) for start in lines],
            titles,
        )
    if len(cells) <= _PER_LINE:
        return [cells], [], titles
    noted = [Cell(cell.picture, f"{title}\n{cell.note}".strip()) for cell, title in zip(cells, titles, strict=True)]
    return [noted[start : start + _PER_LINE] for start in range(0, len(noted), _PER_LINE)], [], []


def _titles(outcome: Outcome, end: int | None = None) -> str:
    return ", ".join(choice.title for choice in outcome.run.choices[:end])


def _cell(outcome: Outcome, size: int, picture: str = FILE_NAME) -> Cell:
    note = "" if outcome.status == "complete" else outcome.status
    file = outcome.folder / picture
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
