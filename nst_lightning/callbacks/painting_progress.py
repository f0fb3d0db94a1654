"""The progress bar of `nst predict`: pictures, speed and time left."""

from __future__ import annotations

import sys
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from tqdm import tqdm

from nst_lightning.callbacks.progress import SingleBar, redraw_interval

_FORMAT = "painting {percentage:3.0f}%|{bar:20}| {n_fmt}/{total_fmt} [{elapsed}, {rate_fmt}, {remaining} left]"


class PaintingProgressBar(SingleBar):
    """One bar over the pictures of this process; the first one shows it."""

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar."""
        if self._is_enabled:
            total = sum(number for number in trainer.num_predict_batches if number != float("inf"))
            self._bar = tqdm(
                total=int(total),
                unit=" pictures",
                bar_format=_FORMAT,
                dynamic_ncols=True,
                file=sys.stderr,
                mininterval=redraw_interval(),
            )

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count a picture; the bar is redrawn if the last drawing is old enough."""
        if self._bar is not None:
            self._bar.update()

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the bar."""
        self._close()
