"""Targets of a batch of images: each has its own style and its own photograph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from nst_lightning.losses.loss import LossTerm, Measured
from nst_lightning.losses.objective import Objective, Targets


@torch.no_grad()
def measure_styles(objective: Objective, styles: Sequence[Tensor]) -> dict[str, Measured]:
    """Return the targets of each style loss, by its name, with the styles along the first dimension.

    Args:
        objective: Objective whose losses prepare tensors `(1, …)` of a style.
        styles: Each `(1, 3, h, w)` in [0, 1], with its own size.
    """
    losses = [loss for loss in objective.losses if loss.reference == "style"]
    prepared: dict[str, list[Measured]] = {loss.name: [] for loss in losses}
    for style in styles if losses else ():
        features = objective.encoder(style.to(objective.encoder.device), objective.taps("style"))
        for loss in losses:
            prepared[loss.name].append(loss.prepare(loss.measure(features)))
    return {
        name: {key: torch.cat([targets[key] for targets in each]) for key in each[0]} for name, each in prepared.items()
    }


@torch.no_grad()
def batch_targets(
    objective: Objective, contents: Tensor, targets: Mapping[str, Measured], styles: Tensor, strength: float
) -> Targets:
    """Return the targets of a batch: for each image its own style's, and its own photograph's.

    Args:
        objective: Objective without guides or tiles.
        contents: Photographs, `(N, 3, H, W)` in [0, 1].
        targets: Targets of each style loss, from `measure_styles`.
        styles: Number of the style that each image is painted in, `(N,)`.
        strength: Strength of the style, whose square the style's terms count.
    """
    taps = objective.taps("content")
    features = objective.encoder(contents, taps) if taps else {}
    terms = []
    for loss in objective.losses:
        if loss.reference == "style":
            own = {key: value[styles] for key, value in targets[loss.name].items()}
            terms.append(LossTerm(loss, loss.name, own, share=strength**2))
        else:
            measured = loss.measure(features) if loss.reference == "content" else {}
            terms.append(LossTerm(loss, loss.name, loss.prepare(measured)))
    return Targets(terms)
