"""L-BFGS in the units that a paper's program counts pixels in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT


class ScaledLBFGS(torch.optim.LBFGS):
    r"""L-BFGS (Nocedal 1980) on *scale* times the image, as on pixels from 0 to 255 instead of from 0 to 1.

    With :math:`y = a x`, :math:`a` being *scale*, the gradient in :math:`y` is :math:`g / a`. What L-BFGS has learned
    of the curvature does not depend on the unit, but whatever it does without curvature does: its first step, of length
    :math:`\min(1, 1 / \lVert g / a \rVert_1)` times the gradient, and each step along the gradient alone, which is
    :math:`a^2` times as short in :math:`x`. Programs that optimize the network's input (jcjohnson/neural-style,
    leongatys/PytorchNeuralStyleTransfer) have pixels from 0 to 256 or 255 there; with their weights, a step along the
    gradient of an image from 0 to 1 is too long for later ones to make up for. Tolerances are in the unit of :math:`y`.

    The parameter itself stays :math:`x`; only the optimizer's memory is in the unit of :math:`y`.

    Args:
        params: Images, of any shape.
        scale: :math:`a`, above 0.
        lr: Factor of each step.
        max_iter: Most iterations per step.
        max_eval: Most evaluations of the loss per step; *max_iter* · 1.25 by default.
        tolerance_grad: Largest absolute gradient at which the optimizer stops.
        tolerance_change: Change of the loss or of the image at which it stops.
        history_size: Number of past steps that the curvature is learned from.
        line_search_fn: `'strong_wolfe'` or `None`.

    Raises:
        ValueError: If *scale* is not above 0, or as in `torch.optim.LBFGS`.

    Example:
        >>> image = torch.nn.Parameter(torch.zeros(1, 1, 2, 2))
        >>> optimizer = ScaledLBFGS([image], scale=255.0)
        >>> def closure():
        ...     optimizer.zero_grad()
        ...     loss = (255 * (image - 0.5)).square().sum()
        ...     loss.backward()
        ...     return loss
        >>> _ = optimizer.step(closure)
        >>> [round(pixel, 3) for pixel in image.flatten().tolist()]
        [0.5, 0.5, 0.5, 0.5]
    """

    def __init__(
        self,
        params: ParamsT,
        scale: float = 255.0,
        lr: float = 1.0,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        if not scale > 0:
            raise ValueError(f"Invalid scale: {scale}; expected a number above 0")
        super().__init__(
            params,
            lr=lr,
            max_iter=max_iter,
            max_eval=max_eval,
            tolerance_grad=tolerance_grad,
            tolerance_change=tolerance_change,
            history_size=history_size,
            line_search_fn=line_search_fn,
        )
        self.param_groups[0].setdefault("scale", scale)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]
        """Perform a single optimization step.

        Afterwards `image.grad` is in the scaled unit, to be zeroed.

        Args:
            closure: Function that reevaluates the model and returns the loss.
        """
        images: list[Tensor] = self.param_groups[0]["params"]
        scale = self.param_groups[0]["scale"]

        @torch.no_grad()
        def evaluate() -> Any:
            scaled = [image.clone() for image in images]
            for image in images:
                image.div_(scale)
            try:
                with torch.enable_grad():
                    loss = closure()
            finally:
                for image, value in zip(images, scaled, strict=True):
                    # What the closure did not change, such as by cutting it off, is not rounded once more.
                    image.copy_(torch.where(image == value / scale, value, image * scale))
            for image in images:
                if image.grad is not None:
                    image.grad.div_(scale)
            return loss

        memory = self.state[images[0]]
        if memory.setdefault("scale", scale) != scale:  # changed on resume: what is remembered has the old unit
            memory.clear()
            memory["scale"] = scale
        for image in images:
            image.mul_(scale)
        try:
            return super().step(evaluate)  # type: ignore[no-untyped-call]
        finally:
            for image in images:
                image.div_(scale)
