"""Optimising a picture safely: steps are clamped, averaged, and taken back where they leave the range of numbers."""

from __future__ import annotations

import logging
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.optim import Optimizer

from nst_lightning.errors import UserError
from nst_lightning.losses.tiling.distributed import TileGroup
from nst_lightning.tasks.average import IterateAverage
from nst_lightning.tasks.divergence import DivergenceGuard
from nst_lightning.tasks.levels import renew_optimizer
from nst_lightning.tasks.precision import gave_up_scaling, scales_gradients
from nst_lightning.tasks.reporting import is_logging_step

_log = logging.getLogger(__name__)

Clamp = Literal["after_step", "before_evaluation", "never"]


class OptimizedPicture(LightningModule):
    """A picture as the one parameter, and what happens around each of its steps.

    A subclass says in `training_step` what is minimised, and leaves its value in `loss`.

    Args:
        average: Decay of the moving average that is the result, in [0, 1); 0 for the last iterate.
        clamp: When the picture is cut off to [0, 1].

    Attributes:
        image: sRGB, `(1, 3, H, W)`.
        loss: Of the latest evaluation, a float32 scalar without gradient; `None` before the first.

    Raises:
        UserError: If the decay is out of range.
    """

    def __init__(self, average: float, clamp: Clamp) -> None:
        super().__init__()
        if not 0 <= average < 1:
            raise UserError(f"model.average is a decay from 0 up to but not including 1, but {average} was given.")
        self.image = nn.Parameter(torch.zeros(1, 3, 1, 1))  # the first batch says how large it is
        self.clamp = clamp
        self.loss: Tensor | None = None
        self._average = IterateAverage(average)
        self._guard = DivergenceGuard()
        self._team = TileGroup()
        self._rate = 1.0  # what the learning rate of the present step is multiplied by

    def result(self) -> Tensor:
        """Give the picture as it would be written now: sRGB in [0, 1], `(1, 3, H, W)`."""
        average = self._average.value()
        return self.image.detach().clamp(0, 1) if average is None else average.clamp_(0, 1)

    def _iterate(self) -> Tensor:
        average = self._average.value()
        return self.image.detach() if average is None else average

    def _replace_image(self, image: Tensor) -> None:
        self._team.broadcast(image)  # machines that differ may have rounded differently
        self.image = nn.Parameter(image)
        renew_optimizer(self.trainer, (image.shape[-2], image.shape[-1]))
        self._average.restart()
        self._guard.start_level(image)

    def on_after_backward(self) -> None:
        """Stop a loss or gradient that is not finite before it reaches the picture."""
        gradient = self.image.grad
        assert gradient is not None
        assert self.loss is not None
        self._guard.watch(self.loss, gradient, gradient_is_scaled=scales_gradients(self.trainer))
        if self._looks_now():
            self._guard.keep(self.image, float(self.loss))

    def _looks_now(self) -> bool:
        # Reading a number off an accelerator makes it wait; on a CPU it costs nothing.
        return self.device.type == "cpu" or is_logging_step(self.trainer)

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Optimizer | LightningOptimizer,
        optimizer_closure: Any = None,
    ) -> None:
        """Step; then clamp the picture, average it, and retreat if the step was not finite."""
        looks_now = self._looks_now()
        plain = self.trainer.optimizers[0]
        with self._guard.lowered(plain, self._rate):
            super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        plain.zero_grad()  # not only when the next gradient is there as well
        if looks_now and (self._guard.failed() or gave_up_scaling(self.trainer)):
            self._retreat(plain)
            return
        if self.clamp == "after_step":
            with torch.no_grad():
                self.image.clamp_(0, 1)
        self._average.update(self.image.detach())

    def _retreat(self, optimizer: Optimizer) -> None:
        try:
            self._guard.retreat(self.image, optimizer)
        finally:
            self._average.restart(self.image.detach())
        _log.warning(
            "step %d: the loss or its gradient is not finite; back to the last good picture, learning rate × %g",
            self.global_step,
            self._guard.learning_rate_scale,
        )
