"""What trainings of one-pass networks have in common, whatever the network knows of styles."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import Optimizer

from nst_lightning._compat import is_attached, leave_epoch_open
from nst_lightning.encoders.vgg19 import VGG19
from nst_lightning.errors import UserError, user_path
from nst_lightning.losses.loss import Loss
from nst_lightning.losses.objective import Objective
from nst_lightning.networks.network_file import CHECKPOINT_KEY, NetworkCard, OnePassNet, save_network
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
from nst_lightning.tasks.precision import encoder_dtype
from nst_lightning.tasks.reporting import grouped, is_logging_step
from nst_lightning.utils.atomic import check_writable
from nst_lightning.utils.overwriting import WrittenFile, check_overwriting, named_files


class NetworkTraining(CheckpointedTask):
    """Train a one-pass network with the losses that `StyleTransfer` optimizes an image for.

    Of the steps a share is painted at a strength below 1, evenly spread over (0, 1), where the style's terms count its
    square; so the strength can be chosen when the network is used.

    Arguments are those of the subclasses, *losses* being all of theirs, with `None` for those that are left out.
    """

    def __init__(
        self,
        network: OnePassNet,
        encoder: VGG19,
        losses: Sequence[Loss | None],
        output: str | None,
        weaker: float,
        optimizer: OptimizerCallable,
        lr_scheduler: LRSchedulerCallable | None,
        decay: float,
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
            check_overwriting([target], named_files([encoder.weights_name]))
        given = [loss for loss in losses if loss is not None]
        for loss in given:
            if loss.reference == "warped":
                raise UserError(f"the loss {loss.name!r} compares frames of a video, not photographs; leave it out.")
            if loss.up_to:
                raise UserError(f"up_to of the loss {loss.name!r} is for levels of a pyramid; leave it out.")
        self.objective = Objective(encoder, given)
        self.network = network
        self.weaker = weaker
        self.optimizer = optimizer
        with_schedule(self._make_optimizer(), lr_scheduler)  # mistakes are told now
        self.lr_scheduler = lr_scheduler
        self.decay = decay

    @property
    def encoder(self) -> VGG19:
        """Frozen network of the losses."""
        return self.objective.encoder

    @property
    def style_names(self) -> tuple[str, ...]:
        """Names of the styles that the network learns; none where it learns to paint any."""
        return ()

    def card(self) -> NetworkCard:
        """Return the description that goes with the network's weights."""
        return NetworkCard.of(self.network, self.style_names, self.encoder.digest)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return the optimizer of the network, and its schedule if there is one."""
        return with_schedule(self._make_optimizer(), self.lr_scheduler)

    def _make_optimizer(self) -> Optimizer:
        return make_optimizer(self.optimizer, self.network.parameters())

    def on_fit_start(self) -> None:
        """Convert the encoder once, as `StyleTransfer` does."""
        self.encoder.cast(encoder_dtype(self.trainer))

    def on_train_start(self) -> None:
        """Refuse a schedule that ends before the training."""
        check_schedules(self.trainer)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
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

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Log the objective of held-out images, painted at full strength."""
        loss, terms = self._evaluate(batch, batch_idx, 1.0)
        metrics = {f"val/{name}": value for name, value in grouped(terms).items() if name != "total"}
        self.log_dict({"val/loss": loss, **metrics}, batch_size=batch.contents.shape[0], sync_dist=True)

    @abstractmethod
    def _evaluate(self, batch: Any, batch_idx: int, strength: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the total and the terms of a batch painted at a strength."""

    def on_train_end(self) -> None:
        """Write the network, unless the training was stopped before its end."""
        trainer = self.trainer
        finished = trainer.global_step == trainer.max_steps or not trainer.should_stop
        if self.output is not None and finished and trainer.is_global_zero:
            save_network(self.network, self.output, self.style_names, self.encoder.digest)
            rank_zero_info(f"network: {self.output}")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what an exact resume needs beside the network and the optimizer's state."""
        # Whether this was the last batch, data.steps says that the run is resumed under: it may be more.
        leave_epoch_open(checkpoint)
        checkpoint[CHECKPOINT_KEY] = {
            **self.card().as_dict(),
            **configured_state(self.trainer.optimizers[0], self._make_optimizer, self.lr_scheduler),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the state over; optimizer settings stay those of the config.

        Raises:
            UserError: If the checkpoint belongs to another encoder, network, optimizer or kind of model.
        """
        saved = saved_by(type(self).__name__, checkpoint, CHECKPOINT_KEY)
        if NetworkCard.from_dict(saved).kind != self.card().kind:
            raise UserError(
                f"the checkpoint holds another kind of network than {type(self).__name__} trains; give the --config "
                "that it belongs to, or start without --ckpt_path."
            )
        if saved["architecture"] != self.network.architecture():
            raise UserError(
                f"the checkpoint's network was made with {saved['architecture']}, the config asks for "
                f"{self.network.architecture()}; restore model.network, or start without --ckpt_path."
            )
        if is_attached(self):  # else it is `load_from_checkpoint`
            continue_with_config(checkpoint, saved, self.encoder.digest, self._make_optimizer, self.lr_scheduler)


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
