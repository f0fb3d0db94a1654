"""Shows the run in TensorBoard: references, the picture over time, the settings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from nst_lightning.callbacks.final_loss import comparable_data, final_terms
from nst_lightning.callbacks.image_writer import painted, transfer_data
from nst_lightning.data.transfer_batch import TransferBatch
from nst_lightning.errors import UserError
from nst_lightning.images.guides import Guides
from nst_lightning.images.resize import fit_long_side, resize
from nst_lightning.tasks.style_transfer import StyleTransfer

_LARGEST = 2048  # pixels: event files hold PNGs, and the page shows them smaller still


class TensorBoardPictures(Callback):
    """Log pictures and hyper-parameters to every TensorBoard logger of the trainer.

    Pictures longer than 2048 pixels are shown at that size.
    The content, the styles and the guides are logged once, the picture every so many steps and at the end.

    Args:
        every_n_steps: Steps between two logged pictures.

    Attributes:
        axes: Further hyper-parameters: what the run is in the grid of a sweep.
        final: What `final_terms` gave at the end of training; empty before, and if there was no step to do.

    Raises:
        UserError: If the number is below 1.
    """

    def __init__(self, every_n_steps: int = 50) -> None:
        if every_n_steps < 1:
            raise UserError(f"tensorboard.every_n_steps must be at least 1, but {every_n_steps} was given.")
        self.every_n_steps = every_n_steps
        self.axes: dict[str, str] = {}
        self.final: dict[str, float] = {}

    @rank_zero_only
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the references once, at the size they have for the final picture."""
        del pl_module
        data = transfer_data(trainer)
        if trainer.global_step > 0 or data is None:  # a resumed run has logged them
            return
        batch = data.batch(len(data.schedule.levels) - 1)
        for writer in _writers(trainer):
            if batch.content is not None:
                _add(writer, "reference/content", batch.content, 0)
            for index, style in enumerate(batch.styles):
                _add(writer, f"reference/style{index + 1}", style, 0)
            for name, guide in _named(batch.guides):
                _add(writer, f"guide/{name}", guide, 0)

    @rank_zero_only
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: TransferBatch, batch_idx: int
    ) -> None:
        """Log the picture at each `every_n_steps`-th step."""
        del outputs, batch, batch_idx
        if trainer.global_step % self.every_n_steps == 0:
            self._log_picture(trainer, pl_module, "picture")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the final picture, the settings, the last step's loss and the final picture's by kind."""
        assert isinstance(pl_module, StyleTransfer)
        self.final = final_terms(trainer, pl_module)  # of processes that share the picture each has its tiles
        if trainer.is_global_zero:
            self._log_end(trainer, pl_module)

    def _log_end(self, trainer: Trainer, pl_module: StyleTransfer) -> None:
        self._log_picture(trainer, pl_module, "picture/final")
        if pl_module.loss is None:
            return
        terms = {f"final/{name}": value for name, value in self.final.items() if "/" not in name}
        for logger in _loggers(trainer):
            settings = {**comparable_data(trainer), **pl_module.settings(), **self.axes}
            logger.log_hyperparams(settings, {"final_loss": float(pl_module.loss), **terms})

    def _log_picture(self, trainer: Trainer, module: LightningModule, tag: str) -> None:
        for writer in _writers(trainer):
            _add(writer, tag, painted(trainer, module), trainer.global_step)


def _named(guides: Guides | None) -> Iterator[tuple[str, Tensor]]:
    if guides is None:
        return
    for index, region in enumerate(guides.regions):
        yield f"region{index + 1}", region
    for index, part in enumerate(guides.styles):
        if part is not None:
            yield f"style{index + 1}", part
    if guides.content is not None:
        yield "content", guides.content


def _loggers(trainer: Trainer) -> list[TensorBoardLogger]:
    return [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]


def _writers(trainer: Trainer) -> list[SummaryWriter]:
    return [logger.experiment for logger in _loggers(trainer)]


def _add(writer: SummaryWriter, tag: str, image: Tensor, step: int) -> None:
    height, width = image.shape[-2:]
    if max(height, width) > _LARGEST:
        image = resize(image, fit_long_side(height, width, _LARGEST))
    writer.add_image(tag, image[0].clamp(0, 1).float().cpu(), step)
