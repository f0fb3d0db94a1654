"""The bias-corrected moving average of the iterates."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class IterateAverage:
    r"""An exponential moving average of pictures, corrected for its start.

    With decay d the average after k updates is :math:`\sum_i d^{k-i} x_i / \sum_i d^{k-i}`: a mean of what was
    really seen, as Adam corrects its moments (Kingma and Ba, 2015) and crowsonkb/style-transfer-pytorch does
    for pictures. It takes out the jitter that the optimiser's steps leave.

    Args:
        decay: In [0, 1); with 0 nothing is kept.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.weight = 0.0
        self.sum: Tensor | None = None

    def restart(self, image: Tensor | None = None) -> None:
        """Forget everything, as at the start of a level; then take in a picture if one is given."""
        self.weight = 0.0
        self.sum = None
        if image is not None:
            self.update(image)

    @torch.no_grad()
    def update(self, image: Tensor) -> None:
        """Take in the next picture."""
        if self.decay == 0:
            return
        if self.sum is None:
            self.sum = torch.zeros_like(image)
        self.sum.lerp_(image, 1 - self.decay)
        # Kept as a number rather than derived from a count: the decay may be changed on resume.
        self.weight = self.decay * self.weight + (1 - self.decay)

    @torch.no_grad()
    def value(self) -> Tensor | None:
        """Give the corrected average as a new tensor, or `None` before the first update and where the decay is 0."""
        return None if self.sum is None else self.sum / self.weight

    def state_dict(self) -> dict[str, Any]:
        """Give tensors and numbers for a checkpoint."""
        return {"weight": self.weight, "sum": self.sum}

    def load_state_dict(self, state: dict[str, Any], like: Tensor) -> None:
        """Go on from `state_dict`, on the device and in the precision of a picture.

        Where the decay has become 0, what was averaged before is forgotten: the result is the last iterate.
        """
        if self.decay == 0:
            self.restart()
            return
        self.weight = state["weight"]
        self.sum = None if state["sum"] is None else state["sum"].to(like)
