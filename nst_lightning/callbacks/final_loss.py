"""The loss of the finished picture, by which runs are compared."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer

from nst_lightning.callbacks.image_writer import transfer_data
from nst_lightning.tasks.reporting import grouped
from nst_lightning.tasks.style_transfer import StyleTransfer


def final_terms(trainer: Trainer, module: LightningModule) -> dict[str, float]:
    """Evaluate the objective on the result.

    That is not the loss of the last step, which is the last iterate's before it moved: the result may be an average
    of iterates. It is evaluated before the data module finishes the picture (`painted`), without rounding.

    Args:
        trainer: Of a run that has ended, one that was resumed with nothing left to do included.
        module: A `StyleTransfer`.

    Returns:
        Weighted terms such as `style/relu3_1`, the sum of each loss of several layers (`style`), and the `total`;
        nothing before the first step.
    """
    data = transfer_data(trainer)
    if not isinstance(module, StyleTransfer) or data is None or module.level is None:
        return {}
    if module.targets is None:  # no step measured them
        batch = data.transfer_batch_to_device(data.batch(module.level), module.device, 0)
        module.on_train_batch_start(batch, 0)
    assert module.targets is not None
    with torch.no_grad():
        _, terms = module.objective(module.result(), module.targets)
    return {name: float(term) for name, term in grouped(terms).items()}


def comparable_data(trainer: Trainer) -> dict[str, Any]:
    """Give the data's settings that one compares runs by.

    Args:
        trainer: Of a run.

    Returns:
        The pictures' names, the seed, long side in pixels, steps of all levels, the number of levels, what the
        picture starts from, what is done to colours and the styles' scale; nothing if the data is not a `TransferData`.
    """
    data = transfer_data(trainer)
    if data is None:
        return {}
    return {
        **data.names,
        "seed": torch.initial_seed(),
        "size": data.sizes[-1],
        "levels": len(data.sizes),
        "steps": data.schedule.total_steps,
        "init": data.init,
        "preserve_color": data.colors.method or "no",
        # A number where there is one: TensorBoard sorts and filters by it.
        "style_scale": data.style_scales[0] if len(set(data.style_scales)) == 1 else str(data.style_scales),
    }
