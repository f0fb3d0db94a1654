"""What the trainer's precision means for painting a picture."""

from __future__ import annotations

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.plugins.precision import MixedPrecision

from nst_lightning.errors import UserError

ENCODER_DTYPES = {
    "32-true": torch.float32,
    "bf16-mixed": torch.bfloat16,
    "16-mixed": torch.float16,
    "64-true": torch.float64,
}
"""What the convolutions run in, for each `--trainer.precision` that makes sense here."""


def scales_gradients(trainer: Trainer) -> bool:
    """Tell whether a gradient scaler is at work, as with 16-mixed."""
    plugin = trainer.precision_plugin
    return isinstance(plugin, MixedPrecision) and plugin.precision == "16-mixed"


def gave_up_scaling(trainer: Trainer) -> bool:
    """Tell whether gradients overflow whatever the scale.

    A scaler halves its scale at each overflow: below 1 it is not the scale that overflows.
    """
    plugin = trainer.precision_plugin
    scaler = plugin.scaler if isinstance(plugin, MixedPrecision) else None
    return scaler is not None and scaler.get_scale() < 1


def check_lbfgs(trainer: Trainer, clamp: str) -> None:
    """Refuse what L-BFGS can't work with.

    Args:
        trainer: Its precision must not scale gradients.
        clamp: `StyleTransfer`'s; must not be `after_step`.

    Raises:
        UserError: With the remedy.
    """
    if scales_gradients(trainer):
        raise UserError("L-BFGS can't run with --trainer.precision 16-mixed; use bf16-mixed or 32-true.")
    if clamp == "after_step":
        raise UserError(
            "L-BFGS goes astray when the picture is clamped behind its back; set model.clamp to never or "
            "before_evaluation, and mind its learning rate, usually 1 (see configs/lbfgs.yaml)."
        )
