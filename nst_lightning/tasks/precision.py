"""Consequences of the trainer's precision for painting an image."""

from __future__ import annotations

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.plugins.precision import MixedPrecision

from nst_lightning._compat import cpu_capabilities
from nst_lightning.errors import UserError

ENCODER_DTYPES = {
    "32-true": torch.float32,
    "bf16-mixed": torch.bfloat16,
    "16-mixed": torch.float16,
    "64-true": torch.float64,
}
"""Dtypes of the convolutions, for each `--trainer.precision` that makes sense here."""


def encoder_dtype(trainer: Trainer) -> torch.dtype:
    """Return the dtype of the convolutions at the trainer's precision.

    Raises:
        UserError: If the precision makes no sense here.
    """
    precision = str(trainer.precision)
    if precision not in ENCODER_DTYPES:
        raise UserError(
            f"trainer.precision: expected one of {', '.join(ENCODER_DTYPES)}, found {precision}; change the precision"
        )
    return ENCODER_DTYPES[precision]


def native_bfloat16() -> bool:
    """Return whether the CPU multiplies bfloat16 numbers itself (AVX512-BF16 or AMX-BF16).

    Where it does not, PyTorch emulates them, slower than float32. A PyTorch too old to say counts as no.
    """
    capabilities = cpu_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def default_precision(accelerator: str, *, lbfgs: bool) -> str:
    """Return the precision of a run for which none was asked.

    Args:
        accelerator: Name of an accelerator that Lightning knows, such as `auto`, `cpu`, `gpu`, `cuda` and `mps`.
        lbfgs: Whether the optimizer is L-BFGS, whose curvature estimates are differences of gradients: in bfloat16 they
            are mostly rounding.

    Returns:
        `bf16-mixed` on a CPU with `native_bfloat16`: convolutions take half the time, and images are as good
        (benchmarks/README.md). Elsewhere `32-true`.
    """
    on_cpu = accelerator == "cpu" or (accelerator == "auto" and not torch.accelerator.is_available())
    return "bf16-mixed" if on_cpu and not lbfgs and native_bfloat16() else "32-true"


def scales_gradients(trainer: Trainer) -> bool:
    """Return whether a gradient scaler is at work, as with 16-mixed."""
    plugin = trainer.precision_plugin
    return isinstance(plugin, MixedPrecision) and plugin.precision == "16-mixed"


def gave_up_scaling(trainer: Trainer) -> bool:
    """Return whether gradients overflow whatever the scale.

    A scaler halves its scale at each overflow: below 1 it is not the scale that overflows.
    """
    plugin = trainer.precision_plugin
    scaler = plugin.scaler if isinstance(plugin, MixedPrecision) else None
    return scaler is not None and scaler.get_scale() < 1


def check_lbfgs(trainer: Trainer, clamp: str) -> None:
    """Refuse what L-BFGS can't work with.

    Args:
        trainer: Trainer, whose precision must not scale gradients.
        clamp: Option of `StyleTransfer`, which must not be `after_step`.

    Raises:
        UserError: If one of them does not fit L-BFGS.
    """
    if scales_gradients(trainer):
        raise UserError("L-BFGS can't run with --trainer.precision 16-mixed; use bf16-mixed or 32-true.")
    if clamp == "after_step":
        raise UserError(
            "L-BFGS goes astray when the picture is clamped behind its back; set model.clamp to never or "
            "before_evaluation, and mind its learning rate, usually 1 (see configs/lbfgs.yaml)."
        )
