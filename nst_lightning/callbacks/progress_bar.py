"""The progress bar: level, size, loss, speed and time left."""

from __future__ import annotations

import sys
import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm

from nst_lightning.data.transfer_batch import TransferBatch
from nst_lightning.tasks.style_transfer import StyleTransfer

_TERMINAL_INTERVAL = 0.2
_FILE_INTERVAL = 10.0  # a log file keeps each line
_FORMAT = "{desc} {percentage:3.0f}%|{bar:20}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"


def redraw_interval() -> float:
    """Give the seconds between two drawings of a bar on stderr: few on a terminal, many in a file."""
    return _TERMINAL_INTERVAL if sys.stderr.isatty() else _FILE_INTERVAL


class SingleBar(ProgressBar):
    """A bar on stderr, shown by the first process only, and closed before anything else is said."""

    def __init__(self) -> None:
        super().__init__()
        self._bar: tqdm[Any] | None = None
        self._is_enabled = True

    def enable(self) -> None:
        """Show the bar."""
        self._is_enabled = True

    def disable(self) -> None:
        """Hide the bar; Lightning does so on all ranks but the first."""
        self._is_enabled = False

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Close the bar, so that the message starts on a line of its own."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class TransferProgressBar(SingleBar):
    """One bar over all levels, right after a resume as well.

    The time left counts a step's cost as proportional to its pixels: steps at the fine levels, most of the
    work, are still to come when the quick coarse ones are done. The loss is read off the device only when
    the bar is redrawn.
    """

    def __init__(self) -> None:
        super().__init__()
        self._interval = redraw_interval()
        self._drawn_at = 0.0
        self._level = -1
        self._level_started = (0.0, 0)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: TransferBatch, batch_idx: int
    ) -> None:
        """Open the bar at the first step of this process; note when a level begins."""
        del pl_module
        if not self._is_enabled:
            return
        if self._bar is None:
            total = batch.schedule.total_steps
            total = min(total, trainer.max_steps) if trainer.max_steps > 0 else total
            self._bar = tqdm(
                total=total,
                initial=batch_idx,
                bar_format=_FORMAT,
                dynamic_ncols=True,
                file=sys.stderr,
                mininterval=0,
            )
        if batch.level != self._level:
            self._level = batch.level
            self._level_started = (time.monotonic(), batch_idx)
            level = batch.size
            self._bar.set_description_str(
                f"level {batch.level + 1}/{len(batch.schedule.levels)} {level.width}×{level.height}",
                refresh=False,
            )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: TransferBatch, batch_idx: int
    ) -> None:
        """Redraw if the last drawing is old enough, or this was the last step."""
        del trainer, outputs
        if self._bar is None:
            return
        now = time.monotonic()
        done = batch_idx + 1
        if now - self._drawn_at < self._interval and done < (self._bar.total or 0):
            return
        self._drawn_at = now
        assert isinstance(pl_module, StyleTransfer)  # runs/trainer.py adds this callback to no other
        assert pl_module.loss is not None
        started, first = self._level_started
        rate = (done - first) / max(now - started, 1e-9)
        level, finest = batch.size, batch.schedule.levels[-1]
        work_rate = rate * (level.height * level.width) / (finest.height * finest.width)
        left = tqdm.format_interval(batch.schedule.remaining_work(done, int(self._bar.total)) / work_rate)
        self._bar.set_postfix_str(f"loss {float(pl_module.loss):.4g}, {rate:.1f} steps/s, {left} left", refresh=False)
        self._bar.n = done
        self._bar.refresh()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the bar."""
        self._close()
