"""The progress bar of a network's training: loss, speed and time left."""

from __future__ import annotations

import sys
import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from tqdm import tqdm

from nst_lightning.callbacks.progress_bar import SingleBar, redraw_interval

_FORMAT = "training {percentage:3.0f}%|{bar:20}| {n_fmt}/{total_fmt} [{elapsed}, {rate_fmt}, {remaining} left{postfix}]"


class TrainingProgressBar(SingleBar):
    """One bar over all optimiser steps, whatever the epochs, right after a resume as well.

    The loss is what `training_step` returned; it is read off the device only when the bar is redrawn.
    """

    def __init__(self) -> None:
        super().__init__()
        self._interval = redraw_interval()
        self._drawn_at = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar."""
        if self._is_enabled:
            steps = trainer.estimated_stepping_batches
            self._bar = tqdm(
                total=None if steps == float("inf") else int(steps),
                initial=trainer.global_step,
                unit=" steps",
                bar_format=_FORMAT,
                dynamic_ncols=True,
                file=sys.stderr,
            )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Redraw if the last drawing is old enough, or this was the last step."""
        del pl_module, batch, batch_idx
        if self._bar is None:
            return
        now = time.monotonic()
        if now - self._drawn_at < self._interval and trainer.global_step != self._bar.total:
            return
        self._drawn_at = now
        self._bar.n = trainer.global_step
        self._bar.set_postfix_str(f"loss {float(outputs['loss']):.4g}", refresh=False)
        self._bar.refresh()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the bar."""
        self._close()
