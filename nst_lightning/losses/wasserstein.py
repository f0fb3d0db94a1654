"""Style as a Gaussian: the distribution of the feature vectors is that of the style image."""

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from nst_lightning.errors import check_choice
from nst_lightning.losses.functional import (
    covariance_matrix,
    gaussian_distance,
    gaussian_moments,
    nonzero_energy,
    squared_norm,
)
from nst_lightning.losses.loss import Features, Guide, Measured
from nst_lightning.losses.style import STYLE_LAYERS, Positions, StyleLoss
from nst_lightning.utils.matrix_roots import symmetric_root

WassersteinConvention = Literal["relative", "crowsonkb"]

RIDGE = 1e-4
"""Variance added in every direction to both Gaussians; bounds the gradient where one has no extent."""


class WassersteinStyleLoss(StyleLoss):
    r"""Squared 2-Wasserstein distance between Gaussians of the features of image and style image.

    .. math:: W^2 = |\mu - \mu_t|^2 + \mathrm{tr}\,(S + S_t - 2\,(S_t^{1/2} S\, S_t^{1/2})^{1/2})

    with the means :math:`\mu` and covariances :math:`S` over the positions of a layer. *convention* is

    * `relative` (default): :math:`W^2 / (|\mu_t|^2 + \mathrm{tr}\,S_t)`, over the style image's own mean
      squared feature, with :math:`10^{-4}` of its mean variance added to the diagonal of both covariances.
      Free of scale: the same weight serves any encoder, layer and size. Ours.
    * `crowsonkb`: :math:`W^2 / C`, with :math:`10^{-4}` added to the diagonals: the loss of
      crowsonkb/style-transfer-pytorch, which weighs relu1_1 ... relu5_1 by 256, 64, 16, 4, 1 over 341.
      Differs in the matrix root: theirs is by 12 Newton-Schulz iterations, ours by eigenvalues.

    Several styles are blended by a weighted mean of their means and second raw moments, as crowsonkb does.
    With a batch of images each has its own distance, and the mean of these counts.

    The roots take about :math:`10\,C^3` operations for each layer whatever the size of the image: they are
    felt where the image is small and the encoder wide.

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
        >>> loss = WassersteinStyleLoss(["relu1_1"], convention="crowsonkb")
        >>> generator = torch.Generator().manual_seed(0)
        >>> style = torch.rand(1, 6, 8, 8, generator=generator)
        >>> targets = loss.prepare(loss.measure({"relu1_1": style}))
        >>> term = loss({"relu1_1": style + 2}, targets)["style/relu1_1"]  # all means are off by 2
        >>> round(float(term), 4)
        4.0
    """

    def __init__(
        self,
        layers: Sequence[str] | Mapping[str, float] = STYLE_LAYERS,
        weight: float = 1.0,
        convention: WassersteinConvention = "relative",
        name: str = "style",
        up_to: dict[str, int] | None = None,
    ) -> None:
        super().__init__(layers=layers, weight=weight, name=name, up_to=up_to)
        check_choice(convention, get_args(WassersteinConvention), f"{name}: convention")
        self.convention = convention

    def statistics(self, features: Features, guide: Guide | None = None) -> Measured:
        """Return the mean `(N, C)` and the second raw moment `(N, C, C)` of each layer."""
        measured = {}
        for layer in self.layers:
            measured[f"{layer}/mean"], measured[f"{layer}/moment"] = gaussian_moments(
                features[layer], None if guide is None else guide[layer]
            )
        return measured

    def prepare(self, measured: Measured) -> Measured:
        """Return, for each layer, mean, root and trace of the covariance, the ridge and the divisor."""
        targets = {}
        for layer in self.layers:
            mean, moment = measured[f"{layer}/mean"], measured[f"{layer}/moment"]
            covariance = covariance_matrix(mean, moment)
            variance = covariance.diagonal(dim1=1, dim2=2).mean(dim=1).clamp_min(0)
            if self.convention == "relative":
                ridge = RIDGE * variance
                divisor = nonzero_energy(squared_norm(mean) + variance * mean.shape[1])
            else:
                ridge = torch.full_like(variance, RIDGE)
                divisor = torch.full_like(variance, mean.shape[1])
            covariance = _add_ridge(covariance, ridge)
            targets[f"{layer}/mean"] = mean
            targets[f"{layer}/root"] = symmetric_root(covariance)
            targets[f"{layer}/trace"] = covariance.diagonal(dim1=1, dim2=2).sum(dim=1)
            targets[f"{layer}/ridge"] = ridge
            targets[f"{layer}/divisor"] = divisor
        return targets

    def compare(self, statistics: Measured, targets: Measured, positions: Positions) -> dict[str, Tensor]:
        """Return the weighted distance of each layer; see `StyleLoss.compare`."""
        terms = {}
        for layer in self.layers:
            mean = statistics[f"{layer}/mean"]
            covariance = covariance_matrix(mean, statistics[f"{layer}/moment"])
            distance = gaussian_distance(
                mean,
                _add_ridge(covariance, targets[f"{layer}/ridge"]),
                targets[f"{layer}/mean"],
                targets[f"{layer}/root"],
                targets[f"{layer}/trace"],
            )
            terms[f"{self.name}/{layer}"] = self.weigh(layer, distance / targets[f"{layer}/divisor"])
        return terms


def _add_ridge(matrix: Tensor, ridge: Tensor) -> Tensor:
    """Add `(N,)` numbers to the diagonals of `(N, C, C)` matrices."""
    identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    return matrix + ridge[:, None, None] * identity
