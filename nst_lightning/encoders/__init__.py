"""The frozen VGG19 whose feature maps images are compared by."""

from nst_lightning.encoders.vgg19 import VGG19
from nst_lightning.utils.renamed import moved_attribute

__all__ = ["VGG19"]


def __getattr__(name: str) -> object:
    return moved_attribute(__name__, name)
