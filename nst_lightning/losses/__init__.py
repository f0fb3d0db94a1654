"""Losses: weighted, typed parts of the objective, and the pure functions below them."""

from nst_lightning.losses.content import ContentLoss
from nst_lightning.losses.loss import Features, Loss, Measured
from nst_lightning.losses.style import GramStyleLoss, StyleLoss
from nst_lightning.losses.temporal import TemporalLoss
from nst_lightning.losses.total_variation import TotalVariationLoss
from nst_lightning.losses.wasserstein import WassersteinStyleLoss

__all__ = [
    "ContentLoss",
    "Features",
    "GramStyleLoss",
    "Loss",
    "Measured",
    "StyleLoss",
    "TemporalLoss",
    "TotalVariationLoss",
    "WassersteinStyleLoss",
]
