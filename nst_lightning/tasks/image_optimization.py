"""Optimizing an image safely: steps are clamped, averaged, and taken back where they leave the range of numbers."""

from __future__ import annotations

import logging
from typing import Any, Literal

import torch
import torch.nn.functional as F
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.optim import Optimizer

from nst_lightning.errors import UserError
from nst_lightning.losses.tiling.distributed import TileGroup
from nst_lightning.tasks.checkpointed import CheckpointedTask
from nst_lightning.tasks.optimizers import renew_optimizer, scaled_lr
from nst_lightning.tasks.precision import gave_up_scaling, scales_gradients
from nst_lightning.tasks.reporting import is_logging_step

_log = logging.getLogger(__name__)

Clamp = Literal["after_step", "before_evaluation", "never"]

RETREAT_FACTOR = 0.5
"""Factor of the learning rate at each retreat."""

MAX_RETREATS = 5
"""Retreats within one level after which the run ends: each halves the learning rate, of later levels too."""

_GOOD_LOSS_RATIO = 10.0


class IterateAverage:
    r"""Exponential moving average of images, corrected for its start.

    With decay d the average after k updates is :math:`\sum_i d^{k-i} x_i / \sum_i d^{k-i}`: a mean of what was
    really seen, as Adam corrects its moments (Kingma and Ba, 2015) and crowsonkb/style-transfer-pytorch does
    for images. It takes out the jitter that the optimizer's steps leave.

    Args:
        decay: Weight of the past, in [0, 1); with 0 nothing is kept.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.weight = 0.0
        self.sum: Tensor | None = None

    def restart(self, image: Tensor | None = None) -> None:
        """Forget everything, as at the start of a level; then take in an image if one is given."""
        self.weight = 0.0
        self.sum = None
        if image is not None:
            self.update(image)

    @torch.no_grad()
    def update(self, image: Tensor) -> None:
        """Take in the next image."""
        if self.decay == 0:
            self.restart()  # of what a checkpoint brought
            return
        if self.sum is None:
            self.sum = torch.zeros_like(image)
        self.sum.lerp_(image, 1 - self.decay)
        # Kept as a number rather than derived from a count: the decay may be changed on resume.
        self.weight = self.decay * self.weight + (1 - self.decay)

    @torch.no_grad()
    def value(self) -> Tensor | None:
        """Return the corrected average as a new tensor, or `None` before the first update and where the decay is 0."""
        return None if self.sum is None else self.sum / self.weight

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and numbers for a checkpoint."""
        return {"weight": self.weight, "sum": self.sum}

    def load_state_dict(self, state: dict[str, Any], like: Tensor) -> None:
        """Go on from `state_dict`, on the device and in the precision of an image.

        Where the decay has become 0, what was averaged before is forgotten with the next step, from which on the result
        is the last iterate; a run without a step left keeps its result.
        """
        self.weight = state["weight"]
        self.sum = None if state["sum"] is None else state["sum"].to(like)


class DivergenceError(UserError):
    """The optimization left the range of numbers, again and again, at ever smaller learning rates."""


class DivergenceGuard:
    """Keep the latest good image, and go back to it at a lower learning rate.

    Good is an image whose loss and gradient were finite and whose loss was not far above the level's lowest:
    an exploding run passes through finite rubbish before it overflows.

    Attributes:
        learning_rate_scale: Product of the factors of all retreats.
    """

    def __init__(self) -> None:
        self.learning_rate_scale = 1.0
        self._image: Tensor | None = None
        self._lowest = float("inf")
        self._retreats = 0
        self._finite: Tensor | None = None

    def start_level(self, image: Tensor) -> None:
        """Begin a level with an image that counts as good."""
        self._image = image.detach().clone()
        self._lowest = float("inf")
        self._retreats = 0
        self._finite = None

    def watch(self, loss: Tensor, gradient: Tensor, *, gradient_is_scaled: bool) -> None:
        """Blank a gradient in place, without waiting for the device, if it or the loss is not finite.

        Args:
            loss: Scalar.
            gradient: Gradient of the image, `(1, 3, H, W)`.
            gradient_is_scaled: Whether a gradient scaler is at work, which has to see overflows itself and skips those
                steps.
        """
        finite = torch.isfinite(loss)
        if not gradient_is_scaled:
            # The largest magnitude tells without a second tensor of the gradient's size.
            finite = finite & torch.isfinite(torch.linalg.vector_norm(gradient, float("inf")))
            torch.where(finite, gradient, gradient.new_zeros(()), out=gradient)
        self._finite = finite if self._finite is None else self._finite & finite

    def keep(self, image: Tensor, loss: float) -> None:
        """Remember the image just evaluated if all was finite since the last look and its loss is good."""
        if self._image is None or self._finite is None or not bool(self._finite):
            return
        self._lowest = min(self._lowest, loss)
        if loss <= self._lowest + (_GOOD_LOSS_RATIO - 1) * abs(self._lowest):
            self._image.copy_(image.detach())

    def failed(self) -> bool:
        """Return whether anything was not finite since the last look; this is the look."""
        failed = self._finite is not None and not bool(self._finite)
        self._finite = None
        return failed

    @torch.no_grad()
    def retreat(self, image: Tensor, optimizer: Optimizer) -> None:
        """Put the last good image back, forget the optimizer's memory, lower the learning rate.

        Args:
            image: Image that is optimized, changed in place.
            optimizer: Optimizer of the image, whose moments and curvature would repeat the failed steps.

        Raises:
            DivergenceError: At the retreat after the last one allowed within a level; the image is good then.
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

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and numbers for a checkpoint."""
        return {
            "image": self._image,
            "lowest": self._lowest,
            "retreats": self._retreats,
            "finite": self._finite,
            "learning_rate_scale": self.learning_rate_scale,
        }

    def load_state_dict(self, state: dict[str, Any], like: Tensor) -> None:
        """Go on from `state_dict`, on the device and in the precision of an image."""
        self._image = None if state["image"] is None else state["image"].to(like)
        self._finite = None if state["finite"] is None else state["finite"].to(like.device)
        self._lowest = state["lowest"]
        self._retreats = state["retreats"]
        self.learning_rate_scale = state["learning_rate_scale"]


class ImageOptimization(CheckpointedTask):
    """Image as the one parameter, and what happens around each of its steps.

    A subclass says in `training_step` what is minimized, and leaves its value in `loss`.

    Args:
        average: Decay of the moving average that is the result, in [0, 1); 0 for the last iterate.
        clamp: Point in a step at which the image is cut off to [0, 1].

    Attributes:
        image: Parameter, sRGB, `(1, 3, H, W)`.
        loss: Value of the latest evaluation, a float32 scalar without gradient; `None` before the first.
        iterate_average: Moving average of the level's iterates.
        guard: Last good image, and how far the learning rate was lowered.

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
        self.iterate_average = IterateAverage(average)
        self.guard = DivergenceGuard()
        self._group = TileGroup()
        self._lr_factor = 1.0  # of the present step, beside the schedule's and the guard's

    def result(self) -> Tensor:
        """Return the image as it would be written now: sRGB in [0, 1], `(1, 3, H, W)`."""
        average = self.iterate_average.value()
        return self.image.detach().clamp(0, 1) if average is None else average.clamp_(0, 1)

    def _iterate(self) -> Tensor:
        average = self.iterate_average.value()
        return self.image.detach() if average is None else average

    def _replace_image(self, image: Tensor) -> None:
        self._group.broadcast(image)  # machines that differ may have rounded differently
        self.image = nn.Parameter(image)
        renew_optimizer(self.trainer, (image.shape[-2], image.shape[-1]))
        self.iterate_average.restart()
        self.guard.start_level(image)

    def on_after_backward(self) -> None:
        """Stop a loss or gradient that is not finite before it reaches the image."""
        gradient = self.image.grad
        assert gradient is not None
        assert self.loss is not None
        self.guard.watch(self.loss, gradient, gradient_is_scaled=scales_gradients(self.trainer))
        if self._looks_now():
            self.guard.keep(self.image, float(self.loss))

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
        """Step; then clamp the image, average it, and retreat if the step was not finite."""
        looks_now = self._looks_now()
        plain = self.trainer.optimizers[0]
        with scaled_lr(plain, self.guard.learning_rate_scale * self._lr_factor):
            super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        plain.zero_grad()  # not only when the next gradient is there as well
        if looks_now and (self.guard.failed() or gave_up_scaling(self.trainer)):
            self._retreat(plain)
            return
        if self.clamp == "after_step":
            with torch.no_grad():
                self.image.clamp_(0, 1)
        self.iterate_average.update(self.image.detach())

    def _retreat(self, optimizer: Optimizer) -> None:
        try:
            self.guard.retreat(self.image, optimizer)
        finally:
            self.iterate_average.restart(self.image.detach())
        _log.warning(
            "step %d: the loss or its gradient is not finite; back to the last good picture, learning rate × %g",
            self.global_step,
            self.guard.learning_rate_scale,
        )


@torch.no_grad()
def resize_iterate(image: Tensor, size: tuple[int, int], *, clamp: bool) -> Tensor:
    """Resample an image that is being optimized.

    Args:
        image: `(1, 3, H, W)`.
        size: Height and width, pixels.
        clamp: Whether to cut off what leaves [0, 1]; not wanted where the optimizer itself may leave it.

    Returns:
        `(1, 3, *size)`.
    """
    resized = F.interpolate(image, size, mode="bicubic", antialias=True)
    return resized.clamp_(0, 1) if clamp else resized
