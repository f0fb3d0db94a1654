"""The progress bar of `nst predict`: pictures, speed and time left."""

from __future__ import annotations

import sys
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm

from nst_lightning.callbacks.progress import redraw_interval

_FORMAT = "painting {percentage:3.0f}%|{bar:20}| {n_fmt}/{total_fmt} [{elapsed}, {rate_fmt}, {remaining} left]"


class PaintingProgressBar(ProgressBar):
    """One bar over the pictures of this process; the first one shows it."""

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

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Close the bar, so that the message starts on a line of its own."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
