"""An optimiser together with its schedule."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from lightning.pytorch import Trainer
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from nst_lightning.errors import UserError


def make_optimizer(
    make: OptimizerCallable, parameters: Iterable[nn.Parameter] | list[dict[str, list[nn.Parameter]]]
) -> Optimizer:
    """Make an optimiser as the config asks for it.

    Args:
        make: `model.optimizer`.
        parameters: What it moves; or parameter groups.

    Raises:
        UserError: If it refuses one of its settings.
    """
    try:
        return make(parameters)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"model.optimizer can't be made: {_in_one_line(error)}.") from error


def with_schedule(optimizer: Optimizer, lr_scheduler: LRSchedulerCallable | None) -> OptimizerLRScheduler:
    """Give what `configure_optimizers` returns.

    Args:
        optimizer: The one there is.
        lr_scheduler: Makes its schedule, which advances every step, not every epoch as Lightning's would; `None` for
            none.

    Raises:
        UserError: If the schedule refuses one of its settings, or waits for a metric.
    """
    if lr_scheduler is None:
        return optimizer
    try:
        scheduler = lr_scheduler(optimizer)
    except (TypeError, ValueError) as error:
        raise UserError(f"model.lr_scheduler can't be made: {_in_one_line(error)}.") from error
    if isinstance(scheduler, ReduceLROnPlateau):
        raise UserError("model.lr_scheduler can't wait for a metric, which not every step has; use CosineAnnealingLR.")
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def check_schedules(trainer: Trainer) -> None:
    """Refuse a schedule that can't be stepped as often as the run is long, before its first step.

    Args:
        trainer: About to train.

    Raises:
        UserError: If it is too short.
    """
    steps = trainer.estimated_stepping_batches
    for config in trainer.lr_scheduler_configs:
        last = getattr(config.scheduler, "total_steps", None)  # OneCycleLR's, which raises after it
        if last is not None and last < steps:
            raise UserError(
                f"model.lr_scheduler ends after {last} steps, but the run has {steps}; set its total_steps to {steps}."
            )


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")


@contextmanager
def scaled_rate(optimizer: Optimizer, factor: float) -> Iterator[None]:
    """Scale the learning rate for one step; a schedule, whatever its kind, sees its own values.

    Args:
        optimizer: Every group of it.
        factor: 0 or more.
    """
    rates = [group["lr"] for group in optimizer.param_groups]
    try:
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * factor
        yield
    finally:
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
