"""Feature vectors of an image as a Gaussian, and the map that turns one Gaussian into another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nst_lightning.utils.matrix_roots import inverse_root, symmetric_root

RIDGE = 0.02
"""Variance added to both Gaussians in every direction, of their mean variance; bounds how much noise is amplified where
the source has next to no extent."""

_LEAST = 1e-3  # share of the ridge that is always added: roots of singular matrices have no inverse


class Gaussian(NamedTuple):
    """Mean `(N, C)` and covariance `(N, C, C)` of feature vectors over positions, float32 (float64 of float64 maps).

    The covariance divides by the number of positions, not by one less.
    """

    mean: Tensor
    covariance: Tensor

    @classmethod
    def of(cls, features: Tensor, weights: Tensor | None = None) -> Gaussian:
        """Return the Gaussian of maps `(N, C, H, W)`.

        Args:
            features: Maps.
            weights: Weight of each position, `(1, 1, H, W)`, at least 0; `None` for equal ones. Where all are 0 mean
                and covariance are 0.
        """
        flat = features if features.dtype == torch.float64 else features.float()
        with torch.autocast(features.device.type, enabled=False):
            if weights is None:
                mean = flat.mean(dim=(2, 3))
                centered = (flat - mean[..., None, None]).flatten(2)
                return cls(mean, centered @ centered.mT / centered.shape[2])
            weights = weights.to(flat)
            shares = weights / weights.sum().clamp_min(torch.finfo(flat.dtype).tiny)
            mean = (flat * shares).sum(dim=(2, 3))
            centered = (flat - mean[..., None, None]).flatten(2)
            return cls(mean, (centered * shares.flatten(2)) @ centered.mT)

    @classmethod
    def merged(cls, parts: Sequence[Gaussian], areas: Sequence[float]) -> Gaussian:
        r"""Return the Gaussian of a whole from those of its parts.

        With shares :math:`s` of the positions, :math:`\mu = \sum_i s_i \mu_i` and
        :math:`S = \sum_i s_i (S_i + (\mu_i - \mu)(\mu_i - \mu)^T)`: nothing is subtracted that nearly cancels.

        Args:
            parts: Gaussians of the parts, at least one.
            areas: Number of positions of each part, or the sum of their weights; one at least is above 0.
        """
        means, covariances = (torch.stack(values) for values in zip(*parts, strict=True))
        shares = (means.new_tensor(areas) / sum(areas)).view(-1, 1, 1)
        mean = (shares * means).sum(0)
        apart = means - mean
        between = apart.unsqueeze(3) * apart.unsqueeze(2)
        return cls(mean, (shares.unsqueeze(3) * (covariances + between)).sum(0))

    @property
    def deviation(self) -> Tensor:
        """Standard deviation of each channel, `(N, C)`."""
        return self.covariance.diagonal(dim1=1, dim2=2).clamp_min(0).sqrt()


class AffineMap(NamedTuple):
    """Map of feature vectors, `x` to `matrix @ x + offset`: `(N, C, C)` and `(N, C)`."""

    matrix: Tensor
    offset: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """Return maps `(N, C, H, W)` moved, in their dtype."""
        flat = features.permute(0, 2, 3, 1).flatten(1, 2)
        with torch.autocast(features.device.type, enabled=False):
            moved = torch.baddbmm(self.offset.to(flat.dtype)[:, None], flat, self.matrix.to(flat.dtype).mT)
        return moved.view(*features.shape[:1], *features.shape[2:], -1).permute(0, 3, 1, 2)


@torch.no_grad()
def optimal_transport(source: Gaussian, target: Gaussian, ridge: float = RIDGE, capped: bool = False) -> AffineMap:
    r"""Return the optimal transport map of one Gaussian to another.

    .. math:: x \mapsto \mu_t + S_t^{1/2} (S_t^{1/2} S\, S_t^{1/2})^{-1/2} S_t^{1/2} (x - \mu)

    Of all maps that give :math:`x` the target's mean and covariance it moves the vectors least (Olkin and Pukelsheim
    1982), which whitening and coloring does not. :math:`\lambda v` is added to the diagonals of both covariances,
    where :math:`v` is the mean of all their variances.

    Args:
        source: Gaussian of the features to be moved, of one image or a batch.
        target: Gaussian that they are given, likewise.
        ridge: The factor :math:`\lambda`, above 0.
        capped: Whether hardly more is added in any direction than the target's own variance there:
            :math:`\lambda v\, S_t (S_t + \lambda v I)^{-1} + 0.001\, \lambda v I`. A direction in which the target
            does not vary, such as the color of a gray image, is then given next to none, not what the ridge hides.

    Returns:
        Map in the dtype of the source; the identity where both are equal.

    Example:
        >>> features = torch.rand(1, 4, 16, 16, dtype=torch.float64)
        >>> style = 3 * torch.rand(1, 4, 16, 16, dtype=torch.float64)
        >>> moved = optimal_transport(Gaussian.of(features), Gaussian.of(style), ridge=1e-9)(features)
        >>> torch.allclose(Gaussian.of(moved).covariance, Gaussian.of(style).covariance, atol=1e-6)
        True
    """
    first, second = source.covariance, target.covariance
    wide = torch.promote_types(first.dtype, torch.float32 if first.device.type == "mps" else torch.float64)
    first, second = first.to(wide), second.to(wide)
    variance = (first + second).diagonal(dim1=1, dim2=2).mean(dim=1) / 2
    extent = (ridge * variance).clamp_min(torch.finfo(torch.float32).tiny ** 0.5)[:, None, None]
    added = extent * torch.eye(first.shape[-1], dtype=wide, device=first.device)
    if capped:
        inverse = inverse_root(second + added)
        added = extent * (second @ inverse @ inverse) + _LEAST * added
    root = symmetric_root(second + added)
    matrix = root @ inverse_root(root @ (first + added) @ root) @ root
    offset = target.mean.to(wide) - (matrix @ source.mean.to(wide).unsqueeze(2)).squeeze(2)
    return AffineMap(matrix.to(source.mean.dtype), offset.to(source.mean.dtype))
