"""Shows in TensorBoard how held-out photographs are painted."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from torchvision.utils import make_grid

from nst_lightning.data.fast_transfer_data import FastBatch
from nst_lightning.errors import UserError
from nst_lightning.tasks.fast_style_transfer import FastStyleTransfer


class StylizedPictures(Callback):
    """Log the first held-out photographs at each validation, the same ones below in every style.

    Args:
        count: Photographs, at most as many as are in a batch.

    Raises:
        UserError: If the number is below 1.
    """

    def __init__(self, count: int = 4) -> None:
        if count < 1:
            raise UserError(f"the number of pictures to log must be at least 1, but {count} was given.")
        self.count = count

    @rank_zero_only
    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: FastBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Paint and log the first batch's pictures; the photographs are the top row, each style is one below."""
        del outputs
        if batch_idx or dataloader_idx or trainer.sanity_checking or not isinstance(pl_module, FastStyleTransfer):
            return
        contents = batch.contents[: self.count]
        with torch.no_grad():
            rows = [pl_module.network(contents, weights) for weights in torch.eye(len(batch.styles)).to(contents)]
        grid = make_grid(torch.cat([contents, *rows]).float().cpu(), nrow=contents.shape[0])
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("val/painted", grid, trainer.global_step)
