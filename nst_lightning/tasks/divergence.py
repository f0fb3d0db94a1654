"""What happens when a loss or a gradient stops being a number."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from nst_lightning.errors import UserError
from nst_lightning.tasks.optimizers import scaled_rate

RETREAT_FACTOR = 0.5
"""What the learning rate is multiplied by at each retreat."""

MAX_RETREATS = 5
"""Retreats within one level after which the run ends: the learning rate is then 1/32 of what was asked."""

_GOOD_LOSS_RATIO = 10.0


class DivergenceError(UserError):
    """The optimisation left the range of numbers, again and again, at ever smaller learning rates."""


class DivergenceGuard:
    """Remembers the latest good picture, and goes back to it at a lower learning rate.

    Good is a picture whose loss and gradient were finite and whose loss was not far above the level's lowest:
    an exploding run passes through finite rubbish before it overflows.
    """

    def __init__(self) -> None:
        self.learning_rate_scale = 1.0
        self._image: Tensor | None = None
        self._lowest = float("inf")
        self._retreats = 0
        self._finite: Tensor | None = None

    def start_level(self, image: Tensor) -> None:
        """Begin a level with a picture that counts as good."""
        self._image = image.detach().clone()
        self._lowest = float("inf")
        self._retreats = 0
        self._finite = None

    def watch(self, loss: Tensor, gradient: Tensor, *, gradient_is_scaled: bool) -> None:
        """Blank a gradient in place, without waiting for the device, if it or the loss is not finite.

        Args:
            loss: Scalar.
            gradient: Of the picture.
            gradient_is_scaled: By a gradient scaler, which has to see overflows itself and skips those steps.
        """
        finite = torch.isfinite(loss)
        if not gradient_is_scaled:
            # The largest magnitude tells without a second tensor of the gradient's size.
            finite = finite & torch.isfinite(torch.linalg.vector_norm(gradient, float("inf")))
            torch.where(finite, gradient, gradient.new_zeros(()), out=gradient)
        self._finite = finite if self._finite is None else self._finite & finite

    def keep(self, image: Tensor, loss: float) -> None:
        """Remember the picture just evaluated if all was finite since the last look and its loss is good."""
        if self._image is None or self._finite is None or not bool(self._finite):
            return
        self._lowest = min(self._lowest, loss)
        if loss <= self._lowest + (_GOOD_LOSS_RATIO - 1) * abs(self._lowest):
            self._image.copy_(image.detach())

    def failed(self) -> bool:
        """Tell whether anything was not finite since the last look; this is the look."""
        failed = self._finite is not None and not bool(self._finite)
        self._finite = None
        return failed

    @torch.no_grad()
    def retreat(self, image: Tensor, optimizer: Optimizer) -> None:
        """Put the last good picture back, forget the optimiser's memory, lower the learning rate.

        Args:
            image: The picture, changed in place.
            optimizer: Its moments and curvature would repeat the failed steps.

        Raises:
            DivergenceError: At the retreat after the last one allowed within a level; the picture is good then.
        """
        if self._image is not None:
            image.copy_(self._image)
        optimizer.state.clear()
        self._retreats += 1
        if self._retreats > MAX_RETREATS:
            rate = float(optimizer.param_groups[0]["lr"]) * self.learning_rate_scale
            raise DivergenceError(
                f"the loss or its gradient was not finite {self._retreats} times at this level, last at learning "
                f"rate {rate:g}; lower the learning rate or the losses' weights. The last good picture is kept."
            )
        self.learning_rate_scale *= RETREAT_FACTOR

    def lowered(self, optimizer: Optimizer, factor: float) -> AbstractContextManager[None]:
        """Scale the learning rate for one step; a schedule, whatever its kind, sees its own values.

        Args:
            optimizer: The picture's.
            factor: Beside that of the retreats.
        """
        return scaled_rate(optimizer, self.learning_rate_scale * factor)

    def state_dict(self) -> dict[str, Any]:
        """Give tensors and numbers for a checkpoint."""
        return {
            "image": self._image,
            "lowest": self._lowest,
            "retreats": self._retreats,
            "finite": self._finite,
            "learning_rate_scale": self.learning_rate_scale,
        }

    def load_state_dict(self, state: dict[str, Any], like: Tensor) -> None:
        """Go on from `state_dict`, on the device and in the precision of a picture."""
        self._image = None if state["image"] is None else state["image"].to(like)
        self._finite = None if state["finite"] is None else state["finite"].to(like.device)
        self._lowest = state["lowest"]
        self._retreats = state["retreats"]
        self.learning_rate_scale = state["learning_rate_scale"]
