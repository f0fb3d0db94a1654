"""The colours of one picture given to another, so that a style is transferred without its palette."""

from typing import Literal, get_args

import torch
from torch import Tensor

from nst_lightning.errors import check_choice

ColorMatching = Literal["cholesky", "pca", "symmetric", "histogram"]

_LEAST_VARIANCE = 1e-5
"""A standard deviation of 0.8 of the 255 steps of 8 bits: less is noise, and is not amplified as if it were colour."""


def match_colors(
    picture: Tensor,
    reference: Tensor,
    method: ColorMatching,
    *,
    picture_weights: Tensor | None = None,
    reference_weights: Tensor | None = None,
) -> Tensor:
    r"""Recolour a picture so that its colours are distributed like those of a reference.

    Gatys et al. 2016 (arXiv 1606.05897) do this to the style picture, with the content picture as reference,
    before the transfer. Pixels are points in gamma-encoded RGB. The first three methods move them by
    :math:`x \mapsto A (x - \mu_s) + \mu_c`, so that the mean :math:`\mu_s` and covariance :math:`\Sigma_s` of
    the picture become those of the reference, :math:`\mu_c` and :math:`\Sigma_c`. Any
    :math:`A = \Sigma_c^{1/2} Q\, \Sigma_s^{-1/2}` with an orthogonal :math:`Q` does that; the methods differ in it:

    * `cholesky`: :math:`A = L_c L_s^{-1}` with the Cholesky factors :math:`\Sigma = L L^T`. Depends on the
      order of the channels: red is only scaled, blue is mixed from all three. `chol` of Gatys' program.
    * `pca`: :math:`A = \Sigma_c^{1/2} \Sigma_s^{-1/2}` with the symmetric roots, as in *Image Analogies*
      (Hertzmann et al. 2001). `pca` of Gatys' program, used in its notebook.
    * `symmetric`: :math:`A = \Sigma_s^{-1/2} (\Sigma_s^{1/2} \Sigma_c \Sigma_s^{1/2})^{1/2} \Sigma_s^{-1/2}`,
      of all the one that moves the pixels least in the mean square: the optimal transport between two normal
      distributions (Pitié and Kokaram 2007, "The linear Monge-Kantorovitch linear colour mapping for
      example-based colour transfer"). `sym` of Gatys' program.
    * `histogram`: each channel by itself through the two distribution functions,
      :math:`F_c^{-1}(F_s(x))`. Not affine, monotone, inside the range of the reference; equal values stay
      equal. How the channels go together is not matched, so new hues can appear.

    Differs from `match_color` of github.com/leongatys/NeuralImageSynthesis: that adds 1e-5 to the diagonal of
    both covariances, here eigenvalues below 1e-5 are raised to it. Ordinary pictures are therefore matched
    exactly, and those with less than three dimensions of colour (grey, a single colour) as closely: the
    covariance is off by at most 1e-5 where the reference is such a picture, and cannot be reached where
    *picture* is. Nor are the colours clamped here.

    Args:
        picture: The picture to recolour, in [0, 1], of shape `(1, C, H, W)`: RGB, or one channel.
        reference: The picture with the wanted colours, in [0, 1], `(1, C, H', W')`.
        method: How the distributions are matched.
        picture_weights: How much each pixel of *picture* counts in its statistics, at least 0, `(1, 1, H, W)`; by
            default all count alike. The map is applied to all pixels nevertheless; `histogram` gives those
            beyond the range of the weighted ones the extreme values of the reference.
        reference_weights: The same for *reference*, `(1, 1, H', W')`.

    Returns:
        The recoloured picture, float32 of shape `(1, C, H, W)`, computed in float64, which MPS does not have. Not
        clamped: the affine methods leave [0, 1] where the reference has much contrast.

    Raises:
        UserError: If *method* is unknown.
        ValueError: If a shape is wrong, or weights are negative or sum to 0.
    """
    check_choice(method, get_args(ColorMatching), "colour matching")
    if picture.ndim != 4 or picture.shape[:2] != reference.shape[:2] or picture.shape[0] != 1:
        raise ValueError(f"expected two pictures (1, C, H, W), got {tuple(picture.shape)}, {tuple(reference.shape)}")
    source, source_weights = _pixels(picture, picture_weights)
    target, target_weights = _pixels(reference, reference_weights)
    if method == "histogram":
        channels = zip(source, target, strict=True)
        matched = torch.stack([_match_histogram(s, source_weights, t, target_weights) for s, t in channels])
    else:
        source_mean, source_covariance = _moments(source, source_weights)
        target_mean, target_covariance = _moments(target, target_weights)
        matrix = _affine_matrix(source_covariance, target_covariance, method)
        matched = matrix @ (source - source_mean) + target_mean
    return matched.float().reshape(picture.shape)


def _pixels(picture: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the pixels `(C, n)` and their weights `(n,)`, float64."""
    if weights is None:
        weights = picture.new_ones(1, 1, *picture.shape[2:])
    if weights.shape != (1, 1, *picture.shape[2:]):
        raise ValueError(f"expected weights (1, 1, H, W) for {tuple(picture.shape)}, got {tuple(weights.shape)}")
    if not (weights.min() >= 0 and weights.max() > 0):  # also refuses NaN
        raise ValueError("expected weights that are at least 0 and not all 0")
    return picture[0].flatten(1).double().contiguous(), weights.flatten().double()


def _moments(pixels: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weighted mean `(C, 1)` and the covariance `(C, C)`, its eigenvalues at least `_LEAST_VARIANCE`."""
    shares = weights / weights.sum()
    mean = (pixels @ shares)[:, None]
    centred = pixels - mean
    values, vectors = torch.linalg.eigh((centred * shares) @ centred.T)
    return mean, (vectors * values.clamp_min(_LEAST_VARIANCE)) @ vectors.T


def _affine_matrix(source: Tensor, target: Tensor, method: ColorMatching) -> Tensor:
    """Return the matrix A with A source Aᵀ = target; the formulas are in `match_colors`."""
    if method == "cholesky":
        factor = torch.linalg.cholesky(source)
        matrix: Tensor = torch.linalg.solve_triangular(factor, torch.linalg.cholesky(target), upper=False, left=False)
        return matrix
    inverse_root = _power(source, -0.5)
    if method == "pca":
        return _power(target, 0.5) @ inverse_root
    root = _power(source, 0.5)
    return inverse_root @ _power(root @ target @ root, 0.5) @ inverse_root


def _power(matrix: Tensor, exponent: float) -> Tensor:
    """Return a power of a symmetric positive definite matrix."""
    values, vectors = torch.linalg.eigh(matrix)
    power: Tensor = (vectors * values.pow(exponent)) @ vectors.T
    return power


def _match_histogram(source: Tensor, source_weights: Tensor, target: Tensor, target_weights: Tensor) -> Tensor:
    """Return `source` `(n,)` with each value replaced by that of the same rank in `target`."""
    # looked up in ascending order, because scattered look-ups among millions of values miss the processor's caches
    ordered, order = source.sort()
    ranks = _interpolate(ordered, *_distribution(source, source_weights))
    values, value_ranks = _distribution(target, target_weights)
    return torch.empty_like(source).index_copy_(0, order, _interpolate(ranks, value_ranks, values))


def _distribution(channel: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return the different values in ascending order and their ranks in (0, 1): the middle of each value's share."""
    weighted = weights > 0
    ordered, order = channel[weighted].sort()
    values, counts = torch.unique_consecutive(ordered, return_counts=True)
    up_to = weights[weighted][order].cumsum(0)[counts.cumsum(0) - 1]
    below = torch.cat([up_to.new_zeros(1), up_to[:-1]])
    return values, (below + up_to) / 2 / up_to[-1]


def _interpolate(points: Tensor, knots: Tensor, values: Tensor) -> Tensor:
    """Return the piecewise linear function through `(knots, values)`, constant beyond them; exact at the knots."""
    right = torch.searchsorted(knots, points).clamp_max(len(knots) - 1)
    left = (right - 1).clamp_min(0)
    gap = (knots[right] - knots[left]).clamp_min(torch.finfo(knots.dtype).tiny)  # 0 left of the first knot
    fraction = ((points - knots[left]) / gap).clamp(0, 1)
    return torch.lerp(values[left], values[right], fraction)
