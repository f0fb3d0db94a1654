"""Writes what `nst predict` paints, while the next picture is being painted."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from tqdm import tqdm

from nst_lightning.callbacks.targets import find_targets, leave_out_folder
from nst_lightning.data.paintings import PictureFile, PicturesToPaint, Unpainted
from nst_lightning.errors import UserError
from nst_lightning.images.files import write_image

_log = logging.getLogger(__name__)

_MOST_THREADS = 8


class PaintingWriter(Callback):
    """Write one file for each picture, with the same relative name; pictures that are there are left alone.

    Files appear whole or not at all, so one that exists is finished, and the same command goes on after an
    interruption. Threads encode and write, at most two pictures each are waiting. A picture that can't be read or
    written is reported and passed over; a file system that refuses (no space, no permission) ends the run.

    Args:
        folder: Where the paintings go.
        format: Of all of them; `None` for that of each picture if it is PNG, JPEG, WebP or TIFF, else PNG.
        quality: Of JPEG and WebP, 1 to 100.
        overwrite: Paint again what is there.

    Attributes:
        painted: Files written by this process.
        failed: Pictures that this process could not read or write.

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
        self.folder = Path(folder).expanduser()
        self.suffix = None if format is None else f".{format}"
        self.quality = quality
        self.overwrite = overwrite
        self.painted = 0
        self.failed: list[PictureFile] = []
        self._targets: dict[PictureFile, Path] = {}
        self._threads = min(_MOST_THREADS, os.cpu_count() or 1)
        self._pool: ThreadPoolExecutor | None = None
        self._waiting: deque[tuple[PictureFile, Future[None]]] = deque()
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
        _log.info("painting %d of %d pictures%s", len(missing), len(found), hint)

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
        if batch.problem is not None:
            self._report(batch.file, batch.problem)
            return
        assert self._pool is not None
        target = self._targets[batch.file]
        task = self._pool.submit(write_image, target, outputs, alpha=batch.alpha, quality=self.quality)
        self._waiting.append((batch.file, task))
        while len(self._waiting) > 2 * self._threads or (self._waiting and self._waiting[0][1].done()):
            self._finish(*self._waiting.popleft())

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Wait for the last files."""
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
        """Write what is painted."""
        for _, task in self._waiting:
            if not isinstance(task.exception(), ValueError):
                self.painted += 1
        self._waiting.clear()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Let the threads end, and give the signal back."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
        if self._handler is not None:
            signal.signal(signal.SIGTERM, self._handler)
            self._handler = None
