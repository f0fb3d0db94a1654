"""An optimiser together with its schedule."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lightning.pytorch.cli import LRSchedulerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch.optim import Optimizer


def with_schedule(optimizer: Optimizer, lr_scheduler: LRSchedulerCallable | None) -> OptimizerLRScheduler:
    """Give what `configure_optimizers` returns.

    Args:
        optimizer: The one there is.
        lr_scheduler: Makes its schedule, which advances every step, not every epoch as Lightning's would; `None` for
            none.
    """
    if lr_scheduler is None:
        return optimizer
    return {
        "optimizer": optimizer,
        "lr_scheduler": {"scheduler": lr_scheduler(optimizer), "interval": "step"},
    }


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
