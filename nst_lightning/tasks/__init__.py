"""The LightningModules."""

from nst_lightning.tasks.distillation import EncoderDistillation
from nst_lightning.tasks.transfer import StyleTransfer

__all__ = ["EncoderDistillation", "StyleTransfer"]
