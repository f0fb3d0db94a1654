"""Content: the image's features, position by position, are those of the content image."""

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from nst_lightning.errors import check_choice
from nst_lightning.losses.functional import nonzero_energy, squared_distance, squared_norm
from nst_lightning.losses.loss import Features, Guide, Loss, Measured

ContentConvention = Literal["relative", "mean", "gatys2015", "keras"]


class ContentLoss(Loss):
    r"""Squared error between the features :math:`F` of the image and :math:`P` of the content image.

    *convention* is how the squared differences are put together:

    * `relative` (default): :math:`\mathrm{mean}((F - P)^2) / \mathrm{mean}(P^2)`. Free of scale: the same
      weight serves any encoder, layer and size. Features that are all 0 give 1. Ours, no paper's.
    * `mean`: :math:`\mathrm{mean}((F - P)^2)`, the :math:`1/(CHW) \sum` of Johnson et al. 2016; PyTorch
      tutorial, neural-style, neural-style-pt, Gatys' PyTorch notebook, pystiche, crowsonkb.
    * `gatys2015`: :math:`\frac{1}{2} \sum (F - P)^2`, equation 1 of Gatys et al. 2015 (arXiv 1508.06576). It
      grows with the size of the image.
    * `keras`: :math:`\sum (F - P)^2`, as in the Keras example.

    With a batch of images each has its own distance, and the mean of these counts. The papers and programs
    also differ in the scale of the features themselves (pixels in 0-255 or normalized): weights carry over
    only together with the encoder's weights.

    With a guide each position's squared differences count by its weight; what they are divided by stays that of
    the whole image, so a weight of 1 everywhere changes nothing.

    It is `tileable`: the terms of an image's tiles add up to its own.

    Args:
        layers: Tap names; a list shares the weight equally, a mapping gives each layer's own weight.
        weight: Weight of the whole loss.
        convention: How the distance is put together; one of the above.
        name: Prefix of the terms.
        up_to: Long sides of the image, pixels, up to which layers are compared, such as `{relu5_1: 256}`: most of
            what a deep layer sees is decided while the image is small. Layers not named always are; see `Loss`.

    Raises:
        UserError: If *convention* is unknown, or as in `Loss`.

    Example:
        >>> loss = ContentLoss(["relu4_2"], weight=10.0)
        >>> image, content = torch.full((1, 8, 4, 4), 1.5), torch.ones(1, 8, 4, 4)
        >>> targets = loss.prepare(loss.measure({"relu4_2": content}))
        >>> loss({"relu4_2": image}, targets)
        {'content/relu4_2': tensor(2.5000)}
    """

    reference = "content"
    guidable = True
    tileable = True
    tiled_methods = ("measure", "prepare", "forward", "weigh")

    def __init__(
        self,
        layers: Sequence[str] | Mapping[str, float] = ("relu4_2",),
        weight: float = 1.0,
        convention: ContentConvention = "relative",
        name: str = "content",
        up_to: dict[str, int] | None = None,
    ) -> None:
        super().__init__(layers=layers, weight=weight, name=name, up_to=up_to)
        check_choice(convention, get_args(ContentConvention), f"{name}: convention")
        self.convention = convention

    def measure(self, features: Features, guide: Guide | None = None) -> Measured:
        """Return the features themselves, `(N, C, H, W)` for each layer, in their own dtype; *guide* is not read."""
        return {layer: features[layer].detach() for layer in self.layers}

    def prepare(self, measured: Measured) -> Measured:
        """Add what the sum of squared differences of each layer is divided by, `(N,)`.

        It belongs to the whole image: so the terms of its parts add up to those of the whole.
        """
        energies = {layer: squared_norm(measured[layer]) for layer in self.layers}
        return {**measured, **self.divisors(energies, {layer: measured[layer][0].numel() for layer in self.layers})}

    def divisors(self, energies: Measured, counts: Mapping[str, int]) -> Measured:
        """Return what the sum of squared differences of each layer is divided by.

        Args:
            energies: Sum of squares of the whole content image's features, `(N,)` for each layer.
            counts: Number of these features for each layer, `CHW`.

        Returns:
            `{f"{layer}/divisor": (N,)}`.
        """
        if self.convention == "relative":
            return {f"{layer}/divisor": nonzero_energy(energies[layer]) for layer in self.layers}
        factors = {layer: {"mean": counts[layer], "gatys2015": 2, "keras": 1}[self.convention] for layer in self.layers}
        return {f"{layer}/divisor": torch.full_like(energies[layer], factors[layer]) for layer in self.layers}

    def forward(self, features: Features, targets: Measured, guide: Guide | None = None) -> dict[str, Tensor]:
        """Return the weighted distance of each layer; see `Loss.forward`.

        Raises:
            UserError: If the features of the image have another shape than those of the content image.
        """
        terms = {}
        for layer in self.layers:
            error = squared_distance(features[layer], targets[layer], None if guide is None else guide[layer])
            terms[f"{self.name}/{layer}"] = self.weigh(layer, error / targets[f"{layer}/divisor"])
        return terms
