"""Optimizers of images."""

from nst_lightning.optim.opponent_adam import OpponentAdam

__all__ = ["OpponentAdam"]
