"""What a checkpoint may and may not bring into a run that the user configured."""

from __future__ import annotations

import warnings
from typing import Any

from lightning.pytorch.cli import LRSchedulerCallable
from torch.optim import Optimizer

from nst_lightning.errors import UserError


def configured_settings(optimizer: Optimizer) -> list[dict[str, Any]]:
    """Give the settings of a fresh optimiser as the config makes it, group by group."""
    return [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]


def configured_schedule(optimizer: Optimizer, lr_scheduler: LRSchedulerCallable | None) -> dict[str, Any] | None:
    """Give the numbers of a fresh schedule as the config makes it; `None` where there is none.

    Args:
        optimizer: A fresh one, whose learning rate the schedule may set.
        lr_scheduler: Makes the schedule.
    """
    return None if lr_scheduler is None else lr_scheduler(optimizer).state_dict()


def saved_by(task: str, checkpoint: dict[str, Any], key: str) -> dict[str, Any]:
    """Give what a task added to a checkpoint.

    Args:
        task: Its class's name.
        checkpoint: As Lightning loaded it.
        key: Where the task keeps it.

    Raises:
        UserError: If the checkpoint is another task's.
    """
    saved: dict[str, Any] | None = checkpoint.get(key)
    if saved is None:
        raise UserError(f"the checkpoint is not one of a {task} run; give another --ckpt_path.")
    return saved


def continue_with_config(
    checkpoint: dict[str, Any], saved: dict[str, Any], encoder_digest: str, configured: Optimizer
) -> None:
    """Check a checkpoint against the config, and put what the user changed into it.

    `Optimizer.load_state_dict` would bring back the old learning rate whatever the user typed. What the user
    did not change stays as the checkpoint has it, since a schedule may have moved it. Where the learning rate
    was changed under a schedule, the schedule's progress is kept in proportion.

    Args:
        checkpoint: As Lightning loaded it; its optimiser and scheduler states are edited in place.
        saved: What the task added to it: the encoder's digest, the optimiser's class, `configured_settings`.
        encoder_digest: Of the present encoder.
        configured: A fresh optimiser as the config makes it.

    Raises:
        UserError: If the checkpoint can't go on under this config.
    """
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
    for group, before, now in zip(groups, saved["configured"], configured_settings(configured), strict=True):
        changed = {key: value for key, value in now.items() if before.get(key) != value}
        if "lr" in changed and checkpoint["lr_schedulers"] and before["lr"]:
            _rescale(group, checkpoint["lr_schedulers"], changed.pop("lr") / before["lr"])
        group.update(changed)


def replay_changed_schedule(
    checkpoint: dict[str, Any], saved: dict[str, Any], configured: Optimizer, lr_scheduler: LRSchedulerCallable | None
) -> None:
    """Put the schedule that the config makes into a checkpoint, if it differs from the one that was trained under.

    A schedule's state holds its settings too, and most schedules compute a learning rate from the one before: a line
    that has come down to 0 would stay there, however many steps are added. So the new schedule is run from its
    beginning up to the checkpoint's step, and learning rates are as if it had been the schedule all along.

    Args:
        checkpoint: As Lightning loaded it; its optimiser and scheduler states are edited in place.
        saved: What the task added to it: `configured_schedule` as "schedule", which early checkpoints lack.
        configured: A fresh optimiser as the config makes it, which is used up.
        lr_scheduler: Makes its schedule; `None` for none.

    Raises:
        UserError: If the schedule ends before the checkpoint's step.
    """
    steps = checkpoint["global_step"]
    schedule = None if lr_scheduler is None else lr_scheduler(configured)
    fresh = None if schedule is None else schedule.state_dict()
    if saved.get("schedule", fresh) == fresh and bool(checkpoint["lr_schedulers"]) == (schedule is not None):
        return
    if schedule is not None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of an optimiser that makes no steps in between
                for _ in range(steps):
                    schedule.step()
        except ValueError as error:
            raise UserError(
                f"the checkpoint is {steps} steps into its training, but model.lr_scheduler ends before: "
                f"{' '.join(str(error).split())}; make it longer, or start without --ckpt_path."
            ) from error
    checkpoint["lr_schedulers"] = [] if schedule is None else [schedule.state_dict()]
    groups = checkpoint["optimizer_states"][0]["param_groups"]
    for group, now in zip(groups, configured_settings(configured), strict=True):
        group.update(now)


def _rescale(group: dict[str, Any], schedulers: list[dict[str, Any]], ratio: float) -> None:
    for key in ("lr", "initial_lr"):
        if key in group:
            group[key] *= ratio
    for scheduler in schedulers:
        if "base_lrs" in scheduler:
            scheduler["base_lrs"] = [rate * ratio for rate in scheduler["base_lrs"]]
