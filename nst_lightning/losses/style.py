"""Style: which features occur together, wherever in the image."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from nst_lightning.encoders.topology import INPUT
from nst_lightning.errors import check_choice
from nst_lightning.losses.functional import gram_matrix, nonzero_energy, squared_distance, squared_norm
from nst_lightning.losses.loss import Features, Guide, Loss, Measured

STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
"""The layers of Gatys et al. 2015, after the rectifier."""

Positions = Mapping[str, float | Tensor]
"""Tap name to the number of positions of the image, or to the sum of their guide's weights."""

GramConvention = Literal["relative", "gatys2015", "keras", "tutorial", "johnson2016", "gatys_pytorch", "octaves0911"]


class StyleLoss(Loss):
    """A loss that compares statistics over positions: their number and order in the image do not matter.

    `measure` and `forward` are made of two steps that subclasses define: `statistics`, which are means over
    positions, and `compare`. So it is `tileable`: the statistics of the whole image are the mean of those of its
    tiles, weighted by their positions.

    With a guide the means are weighted by it, on the side of the image (which region is painted) and on that
    of the style (which part of it is used): the guided Gram matrices of Gatys et al. 2017.
    """

    reference = "style"
    guidable = True
    tileable = True
    tiled_methods = ("measure", "forward")

    @abstractmethod
    def statistics(self, features: Features, guide: Guide | None = None) -> Measured:
        """Return means over positions of functions of one position's feature vector, with gradient.

        Args:
            features: Features of at least `taps`.
            guide: How much each position counts, for each of `layers`; `None` for 1.

        Returns:
            Means under the names of their layers, or those and a word after a slash: `relu1_1`, `relu1_1/mean`.
        """

    @abstractmethod
    def compare(self, statistics: Measured, targets: Measured, positions: Positions) -> dict[str, Tensor]:
        """Return the weighted terms.

        Args:
            statistics: Statistics of the image.
            targets: What `prepare` returned.
            positions: Number of positions of the image, height times width, at each of `taps`; with a guide
                the sum of their weights, except for "input", the image itself.
        """

    def measure(self, features: Features, guide: Guide | None = None) -> Measured:
        """Return the statistics of a style image, or of the part that a guide picks, without gradient."""
        with torch.no_grad():
            return self.statistics(features, guide)

    def forward(self, features: Features, targets: Measured, guide: Guide | None = None) -> dict[str, Tensor]:
        """Return the weighted distance of each layer; see `Loss.forward`.

        Raises:
            UserError: If the number of channels is not that of the targets.
        """
        positions: dict[str, float | Tensor] = {
            tap: tensor.shape[2] * tensor.shape[3] for tap, tensor in features.items()
        }
        if guide is not None:
            positions.update((layer, guide[layer].sum()) for layer in self.layers if layer != INPUT)
        return self.compare(self.statistics(features, guide), targets, positions)


class GramStyleLoss(StyleLoss):
    r"""Squared Frobenius distance between the Gram matrices of the image and of the style image.

    Here :math:`G` and :math:`A` are the Gram matrices :math:`F F^T / M` per position of the image and the
    style image, :math:`C` the channels and :math:`M` the positions :math:`HW` of a layer. *convention* is
    the factor before :math:`\|G - A\|_F^2`:

    * `relative` (default): :math:`1 / \|A\|_F^2`. Free of scale: the same weight serves any encoder, layer
      and size, and every layer counts alike. An image without any feature gives 1. Ours, no paper's.
    * `gatys2015`: :math:`1 / (4 C^2)`, equation 4 of Gatys et al. 2015 (arXiv 1508.06576): raw Gram matrices
      and :math:`1/(4 C^2 M^2)`. The paper is silent on a style image with another number of positions;
      per-position matrices are identical for equal sizes and the sensible reading for others.
    * `keras`: :math:`(M / HW)^2 / (4 \cdot 3^2)`, the Keras example: raw Gram matrices over :math:`4 \cdot
      3^2 (HW)^2` with the *image's* :math:`HW` at every layer, which weakens deep layers. Differs where the
      style image has another size: Keras resizes it to the image's, we rescale its Gram matrix.
    * `tutorial`: :math:`1 / C^4`, Gram matrices over :math:`CHW` and the mean of squared differences. PyTorch
      tutorial, neural-style, neural-style-pt, examples/fast_neural_style.
    * `johnson2016`: :math:`1 / C^2`, Gram matrices over :math:`CHW` and the sum of squared differences, as
      written in Johnson et al. 2016 (arXiv 1603.08155).
    * `gatys_pytorch`: :math:`1 / C^2`, Gram matrices over :math:`HW` and the mean of squared differences.
      Gatys' PyTorch notebook and pystiche; the same number as `johnson2016`, four times `gatys2015`.
    * `octaves0911`: :math:`M^2 / C^2`, raw Gram matrices and the mean of squared differences, in
      Octaves0911/Neural_Style_Transfer. It grows with the fourth power of the image's size. Differs where
      the style image has another size, as `keras` does.

    With a guide :math:`M` is the sum of its weights. Not so where "input" is itself a layer: for it `keras` and
    `octaves0911` take :math:`M = HW`, guided or not, since the formula has one number of positions of the image.

    Several styles are blended by a weighted mean of their Gram matrices. With a batch of images each has
    its own distance, and the mean of these counts.

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
        >>> loss = GramStyleLoss(["relu1_1", "relu2_1"], weight=4.0)
        >>> generator = torch.Generator().manual_seed(0)
        >>> style = {layer: torch.rand(1, 6, 8, 8, generator=generator) for layer in loss.layers}
        >>> targets = loss.prepare(loss.measure(style))
        >>> shuffled = {layer: features.flip(3) for layer, features in style.items()}  # the same, elsewhere
        >>> {name: round(float(term), 6) for name, term in loss(shuffled, targets).items()}
        {'style/relu1_1': 0.0, 'style/relu2_1': 0.0}
        >>> black = {layer: torch.zeros(1, 6, 8, 8) for layer in loss.layers}
        >>> loss(black, targets)  # weights of 4 · 1/2
        {'style/relu1_1': tensor(2.), 'style/relu2_1': tensor(2.)}
    """

    def __init__(
        self,
        layers: Sequence[str] | Mapping[str, float] = STYLE_LAYERS,
        weight: float = 1.0,
        convention: GramConvention = "relative",
        name: str = "style",
        up_to: dict[str, int] | None = None,
    ) -> None:
        super().__init__(layers=layers, weight=weight, name=name, up_to=up_to)
        check_choice(convention, get_args(GramConvention), f"{name}: convention")
        self.convention = convention

    @property
    def taps(self) -> tuple[str, ...]:
        """The layers; for `keras` also "input", whose size is in the formula."""
        return (*self.layers, INPUT) if self.convention == "keras" else self.layers

    def statistics(self, features: Features, guide: Guide | None = None) -> Measured:
        """Return the per-position Gram matrix of each layer, `(N, C, C)`."""
        return {layer: gram_matrix(features[layer], None if guide is None else guide[layer]) for layer in self.layers}

    def prepare(self, measured: Measured) -> Measured:
        """Add, for `relative`, the squared norm of each target, `(N,)`."""
        if self.convention != "relative":
            return measured
        energies = {f"{layer}/energy": nonzero_energy(squared_norm(measured[layer])) for layer in self.layers}
        return {**measured, **energies}

    def compare(self, statistics: Measured, targets: Measured, positions: Positions) -> dict[str, Tensor]:
        """Return the weighted distance of each layer; see `StyleLoss.compare`."""
        terms = {}
        for layer in self.layers:
            distance = squared_distance(statistics[layer], targets[layer])
            if self.convention == "relative":
                distance = distance / targets[f"{layer}/energy"]
            else:
                distance = distance * self._factor(layer, statistics[layer].shape[1], positions)
            terms[f"{self.name}/{layer}"] = self.weigh(layer, distance)
        return terms

    def _factor(self, layer: str, channels: int, positions: Positions) -> float | Tensor:
        """Return what an absolute convention multiplies the distance of per-position matrices by."""
        if self.convention == "gatys2015":
            return 1 / (4 * channels**2)
        if self.convention == "keras":
            return (positions[layer] / positions[INPUT]) ** 2 / (4 * 3**2)
        if self.convention == "octaves0911":
            return (positions[layer] / channels) ** 2
        return 1 / channels**4 if self.convention == "tutorial" else 1 / channels**2
