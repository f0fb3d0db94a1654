"""What the step from one pyramid level to the next does to the picture and to the optimiser's memory."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import Trainer
from torch import Tensor
from torch.optim import Optimizer

_SIGNED = ("exp_avg", "momentum_buffer")
_NON_NEGATIVE = ("exp_avg_sq", "max_exp_avg_sq", "square_avg")


@torch.no_grad()
def resize_iterate(image: Tensor, size: tuple[int, int], *, clamp: bool) -> Tensor:
    """Resample a picture that is being optimised.

    Args:
        image: `(1, 3, H, W)`.
        size: Height and width, pixels.
        clamp: Cut off what leaves [0, 1]; not wanted where the optimiser itself may leave it.

    Returns:
        `(1, 3, *size)`.
    """
    resized = F.interpolate(image, size, mode="bicubic", antialias=True)
    return resized.clamp_(0, 1) if clamp else resized


def renew_optimizer(trainer: Trainer, size: tuple[int, int]) -> None:
    """Build the optimiser anew, over the parameter that the module has by now.

    Learning rates and schedules go on where they were; moments are carried over (`carry_moments`).

    Args:
        trainer: Its module's parameter was replaced by one of the new level.
        size: Height and width of the new level, pixels.
    """
    old = trainer.optimizers[0]
    schedulers = [config.scheduler for config in trainer.lr_scheduler_configs]
    trainer.strategy.setup_optimizers(trainer)
    new = trainer.optimizers[0]
    for before, config in zip(schedulers, trainer.lr_scheduler_configs, strict=True):
        config.scheduler.load_state_dict(before.state_dict())
    for before_group, group in zip(old.param_groups, new.param_groups, strict=True):
        group["lr"] = before_group["lr"]
    carry_moments(old, new, size)


@torch.no_grad()
def carry_moments(old: Optimizer, new: Optimizer, size: tuple[int, int]) -> None:
    """Give the new level's optimiser the moments of the old one, resized.

    First moments are resampled with a bicubic filter, second moments with a linear one so that they stay
    positive; step counts are kept, so bias correction does not start anew (`scale_adam` of
    crowsonkb/style-transfer-pytorch). An optimiser with any other memory, such as L-BFGS, starts afresh.

    Args:
        old: Has one parameter, the picture of the old level.
        new: Of the same class, has one parameter, the picture of the new level.
        size: Height and width of the new level, pixels.
    """
    state: dict[str, Any] = next(iter(old.state.values()), {})
    known = (*_SIGNED, *_NON_NEGATIVE, "step")
    if not all(key in known or value is None for key, value in state.items()):
        return
    carried: dict[str, Any] = {}
    for key, value in state.items():
        if key in _SIGNED and value is not None:
            carried[key] = F.interpolate(value, size, mode="bicubic", antialias=True)
        elif key in _NON_NEGATIVE and value is not None:
            carried[key] = F.interpolate(value, size, mode="bilinear", antialias=True).clamp_min_(0)
        else:
            carried[key] = value
    new.state[new.param_groups[0]["params"][0]] = carried
