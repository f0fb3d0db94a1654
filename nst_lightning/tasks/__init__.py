"""The LightningModules."""

from nst_lightning.tasks.any_style_transfer import AnyStyleTransfer
from nst_lightning.tasks.distillation.encoder_distillation import EncoderDistillation
from nst_lightning.tasks.fast_style_transfer import FastStyleTransfer
from nst_lightning.tasks.fast_stylizer import FastStylizer
from nst_lightning.tasks.style_transfer import StyleTransfer

FastPainter = FastStylizer  # its name in earlier configs

__all__ = ["AnyStyleTransfer", "EncoderDistillation", "FastStyleTransfer", "FastStylizer", "StyleTransfer"]
