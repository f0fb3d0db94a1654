"""The painting process, one for each device for as long as the page is open: it runs command lines one by one."""

from __future__ import annotations

import logging
import shutil
import time
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from nst_lightning._compat import is_out_of_memory
from nst_lightning.app.job_request import PREDICTED_FOLDER, PREVIEW_FILE, RESULT_FILE, JobRequest
from nst_lightning.app.time_lapse import add_frame
from nst_lightning.callbacks.image_writer import painted
from nst_lightning.data.transfer_batch import TransferBatch
from nst_lightning.encoders.encoder_weights import weights_kept
from nst_lightning.errors import UserError
from nst_lightning.images.files import read_image, write_image
from nst_lightning.runs.fit_command import run_command
from nst_lightning.runs.predict_command import run_predict
from nst_lightning.utils.memory import release_memory

_REPORT_INTERVAL = 0.2  # seconds
_PREVIEW_INTERVAL = 0.5
_PREVIEW_SHARE = 0.05  # of the time, at most
PREVIEW_QUALITY = 88
"""Quality of the JPEG files that the page shows."""

PAINTER_ENDED = "the process that painted has ended, perhaps for lack of memory; try a smaller size."

_STEADY = 3  # steps at a level before its speed is taken for granted


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        step: Steps that are done.
        steps: Steps of each level.
        level: Index of the present one.
        width: Width of the image at that level, pixels.
        height: Height of the image at that level, pixels.
        fraction: Part of the work that is done, from 0 to 1.
        seconds_left: Estimated time that is left; `None` while it is not known.
        previews: Number of previews that this run has written.
        loss: Value of the objective; `None` where there is none.
        steps_per_second: Speed at the present level; `None` while it is not known.
    """

    step: int
    steps: tuple[int, ...]
    level: int
    width: int
    height: int
    fraction: float
    seconds_left: float | None
    previews: int
    loss: float | None = None
    steps_per_second: float | None = None

    def describe(self) -> dict[str, Any]:
        """Return what the visitor's page shows."""
        return {
            "step": self.step,
            "steps": sum(self.steps),
            "level": self.level + 1,
            "levels": len(self.steps),
            "width": self.width,
            "height": self.height,
            "fraction": round(self.fraction, 4),
            "seconds_left": None if self.seconds_left is None else round(self.seconds_left, 1),
            "loss": None if self.loss is None else float(f"{self.loss:.4g}"),
            "steps_per_second": None if self.steps_per_second is None else round(self.steps_per_second, 2),
        }

    @property
    def seconds_per_megapixel(self) -> float | None:
        """Time of a step for each megapixel of the image; `None` while it is not known."""
        if not self.steps_per_second:
            return None
        return 1e6 / (self.steps_per_second * self.width * self.height)


def work(pipe: Connection, device: Sequence[str], root: Path) -> None:
    """Run what comes through the pipe until it closes; the body of a process.

    Args:
        pipe: Brings a `JobRequest`, or the id of one that is to stop; gets `(kind, value)` as `paint` reports, and in
            the end `("complete" | "stopped" | "failed" | "broken", message)`; after `broken` it ends.
        device: Options of the trainer that choose a device.
        root: The page's temporary folder, removed here if the page's process was killed and could not.
    """
    # What Lightning would advise the person at a terminal, on every run.
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning")
    try:
        with weights_kept():
            while True:
                request = pipe.recv()
                if isinstance(request, JobRequest):  # else a stop that came when the run had ended
                    outcome = paint(request, device, pipe)
                    pipe.send(outcome)
                    if outcome[0] == "broken":
                        return
                    release_memory()  # the next run must not need room beside this one's
    except (EOFError, OSError):
        shutil.rmtree(root, ignore_errors=True)


def paint(request: JobRequest, device: Sequence[str], pipe: Connection) -> tuple[str, str]:
    """Run a request's command line.

    Args:
        request: What to do.
        device: Options of the trainer that choose a device.
        pipe: Gets `("progress", Progress)`; brings the request's id if it is to stop.

    Returns:
        `complete` or `stopped` with an empty message, or `failed` or `broken` with the reason in one line. After an
        error that nobody expected the process is taken for broken: once CUDA has failed, it fails for ever.

    Raises:
        ConnectionError: If the page's process is gone.
    """
    callback = PageCallback(request, pipe)
    try:
        if request.options.instant:
            pipe.send(("progress", predict(request, device)))
            return "complete", ""
        before = request.beginning.request if request.beginning is not None else None
        if before is not None and not (before.folder / RESULT_FILE).exists():
            predict(before, device)
            callback.show(before.folder / PREVIEW_FILE)
        run_command(request.argv(device), [callback], request.shown_names)
    except (UserError, torch.OutOfMemoryError) as error:
        if is_out_of_memory(error) or (error.__cause__ is not None and is_out_of_memory(error.__cause__)):
            return "failed", "the device ran out of memory; choose a smaller size."
        return "failed", request.without_paths(str(error))
    except ConnectionError:
        raise
    except Exception as error:  # one image must not take the others along, whatever happens to it
        traceback.print_exc()
        return "broken", f"something went wrong ({type(error).__name__}); the terminal of nst app says what."
    return ("complete" if callback.is_complete else "stopped"), ""


def predict(request: JobRequest, device: Sequence[str]) -> Progress:
    """Run the command line of a request for a painting in one pass.

    Returns:
        That all is done.

    Raises:
        UserError: If the image can't be read or painted.
    """
    folder = request.folder / PREDICTED_FOLDER
    failed = run_predict(request.argv(device))
    result = next(folder.glob("*.png"), None)
    if failed or result is None:
        raise UserError("the picture could not be painted; the terminal of nst app says why.")
    result.replace(request.folder / RESULT_FILE)
    shutil.rmtree(folder)
    pixels = read_image(request.folder / RESULT_FILE).pixels
    write_image(request.folder / PREVIEW_FILE, pixels, quality=PREVIEW_QUALITY)
    return Progress(1, (1,), 0, pixels.shape[-1], pixels.shape[-2], 1.0, 0.0, 0)


class PageCallback(Callback):
    """Report how far a run is, write previews, and stop the run when asked.

    Args:
        request: What is run.
        pipe: Connection to the page's process.

    Attributes:
        is_complete: Whether all steps were done; set at the end.
    """

    def __init__(self, request: JobRequest, pipe: Connection) -> None:
        self.is_complete = False
        self._request = request
        self._pipe = pipe
        self._previews = 0
        self._reported = self._next_preview = 0.0
        self._loss: Tensor | None = None
        self._steps_per_second: float | None = None
        self._level = -1
        self._level_began = (0.0, 0)
        self._seconds_left: float | None = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: TransferBatch, batch_idx: int
    ) -> None:
        """Look whether to stop; write the preview and report what is due."""
        self._loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        now, done = time.monotonic(), batch_idx + 1
        if batch.level != self._level:
            self._level, self._level_began = batch.level, (now, done)
            self._steps_per_second = None
        if self._is_to_stop():
            trainer.should_stop = True  # CheckpointWriter comes after this and keeps the step
        if now >= self._next_preview:
            self._write_preview(trainer, pl_module)
            now = time.monotonic()
        if now - self._reported >= _REPORT_INTERVAL or trainer.should_stop or done == trainer.num_training_batches:
            self._reported = now
            self._report(batch, done, now)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the preview of the finished image."""
        self._write_preview(trainer, pl_module)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note whether all is done; also where no step was left to do."""
        del pl_module
        self.is_complete = trainer.global_step >= trainer.num_training_batches

    def _is_to_stop(self) -> bool:
        try:
            while self._pipe.poll():
                if self._pipe.recv() == self._request.id:
                    return True
        except (EOFError, OSError):  # the page's process is gone
            return True
        return False

    def show(self, preview: Path) -> None:
        """Let the page show an image that the run begins with."""
        shutil.copyfile(preview, self._request.folder / PREVIEW_FILE)
        add_frame(self._request.folder, read_image(preview).pixels)
        self._previews += 1

    def _write_preview(self, trainer: Trainer, module: LightningModule) -> None:
        began = time.monotonic()
        image = painted(trainer, module)
        write_image(self._request.folder / PREVIEW_FILE, image, quality=PREVIEW_QUALITY)
        add_frame(self._request.folder, image)
        self._previews += 1
        ended = time.monotonic()
        self._next_preview = ended + max(_PREVIEW_INTERVAL, (ended - began) / _PREVIEW_SHARE)

    def _report(self, batch: TransferBatch, done: int, now: float) -> None:
        schedule = batch.schedule
        began, first = self._level_began
        left = schedule.remaining_work(done)
        if done - first >= _STEADY:
            level, finest = batch.size, schedule.levels[-1]
            share = level.height * level.width / (finest.height * finest.width)
            self._seconds_left = left * (now - began) / ((done - first) * share)
            self._steps_per_second = (done - first) / max(now - began, 1e-6)
        progress = Progress(
            step=done,
            steps=tuple(level.steps for level in schedule.levels),
            level=batch.level,
            width=batch.size.width,
            height=batch.size.height,
            fraction=1 - left / schedule.remaining_work(0),
            seconds_left=self._seconds_left,
            previews=self._previews,
            loss=None if self._loss is None else float(self._loss),
            steps_per_second=self._steps_per_second,
        )
        self._pipe.send(("progress", progress))
