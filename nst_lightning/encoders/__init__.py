"""The frozen VGG19 that images are compared through."""

from nst_lightning.encoders.vgg19 import VGG19

__all__ = ["VGG19"]
