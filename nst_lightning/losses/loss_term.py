"""A loss together with what it compares the picture to."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from nst_lightning.losses.loss import Features, Guide, Loss, Measured


@dataclass(frozen=True, eq=False)
class Comparison:
    """A loss with what it compares the picture to.

    Attributes:
        loss: The loss.
        name: Prefix of its terms: the loss's own, or with the region's number after it.
        targets: What `loss.prepare` returned.
        guide: Where in the picture it is compared; `None` for everywhere.
        share: Factor of the terms.
    """

    loss: Loss
    name: str
    targets: Measured
    guide: Guide | None = None
    share: float = 1.0

    def terms(self, features: Features) -> dict[str, Tensor]:
        """Give the weighted terms of the picture's features."""
        return self.scaled(self.loss(features, self.targets, *([] if self.guide is None else [self.guide])))

    def scaled(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """Give the loss's own terms under this comparison's name and with its share."""
        if self.name == self.loss.name and self.share == 1.0:
            return terms
        return {self.name + key.removeprefix(self.loss.name): term * self.share for key, term in terms.items()}
