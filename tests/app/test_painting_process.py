"""Painting processes that break or die, without starting any."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from nst_lightning.app import painting_process as process
from nst_lightning.app.job_queue import Job, PaintingProcess
from nst_lightning.app.job_request import JobRequest, PaintOptions
from nst_lightning.runs import fit_command
from nst_lightning.runs.fit_command import resolve_settings


class Thread:
    """Behaves like a process: the n-th answers each request with the n-th outcome."""

    def __init__(self, pipe: Any, outcome: tuple[str, str]) -> None:
        self._pipe = pipe
        self._outcome = outcome
        self._alive = True
        threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        with suppress(EOFError, OSError), self._pipe:
            while self._pipe.recv() is not None:
                self._pipe.send(self._outcome)

    def is_alive(self) -> bool:
        return self._alive

    def kill(self) -> None:
        self._alive = False  # the thread ends when the other end of the pipe is closed

    def join(self) -> None:
        pass


def painting_process(root: Path, *outcomes: tuple[str, str]) -> PaintingProcess:
    """Make one whose processes are threads."""
    left = iter(outcomes)

    def start(work: Callable[..., None], device: Sequence[str], root: Path) -> Any:
        pipe, theirs = multiprocessing.Pipe()
        return Thread(theirs, next(left)), pipe

    return PaintingProcess((), root, start)


def request(folder: Path) -> JobRequest:
    return JobRequest("id", PaintOptions(size=32), "sample:town", "sample:starry", ("a", "b"), folder, 10**6)


def test_a_process_that_is_broken_is_not_used_again(tmp_path: Path) -> None:
    painter = painting_process(tmp_path, ("broken", "no more."), ("complete", ""))
    assert painter.paint(Job(request(tmp_path), 0.0)) == ("failed", "no more.")
    assert painter.paint(Job(request(tmp_path), 0.0)) == ("complete", "")


def test_a_process_that_died_while_idle_costs_no_job(tmp_path: Path) -> None:
    painter = painting_process(tmp_path, ("complete", "first"), ("complete", "second"))
    painter.process.kill()
    assert painter.paint(Job(request(tmp_path), 0.0)) == ("complete", "second")


class Pipe:
    """Brings a request and nothing more."""

    def __init__(self, request: JobRequest) -> None:
        self._requests = [request]
        self.sent: list[Any] = []

    def recv(self) -> JobRequest:
        if not self._requests:
            raise EOFError
        return self._requests.pop()

    def send(self, message: Any) -> None:
        self.sent.append(message)


def fail(error: Exception) -> Any:
    def run_command(*_: Any) -> None:
        raise error

    return run_command


def test_after_an_unexpected_error_the_process_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        process, "run_command", fail(RuntimeError("CUDA error: an illegal memory access was encountered"))
    )
    monkeypatch.setattr(os, "setsid", lambda: None)
    pipe = Pipe(request(tmp_path))
    process.work(pipe, (), tmp_path)  # type: ignore[arg-type]
    assert [kind for kind, _ in pipe.sent] == ["broken"]
    assert "illegal memory access" in capsys.readouterr().err
    assert tmp_path.exists()  # the page goes on


def test_a_page_that_is_gone_is_left_quietly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(process, "run_command", fail(BrokenPipeError()))
    monkeypatch.setattr(os, "setsid", lambda: None)
    pipe = Pipe(request(tmp_path / "job"))
    process.work(pipe, (), tmp_path)  # type: ignore[arg-type]
    assert pipe.sent == []
    assert capsys.readouterr().err == ""
    assert not tmp_path.exists()


def test_a_device_without_memory_is_told_as_the_page_can_mend_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit(words: Sequence[str], callbacks: Any, names: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(fit_command, "NSTCommand", fit)
    pipe = Pipe(request(tmp_path))
    outcome = process.paint(pipe.recv(), (), pipe)  # type: ignore[arg-type]
    assert outcome == ("failed", "the device ran out of memory; choose a smaller size.")


def test_a_run_on_a_device_of_its_own_has_that_in_its_words(tmp_path: Path) -> None:
    device = ("--trainer.accelerator", "cuda", "--trainer.devices", "[1]")
    settings = resolve_settings(request(tmp_path).argv(device))
    assert settings["trainer"]["devices"] == [1]
    assert settings["trainer"]["accelerator"] == "cuda"
