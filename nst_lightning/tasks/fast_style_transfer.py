"""Training a one-pass network with the losses that a single image is painted with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import Optimizer

from nst_lightning._compat import is_attached, leave_epoch_open
from nst_lightning.data.fast_transfer_data import FastBatch
from nst_lightning.encoders.vgg19 import VGG19
from nst_lightning.errors import UserError, user_path
from nst_lightning.losses.loss import Loss, LossTerm, Measured
from nst_lightning.losses.objective import Objective, Targets
from nst_lightning.networks.network_file import CHECKPOINT_KEY, NetworkCard, save_network
from nst_lightning.networks.transformer import TransformerNet
from nst_lightning.tasks.checkpointed import CheckpointedTask
from nst_lightning.tasks.optimizers import (
    check_schedules,
    configured_state,
    continue_with_config,
    make_optimizer,
    saved_by,
    scaled_lr,
    with_schedule,
)
from nst_lightning.tasks.precision import ENCODER_DTYPES
from nst_lightning.tasks.reporting import grouped, is_logging_step
from nst_lightning.utils.atomic import check_writable
from nst_lightning.utils.overwriting import WrittenFile, check_overwriting, named_files


@torch.no_grad()
def measure_styles(objective: Objective, styles: Sequence[Tensor]) -> dict[str, Measured]:
    """Return the targets of each style loss, by its name, with the styles along the first dimension.

    Args:
        objective: Objective whose losses prepare tensors `(1, …)` of a style.
        styles: Each `(1, 3, h, w)` in [0, 1], with its own size.
    """
    losses = [loss for loss in objective.losses if loss.reference == "style"]
    prepared: dict[str, list[Measured]] = {loss.name: [] for loss in losses}
    for style in styles if losses else ():
        features = objective.encoder(style.to(objective.encoder.device), objective.taps("style"))
        for loss in losses:
            prepared[loss.name].append(loss.prepare(loss.measure(features)))
    return {
        name: {key: torch.cat([targets[key] for targets in each]) for key in each[0]} for name, each in prepared.items()
    }


@torch.no_grad()
def batch_targets(
    objective: Objective, contents: Tensor, targets: Mapping[str, Measured], styles: Tensor, strength: float
) -> Targets:
    """Return the targets of a batch: for each image its own style's, and its own photograph's.

    Args:
        objective: Objective without guides or tiles.
        contents: Photographs, `(N, 3, H, W)` in [0, 1].
        targets: Targets of each style loss, from `measure_styles`.
        styles: Number of the style that each image is painted in, `(N,)`.
        strength: Strength of the style, whose square the style's terms count.
    """
    taps = objective.taps("content")
    features = objective.encoder(contents, taps) if taps else {}
    terms = []
    for loss in objective.losses:
        if loss.reference == "style":
            own = {key: value[styles] for key, value in targets[loss.name].items()}
            terms.append(LossTerm(loss, loss.name, own, share=strength**2))
        else:
            measured = loss.measure(features) if loss.reference == "content" else {}
            terms.append(LossTerm(loss, loss.name, loss.prepare(measured)))
    return Targets(terms)


class FastStyleTransfer(CheckpointedTask):
    r"""Train a network to do in one pass what `StyleTransfer` optimizes an image for.

    Johnson, Alahi and Fei-Fei 2016; several styles in one network as in Dumoulin et al. 2017. Every image of a batch
    is painted in one of the styles, in turn. Of the steps a share is painted at a strength :math:`\alpha < 1`,
    evenly spread over (0, 1), where the style's terms count :math:`\alpha^2`; so the strength can be chosen when the
    network is used (see `TransformerNet`). Babaeizadeh and Ghiasi 2018 draw a weight for each layer instead, and
    give the network nothing of the photograph itself.

    Styles and strengths follow from the number of the batch, photographs from the number of the sample: an
    interrupted training goes on exactly.

    Args:
        encoder: Frozen network of the losses; `None` for the compact VGG19 with replicated borders.
        network: Network that is trained; `None` for one of a single style.
        content: Loss against the photograph.
        style: Loss against the style images.
        variation: Loss of the painted image itself, such as total variation.
        extra_losses: Further losses. What a loss against the styles prepares must be tensors `(1, …)`.
        output: File to write the network to at the end (`.safetensors`, float16); `None` for no file.
        weaker: Share of the steps with a strength below 1, in [0, 1); 0 for a network without choice of strength.
        optimizer: Function that makes the optimizer of the network.
        lr_scheduler: Function that makes a schedule, which advances every step.
        decay: Part of the learning rate that is left at the end of the training, in [0, 1]; it falls on a straight line
            over the batches of the epoch, however many the data give. It multiplies what a schedule says.

    Raises:
        UserError: If there is no loss, or one reads a layer the encoder lacks, or the output can't be written, or a
            number is out of range.
    """

    def __init__(
        self,
        encoder: VGG19 | None = None,
        network: TransformerNet | None = None,
        content: Loss | None = None,
        style: Loss | None = None,
        variation: Loss | None = None,
        extra_losses: list[Loss] | None = None,
        output: str | None = None,
        weaker: float = 0.25,
        optimizer: OptimizerCallable = torch.optim.Adam,
        lr_scheduler: LRSchedulerCallable | None = None,
        decay: float = 1.0,
    ) -> None:
        super().__init__()
        if not 0 <= weaker < 1:
            raise UserError(f"model.weaker is a share from 0 up to but not including 1, but {weaker} was given.")
        if not 0 <= decay <= 1:
            raise UserError(f"model.decay is from 0 to 1, but {decay} was given.")
        self.output = None if output is None else user_path(output)
        if self.output is not None:
            if self.output.suffix != ".safetensors":
                raise UserError(f"model.output must end in .safetensors, but {output} was given.")
            check_writable(self.output)
            target = WrittenFile(self.output, f"model.output {output}")
            check_overwriting([target], named_files([] if encoder is None else [encoder.weights_name]))
        losses = [loss for loss in (content, style, variation, *(extra_losses or ())) if loss is not None]
        for loss in losses:
            if loss.reference == "warped":
                raise UserError(f"the loss {loss.name!r} compares frames of a video, not photographs; leave it out.")
        self.objective = Objective(encoder or VGG19(padding="replicate"), losses)
        self.network = network or TransformerNet()
        self.weaker = weaker
        self.optimizer = optimizer
        with_schedule(self._make_optimizer(), lr_scheduler)  # mistakes are told now
        self.lr_scheduler = lr_scheduler
        self.decay = decay
        self._targets: dict[str, Measured] = {}
        self._style_names: tuple[str, ...] = ()
        self._styles_digest = ""

    @property
    def encoder(self) -> VGG19:
        """Frozen network of the losses."""
        return self.objective.encoder

    def card(self) -> NetworkCard:
        """Return the description that goes with the network's weights."""
        return NetworkCard(self.network.architecture(), self._style_names, self.encoder.digest)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return the optimizer of the network, and its schedule if there is one."""
        return with_schedule(self._make_optimizer(), self.lr_scheduler)

    def _make_optimizer(self) -> Optimizer:
        return make_optimizer(self.optimizer, self.network.parameters())

    def on_fit_start(self) -> None:
        """Convert the encoder once, as `StyleTransfer` does; forget the styles of an earlier run."""
        precision = str(self.trainer.precision)
        if precision not in ENCODER_DTYPES:
            raise UserError(f"can't train at precision {precision}; use one of {', '.join(ENCODER_DTYPES)}.")
        self.encoder.cast(ENCODER_DTYPES[precision])
        self._targets = {}
        if self.trainer.ckpt_path is None:
            self._styles_digest = ""

    def on_train_start(self) -> None:
        """Refuse a schedule that ends before the training."""
        check_schedules(self.trainer)

    def forward(self, images: Tensor, weights: Tensor | None = None) -> Tensor:
        """Stylize images; see `TransformerNet.forward`."""
        painted: Tensor = self.network(images, weights)
        return painted

    def training_step(self, batch: FastBatch, batch_idx: int) -> Tensor:
        """Evaluate the objective on a batch of painted images.

        Returns:
            The sum of all weighted terms, a float32 scalar.
        """
        loss, terms = self._evaluate(batch, batch_idx, strength_of_step(batch_idx, self.weaker))
        if is_logging_step(self.trainer):
            metrics: dict[str, Any] = {f"loss/{name}": value for name, value in grouped(terms).items()}
            metrics["learning_rate"] = float(self.trainer.optimizers[0].param_groups[0]["lr"])
            self.log_dict(metrics, batch_size=batch.contents.shape[0])
        return loss

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Optimizer | LightningOptimizer,
        optimizer_closure: Any = None,
    ) -> None:
        """Step at the learning rate that the training has come down to."""
        done = batch_idx / self.trainer.num_training_batches
        with scaled_lr(self.trainer.optimizers[0], 1 - (1 - self.decay) * done):
            super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)

    def validation_step(self, batch: FastBatch, batch_idx: int) -> None:
        """Log the objective of held-out images, painted at full strength."""
        loss, terms = self._evaluate(batch, batch_idx, 1.0)
        metrics = {f"val/{name}": value for name, value in grouped(terms).items() if name != "total"}
        self.log_dict({"val/loss": loss, **metrics}, batch_size=batch.contents.shape[0], sync_dist=True)

    def _evaluate(self, batch: FastBatch, batch_idx: int, strength: float) -> tuple[Tensor, dict[str, Tensor]]:
        self._measure_styles(batch)
        contents = batch.contents
        count = contents.shape[0]
        first = (batch_idx * self.trainer.world_size + self.global_rank) * count
        styles = torch.arange(first, first + count, device=self.device) % self.network.styles
        painted = self(contents, strength * F.one_hot(styles, self.network.styles).to(contents.dtype))
        targets = batch_targets(self.objective, contents, self._targets, styles, strength)
        loss: Tensor
        loss, terms = self.objective(painted, targets)
        return loss, terms

    def _measure_styles(self, batch: FastBatch) -> None:
        """Measure the styles once in a run."""
        if self._targets and batch.digest == self._styles_digest:
            return
        if len(batch.styles) != self.network.styles:
            raise UserError(
                f"data.style has {len(batch.styles)} pictures, but the network is made for {self.network.styles} "
                f"styles; set --model.network.styles {len(batch.styles)}."
            )
        if self._styles_digest not in ("", batch.digest):
            raise UserError(
                "the network of the checkpoint was trained with other style pictures or another data.style_size; "
                "restore them, or start without --ckpt_path."
            )
        self._targets = measure_styles(self.objective, batch.styles)
        self._style_names = batch.style_names
        self._styles_digest = batch.digest

    def on_train_end(self) -> None:
        """Write the network, unless the training was stopped before its end."""
        trainer = self.trainer
        finished = trainer.global_step == trainer.max_steps or not trainer.should_stop
        if self.output is not None and finished and trainer.is_global_zero:
            save_network(self.network, self.output, self._style_names, self.encoder.digest)
            rank_zero_info(f"network: {self.output}")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what an exact resume needs beside the network and the optimizer's state."""
        # Whether this was the last batch, data.steps says that the run is resumed under: it may be more.
        leave_epoch_open(checkpoint)
        checkpoint[CHECKPOINT_KEY] = {
            **self.card().as_dict(),
            "pictures": self._styles_digest,
            **configured_state(self.trainer.optimizers[0], self._make_optimizer, self.lr_scheduler),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the state over; optimizer settings stay those of the config.

        Raises:
            UserError: If the checkpoint belongs to another encoder, network, optimizer or kind of model.
        """
        saved = saved_by("FastStyleTransfer", checkpoint, CHECKPOINT_KEY)
        if saved["architecture"] != self.network.architecture():
            raise UserError(
                f"the checkpoint's network was made with {saved['architecture']}, the config asks for "
                f"{self.network.architecture()}; restore model.network, or start without --ckpt_path."
            )
        if is_attached(self):  # else it is `load_from_checkpoint`
            continue_with_config(checkpoint, saved, self.encoder.digest, self._make_optimizer, self.lr_scheduler)
        self._style_names = tuple(saved["styles"])
        self._styles_digest = saved["pictures"]


def strength_of_step(step: int, weaker: float) -> float:
    """Return the strength of a step: 1, or for a share `weaker` of the steps something in (0, 1).

    Multiples of two irrational numbers modulo 1 say whether, and how strong: evenly spread at any length of the
    training, and nothing to keep in a checkpoint.

    Args:
        step: Number of the step, from 0.
        weaker: Share of the steps with a strength below 1, in [0, 1).
    """
    number = step + 1  # at 0 both are 0: a first step without any gradient
    return math.fmod(number * math.sqrt(5), 1.0) if math.fmod(number * math.sqrt(2), 1.0) < weaker else 1.0
