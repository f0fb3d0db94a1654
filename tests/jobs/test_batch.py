"""`nst batch` from the words to the pictures, the table and the sheet."""

from __future__ import annotations

import csv
import logging
import os
import re
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch import LightningModule, Trainer

from nst_lightning.cli.main import main
from nst_lightning.encoders import encoder_weights as weights
from nst_lightning.images.files import read_image
from nst_lightning.jobs.job import Watcher, output_of_run
from nst_lightning.utils.locks import LOCK
from tests.helpers.inputs import make_image
from tests.helpers.processes import Command

RUNS = Path("lightning_logs/many")
PAIRS = ["--contents", "photos", "--styles", "paintings/dots.png"]
HEADER, ROW = "content,style,output,seed,style_weight\n", "photos/me.png,paintings/dots.png"
NO_CLOCKS = ("tfevents", "seconds.txt", "painted_from.json", "summary.csv")


def table() -> list[dict[str, str]]:
    with Path("out/summary.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def statuses() -> list[str]:
    return [row["status"] for row in table()]


def files(*folders: str) -> dict[str, tuple[bytes, int]]:
    found = (path for folder in folders for path in Path(folder).rglob("*") if path.is_file())
    return {
        # That of a lock says nothing: before version 4.1 filelock writes its file, which is empty, whenever it locks.
        str(path): (path.read_bytes(), 0 if path.name == LOCK else path.stat().st_mtime_ns)
        for path in found
        if not any(part in path.name for part in NO_CLOCKS)
    }


def contents_of(*folders: str) -> dict[str, bytes]:
    return {path: content for path, (content, _) in files(*folders).items()}


@pytest.mark.slow
def test_each_pair_is_what_nst_fit_paints_of_it_with_one_encoder(
    batch: Callable[..., int],
    batch_words: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = []
    load = weights.read_checkpoint
    monkeypatch.setattr(weights, "read_checkpoint", lambda path: read.append(path) or load(path))
    trainers: list[weakref.ref[Trainer]] = []
    left_over = []
    start = Watcher.on_train_start

    def count(self: Watcher, trainer: Trainer, module: LightningModule) -> None:
        left_over.append(sum(earlier() is not None for earlier in trainers))
        trainers.append(weakref.ref(trainer))
        start(self, trainer, module)

    monkeypatch.setattr(Watcher, "on_train_start", count)
    assert batch(*PAIRS, "--contact_sheet", "sheet.png") == 0
    assert len(read) == 1
    assert left_over == [0, 0]  # memory does not grow from pair to pair
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "2 pairs, 0 of them complete; pictures in out"
    assert said[1].startswith("[1/2] me × dots: ")
    assert " s → out/me_dots.png, 00:" in said[1]
    assert said[2].startswith("[2/2] trip/sea × dots: ")
    assert said[2].endswith(" s → out/trip/sea_dots.png")
    assert said[3] == "2 of 2 pairs complete: 2 now, 0 before; 0 failed"
    assert said[4:] == ["summary: out/summary.csv", "sheet: sheet.png"]

    rows = table()
    assert [row["output"] for row in rows] == ["out/me_dots.png", "out/trip/sea_dots.png"]
    assert [row["content"] for row in rows] == ["photos/me.png", "photos/trip/sea.jpg"]
    assert [row["style"] for row in rows] == ["paintings/dots.png"] * 2
    for row in rows:
        assert (row["status"], row["steps"]) == ("complete", "7")
        parts = sum(float(row[f"loss/{name}"]) for name in ("content", "style", "tv"))
        assert float(row["loss/total"]) == pytest.approx(parts, rel=1e-5)
    assert not list(RUNS.rglob("*.ckpt"))  # of finished pairs they would fill the disk
    assert not list(RUNS.rglob("log.txt"))
    height, width = read_image("sheet.png").pixels.shape[-2:]
    assert width > 2 * 256  # a column of contents and one of a style
    assert height > 2 * 192 + 256  # a row of styles and two of contents

    # What is written down for a pair is a config of nst fit.
    words = [*batch_words[1:3], "--config", str(RUNS / "trip/sea_dots/pair.yaml"), *batch_words[3:-4]]
    assert main(["fit", *words, "--name", "alone", "--output.path", "alone.png"]) == 0
    assert Path("alone.png").read_bytes() == Path("out/trip/sea_dots.png").read_bytes()


@pytest.mark.slow
def test_started_again_it_paints_only_what_is_missing(
    batch: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("pairs.csv").write_text(f"{HEADER}{ROW},a.png,3,\n{ROW},b.jpg,3,\n")
    words = ["--manifest", "pairs.csv", "--data.init", "noise"]
    assert batch(*words) == 0
    before = files("out", str(RUNS))
    assert batch(*words) == 0
    assert files("out", str(RUNS)) == before
    assert "2 of 2 pairs complete: 0 now, 2 before; 0 failed" in capsys.readouterr().err
    Path("out/a.png").unlink()
    Path("out/b.jpg").unlink()  # which can't be had from the run's PNG
    Path("pairs.csv").write_text(f"{HEADER}{ROW},a.png,3,\n{ROW},b.jpg,3,\n{ROW},c.png,4,5\n")
    assert batch(*words) == 0
    assert "3 of 3 pairs complete: 3 now, 0 before; 0 failed" in capsys.readouterr().err
    assert contents_of("out").items() >= {(path, file[0]) for path, file in before.items() if path.startswith("out")}
    assert Path("out/c.png").read_bytes() != Path("out/a.png").read_bytes()
    config = yaml.safe_load((RUNS / "c/version_0/config.yaml").read_text())
    assert (config["seed_everything"], config["model"]["init_args"]["style"]["init_args"]["weight"]) == (4, 5)
    assert [(row["seed"], row["style_weight"]) for row in table()] == [("3", ""), ("3", ""), ("4", "5")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("model.optimizer", "torch.optim.SGD"),
        ("model.init_args.optimizer", '"{class_path: os.system, init_args: {command: touch out/x}}"'),
        ("model.optimizer.class_path", "SGD"),
        ("model.lr_scheduler", "settings.yaml"),
        ("model.extra_losses+", "tests.helpers.callables.Caller"),
        ("model.style", "WassersteinStyleLoss"),
        ("lr", '"{class_path: torch.load, init_args: {f: x}}"'),
    ],
)
def test_a_manifest_names_no_classes(
    batch: Callable[..., int], capsys: pytest.CaptureFixture[str], name: str, cell: str
) -> None:
    config = ("--model.optimizer", "torch.optim.Adam")  # whose learning rate may be a tensor, which is a class
    Path("pairs.csv").write_text(f"content,style,{name}\n{ROW},\n{ROW},{cell}\n")
    assert batch("--manifest", "pairs.csv", *config) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert f"for {name}, but a manifest chooses no classes; put it into a --config." in said[0]
    assert "line 3 of pairs.csv" in said[0]


@pytest.mark.slow
def test_a_manifest_sets_numbers_of_the_classes_of_the_config(batch: Callable[..., int]) -> None:
    Path("pairs.csv").write_text(f"content,style,lr,model.style.init_args.weight,encoder\n{ROW},0.1,3,\n")
    assert batch("--manifest", "pairs.csv", "--model.optimizer", "torch.optim.Adam") == 0
    config = yaml.safe_load((RUNS / "me_dots/version_0/config.yaml").read_text())["model"]["init_args"]
    assert (config["optimizer"]["init_args"]["lr"], config["style"]["init_args"]["weight"]) == (0.1, 3)


@pytest.mark.slow
def test_other_settings_and_other_pictures_are_refused(
    batch: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("pairs.csv").write_text(f"{HEADER}{ROW},me.png,3,\n")
    words = ["--manifest", "pairs.csv"]
    assert batch(*words) == 0
    before = files("out", str(RUNS))
    assert batch(*words, "--model.average", "0.5") == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert "lightning_logs/many holds a batch with other settings: model.average 0.0 → 0.5; give" in message
    Path("pairs.csv").write_text(f"{HEADER}{ROW},me.png,4,\n")
    assert batch(*words) == 2
    assert "me.seed 3 → 4; give another --name" in capsys.readouterr().err
    Path("pairs.csv").write_text(f"{HEADER}{ROW},me.png,3,\n")
    os.utime("photos/me.png", (1, 1))  # as a copy has another time
    assert batch(*words) == 0
    make_image(Path("photos/me.png"), 40, 30, seed=9)
    assert batch(*words) == 1
    said = capsys.readouterr().err
    assert "failed: me × dots: the content photos/me.png has changed since; remove lightning_logs/many/me to" in said
    assert statuses() == ["failed"]
    assert files("out", str(RUNS)) == before


@pytest.mark.slow
def test_a_batch_ends_with_a_sheet_of_all_pictures(
    batch: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert batch(*PAIRS) == 0
    said, sheet = capsys.readouterr(), Path("out/contact-sheet.png")
    assert said.err.splitlines()[-1] == f"sheet: {sheet}"
    assert said.out == "out\n"
    height, width = read_image(sheet).pixels.shape[-2:]
    assert width > 2 * 256
    assert height > 2 * 192 + 256
    before = sheet.read_bytes()
    assert batch(*PAIRS) == 0
    assert sheet.read_bytes() == before


@pytest.mark.slow
def test_a_picture_that_is_named_like_the_sheet_stays(batch: Callable[..., int]) -> None:
    Path("pairs.csv").write_text(f"{HEADER}{ROW},contact-sheet.png,3,\n")
    words = ["--manifest", "pairs.csv", "--data.init", "noise"]
    assert batch(*words) == 0
    assert read_image("out/contact-sheet.png").pixels.shape[-1] < 256
    Path("pairs.csv").write_text(f"{HEADER}{ROW},contact-sheet.png,3,\n{ROW},b.png,4,\n")
    assert batch(*words) == 0
    assert read_image("out/contact-sheet.png").pixels.shape[-1] < 256


@pytest.mark.slow
def test_bad_files_are_reported_and_the_others_painted(
    batch: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("photos/broken.jpg").write_bytes(Path("photos/trip/sea.jpg").read_bytes()[:300])
    Path("photos/text.png").write_text("not a picture")
    Path("photos/notes.txt").write_text("not meant to be one")
    words = [*PAIRS, "--contact_sheet", "sheet.png"]
    assert batch(*words) == 1
    said = capsys.readouterr().err
    assert "left out: notes.txt in photos" in said
    assert "[1/4] broken × dots: failed: " in said
    assert "2 of 4 pairs complete: 2 now, 0 before; 2 failed" in said
    assert "failed: text × dots: expected a picture (" in said
    assert statuses() == ["failed", "complete", "failed", "complete"]
    assert table()[2]["message"].startswith("expected a picture (")
    before = files("out")
    make_image(Path("photos/text.png"), 30, 30, seed=5)
    assert batch(*words) == 1  # tried again
    assert statuses() == ["failed", "complete", "complete", "complete"]
    assert files("out").items() >= before.items()


MISTAKES = {
    "value": (["--manifest", "pairs.csv"], "line 3 of pairs.csv: seed_everything: "),
    "devices": ([*PAIRS, "--trainer.devices", "2"], "paints each picture on one device"),
}


@pytest.mark.slow
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_before_anything_is_written(
    mistake: str, batch: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    words, message = MISTAKES[mistake]
    Path("pairs.csv").write_text(f"{HEADER}{ROW},a.png,3,\n{ROW},b.png,x,\n")
    assert batch(*words) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not Path("out").exists()
    assert not RUNS.exists()


@pytest.mark.parametrize("name", ["summary.csv", "contact-sheet.png"])
def test_what_no_batch_has_written_is_not_written_over(
    name: str, batch: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("out").mkdir()
    Path("out", name).write_text("mine")
    assert batch(*PAIRS) == 2
    assert f"out/{name} would be written over, which is of no batch; move it, or" in capsys.readouterr().err
    assert Path("out", name).read_text() == "mine"
    assert not RUNS.exists()


def test_without_a_style_it_asks_for_one(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["batch", "--config", "inversion", "--contents", "photos"]) == 2
    assert "nst batch needs --styles: a folder, pictures or sample:NAME" in capsys.readouterr().err
    assert sorted(path.name for path in pictures.iterdir()) == ["paintings", "photos"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names of files are text")
@pytest.mark.usefixtures("pictures")
def test_a_file_whose_name_is_no_text_is_painted_like_the_others(batch_words: list[str]) -> None:
    """In a process of its own: what it says can't be sent between pytest's."""
    make_image(Path(os.fsdecode(b"photos/\xff.png")), 40, 30, seed=1)
    code, said = Command([*batch_words, *PAIRS]).end()
    assert code == 0, said
    assert statuses() == ["complete", "complete", "complete"]
    assert Path(os.fsdecode(b"out/\xff_dots.png")).exists()
    assert "photos/\\udcff.png" in {row["content"] for row in table()}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_after_the_step_in_progress(
    number: signal.Signals, batch: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*PAIRS, "--data.steps", "[4, 100000]", "--checkpoint.every_n_steps", "10"]
    checkpoint = RUNS / "me_dots/version_0/checkpoints/last.ckpt"
    stopper = threading.Thread(target=lambda: (wait_for(checkpoint.exists), os.kill(os.getpid(), number)))
    stopper.start()
    before = signal.getsignal(number)
    assert batch(*words) == 128 + number
    stopper.join()
    assert signal.getsignal(number) is before
    assert capsys.readouterr().err.splitlines()[-1] == "stopped; the same command goes on where this one was"
    assert statuses() == ["stopped", "not run"]
    stopped = re.search(r"stopped at step (\d+)", (RUNS / "me_dots/log.txt").read_text())
    assert stopped is not None
    assert torch.load(checkpoint, weights_only=True)["global_step"] == int(stopped[1])  # after the step in progress


@pytest.mark.slow
@pytest.mark.processes
def test_killed_in_the_middle_and_started_again_it_leaves_the_same_bytes(
    batch: Callable[..., int], batch_words: list[str]
) -> None:
    words = ["--contents", "photos/me.png", "--styles", "paintings", "--keep_checkpoints"]
    words += ["--data.steps", "[4, 30]", "--checkpoint.every_n_steps", "3"]
    torch.set_num_threads(1)  # as the other process has: the order of sums depends on the threads
    started = Command([*batch_words, *words])
    half_done = RUNS / "me_waves/version_0/checkpoints/last.ckpt"
    wait_for(half_done.exists)
    started.process.kill()
    assert started.end()[0] == -signal.SIGKILL
    assert 0 < torch.load(half_done, weights_only=True)["global_step"] < 34
    assert not (RUNS / "me_waves/version_0/result.json").exists()
    finished = files(str(RUNS / "me_dots"), "out")
    assert "out/me_dots.png" in finished
    assert batch(*words) == 0
    assert files(str(RUNS / "me_dots"), "out").items() >= finished.items()
    killed = contents_of("out", str(RUNS))
    for folder in (Path("out"), RUNS):
        folder.rename(f"killed-{folder.name}")
    assert batch(*words) == 0
    assert contents_of("out", str(RUNS)) == killed


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_warning_of_a_run_is_shown_and_its_chatter_is_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("nst_lightning.somewhere")
    handlers = logging.getLogger("nst_lightning").handlers
    warnings: list[str] = []
    with output_of_run(tmp_path / "log.txt", warnings.append):
        logger.info("painting")
        logger.warning("too small")
        sys.stderr.write("said\n")
    assert logging.getLogger("nst_lightning").handlers is handlers
    assert warnings == ["too small"]
    assert capsys.readouterr().err == ""
    assert (tmp_path / "log.txt").read_text() == "painting\ntoo small\nsaid\n"
