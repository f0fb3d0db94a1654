"""One job: a run of `nst fit` among many, its folder, how it is done in this process, and what came of it."""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TextIO

from filelock import FileLock, Timeout
from lightning.pytorch import Callback, LightningModule, Trainer

from nst_lightning.callbacks.checkpoint import FOLDER, LAST
from nst_lightning.callbacks.image_writer import transfer_data
from nst_lightning.callbacks.run_folder import locked, run_folder
from nst_lightning.data.transfer_batch import TransferBatch
from nst_lightning.errors import StorageError, UserError, encodable, one_line
from nst_lightning.runs.fit_command import run_command
from nst_lightning.tasks.style_transfer import StyleTransfer
from nst_lightning.utils.addresses import path_of, shown
from nst_lightning.utils.atomic import storage_error, write_text
from nst_lightning.utils.locks import LOCK
from nst_lightning.utils.records import read_json, read_seconds
from nst_lightning.utils.storage import fetch, growing, look, push, remove

VERSION = "version_0"
RESULT = "result.json"
SECONDS = "seconds.txt"
FAILED = "failed.txt"
LOG = "log.txt"

Status = Literal["not run", "complete", "failed", "stopped"]
Report = Callable[[str, Any], None]
"""Called with `"progress"` (part of the work that is done, 0 to 1) or `"warning"` (text)."""

_REPORT_INTERVAL = 0.2  # seconds
_SECONDS_INTERVAL = 5.0


@dataclass(frozen=True)
class Job:
    """A run to be done.

    Attributes:
        label: Its name.
        args: Arguments of `nst`, `fit` first, without `--ckpt_path`.
        folder: Its folder; see `JobFolder`.
        settings: Its place in the grid, for `result.json`.
        work: Amount of work, compared with the others of the sweep.
    """

    label: str
    args: tuple[str, ...]
    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    work: float = 1.0

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled for another process, or another machine, which has its own path for an address."""
        return {**vars(self), "folder": shown(self.folder)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update({**state, "folder": path_of(state["folder"])})


@dataclass(frozen=True)
class Outcome:
    """How far a job got.

    Attributes:
        status: `complete`, `failed`, `stopped` or `not run`.
        message: Reason of a failure; name of the signal that stopped it while it painted.
        steps: Number of steps done; `None` unless complete.
        seconds: Seconds of painting, over all sessions; `None` if nothing was painted.
        loss: Loss of the result: `total` and the terms; empty unless complete.
    """

    status: Status
    message: str = ""
    steps: int | None = None
    seconds: float | None = None
    loss: Mapping[str, float] = field(default_factory=dict)


class JobFolder:
    """The folder of a job: `lightning_logs/NAME/LABEL`.

    The run itself is in `version_0`; `failed.txt` says why the last attempt failed, and `log.txt` what a run said that
    did not come through.

    Args:
        folder: Path of the folder, which need not be there yet.

    Attributes:
        run: Folder of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run = folder / VERSION

    def is_complete(self) -> bool:
        """Return whether the run was painted to the end."""
        return (self.run / RESULT).exists()

    def finish(self, *, keep_checkpoints: bool = True) -> None:
        """Remove what a complete run has no use for: the log last, which tells that this was cut short."""
        if not keep_checkpoints:
            with suppress(OSError):
                remove(self.run / FOLDER)
        remove(self.folder / FAILED)  # of a worker that was killed after the run was complete
        remove(self.folder / LOG)

    def tidy(self, *, keep_checkpoints: bool = True) -> None:
        """Finish a complete run whose process was killed before it had done that."""
        if self.is_complete() and (self.folder / LOG).exists():
            with suppress(Timeout), FileLock(self.folder / LOCK, timeout=0):
                self.finish(keep_checkpoints=keep_checkpoints)

    def fail(self, message: str) -> None:
        """Note why the job could not be done."""
        write_text(self.folder / FAILED, encodable(message) + "\n")

    def outcome(self) -> Outcome:
        """Return how far the job got, as its files tell."""
        seconds = read_seconds(self.run / SECONDS)
        if self.is_complete():
            try:
                result = read_json(self.run / RESULT, ["loss"])
            except UserError as error:
                return Outcome("failed", str(error), seconds=seconds)
            return Outcome("complete", "", result.get("steps"), seconds, result["loss"])
        if (self.folder / FAILED).exists():  # removed when the next attempt begins
            message = fetch(self.folder / FAILED).read_text(encoding="utf-8", errors="backslashreplace").strip()
            return Outcome("failed", message, seconds=seconds)
        return Outcome("stopped" if (self.run / FOLDER / LAST).exists() else "not run", seconds=seconds)


def run_job(job: Job, report: Report) -> Outcome:
    """Do a job, or what is left of it, in this process.

    Args:
        job: The job; no other process is at it.
        report: Hears of the progress.

    Returns:
        Status and message: `complete` with `result.json` written; `failed` with the reason in one line; `stopped` with
        the name of the signal that stopped it while it painted, or nothing for Ctrl-C at another time.

    Raises:
        StorageError: If the disk is full: the next job would not fare better.
    """
    run = job.folder / VERSION
    if (run / RESULT).exists():  # since this job was queued
        return Outcome("complete")
    options = []
    if (run / FOLDER / LAST).exists():
        options = ["--ckpt_path", "last"]
    elif run.exists():
        remove(run)
    remove(job.folder / FAILED)
    watcher = Watcher(report, job.settings)
    try:
        code = run_command([*job.args, *options], [watcher])
    except StorageError:
        raise
    except UserError as error:
        return Outcome("failed", str(error))
    except KeyboardInterrupt:
        return Outcome("stopped")
    except Exception as error:  # one run must not take the others along, whatever happens in it
        traceback.print_exc()
        return Outcome("failed", f"{type(error).__name__}: {one_line(error)}")
    if code:
        return Outcome("stopped", signal.Signals(code - 128).name)
    result = {"settings": dict(job.settings), "steps": watcher.steps, "loss": watcher.terms}
    write_text(run / RESULT, json.dumps(result, indent=2) + "\n")
    return Outcome("complete")


def do_job(job: Job, report: Report, *, keep_checkpoints: bool = True, is_own_process: bool = False) -> Outcome:
    """Do a job, or what is left of it, in a process for many: what a run says goes into `log.txt`.

    That stays only if the run does not come through.

    Args:
        job: The job; no other process is at it, and its folder is there.
        report: Hears of the progress, and of warnings.
        keep_checkpoints: Whether those of a complete run stay.
        is_own_process: Whether the process does this job alone: what a crash of it says goes into the log too.

    Returns:
        Status and message as `run_job` does; all of it if the run is complete.

    Raises:
        OSError: If the process is the job's own, and the log can't be written.
        StorageError: If the disk is full: the next job would not fare better.
    """
    folder, log = JobFolder(job.folder), job.folder / LOG
    look(job.folder)
    with growing(log):
        if is_own_process:
            with log.open("ab") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
        with output_of_run(log, lambda text: report("warning", text)):
            push(job.folder)  # in a bucket as well the log tells of a process that was killed before it was done
            outcome = run_job(job, report)
            if outcome.status == "failed":
                sys.stderr.write(f"{outcome.message}\n")  # into the log: a mistake of the user's has no traceback
        if outcome.status == "complete":
            folder.finish(keep_checkpoints=keep_checkpoints)
            return folder.outcome()
        if outcome.status == "failed":
            folder.fail(outcome.message)
        push(job.folder)  # the log
    return outcome


def do_if_free(job: Job, report: Report) -> Outcome | None:
    """Do a job as `do_job` does; return `None` if another process is at it."""
    with claimed(job.folder) as is_free:
        return do_job(job, report) if is_free else None


@contextmanager
def claimed(folder: Path) -> Iterator[bool]:
    """Make a job's folder and lock it until the body ends, on a file system that has locks.

    Args:
        folder: Folder of the job.

    Yields:
        Whether no other process is at the job.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as locks:
        try:
            locks.enter_context(locked(folder))
        except UserError:
            yield False
            return
        yield True


class Watcher(Callback):
    """Report how far the run is, and keep what is left of it in the end.

    The seconds of painting are counted over all sessions of the run, in `seconds.txt`; of one that was killed the
    last five may be missing.

    Args:
        report: Hears of the progress.
        axes: Place of the run in the grid, for TensorBoard's table.

    Attributes:
        steps: Number of steps done; set at the end.
        terms: Loss of the result: `total` and the terms; set at the end.
    """

    def __init__(self, report: Report, axes: Mapping[str, str]) -> None:
        self._axes = axes
        self.steps = 0
        self.terms: dict[str, float] = {}
        self._report = report
        self._reported = self._noted = self._started = 0.0
        self._seconds_before = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock; let TensorBoard compare the runs by the axes, whatever those set."""
        if isinstance(pl_module, StyleTransfer):
            pl_module.labels |= {f"grid/{name}": text for name, text in self._axes.items()}
        self._seconds_before = read_seconds(run_folder(trainer) / SECONDS) or 0.0
        self._started = self._noted = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Report the progress, a few times a second."""
        del pl_module, outputs
        now = time.monotonic()
        if now - self._reported >= _REPORT_INTERVAL:
            self._reported = now
            if isinstance(batch, TransferBatch):
                schedule = batch.schedule
                part = 1 - schedule.remaining_work(batch_idx + 1) / schedule.remaining_work(0)
            else:  # of a model of another kind, such as an encoder that is trained
                part = min(1.0, trainer.global_step / trainer.estimated_stepping_batches)
            self._report("progress", part)
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
        write_text(run_folder(trainer) / SECONDS, f"{self._seconds_before + self._noted - self._started:.2f}\n")


@contextmanager
def output_of_run(log: Path | None, warn: Callable[[str], object]) -> Iterator[None]:
    """Keep what a run says from the terminal.

    Args:
        log: File that all of it is added to; `None` to drop what the package's logger says.
        warn: Hears the warnings, which a log that nobody opens would hide.
    """
    ours = logging.getLogger("nst_lightning")
    handlers = ours.handlers
    with ExitStack() as opened:
        ours.handlers = [_WarningHandler(warn)]
        opened.callback(setattr, ours, "handlers", handlers)
        if log is not None:
            file = opened.enter_context(_Log(log, warn))
            opened.enter_context(redirect_stdout(file))
            opened.enter_context(redirect_stderr(file))
            ours.handlers.insert(0, logging.StreamHandler(file))
        yield


class _Log(io.TextIOBase):
    """Text file that is appended to; once that can't be written any more it warns, and drops what comes.

    Args:
        path: File.
        warn: Hears the warning.
    """

    def __init__(self, path: Path, warn: Callable[[str], object]) -> None:
        self._path = path
        self._warn: Callable[[str], object] | None = warn
        self._file: TextIO | None = None
        self.write("")

    def write(self, text: str) -> int:
        try:
            if self._warn is not None:
                self._file = self._file or self._path.open(
                    "a", encoding="utf-8", errors="backslashreplace", buffering=1
                )
                self._file.write(text)
                self._file.flush()
        except OSError as error:
            warn, self._warn = self._warn, None
            if warn is not None:
                warn(f"{storage_error(self._path, error)}; the run goes on without it")
        return len(text)

    def close(self) -> None:
        super().close()
        if self._file is not None:
            with suppress(OSError):
                self._file.close()


class _WarningHandler(logging.Handler):
    def __init__(self, warn: Callable[[str], object]) -> None:
        super().__init__(logging.WARNING)
        self._warn = warn

    def emit(self, record: logging.LogRecord) -> None:
        self._warn(record.getMessage())
