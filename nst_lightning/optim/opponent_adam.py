"""Adam in decorrelated colors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from nst_lightning.images.opponent import opponent_matrix


class OpponentAdam(torch.optim.Adam):
    r"""Adam (Kingma and Ba 2015) on an image's brightness and two opponent colors instead of red, green and blue.

    Adam divides each coordinate's gradient by its own recent size, so that every coordinate moves about as fast. With
    red, green and blue as coordinates, small differences between their gradients are blown up to full steps in color:
    fine colored noise. Here the coordinates are :math:`y = D O x` with the orthonormal :math:`O` of `opponent_matrix`
    and :math:`D = \mathrm{diag}(1, 1 / c, 1 / c)`, *c* being *chroma*: both moments are those of :math:`y`'s gradient
    :math:`D^{-1} O g`, and colors move at most *c* times as fast as brightness. The image itself stays in RGB.

    Args:
        params: Images, `(N, 3, H, W)`, or parameter groups of such.
        lr: Learning rate: the most by which brightness, in :math:`O x`, changes at each step.
        betas: Decay of the two moments.
        eps: Added to the root of the second moment.
        chroma: Learning rate of the two colors over that of brightness, above 0.

    Raises:
        ValueError: If *chroma* is not above 0, or as in `torch.optim.Adam`.
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
            closure: Reevaluates the model and returns the loss.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for image, factors in self._images():
            image.copy_(_times(opponent_matrix(image) * factors[:, None], image))
            assert image.grad is not None
            image.grad.copy_(_times(opponent_matrix(image) / factors[:, None], image.grad))
        super().step()
        for image, factors in self._images():
            image.copy_(_times(opponent_matrix(image).T / factors, image))
        return loss

    def _images(self) -> list[tuple[Tensor, Tensor]]:
        return [
            (
                image,
                image.new_tensor([1.0, 1 / group["chroma"], 1 / group["chroma"]]),
            )
            for group in self.param_groups
            for image in group["params"]
            if image.grad is not None
        ]


def _times(matrix: Tensor, image: Tensor) -> Tensor:
    return torch.einsum("oc,nchw->nohw", matrix, image)
