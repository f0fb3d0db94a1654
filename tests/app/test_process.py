"""Painting processes that break or die, without starting any."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from nst_lightning.app import painting
from nst_lightning.app.job import Job
from nst_lightning.app.order import Order
from nst_lightning.app.process import PaintingProcess
from nst_lightning.app.recipe import Recipe


class Thread:
    """Behaves like a process: the n-th answers each order with the n-th outcome."""

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


class Process(PaintingProcess):
    """Whose processes are threads."""

    outcomes: Iterator[tuple[str, str]]

    def _start(self) -> None:
        self._pipe, theirs = multiprocessing.Pipe()
        self._process = Thread(theirs, next(self.outcomes))  # type: ignore[assignment]


def order(folder: Path) -> Order:
    return Order("id", Recipe(size=32), "sample:town", "sample:starry", ("a", "b"), folder, 10**6)


def test_a_process_that_is_broken_is_not_used_again(tmp_path: Path) -> None:
    Process.outcomes = iter([("broken", "no more."), ("complete", "")])
    process = Process({}, tmp_path)
    assert process.paint(Job(order(tmp_path), 0.0)) == ("failed", "no more.")
    assert process.paint(Job(order(tmp_path), 0.0)) == ("complete", "")


def test_a_process_that_died_while_idle_costs_no_job(tmp_path: Path) -> None:
    Process.outcomes = iter([("complete", "first"), ("complete", "second")])
    process = Process({}, tmp_path)
    process._process.kill()
    assert process.paint(Job(order(tmp_path), 0.0)) == ("complete", "second")


class Pipe:
    """Brings an order and nothing more."""

    def __init__(self, order: Order) -> None:
        self._orders = [order]
        self.sent: list[Any] = []

    def recv(self) -> Order:
        if not self._orders:
            raise EOFError
        return self._orders.pop()

    def send(self, message: Any) -> None:
        self.sent.append(message)


def fail(error: Exception) -> Any:
    def fit(*_: Any, **__: Any) -> None:
        raise error

    return fit


def test_after_an_unexpected_error_the_process_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(painting, "fit", fail(RuntimeError("CUDA error: an illegal memory access was encountered")))
    monkeypatch.setattr(os, "setsid", lambda: None)
    pipe = Pipe(order(tmp_path))
    painting.work(pipe, {}, tmp_path)  # type: ignore[arg-type]
    assert [kind for kind, _ in pipe.sent] == ["broken"]
    assert "illegal memory access" in capsys.readouterr().err
    assert tmp_path.exists()  # the page goes on


def test_a_page_that_is_gone_is_left_quietly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(painting, "fit", fail(BrokenPipeError()))
    monkeypatch.setattr(os, "setsid", lambda: None)
    pipe = Pipe(order(tmp_path / "job"))
    painting.work(pipe, {}, tmp_path)  # type: ignore[arg-type]
    assert pipe.sent == []
    assert capsys.readouterr().err == ""
    assert not tmp_path.exists()
