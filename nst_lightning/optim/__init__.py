"""Optimizers of images, beside those of `torch.optim`."""

from nst_lightning.optim.opponent_adam import OpponentAdam
from nst_lightning.optim.scaled_lbfgs import ScaledLBFGS

__all__ = ["OpponentAdam", "ScaledLBFGS"]
