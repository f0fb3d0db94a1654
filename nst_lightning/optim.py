"""Adam in decorrelated colors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.optim.optimizer import ParamsT

from nst_lightning.images.color_spaces import opponent_colors, rgb_colors


class OpponentAdam(torch.optim.Adam):
    r"""Adam (Kingma and Ba 2015) on an image's brightness and two opponent colors instead of red, green and blue.

    Adam divides each coordinate's gradient by its own recent size, so that every coordinate moves about as fast. With
    red, green and blue as coordinates, small differences between their gradients are blown up to full steps in color:
    fine colored noise. Here the coordinates are :math:`y = D O x` with the orthonormal :math:`O` of `opponent_colors`
    and :math:`D = \mathrm{diag}(1, 1 / c, 1 / c)`, *c* being *chroma*: both moments are those of :math:`y`'s gradient
    :math:`D^{-1} O g`, and colors move at most *c* times as fast as brightness. The image itself stays in RGB.

    Args:
        params: Images, `(N, 3, H, W)`, or parameter groups of images.
        lr: Learning rate: the most by which brightness, in :math:`O x`, changes at each step.
        betas: Decays of the two moments.
        eps: Number added to the root of the second moment.
        chroma: Learning rate of the two colors over that of brightness, above 0.

    Raises:
        ValueError: If *chroma* is not above 0, or as in `torch.optim.Adam`.

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
    ) -> None:
        if not chroma > 0:
            raise ValueError(f"Invalid chroma: {chroma}; expected a number above 0")
        super().__init__(params, lr=lr, betas=betas, eps=eps, fused=True)
        for group in self.param_groups:
            group.setdefault("chroma", chroma)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Perform a single optimization step.

        Args:
            closure: Function that reevaluates the model and returns the loss.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        images = [(image, group["chroma"]) for group in self.param_groups for image in group["params"]]
        images = [(image, chroma) for image, chroma in images if image.grad is not None]
        for image, chroma in images:
            image.copy_(opponent_colors(image, 1 / chroma))
            image.grad.copy_(opponent_colors(image.grad, chroma))
        super().step()
        for image, chroma in images:
            image.copy_(rgb_colors(image, 1 / chroma))
        return loss
