"""Which folder a run has, and which run `--ckpt_path last` goes on with."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from nst_lightning import UserError
from nst_lightning.callbacks.run_folder import InRunFolder, RunFolder, is_locked, locked, run_folder
from nst_lightning.runs.resume import find_checkpoint

RUNS = Path("lightning_logs")
LAST = "checkpoints/last.ckpt"
PART = ["--trainer.max_steps", "5"]

Said = pytest.CaptureFixture[str]


def step(run: str) -> int:
    return int(torch.load(RUNS / run / LAST, weights_only=True)["global_step"])


def make_run(folder: Path, *, with_checkpoint: bool = True) -> Path:
    (folder / "checkpoints").mkdir(parents=True)
    if with_checkpoint:
        torch.save({"state_dict": {}, "loops": {}, "callbacks": {}, "optimizer_states": []}, folder / LAST)
    return folder


def error(said: Said) -> str:
    return said.readouterr().err.splitlines()[-1]


# Claiming


def test_numbers_go_up_from_the_highest(tmp_path: Path) -> None:
    """A gap is not filled: the newest run is the one with the highest number."""
    for name in ("version_2", "version_10", "version_x", "other"):
        (tmp_path / "run" / name).mkdir(parents=True)
    (tmp_path / "run" / "version_11").write_text("a file is in the way of one number alone")
    assert RunFolder(tmp_path, "run").claim() == RunFolder(tmp_path, "run", "version_12")
    assert RunFolder(tmp_path, "new").claim().version == "version_0"


def test_a_folder_is_claimed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that have seen the same folders do not get the same number."""
    monkeypatch.setattr("nst_lightning.callbacks.run_folder.numbered_runs", lambda group: [])
    claimed = [RunFolder(tmp_path, "run").claim().version for _ in range(3)]
    assert claimed == ["version_0", "version_1", "version_2"]


def test_a_group_that_is_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(UserError, match=r"cannot make a folder in .*run"):
        RunFolder(tmp_path, "run").claim()


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ["--trainer.callbacks", "EarlyStopping", "--trainer.callbacks.monitor", "loss/total"],
        ["--trainer.max_steps", "0"],
        ["--model.content.layers", "[relu5_4]"],  # which such a small picture does not have
    ],
    ids=["Trainer", "no step", "first step"],
)
def test_a_start_that_is_refused_leaves_no_run(options: list[str], nst: Callable[..., int]) -> None:
    assert nst("--data.sizes", "[8]", "--data.steps", "3", *options) == 2
    assert not RUNS.exists()


@pytest.mark.slow
def test_a_refused_start_is_not_the_newest_run(nst: Callable[..., int]) -> None:
    assert nst(*PART) == 0
    assert nst("--trainer.max_steps", "0") == 2
    assert nst("--ckpt_path", "last") == 0
    assert [path.name for path in (RUNS / "starry").iterdir()] == ["version_0"]
    assert step("starry/version_0") == 7


def test_processes_of_one_run_agree_on_its_folder(tmp_path: Path) -> None:
    """The first has claimed it; the others are told."""

    class Strategy:
        def broadcast(self, mine: Any) -> Any:
            return tmp_path / "run" / "version_7", mine[1]

    class Process:
        is_global_zero, ckpt_path, strategy, loggers, fast_dev_run = False, None, Strategy(), [], False

    trainer: Any = Process()
    keeper = InRunFolder(RunFolder(tmp_path, "run"), None)
    trainer.callbacks = [keeper]
    with keeper.occupied(trainer):
        keeper.setup(trainer, None, "fit")  # type: ignore[arg-type]
    assert run_folder(trainer) == tmp_path / "run" / "version_7"
    assert not list(tmp_path.iterdir())


def test_processes_that_go_on_from_different_checkpoints_are_refused(tmp_path: Path) -> None:
    class Strategy:
        def broadcast(self, mine: Any) -> Any:
            return tmp_path, "first.ckpt"

    class Process:
        is_global_zero, ckpt_path, strategy, fast_dev_run = False, "second.ckpt", Strategy(), False

    trainer: Any = Process()
    with pytest.raises(UserError, match=r"one process goes on from first\.ckpt, another from second\.ckpt"):
        InRunFolder(RunFolder(tmp_path, "run"), None).setup(trainer, None, "fit")  # type: ignore[arg-type]


# Which run goes on


def test_last_is_the_highest_number_whatever_the_clock(tmp_path: Path) -> None:
    for number in (2, 9, 10):
        run = make_run(tmp_path / "run" / f"version_{number}")
        os.utime(run / LAST, (10**9 - number, 10**9 - number))
    checkpoint, folder = find_checkpoint("last", RunFolder(tmp_path, "run"))
    assert checkpoint == tmp_path / "run" / "version_10" / LAST
    assert folder.version == "version_10"


@pytest.mark.slow
def test_a_newest_run_without_checkpoint_is_not_passed_over(nst: Callable[..., int], capsys: Said) -> None:
    """As `kill -9` before the first checkpoint leaves it."""
    assert nst() == 0
    make_run(RUNS / "starry" / "version_1", with_checkpoint=False)
    capsys.readouterr()
    assert nst("--model.style.weight", "5", "--ckpt_path", "last", "--output.path", "o.png") == 2
    said = error(capsys)
    assert "the newest run, lightning_logs/starry/version_1, ended before its first checkpoint" in said
    assert "--ckpt_path lightning_logs/starry/version_0/checkpoints/last.ckpt" in said
    assert not Path("o.png").exists()
    assert nst("--ckpt_path", "lightning_logs/starry/version_0/checkpoints/last.ckpt") == 0


def test_runs_of_loggers_that_had_other_names_go_on(tmp_path: Path) -> None:
    """Version 0.1 let a logger name the folder: there is no number, and the time decides as it did."""
    for name, time in (("a", 2), ("b", 1)):
        os.utime(make_run(tmp_path / "run" / name) / LAST, (time, time))
    assert find_checkpoint("last", RunFolder(tmp_path, "run"))[0] == tmp_path / "run" / "a" / LAST


@pytest.mark.slow
@pytest.mark.parametrize("wanted", ["last", f"lightning_logs/starry/version_0/{LAST}"])
def test_a_run_that_goes_on_has_one_process(wanted: str, nst: Callable[..., int], capsys: Said) -> None:
    assert nst(*PART) == 0
    run = RUNS / "starry" / "version_0"
    before = (run / LAST).read_bytes()
    with locked(run):
        assert is_locked(run)
        capsys.readouterr()
        assert nst("--ckpt_path", wanted) == 2
        assert "the run in lightning_logs/starry/version_0 is still going on, in another process" in error(capsys)
        assert (run / LAST).read_bytes() == before
    assert not is_locked(run)
    assert nst("--ckpt_path", wanted) == 0


def test_a_run_that_has_just_begun_is_said_to_go_on(tmp_path: Path) -> None:
    make_run(tmp_path / "run" / "version_0")
    newest = make_run(tmp_path / "run" / "version_1", with_checkpoint=False)
    with locked(newest), pytest.raises(UserError, match="version_1, is still going on; let it end"):
        find_checkpoint("last", RunFolder(tmp_path, "run"))


def test_a_run_holds_its_lock_from_the_first_step_to_the_last(
    nst: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    from nst_lightning.tasks import StyleTransfer

    plain, seen = StyleTransfer.training_step, []

    def watched(self: StyleTransfer, batch: Any, batch_idx: int) -> torch.Tensor:
        seen.append(is_locked(RUNS / "starry" / "version_0"))
        return plain(self, batch, batch_idx)

    monkeypatch.setattr(StyleTransfer, "training_step", watched)
    assert nst() == 0
    assert seen == [True] * 7
    assert not is_locked(RUNS / "starry" / "version_0")


@pytest.mark.slow
def test_the_run_that_goes_on_is_named(nst: Callable[..., int], capsys: Said) -> None:
    assert nst(*PART) == 0
    assert nst(*PART) == 0
    capsys.readouterr()
    assert nst("--ckpt_path", "last") == 0
    assert "going on with lightning_logs/starry/version_1, after step 5 of 7" in capsys.readouterr().err
    assert nst("--name", "fork", "--ckpt_path", f"lightning_logs/starry/version_0/{LAST}") == 0
    line = f"going on from lightning_logs/starry/version_0/{LAST}, after step 5 of 7, in lightning_logs/fork/version_0"
    assert line in capsys.readouterr().err


@pytest.mark.slow
def test_a_complete_run_says_so_and_keeps_its_settings(nst: Callable[..., int], capsys: Said) -> None:
    assert nst("--model.average", "0.9") == 0
    before = (RUNS / "starry/version_0/stylized.png").read_bytes()
    capsys.readouterr()
    assert nst("--ckpt_path", "last", "--model.style.weight", "5", "--model.average", "0") == 0
    said = capsys.readouterr().err
    assert f"lightning_logs/starry/version_0/{LAST} is complete: all its 7 steps were done before" in said
    assert "no step was left to be done with changed settings: model.average" in said
    assert "model.style.weight 20.0 → 5.0" in said
    assert [path.name for path in (RUNS / "starry/version_0").glob("config*")] == ["config.yaml"]
    assert (RUNS / "starry/version_0/stylized.png").read_bytes() == before


# What is no setting


@pytest.mark.slow
def test_a_saved_config_starts_anew(nst: Callable[..., int]) -> None:
    assert nst(*PART) == 0
    assert nst("--ckpt_path", "last", "--model.style.weight", "7") == 0
    run = RUNS / "starry" / "version_0"
    for name in ("config.yaml", "config-2.yaml"):
        assert "ckpt_path" not in yaml.safe_load((run / name).read_text())
    before = (run / LAST).read_bytes()
    # as version 0.1 has saved it
    (run / "config-2.yaml").write_text((run / "config-2.yaml").read_text() + f"ckpt_path: {run / LAST}\n")
    for name in ("config.yaml", "config-2.yaml"):
        assert nst("--config", str(run / name), "--name", "starry") == 0
    assert sorted(path.name for path in run.parent.iterdir()) == ["version_0", "version_1", "version_2"]
    assert (run / LAST).read_bytes() == before


@pytest.mark.slow
def test_a_config_of_ones_own_may_name_a_checkpoint(nst: Callable[..., int]) -> None:
    assert nst(*PART) == 0
    Path("mine.yaml").write_text("ckpt_path: last\n")
    assert nst("--config", "mine.yaml") == 0
    assert step("starry/version_0") == 7


@pytest.mark.slow
@pytest.mark.parametrize(
    "logger",
    [
        ["CSVLogger", "--trainer.logger.save_dir", "logs"],
        ["TensorBoardLogger", "--trainer.logger.save_dir", "logs", "--trainer.logger.version", "mine"],
        ["false"],
    ],
    ids=["CSV", "TensorBoard", "none"],
)
def test_a_run_goes_on_whatever_its_logger(logger: list[str], nst: Callable[..., int]) -> None:
    options = ["--trainer.logger", *logger]
    assert nst("--name", "whole") == 0
    assert nst(*options, "--name", "cut", *PART) == 0
    assert nst(*options, "--name", "cut", "--ckpt_path", "last") == 0
    pictures = [(RUNS / name / "version_0/stylized.png").read_bytes() for name in ("whole", "cut")]
    assert pictures[0] == pictures[1]
    assert Path("logs").is_dir() is (logger != ["false"])
    assert not list((RUNS / "cut/version_0").glob("events*"))


@pytest.mark.slow
def test_with_a_limit_of_time_each_session_makes_steps(nst: Callable[..., int], capsys: Said) -> None:
    long = ["--data.steps", "[4000, 3]", "--trainer.max_time", "00:00:00:01"]
    reached = []
    for options in ([], ["--ckpt_path", "last"]):
        assert nst(*long, *options) == 0
        assert "continue with the same command and --ckpt_path last" in capsys.readouterr().err
        reached.append(step("starry/version_0"))
    assert 0 < reached[0] < reached[1]


@pytest.mark.slow
def test_a_timer_of_ones_own_counts_all_sessions(nst: Callable[..., int], capsys: Said) -> None:
    timer = ["--trainer.callbacks", "Timer", "--trainer.callbacks.duration", "{seconds: 1}"]
    assert nst("--data.steps", "[4000, 3]", *timer) == 0
    assert "the same command, a longer duration of Timer and --ckpt_path last" in capsys.readouterr().err


@pytest.mark.slow
def test_sigterm_before_the_first_step_leaves_no_run(nst: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> None:
    from nst_lightning.data import TransferData

    def interrupted(self: TransferData) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(TransferData, "train_dataloader", interrupted)
    before = signal.getsignal(signal.SIGINT)
    assert nst() == 130
    signal.signal(signal.SIGINT, before)
    assert not RUNS.exists()
