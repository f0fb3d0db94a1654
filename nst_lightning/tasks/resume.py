"""What a checkpoint may and may not bring into a run that the user configured."""

from __future__ import annotations

from typing import Any

from torch.optim import Optimizer

from nst_lightning.errors import UserError


def configured_settings(optimizer: Optimizer) -> list[dict[str, Any]]:
    """Give the settings of a fresh optimiser as the config makes it, group by group."""
    return [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]


def continue_with_config(checkpoint: dict[str, Any], encoder_digest: str, configured: Optimizer) -> dict[str, Any]:
    """Check a checkpoint against the config, and put what the user changed into it.

    `Optimizer.load_state_dict` would bring back the old learning rate whatever the user typed. What the user
    did not change stays as the checkpoint has it, since a schedule may have moved it. Where the learning rate
    was changed under a schedule, the schedule's progress is kept in proportion.

    Args:
        checkpoint: As Lightning loaded it; its optimiser and scheduler states are edited in place.
        encoder_digest: Of the present encoder.
        configured: A fresh optimiser as the config makes it.

    Returns:
        What `StyleTransfer.on_save_checkpoint` added.

    Raises:
        UserError: If the checkpoint can't go on under this config.
    """
    saved: dict[str, Any] | None = checkpoint.get("style_transfer")
    if saved is None:
        raise UserError("the checkpoint is not one of a StyleTransfer run; give another --ckpt_path.")
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
    return saved


def _rescale(group: dict[str, Any], schedulers: list[dict[str, Any]], ratio: float) -> None:
    for key in ("lr", "initial_lr"):
        if key in group:
            group[key] *= ratio
    for scheduler in schedulers:
        if "base_lrs" in scheduler:
            scheduler["base_lrs"] = [rate * ratio for rate in scheduler["base_lrs"]]
