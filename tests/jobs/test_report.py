"""The table and the arrangement of the sheet, from folders as runs leave them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from nst_lightning.images.files import write_image
from nst_lightning.jobs import report
from nst_lightning.jobs.grid import Axis, Run, Sheet, expand, make_axes
from nst_lightning.jobs.job import JobFolder, Outcome
from nst_lightning.jobs.report import write_grid_sheet, write_grid_table


def outcomes(grid: dict[str, Any], folder: Path) -> tuple[list[Axis], list[Run], list[Outcome]]:
    """Return a grid's axes and runs, and how far they are in a folder."""
    runs = expand(make_axes(grid))
    return make_axes(grid), runs, [JobFolder(folder / run.label).outcome() for run in runs]


def painted(grid: dict[str, Any], folder: Path) -> tuple[list[Axis], list[Run], list[Outcome]]:
    """Make complete runs, the n-th with a picture of grey level n / 100."""
    for index, run in enumerate(expand(make_axes(grid))):
        version = folder / run.label / "version_0"
        write_image(version / "stylized.png", torch.full((1, 3, 4, 6), index / 100))
        (version / "result.json").write_text(json.dumps({"steps": 3, "loss": {"total": 0.5 + index, "tv": 0.5}}))
        (version / "seconds.txt").write_text("1.25\n")
    return outcomes(grid, folder)


@pytest.fixture
def sheets(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Keep what is asked of `contact_sheet`: for each cell the index of its picture, or its note."""
    asked: list[dict[str, Any]] = []

    def contact_sheet(rows: Any, **options: Any) -> torch.Tensor:
        told = [
            [cell.note if cell.picture is None else round(float(cell.picture.mean()) * 100) for cell in row]
            for row in rows
        ]
        asked.append({"rows": told, "notes": [[cell.note for cell in row] for row in rows], **options})
        return torch.zeros(1, 3, 4, 4)

    monkeypatch.setattr(report, "contact_sheet", contact_sheet)
    return asked


@pytest.mark.parametrize(
    ("grid", "rows", "row_titles", "column_titles"),
    [
        ({"seed": [1, 2]}, [[0, 1]], [], ["seed 1", "seed 2"]),
        ({"seed": list(range(8))}, [[0, 1, 2, 3, 4, 5], [6, 7]], [], []),
        ({"seed": [1, 2], "lr": [3, 4, 5]}, [[0, 1, 2], [3, 4, 5]], ["seed 1", "seed 2"], ["lr 3", "lr 4", "lr 5"]),
        (
            {"seed": [1, 2], "size": [8], "lr": [3, 4]},
            [[0, 1], [2, 3]],
            ["seed 1, size 8", "seed 2, size 8"],
            ["lr 3", "lr 4"],
        ),
    ],
)
def test_rows_and_columns(
    grid: dict[str, Any],
    rows: list[list[int]],
    row_titles: list[str],
    column_titles: list[str],
    sheets: list[dict[str, Any]],
    tmp_path: Path,
) -> None:
    write_grid_sheet(tmp_path / "sheet.png", *painted(grid, tmp_path), Sheet("T", 64), {})
    (asked,) = sheets
    assert (asked["rows"], asked["row_titles"], asked["column_titles"]) == (rows, row_titles, column_titles)
    assert (asked["title"], asked["cell_size"]) == ("T", 64)
    assert asked["notes"][0][0] == ("seed 0" if len(rows[0]) == 6 else "")


def test_steps_run_across(sheets: list[dict[str, Any]], tmp_path: Path) -> None:
    grid = {"seed": [1, 2]}
    found = painted(grid, tmp_path)
    for index, run in enumerate(found[1]):
        for step in (10, 20)[: 2 - index]:
            picture = torch.full((1, 3, 4, 6), (step + index) / 100)
            write_image(tmp_path / run.label / f"version_0/steps/{step:06d}.png", picture)
    write_grid_sheet(tmp_path / "sheet.png", *found, Sheet("", 64, (10, 20)), {})
    assert sheets[0]["rows"] == [[10, 20], [11, ""]]
    assert sheets[0]["row_titles"] == ["seed 1", "seed 2"]
    assert sheets[0]["column_titles"] == ["step 10", "step 20"]


@pytest.mark.parametrize(("steps", "side"), [((), 200), ((10, 20), 141)])
def test_a_sheet_has_an_upper_bound(
    steps: tuple[int, ...], side: int, sheets: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "_MOST_PIXELS", 3 * 200**2)
    grid = {"seed": [1, 2, 3]}
    write_grid_sheet(tmp_path / "sheet.png", *painted(grid, tmp_path), Sheet("", 1024, steps), {})
    assert sheets[0]["cell_size"] == side


def test_the_corner_shows_the_pictures_that_all_runs_share(sheets: list[dict[str, Any]], tmp_path: Path) -> None:
    grid = {"content": ["a.png", "b.png"]}
    data = {"content": "sample:town", "style": ["sample:starry", "gone.png"]}
    write_grid_sheet(tmp_path / "sheet.png", *painted(grid, tmp_path), Sheet(), data)
    assert [label for label, _ in sheets[0]["corner"]] == ["style"]


def test_runs_that_are_not_complete(sheets: list[dict[str, Any]], tmp_path: Path) -> None:
    grid = {"seed": [1, 2, 3, 4]}
    painted({"seed": [1, 2, 3]}, tmp_path)
    for seed in (2, 3):
        (tmp_path / f"seed={seed}/version_0/result.json").unlink()
    (tmp_path / "seed=2/failed.txt").touch()
    checkpoint = tmp_path / "seed=3/version_0/checkpoints/last.ckpt"
    checkpoint.parent.mkdir()
    checkpoint.touch()
    found = outcomes(grid, tmp_path)
    assert [outcome.status for outcome in found[2]] == ["complete", "failed", "stopped", "not run"]
    write_grid_sheet(tmp_path / "sheet.png", *found, Sheet(), {})
    assert sheets[0]["rows"] == [[0, "failed", 2, "not run"]]
    assert sheets[0]["notes"] == [["", "failed", "stopped", "not run"]]
    write_grid_table(tmp_path / "results.csv", *found)
    with (tmp_path / "results.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["seed", "status", "steps", "seconds", "loss/total", "loss/tv", "picture"]
    assert rows[1] == ["1", "complete", "3", "1.25", "0.5", "0.5", "seed=1/version_0/stylized.png"]
    assert rows[4] == ["4", "not run", "", "", "", "", ""]


def test_terms_of_one_loss_stand_together(tmp_path: Path) -> None:
    grid = {"seed": [1, 2]}
    _, runs, _ = painted(grid, tmp_path)
    for run, layers in zip(runs, (["relu1_1"], ["relu1_1", "relu2_1"]), strict=True):
        loss = {"total": 1.0, "style": 0.5, **{f"style/{layer}": 0.1 for layer in layers}, "tv": 0.5}
        (tmp_path / run.label / "version_0/result.json").write_text(json.dumps({"steps": 3, "loss": loss}))
    write_grid_table(tmp_path / "r.csv", *outcomes(grid, tmp_path))
    header, first, _ = (tmp_path / "r.csv").read_text().splitlines()
    assert header.split(",")[4:9] == ["loss/total", "loss/style", "loss/style/relu1_1", "loss/style/relu2_1", "loss/tv"]
    assert first.split(",")[4:9] == ["1.0", "0.5", "0.1", "", "0.5"]
