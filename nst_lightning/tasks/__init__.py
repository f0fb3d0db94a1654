"""The LightningModules."""

from nst_lightning.tasks.distillation import EncoderDistillation
from nst_lightning.tasks.fast import FastStyleTransfer
from nst_lightning.tasks.painter import FastPainter
from nst_lightning.tasks.transfer import StyleTransfer

__all__ = ["EncoderDistillation", "FastPainter", "FastStyleTransfer", "StyleTransfer"]
