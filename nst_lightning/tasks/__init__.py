"""The LightningModules."""

from nst_lightning.tasks.distillation.encoder_distillation import EncoderDistillation
from nst_lightning.tasks.fast_style_transfer import FastStyleTransfer
from nst_lightning.tasks.fast_stylizer import FastPainter
from nst_lightning.tasks.style_transfer import StyleTransfer

__all__ = ["EncoderDistillation", "FastPainter", "FastStyleTransfer", "StyleTransfer"]
