"""Reports of a run: the metrics of a step, and the settings that runs are compared by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor
from torch.optim import Optimizer

from nst_lightning.data.transfer_batch import TransferBatch
from nst_lightning.losses.objective import Objective


def is_logging_step(trainer: Trainer) -> bool:
    """Return whether the step in progress is one of each `log_every_n_steps`."""
    every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]  # set by one of Lightning's connectors
    return every > 0 and (trainer.global_step + 1) % every == 0


def step_metrics(terms: Mapping[str, Tensor], optimizer: Optimizer, batch: TransferBatch) -> dict[str, Any]:
    """Return the metrics that TensorBoard shows of a step.

    Args:
        terms: Weighted terms as the objective names them, such as `style/relu3_1`.
        optimizer: Optimizer of the image, at the learning rate of this step: Lightning evaluates within the optimizer's
            step.
        batch: Batch of the step.

    Returns:
        `loss/…` for each term, for each loss of several layers and for the `total`; the learning rate; the
        level's index and long side.
    """
    metrics: dict[str, Any] = {f"loss/{name}": value for name, value in grouped(terms).items()}
    metrics["learning_rate"] = float(optimizer.param_groups[0]["lr"])
    metrics["pyramid/level"] = float(batch.level)
    metrics["pyramid/size"] = float(max(batch.size.height, batch.size.width))
    return metrics


def grouped(terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Add sums to the terms.

    Args:
        terms: Scalars by the objective's names, such as `style/relu3_1` and `tv`.

    Returns:
        The `total` first, then the terms, each loss of several layers (`style`) before its own.
    """
    sums = {"total": torch.stack(list(terms.values())).sum()}
    for name, value in terms.items():
        group = name.split("/")[0]
        if group != name and group not in sums:
            sums[group] = torch.stack([part for key, part in terms.items() if key.startswith(f"{group}/")]).sum()
        sums[name] = value
    return sums


def comparable_settings(objective: Objective, optimizer: Optimizer) -> dict[str, Any]:
    """Return the settings that one compares runs by, as numbers and words.

    Args:
        objective: Objective with its encoder and losses.
        optimizer: Optimizer as the config makes it.

    Returns:
        Names and values for TensorBoard's table of hyper-parameters.
    """
    encoder = objective.encoder
    settings: dict[str, Any] = {
        "encoder": encoder.weights_name,
        "pooling": encoder.pooling,
        "padding": encoder.padding,
        "optimizer": type(optimizer).__name__,
        "learning_rate": float(optimizer.param_groups[0]["lr"]),
    }
    for loss in objective.losses:
        settings[f"{loss.name}/weight"] = loss.weight
        settings[f"{loss.name}/layers"] = " ".join(f"{layer}:{w:.3g}" for layer, w in loss.layer_weights.items())
        if loss.up_to:
            settings[f"{loss.name}/up_to"] = " ".join(f"{layer}:{size}" for layer, size in loss.up_to.items())
        settings[f"{loss.name}/loss"] = " ".join([type(loss).__name__, str(getattr(loss, "convention", ""))]).strip()
    return settings
