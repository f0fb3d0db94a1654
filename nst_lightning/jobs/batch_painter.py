"""Paints pairs in this process, one after another, each as `nst fit` does."""

from __future__ import annotations

import json
import logging
import shutil
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from nst_lightning.callbacks.checkpoint import FOLDER
from nst_lightning.errors import UserError
from nst_lightning.jobs.batch_launch import Launch
from nst_lightning.jobs.batch_pairs import Pair
from nst_lightning.jobs.batch_place import Place
from nst_lightning.jobs.batch_request import BatchRequest
from nst_lightning.jobs.grid import option_words
from nst_lightning.jobs.worker import LOG, RESULT, Job, Status, Tell, WarningHandler, paint

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Painter:
    """Paints what is left of pairs.

    What a run says goes into the pair's `log.txt`, which stays only if the run does not come through; warnings are
    shown as well.

    Args:
        request: Of the batch.
        settings: In force for all pairs.
        launch: Tells which of several GPUs is this process's.
    """

    def __init__(self, request: BatchRequest, settings: Mapping[str, Any], launch: Launch) -> None:
        self._configs = [f"--config={path}" for path in request.configs]
        self._base = [*request.base, "--trainer.enable_progress_bar=false", *_device_words(settings, launch)]
        self._name = request.name
        self._keep_checkpoints = request.keep_checkpoints

    def paint(self, place: Place) -> tuple[Status, str]:
        """Paint a pair whose lock this process has.

        Returns:
            How it ended, and why, as `worker.paint` tells.
        """
        if (place.run / RESULT).exists():  # but the picture has gone
            if place.put_back():
                return "complete", ""
            (place.run / RESULT).unlink()
        try:
            place.begin()
        except (OSError, UserError) as error:
            message = str(error)
            if isinstance(error, OSError):
                message = f"{error.filename} can't be read ({error.strerror})."
            place.fail(message)
            return "failed", message
        words = ["fit", *self._configs, *self._base, *option_words(place.pair.options)]
        words += [f"--name={self._name}/{place.pair.label}", *_pair_words(place.pair)]
        job = Job(place.pair.label, tuple(words), place.folder, dict(place.pair.options), 1.0)
        with _output_to(place.folder / LOG, place.pair.title) as tell:
            status, message = paint(job, tell)
        if status == "failed":
            place.fail(message)
        if status == "complete":
            (place.folder / LOG).unlink(missing_ok=True)
            if not self._keep_checkpoints:
                shutil.rmtree(place.run / FOLDER, ignore_errors=True)
        return status, message


def _pair_words(pair: Pair) -> Sequence[str]:
    """Give the pair as the last words, so that neither `--data FILE` nor anything else in the base replaces it."""
    pictures = {"content": pair.content.path, "style": pair.style.path}
    return [f"--data.init_args={json.dumps(pictures)}", f"--output.path={pair.output}"]


def _device_words(settings: Mapping[str, Any], launch: Launch) -> Sequence[str]:
    """Give each process of a launch a GPU of its own, unless the user chose one or each process sees only its own."""
    trainer = settings["trainer"]
    count = torch.cuda.device_count()
    if (
        launch.size == 1
        or count < 2
        or trainer["accelerator"] not in ("auto", "gpu", "cuda")
        or trainer["devices"] != 1
    ):
        return []
    return [f"--trainer.devices=[{launch.local_rank % count}]"]


@contextmanager
def _output_to(path: Path, title: str) -> Iterator[Tell]:
    """Write what a run says into a file; what the context gives takes its warnings and shows them."""
    ours, terminal = logging.getLogger("nst_lightning"), sys.stderr
    handlers = ours.handlers

    def tell(kind: str, value: Any) -> None:
        if kind == "warning":
            terminal.write(f"{title}: {value}\n")

    with path.open("a", encoding="utf-8") as log, redirect_stdout(log), redirect_stderr(log):
        ours.handlers = [logging.StreamHandler(log), WarningHandler(tell)]
        try:
            yield tell
        finally:
            ours.handlers = handlers


class StopSignals:
    """Lets Ctrl-C and SIGTERM end the batch.

    While a picture is painted `CheckpointWriter` has the signals: the step in progress is finished and kept. At any
    other time there is nothing to keep, and `KeyboardInterrupt` is raised at once.

    Attributes:
        number: The signal that came; `None` if none has.
    """

    def __init__(self) -> None:
        self.number: signal.Signals | None = None
        self._handlers: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignals:
        """Take the signals over; only a program's main thread may."""
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._stop) for number in _SIGNALS}
        return self

    def __exit__(self, *exception: object) -> None:
        """Give them back."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.number = signal.Signals(number)
        raise KeyboardInterrupt
