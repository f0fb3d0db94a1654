"""An optimiser together with its schedule."""

from __future__ import annotations

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
