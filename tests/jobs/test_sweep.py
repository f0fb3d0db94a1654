"""`nst sweep` from the words to the sheet, with real workers on tiny pictures."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from nst_lightning.cli.main import main
from nst_lightning.jobs.job import Job
from nst_lightning.jobs.processes import run_worker, worker_context
from nst_lightning.losses.objective import Objective, References

FOLDER = Path("lightning_logs/grid")
GRID = ["--name", "grid", "--grid.style_weight", "[1, 20]", "--grid.init", "[content, noise]"]
LABELS = [f"style_weight={weight},init={init}" for weight in (1, 20) for init in ("content", "noise")]


def table() -> list[dict[str, str]]:
    with (FOLDER / "results.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def contents(but: str = "") -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(FOLDER)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in FOLDER.rglob("*")
        if path.is_file() and path.parent != FOLDER and not (but and but in str(path))
    }


@pytest.mark.slow
@pytest.mark.processes
def test_a_grid_of_runs_its_table_and_its_sheet(
    sweep: Callable[..., int], sweep_words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep(*GRID, "--jobs", "2", "--sheet.size", "64") == 0
    written, said = capsys.readouterr()
    assert written == "lightning_logs/grid/sheet.png\n"
    assert "4 runs in lightning_logs/grid, 0 of them complete" in said
    assert "run 4/4" in said
    assert "steps/s" not in said  # the runs' own bars
    assert said.splitlines()[-2:] == ["table: lightning_logs/grid/results.csv", "sheet: lightning_logs/grid/sheet.png"]

    rows = table()
    assert [(row["style_weight"], row["init"]) for row in rows] == [
        ("1", "content"), ("1", "noise"), ("20", "content"), ("20", "noise"),
    ]  # fmt: skip
    assert [path.name for path in sorted(FOLDER.iterdir()) if path.is_dir()] == sorted(LABELS)
    for row, label in zip(rows, LABELS, strict=True):
        assert (row["status"], row["steps"]) == ("complete", "7")
        assert row["picture"] == f"{label}/version_0/stylized.png"
        parts = sum(float(row[f"loss/{name}"]) for name in ("content", "style", "tv"))
        assert float(row["loss/total"]) == pytest.approx(parts, rel=1e-5)
        assert float(row["seconds"]) > 0
    weight = yaml.safe_load((FOLDER / LABELS[2] / "version_0/config.yaml").read_text())["model"]["init_args"]["style"]
    assert weight["init_args"]["weight"] == 20

    # A run is what nst fit makes of the same words.
    torch.set_num_threads(1)
    assert main(["fit", *sweep_words[1:], "--model.style.weight", "1", "--data.init", "noise", "--name", "alone"]) == 0
    alone = Path("lightning_logs/alone/version_0/stylized.png")
    assert (FOLDER / LABELS[1] / "version_0/stylized.png").read_bytes() == alone.read_bytes()
    assert Image.open(FOLDER / "sheet.png").width > 2 * 64


@pytest.mark.slow
@pytest.mark.processes
def test_started_again_it_leaves_complete_runs_alone_and_grows(
    sweep: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["--name", "grid", "--grid.init", "[content]"]
    assert sweep(*small, "--grid.style_weight", "[1]") == 0
    before = contents()
    sheet = (FOLDER / "sheet.png").read_bytes()
    (FOLDER / "sheet.png").unlink()
    capsys.readouterr()
    assert sweep(*small, "--grid.style_weight", "[1]") == 0
    assert contents() == before
    assert (FOLDER / "sheet.png").read_bytes() == sheet
    assert "1 runs in lightning_logs/grid, 1 of them complete" in capsys.readouterr().err
    assert sweep(*small, "--grid.style_weight", "[7, 1]") == 0
    assert contents(but="weight=7") == before
    assert [row["style_weight"] for row in table()] == ["7", "1"]


@pytest.mark.slow
@pytest.mark.processes
def test_a_failing_run_is_marked_and_the_others_go_on(
    sweep: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    grid = ["--name", "grid", "--grid.style_layers", "[[relu9_9], [relu1_1]]"]
    assert sweep(*grid) == 1
    said = capsys.readouterr().err
    assert "failed: style_layers=relu9_9: " in said
    assert "1 of 2 runs complete" in said
    failed = FOLDER / "style_layers=relu9_9"
    assert "no layer 'relu9_9'" in (failed / "failed.txt").read_text()
    assert [row["status"] for row in table()] == ["failed", "complete"]
    assert table()[0]["picture"] == ""
    before = contents(but="relu9_9")
    assert sweep(*grid) == 1  # tried again, and only that
    assert contents(but="relu9_9") == before


@pytest.mark.slow
@pytest.mark.processes
def test_a_crashing_run_does_not_take_the_sweep_along(
    sweep: Callable[..., int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("crashing.py").write_text(
        "import os\n"
        "from nst_lightning.losses import TotalVariationLoss\n"
        "class Crash(TotalVariationLoss):\n"
        "    def forward(self, features, targets):\n"
        "        os.abort()\n"
        "class Bug(TotalVariationLoss):\n"
        "    def forward(self, features, targets):\n"
        "        raise RuntimeError('a bug of mine')\n"
    )
    monkeypatch.syspath_prepend(str(Path.cwd()))
    variation = "{crash: {class_path: crashing.Crash}, bug: {class_path: crashing.Bug}, fine: null}"
    assert sweep("--name", "grid", "--grid.model.variation", variation) == 1
    assert [row["status"] for row in table()] == ["failed", "failed", "complete"]
    assert "SIGABRT" in (FOLDER / "variation=crash/failed.txt").read_text()
    assert (FOLDER / "variation=bug/failed.txt").read_text() == "RuntimeError: a bug of mine\n"
    assert "crashing.py" in (FOLDER / "variation=bug/log.txt").read_text()  # the traceback
    assert "crashing.Crash" not in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.processes
def test_another_sweep_under_the_same_name_is_refused(
    sweep: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    grid = ["--name", "grid", "--grid.seed", "{one: 1}"]
    assert sweep(*grid) == 0
    before = contents()
    assert sweep(*grid, "--model.average", "0.5") == 2
    assert "other settings: model.average 0.0 → 0.5; give another --name" in capsys.readouterr().err
    assert sweep("--name", "grid", "--grid.seed", "{one: 2}") == 2
    assert "seed=one.seed 1 → 2" in capsys.readouterr().err
    assert contents() == before
    Path("lightning_logs/plain/version_0").mkdir(parents=True)
    assert sweep("--name", "plain", "--grid.seed", "[1]") == 2
    assert "lightning_logs/plain holds runs that are not of a sweep" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.processes
def test_an_interrupted_run_goes_on_and_one_without_a_checkpoint_begins_anew(sweep: Callable[..., int]) -> None:
    grid = ["--name", "grid", "--grid.seed", "[1, 2, 3]", "--jobs", "2"]
    assert sweep(*grid) == 0
    whole = contents()
    table_before = [{**row, "seconds": ""} for row in table()]
    # As after a kill: one run just before its result was written, one before its first checkpoint, one never begun.
    (FOLDER / "seed=1/version_0/result.json").unlink()
    (FOLDER / "seed=2/version_0/result.json").unlink()
    (FOLDER / "seed=2/version_0/checkpoints/last.ckpt").unlink()
    (FOLDER / "seed=2/version_0/leftover.txt").touch()
    for path in sorted((FOLDER / "seed=3").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    assert sweep(*grid) == 0
    now = contents()
    unstable = ("tfevents", "seconds.txt")
    assert {path: file[0] for path, file in now.items() if not any(part in path for part in unstable)} == {
        path: file[0] for path, file in whole.items() if not any(part in path for part in unstable)
    }
    assert [{**row, "seconds": ""} for row in table()] == table_before
    checkpoint = "seed=1/version_0/checkpoints/last.ckpt"
    assert now[checkpoint] == whole[checkpoint]  # nothing was left to paint


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_the_runs_with_checkpoints_and_the_sweep_goes_on(
    number: signal.Signals, sweep: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    grid = ["--name", "grid", "--grid.seed", "[1, 2]", "--checkpoint.every_n_steps", "10"]
    checkpoint = FOLDER / "seed=1/version_0/checkpoints/last.ckpt"
    stopper = threading.Thread(target=lambda: (_wait_for(checkpoint.exists), os.kill(os.getpid(), number)))
    stopper.start()
    before = signal.getsignal(number)
    assert sweep(*grid, "--data.steps", "[20, 100000]") == 128 + number
    stopper.join()
    assert signal.getsignal(number) is before
    assert capsys.readouterr().err.splitlines()[-1] == "stopped; the same command goes on where this one was"
    assert [row["status"] for row in table()] == ["stopped", "not run"]
    stopped = re.search(r"stopped at step (\d+)", (FOLDER / "seed=1/log.txt").read_text())
    assert stopped is not None
    assert torch.load(checkpoint, weights_only=True)["global_step"] == int(stopped[1])  # after the step in progress


@pytest.mark.slow
@pytest.mark.processes
def test_the_picture_that_a_config_names_is_no_runs_of_the_sweep(
    sweep: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mine.png").write_bytes(b"a finished picture")
    Path("kept.yaml").write_text("output: {path: mine.png}")  # as in a run's config.yaml
    assert sweep("--config", "kept.yaml", "--name", "grid", "--grid.seed", "[1]") == 0
    assert Path("mine.png").read_bytes() == b"a finished picture"
    Path("kept.yaml").write_text("animation: {path: run.webp}")
    assert sweep("--config", "kept.yaml", "--name", "other", "--grid.seed", "[1]") == 2
    assert "all runs would write the animation.path of the config; leave it out" in capsys.readouterr().err


@pytest.mark.processes
def test_runs_are_in_one_place(sweep: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep("--grid.trainer.default_root_dir", "[a, b]") == 2
    assert "trainer.default_root_dir can't be an axis" in capsys.readouterr().err
    assert not list(Path().iterdir())


@pytest.mark.slow
@pytest.mark.processes
def test_a_worker_stops_when_the_sweep_is_gone(sweep_words: list[str], tmp_path: Path) -> None:
    """The pipe of a process that is killed is closed by the system."""
    words = ["fit", *sweep_words[1:], "--data.steps", "[20, 100000]", "--checkpoint.every_n_steps", "10"]
    words += ["--name", "grid/run", "--trainer.default_root_dir", str(tmp_path)]
    folder = tmp_path / "lightning_logs/grid/run"
    context = worker_context()
    ours, theirs = context.Pipe()
    process = context.Process(target=run_worker, args=(Job("run", tuple(words), folder), 1, theirs))
    process.start()
    theirs.close()
    _wait_for((folder / "version_0/checkpoints/last.ckpt").exists)
    ours.close()
    process.join(60)
    assert process.exitcode == 0
    assert "stopped at step" in (folder / "log.txt").read_text()
    assert not (folder / "version_0/result.json").exists()


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.processes
def test_the_result_is_the_loss_of_the_picture_and_tensorboard_compares_it(sweep: Callable[..., int]) -> None:
    assert sweep("--name", "grid", "--grid.style_weight", "[1, 20]", "--model.average", "0") == 0
    for weight in (1, 20):
        run = FOLDER / f"style_weight={weight}/version_0"
        result = json.loads((run / "result.json").read_text())
        assert result["settings"] == {"style_weight": str(weight)}
        assert result["loss"]["total"] == pytest.approx(float(_loss_of_picture(run)), rel=1e-5)
        events = EventAccumulator(str(run)).Reload()
        session = HParamsPluginData.FromString(events.PluginTagToContent("hparams")["_hparams_/session_start_info"])
        settings = session.session_start_info.hparams
        assert settings["style/weight"].number_value == weight
        assert (settings["size"].number_value, settings["steps"].number_value) == (34, 7)
        assert settings["init"].string_value == "recolored"
        for name in ("total", "content", "style", "tv"):
            assert events.Scalars(f"final/{name}")[-1].value == pytest.approx(result["loss"][name], rel=1e-6)


def _loss_of_picture(run: Path) -> torch.Tensor:
    from nst_lightning import VGG19, ContentLoss, GramStyleLoss, TotalVariationLoss, TransferData

    settings = yaml.safe_load((run / "config.yaml").read_text())
    model, data = settings["model"]["init_args"], settings["data"]["init_args"]
    style = GramStyleLoss(layers=model["style"]["init_args"]["layers"], weight=model["style"]["init_args"]["weight"])
    losses = [ContentLoss(), style, TotalVariationLoss(weight=3.0, kind="second_order", chroma=20.0)]
    objective = Objective(VGG19(model["encoder"]["init_args"]["weights"], padding="replicate"), losses)
    batch = TransferData(data["content"], data["style"], sizes=[34], steps=1).batch(0)
    targets = objective.measure(References(batch.content, batch.styles, batch.style_weights))
    picture = torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]["image"]
    with torch.no_grad():
        total: torch.Tensor = objective(picture, targets)[0]
    return total
