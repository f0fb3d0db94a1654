"""Training a compact VGG19."""

from nst_lightning.tasks.distillation.encoder_distillation import EncoderDistillation
from nst_lightning.tasks.distillation.teacher_student import Teacher

__all__ = ["EncoderDistillation", "Teacher"]
