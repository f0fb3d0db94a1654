"""One run of a sweep, in a process of its own."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import torch
from filelock import FileLock
from lightning.pytorch import Callback, LightningModule, Trainer

from nst_lightning.callbacks.checkpoint import FOLDER, LAST, run_folder
from nst_lightning.callbacks.image_writer import transfer_data
from nst_lightning.data.transfer_batch import TransferBatch
from nst_lightning.errors import UserError, one_line
from nst_lightning.runs.fit_command import run_command
from nst_lightning.tasks.style_transfer import StyleTransfer
from nst_lightning.utils.atomic import atomic_path
from nst_lightning.utils.locks import LOCK

VERSION = "version_0"
RESULT = "result.json"
SECONDS = "seconds.txt"
FAILED = "failed.txt"
LOG = "log.txt"

Status = Literal["complete", "failed", "stopped"]
Tell = Callable[[str, Any], None]

_TELL_INTERVAL = 0.2  # seconds
_SECONDS_INTERVAL = 5.0


@dataclass(frozen=True)
class Job:
    """A run to be done.

    Attributes:
        label: What it is called.
        words: Of the command line, `fit` first, without `--ckpt_path`.
        folder: It lives in `folder/version_0`; the log and the mark of a failure are beside that.
        settings: What it is in the grid, for its `result.json`.
        work: How much it is, compared with the others of the sweep.
    """

    label: str
    words: tuple[str, ...]
    folder: Path
    settings: dict[str, str]
    work: float


def work(job: Job, threads: int, pipe: Connection) -> None:
    """Do a run, or what is left of it; the body of a worker process.

    It ends with a checkpoint when it gets SIGTERM, and when the sweep's process is gone. What it says goes into
    `log.txt`, which stays only if the run does not come through.

    Args:
        job: What to do.
        threads: Of torch, for each operation.
        pipe: Gets `("progress", fraction)`, `("warning", text)` and in the end `("complete" | "failed" | "stopped",
            message)`.
    """
    if sys.platform != "win32":
        os.setsid()  # Ctrl-C in the terminal is the sweep's: it tells us
    tell = _Teller(pipe)
    threading.Thread(target=_stop_without_parent, args=(pipe,), daemon=True).start()
    torch.set_num_threads(threads)
    job.folder.mkdir(parents=True, exist_ok=True)
    # A worker of a sweep that was killed may still be busy with its last step.
    with FileLock(job.folder / LOCK):
        _write_output_to(job.folder / LOG, tell)
        status, message = paint(job, tell)
        if status == "complete":
            (job.folder / LOG).unlink(missing_ok=True)
    tell(status, message)


def paint(job: Job, tell: Tell) -> tuple[Status, str]:
    """Do a run, or what is left of it, in this process.

    Args:
        job: What to do; no other process is at it.
        tell: Called with `"progress"` and the part of the run's work that is done, from 0 to 1.

    Returns:
        `complete` with `result.json` written; `failed` with the reason in one line; `stopped` with the name of the
        signal that stopped it while it painted, or nothing for Ctrl-C at another time.
    """
    run = job.folder / VERSION
    if (run / RESULT).exists():  # since this run was queued
        return "complete", ""
    options = []
    if (run / FOLDER / LAST).exists():
        options = ["--ckpt_path", "last"]
    elif run.exists():
        shutil.rmtree(run)
    (job.folder / FAILED).unlink(missing_ok=True)
    watcher = Watcher(tell, job.settings)
    try:
        code = run_command([*job.words, *options], [watcher])
    except UserError as error:
        return "failed", str(error)
    except KeyboardInterrupt:
        return "stopped", ""
    except Exception as error:  # one run must not take the sweep along, whatever happens in it
        traceback.print_exc()
        return "failed", f"{type(error).__name__}: {one_line(error)}"
    if code:
        return "stopped", signal.Signals(code - 128).name
    result = {"settings": job.settings, "steps": watcher.steps, "loss": watcher.terms}
    with atomic_path(run / RESULT) as temporary:
        temporary.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return "complete", ""


class Watcher(Callback):
    """Tell how far the run is, and keep what is left of it in the end.

    The seconds of painting are counted over all sessions of the run, in `seconds.txt`; of one that was killed the
    last five may be missing.

    Args:
        tell: Called with `"progress"` and the part of the run's work that is done, from 0 to 1.
        axes: What the run is in the grid, for TensorBoard's table.
    """

    def __init__(self, tell: Tell, axes: dict[str, str]) -> None:
        self._axes = axes
        self.steps = 0
        self.terms: dict[str, float] = {}
        self._tell = tell
        self._told = self._noted = self._started = 0.0
        self._seconds_before = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock; let TensorBoard compare the runs by the axes, whatever those set."""
        if isinstance(pl_module, StyleTransfer):
            pl_module.labels |= {f"grid/{name}": text for name, text in self._axes.items()}
        file = run_folder(trainer) / SECONDS
        self._seconds_before = float(file.read_text()) if file.exists() else 0.0
        self._started = self._noted = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Tell the progress, a few times a second."""
        del pl_module, outputs
        now = time.monotonic()
        # A model of another kind, such as an encoder that is trained, has batches without a schedule.
        if now - self._told >= _TELL_INTERVAL and isinstance(batch, TransferBatch):
            self._told = now
            schedule = batch.schedule
            self._tell("progress", 1 - schedule.remaining_work(batch_idx + 1) / schedule.remaining_work(0))
        if now - self._noted >= _SECONDS_INTERVAL:
            self._note_seconds(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock."""
        del pl_module
        self._note_seconds(trainer)
        self.steps = trainer.global_step

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the loss of the result."""
        data = transfer_data(trainer)
        if isinstance(pl_module, StyleTransfer) and data is not None:
            self.terms = pl_module.final_terms(data.batch)

    def _note_seconds(self, trainer: Trainer) -> None:
        self._noted = time.monotonic()
        with atomic_path(run_folder(trainer) / SECONDS) as temporary:
            temporary.write_text(f"{self._seconds_before + self._noted - self._started:.2f}\n")


class _Teller:
    """Sends to the sweep's process; silent if that is gone."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()  # warnings come from any thread

    def __call__(self, kind: str, value: Any) -> None:
        with self._lock:
            try:
                self._pipe.send((kind, value))
            except OSError:
                return


class WarningHandler(logging.Handler):
    """Passes warnings on, which a log that nobody opens would hide."""

    def __init__(self, tell: Tell) -> None:
        super().__init__(logging.WARNING)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        """Send it."""
        self._tell("warning", record.getMessage())


def _stop_without_parent(pipe: Connection) -> None:
    """Wait for the end of the sweep's process, then ask this one to stop."""
    try:
        pipe.recv()  # nothing is ever sent
    except (EOFError, OSError):
        os.kill(os.getpid(), signal.SIGTERM)


def _write_output_to(path: Path, tell: Tell) -> None:
    with path.open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    ours = logging.getLogger("nst_lightning")
    ours.handlers = [logging.StreamHandler(), WarningHandler(tell)]
    ours.setLevel(logging.INFO)
