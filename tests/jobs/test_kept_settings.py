"""Where files can't be locked, commands whose processes share folders say so."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from nst_lightning.errors import UserError
from nst_lightning.jobs.batch import keep_settings
from nst_lightning.jobs.frames import FramesFolder
from nst_lightning.jobs.settings import KeptSettings
from nst_lightning.utils.locks import LOCK, check_locks


def hold_frames(folder: Path) -> None:
    with FramesFolder(folder).locked():
        pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
@pytest.mark.parametrize(
    ("command", "option"),
    [
        (lambda folder: keep_settings(folder, {"trainer": {}}), "--trainer.default_root_dir"),
        (hold_frames, "--output"),
    ],
    ids=["batch", "video"],
)
def test_a_file_system_without_locks_is_refused(
    command: Callable[[Path], None], option: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(file: object, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    message = rf"runs/.lock can't be locked \({os.strerror(number)}\).*; set {option} to a place on"
    with pytest.raises(UserError, match=message):
        command(tmp_path / "runs")
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [LOCK]


@pytest.mark.slow
@pytest.mark.processes
def test_a_sweep_says_so_before_it_starts_a_worker(
    sweep: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("nst_lightning.jobs.sweep.JobRunner", None)
    monkeypatch.setattr(fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOLCK, "No locks available")))
    assert sweep("--grid.style_weight", "[1, 20]") == 2
    assert "can't be locked (No locks available)" in capsys.readouterr().err.splitlines()[-1]


def test_more_settings_than_could_be_read_again_are_refused(tmp_path: Path) -> None:
    file = KeptSettings(tmp_path / "sweep.yaml", "a sweep with", "", "", "")
    file.write({"runs": {f"seed={seed}": {"seed": seed} for seed in range(1000)}})
    assert len(file.read(["runs"])["runs"]) == 1000
    before = file.file.read_bytes()
    with pytest.raises(UserError, match=r"a sweep of so many runs can't be kept in .*; give it in parts, each with"):
        file.write({"runs": {f"seed={seed}": {"seed": seed} for seed in range(60_000)}})
    assert file.file.read_bytes() == before


def test_a_lock_that_another_process_holds_is_a_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FileLock(tmp_path / LOCK):
        check_locks(tmp_path)
    tried = []

    def refuse(file: object, operation: int) -> None:  # as some file systems put it
        tried.append(operation)
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(fcntl, "flock", refuse)
    check_locks(tmp_path)
    assert tried == [fcntl.LOCK_EX | fcntl.LOCK_NB]
