"""Optimizers and their schedules: made as the config asks, carried to the next level, resumed under another config."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from nst_lightning._compat import rebuild_optimizers
from nst_lightning.errors import UserError, one_line


def make_optimizer(
    make: OptimizerCallable, parameters: Iterable[nn.Parameter] | list[dict[str, list[nn.Parameter]]]
) -> Optimizer:
    """Make an optimizer as the config asks for it.

    Args:
        make: Value of the option `model.optimizer`.
        parameters: Parameters, or parameter groups.

    Raises:
        UserError: If it refuses one of its settings.
    """
    try:
        return make(parameters)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"model.optimizer can't be made: {one_line(error).rstrip('.')}.") from error


def with_schedule(optimizer: Optimizer, lr_scheduler: LRSchedulerCallable | None) -> OptimizerLRScheduler:
    """Return the value of `configure_optimizers`: an optimizer, with its schedule if there is one.

    Args:
        optimizer: Optimizer that the schedule is for.
        lr_scheduler: Function that makes the schedule, which advances every step, not every epoch as Lightning's would;
            `None` for no schedule.

    Raises:
        UserError: If the schedule refuses one of its settings, or waits for a metric.
    """
    if lr_scheduler is None:
        return optimizer
    try:
        scheduler = lr_scheduler(optimizer)
    except (TypeError, ValueError) as error:
        raise UserError(f"model.lr_scheduler can't be made: {one_line(error).rstrip('.')}.") from error
    if isinstance(scheduler, ReduceLROnPlateau):
        raise UserError("model.lr_scheduler can't wait for a metric, which not every step has; use CosineAnnealingLR.")
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def check_schedules(trainer: Trainer) -> None:
    """Refuse a schedule that can't be stepped as often as the run is long, before its first step.

    Args:
        trainer: Trainer that is about to train.

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


@contextmanager
def scaled_lr(optimizer: Optimizer, factor: float) -> Iterator[None]:
    """Scale the learning rate for one step; a schedule, whatever its kind, sees its own values.

    Args:
        optimizer: Optimizer, all of whose groups are scaled.
        factor: Factor, 0 or more.
    """
    rates = [group["lr"] for group in optimizer.param_groups]
    try:
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * factor
        yield
    finally:
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate


_SIGNED = ("exp_avg", "momentum_buffer")
_NON_NEGATIVE = ("exp_avg_sq", "max_exp_avg_sq", "square_avg")


def renew_optimizer(trainer: Trainer, size: tuple[int, int]) -> None:
    """Build the optimizer anew, over the parameter that the module has by now.

    Schedules go on where they were, and so does what they change, such as the learning rate; moments are carried over
    (`carry_moments`).

    Args:
        trainer: Trainer whose module's parameter was replaced by one of the new level.
        size: Height and width of the new level, pixels.
    """
    old = trainer.optimizers[0]
    schedulers = [config.scheduler for config in trainer.lr_scheduler_configs]
    rebuild_optimizers(trainer)
    new = trainer.optimizers[0]
    for before, config in zip(schedulers, trainer.lr_scheduler_configs, strict=True):
        config.scheduler.load_state_dict(before.state_dict())
    for before_group, group in zip(old.param_groups, new.param_groups, strict=True):
        group.update({key: value for key, value in before_group.items() if key != "params"})
    carry_moments(old, new, size)


@torch.no_grad()
def carry_moments(old: Optimizer, new: Optimizer, size: tuple[int, int]) -> None:
    """Copy the moments of one level's optimizer, resized, to the next level's.

    First moments are resampled with a bicubic filter, second moments with a linear one so that they stay
    positive; step counts are kept, so bias correction does not start anew (`scale_adam` of
    crowsonkb/style-transfer-pytorch). An optimizer with any other memory, such as L-BFGS, starts afresh.

    Args:
        old: Optimizer with one parameter, the image of the old level.
        new: Optimizer of the same class with one parameter, the image of the new level.
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


def configured_state(
    used: Optimizer, make_fresh: Callable[[], Optimizer], lr_scheduler: LRSchedulerCallable | None
) -> dict[str, Any]:
    """Return what a checkpoint says of the config beside the state of the optimizer and its schedule.

    Args:
        used: Optimizer of the run.
        make_fresh: Function that makes an optimizer as the config asks for it.
        lr_scheduler: Function that makes its schedule; `None` for none.

    Returns:
        The class of the optimizer, its settings group by group as `configured`, and the numbers of the fresh schedule.
    """
    schedule = None if lr_scheduler is None else lr_scheduler(make_fresh()).state_dict()
    return {"optimizer": type(used).__qualname__, "configured": _settings(make_fresh()), "schedule": schedule}


def saved_by(task: str, checkpoint: dict[str, Any], key: str) -> dict[str, Any]:
    """Return what a task added to a checkpoint.

    Args:
        task: Name of the task's class.
        checkpoint: Checkpoint as Lightning loaded it.
        key: Entry that the task adds.

    Raises:
        UserError: If the checkpoint is another task's.
    """
    saved: dict[str, Any] | None = checkpoint.get(key)
    if saved is None:
        raise UserError(f"the checkpoint is not one of a {task} run; give another --ckpt_path.")
    return saved


def continue_with_config(
    checkpoint: dict[str, Any],
    saved: dict[str, Any],
    encoder_digest: str,
    make_fresh: Callable[[], Optimizer],
    lr_scheduler: LRSchedulerCallable | None,
) -> None:
    """Check a checkpoint against the config, and put what the user changed into it.

    `Optimizer.load_state_dict` would bring back the old learning rate whatever the user typed. What the user
    did not change stays as the checkpoint has it, since a schedule may have moved it. Where the learning rate
    was changed under a schedule, the schedule's progress is kept in proportion.

    A schedule's state holds its settings too, and most schedules compute a learning rate from the one before: a line
    that has come down to 0 would stay there, however many steps are added. So a schedule that was changed is run from
    its beginning up to the checkpoint's step, and learning rates are as if it had been the schedule all along.

    Args:
        checkpoint: Checkpoint as Lightning loaded it; its optimizer and scheduler states are edited in place.
        saved: Entry that the task added to it: the encoder's digest as `encoder`, and `configured_state`, of which
            early checkpoints lack the schedule.
        encoder_digest: Digest of the present encoder.
        make_fresh: Function that makes an optimizer as the config asks for it.
        lr_scheduler: Function that makes its schedule; `None` for none.

    Raises:
        UserError: If the checkpoint can't go on under this config, or the schedule ends before the checkpoint's step.
    """
    configured = make_fresh()
    if saved["encoder"] != encoder_digest:
        raise UserError(
            f"the checkpoint was painted with other encoder weights (digest {saved['encoder'][:12]}, now "
            f"{encoder_digest[:12]}); restore model.encoder.weights, or start without --ckpt_path."
        )
    name = type(configured).__qualname__
    if saved["optimizer"] != name:
        raise UserError(
            f"the checkpoint holds the state of {saved['optimizer']}, but the config asks for {name}; restore "
            "model.optimizer, or start without --ckpt_path."
        )
    groups = checkpoint["optimizer_states"][0]["param_groups"]
    for group, before, now in zip(groups, saved["configured"], _settings(configured), strict=True):
        changed = {key: value for key, value in now.items() if before.get(key) != value}
        if "lr" in changed and checkpoint["lr_schedulers"] and before["lr"]:
            _rescale(group, checkpoint["lr_schedulers"], changed.pop("lr") / before["lr"])
        group.update(changed)
    _replay_changed_schedule(checkpoint, saved, make_fresh(), lr_scheduler)


def _settings(optimizer: Optimizer) -> list[dict[str, Any]]:
    return [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]


def _replay_changed_schedule(
    checkpoint: dict[str, Any], saved: dict[str, Any], configured: Optimizer, lr_scheduler: LRSchedulerCallable | None
) -> None:
    steps = checkpoint["global_step"]
    schedule = None if lr_scheduler is None else lr_scheduler(configured)
    fresh = None if schedule is None else schedule.state_dict()
    if saved.get("schedule", fresh) == fresh and bool(checkpoint["lr_schedulers"]) == (schedule is not None):
        return
    if schedule is not None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of an optimizer that makes no steps in between
                for _ in range(steps):
                    schedule.step()
        except ValueError as error:
            raise UserError(
                f"the checkpoint is {steps} steps into its training, but model.lr_scheduler ends before: "
                f"{one_line(error)}; make it longer, or start without --ckpt_path."
            ) from error
    checkpoint["lr_schedulers"] = [] if schedule is None else [schedule.state_dict()]
    groups = checkpoint["optimizer_states"][0]["param_groups"]
    for group, now in zip(groups, _settings(configured), strict=True):
        group.update(now)


def _rescale(group: dict[str, Any], schedulers: list[dict[str, Any]], ratio: float) -> None:
    for key in ("lr", "initial_lr"):
        if key in group:
            group[key] *= ratio
    for scheduler in schedulers:
        if "base_lrs" in scheduler:
            scheduler["base_lrs"] = [rate * ratio for rate in scheduler["base_lrs"]]
