"""Adam in decorrelated colors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim.optimizer import ParamsT

from nst_lightning.images.color_spaces import opponent_colors, rgb_colors


class OpponentAdam(torch.optim.Adam):
    r"""Adam (Kingma and Ba 2015) on an image's brightness and two opponent colors instead of red, green and blue.

    Adam divides each coordinate's gradient by its own recent size, so that every coordinate moves about as fast. With
    red, green and blue as coordinates, small differences between their gradients are blown up to full steps in color:
    fine colored noise. Here the coordinates are :math:`y = D O x` with the orthonormal :math:`O` of `opponent_colors`
    and :math:`D = \mathrm{diag}(1, 1 / c, 1 / c)`, *c* being *chroma*: both moments are those of :math:`y`'s gradient
    :math:`D^{-1} O g`, and colors move at most *c* times as fast as brightness. The image itself stays in RGB.

    Adam's step is about as long at every pixel also where neighbors' gradients only differ by their sign: fine noise of
    brightness. With *smoothing* above 0 the step :math:`u` of :math:`y` is replaced by

    .. math:: (1 - s)\, u + s\, B u,

    :math:`B` being the binomial filter of 3×3 pixels. The finest structures then take :math:`1 - s` of the step, large
    ones all of it. :math:`I - s (I - B)` is positive definite, so that a step is 0 only where Adam's is: what is
    smoothed is the way to a minimum, not the image there.

    Args:
        params: Images, `(N, 3, H, W)`, or parameter groups of images.
        lr: Learning rate: the most by which brightness, in :math:`O x`, changes at each step.
        betas: Decays of the two moments.
        eps: Number added to the root of the second moment.
        chroma: Learning rate of the two colors over that of brightness, above 0.
        smoothing: :math:`s` of brightness and of the two colors, at least 0 and below 1.

    Raises:
        ValueError: If *chroma* is not above 0, *smoothing* is out of range, or as in `torch.optim.Adam`.

    Example:
        >>> image = torch.nn.Parameter(torch.full((1, 3, 4, 4), 0.5))
        >>> target = torch.zeros(1, 3, 4, 4)
        >>> target[:, 0] = 1.0  # red
        >>> optimizer = OpponentAdam([image], lr=0.1, chroma=0.25)
        >>> for _ in range(5):
        ...     optimizer.zero_grad()
        ...     (image - target).square().sum().backward()
        ...     _ = optimizer.step()
        >>> [round(channel, 2) for channel in image[0, :, 0, 0].tolist()]
        [0.4, 0.16, 0.23]
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        chroma: float = 1.0,
        smoothing: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        if not chroma > 0:
            raise ValueError(f"Invalid chroma: {chroma}; expected a number above 0")
        if not all(0 <= share < 1 for share in smoothing):
            raise ValueError(f"Invalid smoothing: {smoothing}; expected numbers from 0 up and below 1")
        super().__init__(params, lr=lr, betas=betas, eps=eps, fused=True)
        for group in self.param_groups:
            group.setdefault("chroma", chroma)
            group.setdefault("smoothing", smoothing)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over a state; one of a version without *smoothing* goes on without it."""
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        for group in self.param_groups:
            group.setdefault("smoothing", (0.0, 0.0))

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Perform a single optimization step.

        Afterwards `image.grad` is in opponent colors, to be zeroed: to turn it back would cost as much again.

        Args:
            closure: Function that reevaluates the model and returns the loss.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        images = [(image, group) for group in self.param_groups for image in group["params"]]
        images = [(image, group) for image, group in images if image.grad is not None]
        for image, group in images:
            image.copy_(opponent_colors(image, 1 / group["chroma"]))
            image.grad.copy_(opponent_colors(image.grad, group["chroma"]))
        before = [image.clone() if any(group["smoothing"]) else None for image, group in images]
        super().step()
        for (image, group), start in zip(images, before, strict=True):
            if start is not None:
                _smooth_step(image, start, group["smoothing"])
            image.copy_(rgb_colors(image, 1 / group["chroma"]))
        return loss


def _smooth_step(image: Tensor, start: Tensor, smoothing: tuple[float, float]) -> None:
    """Move an image `(N, 3, H, W)` in opponent colors by a part of the binomial filter of its step's fine structure."""
    for channel, share in enumerate((smoothing[0], smoothing[1], smoothing[1])):  # one by one, for the memory
        step = image[:, channel : channel + 1] - start[:, channel : channel + 1]
        image[:, channel : channel + 1] += share * (_binomial(step) - step)


def _binomial(x: Tensor) -> Tensor:
    """Return `(N, C, H, W)` filtered by 1, 2, 1 in both directions, borders replicated.

    By means of neighbors, twice in each direction: a convolution of one channel takes more than twice as long on a CPU.
    """
    x = F.pad(x, (1, 1, 1, 1), mode="replicate")
    for axis in (2, 2, 3, 3):
        x = torch.lerp(x.narrow(axis, 0, x.shape[axis] - 1), x.narrow(axis, 1, x.shape[axis] - 1), 0.5)
    return x
