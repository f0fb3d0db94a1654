"""A loss of one's own: the photo's contours stay where they are (Li et al. 2017, "Laplacian-Steered Neural Style").

    python examples/own_loss.py

From the command line, where this file lies in the current folder:

    nst fit --data.content me.jpg --data.style painting.jpg \
        --model.extra_losses '[{class_path: own_loss.LaplacianLoss, init_args: {weight: 2.0}}]'
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nst_lightning import ContentLoss, GramStyleLoss, Loss, Result, StyleTransfer, TransferData, fit
from nst_lightning.losses import Features, Measured

KERNEL = torch.tensor([[0.0, -1.0, 0.0], [-1.0, 4.0, -1.0], [0.0, -1.0, 0.0]])


class LaplacianLoss(Loss):
    r"""Squared difference between the Laplacians of the image and of the content image, both shrunk before.

    .. math:: \mathrm{mean}\left((\Delta\, \mathrm{pool}(x) - \Delta\, \mathrm{pool}(c))^2\right)

    Args:
        weight: Weight of the loss.
        pool: Side of the squares that are averaged first, pixels: contours finer than this are left to the style.

    Example:
        >>> loss = LaplacianLoss(weight=2.0, pool=1)
        >>> content, image = torch.zeros(1, 3, 5, 5), torch.zeros(1, 3, 5, 5)
        >>> image[..., 2, 2] = 1.0  # (4² + 4 · 1²) / 9 on the 3 × 3 positions that have neighbors all around
        >>> targets = loss.prepare(loss.measure({"input": content}))
        >>> loss({"input": image}, targets)
        {'laplacian/input': tensor(4.4444)}
    """

    reference = "content"

    def __init__(self, weight: float = 2.0, pool: int = 4) -> None:
        super().__init__(layers=["input"], weight=weight, name="laplacian")
        self.pool = pool

    def measure(self, features: Features) -> Measured:  # type: ignore[override]  # it takes no guide
        """Return the content's Laplacian."""
        return {"input": self.laplacian(features["input"])}

    def forward(self, features: Features, targets: Measured) -> dict[str, Tensor]:  # type: ignore[override]
        """Return the weighted term."""
        difference = self.laplacian(features["input"]) - targets["input"]
        return {"laplacian/input": self.weigh("input", difference.square().mean(dim=(1, 2, 3)))}

    def laplacian(self, image: Tensor) -> Tensor:
        """Return the Laplacian of each channel of an image `(N, 3, H, W)`."""
        shrunk = F.avg_pool2d(image, self.pool)
        return F.conv2d(shrunk, KERNEL.to(shrunk).expand(3, 1, 3, 3), groups=3)


def main(size: int = 512, weight: float = 200.0, *, steps: int | None = None) -> Result:
    """Paint a sample and write own_loss.png.

    Args:
        size: Long side of the image, pixels.
        weight: Weight of the loss above.
        steps: Steps at each size; `None` for the default.
    """
    task = StyleTransfer(
        content=ContentLoss(["relu4_2"], weight=1.0),
        style=GramStyleLoss(weight=8.5),
        extra_losses=[LaplacianLoss(weight)],
    )
    data = TransferData("sample:town", "sample:mosaic", size=size, min_size=min(size, 128), steps=steps)
    return fit(task, data, output="own_loss.png")


if __name__ == "__main__":
    print(main())
