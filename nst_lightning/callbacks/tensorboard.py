"""Logging to TensorBoard: references, the image over time and settings; in a training held-out photographs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor
from torchvision.utils import make_grid

from nst_lightning._compat import let_tensorboard_name_any_file
from nst_lightning.callbacks.image_writer import painted, transfer_data
from nst_lightning.data.any_style_data import AnyStyleBatch
from nst_lightning.data.fast_transfer_data import FastBatch
from nst_lightning.data.transfer_batch import TransferBatch
from nst_lightning.encoders.topology import INPUT
from nst_lightning.errors import UserError, encodable
from nst_lightning.images.guides import Guides
from nst_lightning.images.resize import fit_long_side, resize
from nst_lightning.losses.loss import Loss
from nst_lightning.tasks.any_style_transfer import AnyStyleTransfer
from nst_lightning.tasks.fast_style_transfer import FastStyleTransfer
from nst_lightning.tasks.style_transfer import StyleTransfer

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

let_tensorboard_name_any_file()  # imported by this alone, it brings no packages for buckets along

LARGEST_SIDE = 2048  # pixels: event files hold PNGs, and the page shows them smaller still


class TensorBoardImages(Callback):
    """Log images and hyper-parameters to every TensorBoard logger of the trainer.

    Images longer than 2048 pixels are shown at that size.
    The content, the styles and the guides are logged once, the image every so many steps and at the end. The tab
    "Custom Scalars" shows the losses first: all of them, then each of several layers in one chart.

    Args:
        every_n_steps: Steps between two logged images.

    Raises:
        UserError: If the number is below 1.
    """

    def __init__(self, every_n_steps: int = 50) -> None:
        if every_n_steps < 1:
            raise UserError(f"tensorboard.every_n_steps must be at least 1, but {every_n_steps} was given.")
        self.every_n_steps = every_n_steps

    @rank_zero_only
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the references once, at the size they have for the final image, and how the curves are laid out."""
        data = transfer_data(trainer)
        assert isinstance(pl_module, StyleTransfer)
        if trainer.global_step > 0 or data is None:  # a resumed run has logged them
            return
        batch = data.batch(len(data.schedule.levels) - 1)
        losses = [loss for objective in pl_module.objectives.all() for loss in objective.losses]
        for writer in _writers(trainer):
            writer.add_custom_scalars(chart_layout(losses))
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
        """Log the image at each `every_n_steps`-th step."""
        del outputs, batch, batch_idx
        if trainer.global_step % self.every_n_steps == 0:
            self._log_image(trainer, pl_module, "picture")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the final image, the settings, the last step's loss and each loss of the final image."""
        assert isinstance(pl_module, StyleTransfer)
        data = transfer_data(trainer)
        # Processes that share the image have its tiles each: all of them evaluate it.
        final = {} if data is None else pl_module.final_terms(data.batch)
        if not trainer.is_global_zero:
            return
        self._log_image(trainer, pl_module, "picture/final")
        if pl_module.loss is None:
            return
        terms = {f"final/{name}": value for name, value in final.items() if "/" not in name}
        for logger in _loggers(trainer):
            settings = {**({} if data is None else data.settings()), **pl_module.settings()}
            settings = {key: encodable(value) if isinstance(value, str) else value for key, value in settings.items()}
            logger.log_hyperparams(settings, {"final_loss": float(pl_module.loss), **terms})

    def _log_image(self, trainer: Trainer, module: LightningModule, tag: str) -> None:
        for writer in _writers(trainer):
            _add(writer, tag, painted(trainer, module), trainer.global_step)


def chart_layout(losses: Iterable[Loss]) -> dict[str, dict[str, list[Any]]]:
    """Return the charts that TensorBoard's "Custom Scalars" shows, as `SummaryWriter.add_custom_scalars` takes them.

    Args:
        losses: Losses of the objective; the same name means the same chart.
    """

    def chart(pattern: str) -> list[Any]:
        return ["Multiline", [pattern]]  # a regular expression: the curves of a chart

    # With guides each region has terms of its own: style_1/relu1_1.
    by_layer = {
        loss.name: chart(rf"^loss/{re.escape(loss.name)}(_\d+)?/.+$") for loss in losses if set(loss.layers) != {INPUT}
    }
    return {
        "losses": {"all": chart("^loss/[^/]+$")} | {f"{name} by layer": part for name, part in by_layer.items()},
        "schedule": {"learning rate": chart("^learning_rate$"), "long side in pixels": chart("^pyramid/size$")},
    }


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
    if max(height, width) > LARGEST_SIDE:
        image = resize(image, fit_long_side(height, width, LARGEST_SIDE))
    writer.add_image(tag, image[0].clamp(0, 1).float().cpu(), step)


class StylizedImages(Callback):
    """Log the first held-out photographs at each validation, the same ones below in every style of the network.

    Of a network of any style, the held-out styles are the second row, and each photograph in its own the third.

    Args:
        count: Number of photographs, at most as many as are in a batch.

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
        batch: FastBatch | AnyStyleBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Stylize and log the first batch's images; the photographs are the top row, each style is one below."""
        del outputs
        if batch_idx or dataloader_idx or trainer.sanity_checking:
            return
        contents = batch.contents[: self.count]
        with torch.no_grad():
            if isinstance(pl_module, FastStyleTransfer):
                rows = [pl_module.network(contents, weights) for weights in torch.eye(len(batch.styles)).to(contents)]
            elif isinstance(pl_module, AnyStyleTransfer) and isinstance(batch, AnyStyleBatch):
                styles = batch.styles[: self.count]
                size = (contents.shape[-2], contents.shape[-1])
                rows = [resize(styles, size), pl_module(contents, styles)]
            else:
                return
        grid = make_grid(torch.cat([contents, *rows]).float().cpu(), nrow=contents.shape[0])
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("val/painted", grid, trainer.global_step)
