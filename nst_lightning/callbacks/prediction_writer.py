"""Writes what `nst predict` paints, while the next picture is being painted."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections import Counter, deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from tqdm import tqdm

from nst_lightning.callbacks.prediction_paths import find_targets, leave_out_folder
from nst_lightning.callbacks.video_encoder import Reel
from nst_lightning.data.predict_data import PicturesToPaint
from nst_lightning.data.predict_sample import Moment, PictureFile, Unpainted
from nst_lightning.errors import UserError, user_path
from nst_lightning.images.files import write_image

_log = logging.getLogger(__name__)

_MOST_THREADS = 8


class PaintingWriter(Callback):
    """Write one file for each picture or video, with the same relative name; those that are there are left alone.

    Files appear whole or not at all, so one that exists is finished, and the same command goes on after an
    interruption: with a video from its start. Threads encode and write, at most two pictures each, or two frames, are
    waiting. A file that can't be read or written is reported and passed over; a file system that refuses (no space, no
    permission) ends the run.

    Args:
        folder: Where the paintings go.
        format: Of all pictures; `None` for that of each picture if it is PNG, JPEG, WebP or TIFF, else PNG. A video
            keeps its own, or becomes an MP4 (`written_suffix`).
        quality: Of JPEG and WebP, 1 to 100.
        overwrite: Paint again what is there.

    Attributes:
        kinds: What there is: "pictures", "videos" or both.
        painted: Files written by this process.
        failed: Pictures and videos that this process could not read or write.

    Raises:
        UserError: If the quality is out of range.
    """

    def __init__(
        self,
        folder: str = "painted",
        format: Literal["png", "jpg", "webp", "tiff"] | None = None,
        quality: int = 95,
        overwrite: bool = False,
    ) -> None:
        if not 1 <= quality <= 100:
            raise UserError(f"output.quality must be from 1 to 100, but {quality} was given.")
        self.folder = user_path(folder)
        self.suffix = None if format is None else f".{format}"
        self.quality = quality
        self.overwrite = overwrite
        self.kinds = "pictures"
        self.painted = 0
        self.failed: list[PictureFile] = []
        self._targets: dict[PictureFile, Path] = {}
        self._threads = min(_MOST_THREADS, os.cpu_count() or 1)
        self._pool: ThreadPoolExecutor | None = None
        self._waiting: deque[tuple[PictureFile, Future[None]]] = deque()
        self._reel: Reel | None = None
        self._handler: Any = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find out what there is to do; all processes hear it from the first."""
        data = getattr(trainer, "datamodule", None)  # set by one of Lightning's connectors
        if not isinstance(data, PicturesToPaint):
            raise UserError("nst predict paints what a PicturesToPaint hands out; set data.class_path to it.")
        found = leave_out_folder(data.files, self.folder, data.places)
        self._targets = find_targets(found, self.folder, self.suffix)
        missing = [file for file in found if self.overwrite or not self._targets[file].exists()]
        data.files = trainer.strategy.broadcast(missing)
        there = len(found) - len(missing)
        hint = f"; {there} are in {self.folder} already (--output.overwrite true paints them again)" if there else ""
        total, left = (
            Counter("videos" if file.is_video else "pictures" for file in files) for files in (found, missing)
        )
        kinds = sorted(total) or ["pictures"]
        self.kinds = " and ".join(kinds)
        _log.info("painting %s%s", " and ".join(f"{left[kind]} of {total[kind]} {kind}" for kind in kinds), hint)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Get threads ready, and let SIGTERM end the run with exit code 143: Lightning's handler would go on."""
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="writer")
        if threading.current_thread() is threading.main_thread():
            self._handler = signal.signal(signal.SIGTERM, self._stop)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        del frame
        raise SystemExit(128 + number)

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Tensor,
        batch: Unpainted,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Hand the painting to a thread; wait if all have enough to do."""
        if batch.moment is not None:
            task = self._take_frame(batch, batch.moment, outputs)
        elif batch.problem is not None:
            self._report(batch.file, batch.problem)
            return
        else:
            assert self._pool is not None
            target = self._targets[batch.file]
            task = self._pool.submit(write_image, target, outputs, alpha=batch.alpha, quality=self.quality)
        if task is not None:
            self._waiting.append((batch.file, task))
        while len(self._waiting) > 2 * self._threads or (self._waiting and self._waiting[0][1].done()):
            self._finish(*self._waiting.popleft())

    def _take_frame(self, batch: Unpainted, moment: Moment, painting: Tensor) -> Future[None] | None:
        """Give the task that writes the video once it needs nothing more."""
        if self._reel is None or self._reel.file != batch.file:
            assert self._pool is not None
            size = (painting.shape[-2], painting.shape[-1])
            self._reel = Reel(batch.file, self._targets[batch.file], moment.info.rate, size, self._pool)
        reel = self._reel
        if reel.is_closed:  # it could not be written, and is being reported
            return None
        if batch.problem is None:
            reel.add(painting, moment)
        else:
            reel.abandon(UserError(batch.problem))
        return reel.task if reel.is_closed else None

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Wait for the last files."""
        cut = UserError("the run ended before the video did; leave out trainer.limit_predict_batches")
        if self._reel is not None and self._reel.abandon(cut):
            self._waiting.append((self._reel.file, self._reel.task))
        while self._waiting:
            self._finish(*self._waiting.popleft())

    def _finish(self, file: PictureFile, task: Future[None]) -> None:
        try:
            task.result()
        except ValueError as error:
            if isinstance(error.__cause__, OSError):
                raise  # the next file would not fare better
            self._report(file, str(error))
        else:
            self.painted += 1

    def _report(self, file: PictureFile, problem: str) -> None:
        self.failed.append(file)
        with tqdm.external_write_mode():  # on a line of its own, above the progress bar
            _log.error("not painted: %s: %s", file.path, problem)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Write what is painted; of a video that is not all of it, nothing is left."""
        if self._reel is not None:
            self._reel.abandon(exception)
        for _, task in self._waiting:
            if task.exception() is None:
                self.painted += 1
        self._waiting.clear()
        self._close()  # Lightning calls no `teardown` then

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Let the threads end, and give the signal back."""
        self._close()

    def _close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
        if self._handler is not None:
            signal.signal(signal.SIGTERM, self._handler)
            self._handler = None
