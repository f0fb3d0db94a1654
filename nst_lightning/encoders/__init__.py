"""The frozen VGG19 whose feature maps images are compared by."""

from nst_lightning.encoders.vgg19 import VGG19

__all__ = ["VGG19"]
