"""The frozen networks that pictures are compared through."""

from nst_lightning.encoders.teacher import Teacher
from nst_lightning.encoders.vgg19 import VGG19

__all__ = ["VGG19", "Teacher"]
