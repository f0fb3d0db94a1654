"""The progress bar of `nst predict`: pictures and frames, speed and time left."""

from __future__ import annotations

import sys
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from tqdm import tqdm

from nst_lightning.callbacks.progress_bar import SingleBar, redraw_interval
from nst_lightning.data.predict_sample import Unpainted
from nst_lightning.data.video_frames import Share

_FORMAT = "painting {percentage:3.0f}%|{bar:20}| {n_fmt}/{total_fmt} [{elapsed}, {rate_fmt}, {remaining} left]"


class PaintingProgressBar(SingleBar):
    """One bar over the pictures and frames of this process; the first one shows it.

    What a video's header says of its frames is put right when the video ends; where it says nothing, the bar counts
    without a total.
    """

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar."""
        if self._is_enabled:
            self._bar = tqdm(
                total=_expected(trainer),
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
        batch: Unpainted,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count a picture or frame; the bar is redrawn if the last drawing is old enough."""
        if self._bar is None:
            return
        moment = batch.moment
        if moment is not None and moment.is_last and moment.info.frames is not None and self._bar.total is not None:
            self._bar.total += moment.index + 1 - moment.info.frames
        self._bar.update()

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the bar."""
        self._close()


def _expected(trainer: Trainer) -> int | None:
    """Give the number of batches as far as it is known; `None` if it is not."""
    numbers = trainer.num_predict_batches
    if all(number != float("inf") for number in numbers):
        return int(sum(numbers))
    loader = trainer.predict_dataloaders
    return loader.count() if isinstance(loader, Share) else None
