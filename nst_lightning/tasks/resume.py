"""What a checkpoint may and may not bring into a run that the user configured."""

from __future__ import annotations

from typing import Any

from torch.optim import Optimizer

from nst_lightning.errors import UserError


def configured_settings(optimizer: Optimizer) -> list[dict[str, Any]]:
    """Give the settings of a fresh optimiser as the config makes it, group by group."""
    return [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]


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
        if "lr" in changed and checkpoint["lr_schedulers"]:
            _rescale(group, checkpoint["lr_schedulers"], changed.pop("lr") / before["lr"])
        group.update(changed)


def _rescale(group: dict[str, Any], schedulers: list[dict[str, Any]], ratio: float) -> None:
    for key in ("lr", "initial_lr"):
        if key in group:
            group[key] *= ratio
    for scheduler in schedulers:
        if "base_lrs" in scheduler:
            scheduler["base_lrs"] = [rate * ratio for rate in scheduler["base_lrs"]]
