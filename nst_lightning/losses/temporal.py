"""Time: where the frame before is seen again, the image is that frame's painting, warped."""

from torch import Tensor

from nst_lightning.encoders.topology import INPUT
from nst_lightning.losses.functional import squared_distance
from nst_lightning.losses.loss import Features, Guide, Loss, Measured


class TemporalLoss(Loss):
    r"""Squared error between the pixels :math:`x` of the image and :math:`\omega` of the warped image.

    .. math:: \mathrm{weight} \cdot \frac{1}{D} \sum_{k=1}^{D} c_k (x_k - \omega_k)^2

    over the :math:`D = 3HW` numbers of the image: :math:`\mathcal{L}_{temporal}` of Ruder, Dosovitskiy and Brox 2016
    (arXiv 1604.08610), the short-term one. There :math:`\omega` is the painting of the frame before, warped by the
    optical flow, and :math:`c` is 1 where the flow is to be trusted and 0 where it is not: there nothing is asked for.
    The sum is divided by all numbers, not by those that count, so that a pixel weighs the same however many others are
    hidden.

    Pixels are in [0, 1], those of the paper's program in [0, 255]. Its weights do not carry over either way, since the
    other losses of this package are free of scale.

    The one term is called by the loss's name alone, `temporal`. With a batch of images each has its own distance, and
    the mean of these counts.

    Args:
        weight: Weight of the loss.
        name: Name of the term.

    Raises:
        UserError: As in `Loss`.

    Example:
        >>> import torch
        >>> loss = TemporalLoss(weight=8.0)
        >>> targets = loss.prepare(loss.measure({"input": torch.full((1, 3, 2, 2), 0.5)}))
        >>> trusted = {"input": torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])}  # one pixel of four
        >>> loss({"input": torch.ones(1, 3, 2, 2)}, targets, trusted)
        {'temporal': tensor(0.5000)}
    """

    reference = "warped"
    guidable = True

    def __init__(self, weight: float = 1.0, name: str = "temporal") -> None:
        super().__init__(layers=(INPUT,), weight=weight, name=name)

    def measure(self, features: Features, guide: Guide | None = None) -> Measured:
        """Return the warped image itself, `(N, 3, H, W)` in [0, 1]; *guide* is not read."""
        return {INPUT: features[INPUT].detach()}

    def forward(self, features: Features, targets: Measured, guide: Guide | None = None) -> dict[str, Tensor]:
        """Return `{name: scalar}`; *guide* is :math:`c`. See `Loss.forward`.

        Raises:
            UserError: If the warped image has another shape than the image.
        """
        image = features[INPUT]
        distances = squared_distance(image, targets[INPUT], None if guide is None else guide[INPUT])
        return {self.name: self.weigh(INPUT, distances / image[0].numel())}
