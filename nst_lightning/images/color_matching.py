"""The colors of one image given to another, all of them or only luminance or chrominance (Gatys et al. 2016)."""

from typing import Literal, get_args

import torch
from torch import Tensor

from nst_lightning.errors import UserError, check_choice
from nst_lightning.images.color_spaces import luminance

ColorMatching = Literal["cholesky", "pca", "symmetric", "histogram"]

_LEAST_VARIANCE = 1e-5
"""A standard deviation of 0.8 of the 255 steps of 8 bits: less is noise, and is not amplified as if it were color."""


def match_colors(
    image: Tensor,
    reference: Tensor,
    method: ColorMatching,
    *,
    image_weights: Tensor | None = None,
    reference_weights: Tensor | None = None,
) -> Tensor:
    r"""Return an image recolored so that its colors are distributed like those of a reference.

    Gatys et al. 2016 (arXiv 1606.05897) do this to the style image, with the content image as reference,
    before the transfer. Pixels are points in gamma-encoded RGB. The first three methods move them by
    :math:`x \mapsto A (x - \mu_s) + \mu_c`, so that the mean :math:`\mu_s` and covariance :math:`\Sigma_s` of
    the image become those of the reference, :math:`\mu_c` and :math:`\Sigma_c`. Any
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
    both covariances, here eigenvalues below 1e-5 are raised to it. Ordinary images are therefore matched
    exactly, and those with less than three dimensions of color (gray, a single color) as closely: the
    covariance is off by at most 1e-5 where the reference is such an image, and cannot be reached where
    *image* is. Nor are the colors clamped here.

    Args:
        image: Image to recolor, in [0, 1], of shape `(1, C, H, W)`: RGB, or one channel.
        reference: Image with the wanted colors, in [0, 1], `(1, C, H', W')`.
        method: How the distributions are matched.
        image_weights: Weight of each pixel of *image* in its statistics, at least 0, `(1, 1, H, W)`; by
            default all count alike. The map is applied to all pixels nevertheless; `histogram` gives those
            beyond the range of the weighted ones the extreme values of the reference.
        reference_weights: Weight of each pixel of *reference*, at least 0, `(1, 1, H', W')`.

    Returns:
        The recolored image, float32 of shape `(1, C, H, W)`, computed in float64, which MPS does not have. Not
        clamped: the affine methods leave [0, 1] where the reference has much contrast.

    Raises:
        UserError: If *method* is unknown.
        ValueError: If a shape is wrong, or weights are negative or sum to 0.

    Example:
        >>> style, content = torch.rand(2, 1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> recolored = match_colors(style, content, "symmetric")
        >>> torch.allclose(recolored.mean((2, 3)), content.mean((2, 3)), atol=1e-6)
        True
    """
    check_choice(method, get_args(ColorMatching), "color matching")
    if image.ndim != 4 or image.shape[:2] != reference.shape[:2] or image.shape[0] != 1:
        raise ValueError(f"expected two images (1, C, H, W), got {tuple(image.shape)}, {tuple(reference.shape)}")
    source, source_weights = _pixels(image, image_weights)
    target, target_weights = _pixels(reference, reference_weights)
    if method == "histogram":
        channels = zip(source, target, strict=True)
        matched = torch.stack([_match_histogram(s, source_weights, t, target_weights) for s, t in channels])
    else:
        source_mean, source_covariance = _moments(source, source_weights)
        target_mean, target_covariance = _moments(target, target_weights)
        matrix = _affine_matrix(source_covariance, target_covariance, method)
        matched = matrix @ (source - source_mean) + target_mean
    return matched.float().reshape(image.shape).to(image.device)


def match_luminance(
    image: Tensor,
    reference: Tensor,
    *,
    image_weights: Tensor | None = None,
    reference_weights: Tensor | None = None,
) -> Tensor:
    r"""Return the luminance of an image, moved to the mean and standard deviation of a reference's luminance.

    :math:`L' = \sigma_c / \sigma_s\, (L - \mu_s) + \mu_c`, section 3 of Gatys et al. 2016: done to the style image
    with the content image as reference where the transfer works on luminance alone. A standard deviation below
    0.003 (less than one of 255 steps) counts as 0.003, so that an image of one luminance gets the reference's
    mean. Gatys' program moves the mean only.

    Args:
        image: sRGB in [0, 1], `(1, 3, H, W)`.
        reference: sRGB in [0, 1], `(1, 3, H', W')`.
        image_weights: As in `match_colors`.
        reference_weights: As there.

    Returns:
        Luminance, float32 of shape `(1, 1, H, W)`, not clamped.

    Raises:
        ValueError: If a shape is wrong, or weights are negative or sum to 0.
    """
    # with a single channel the covariance is the variance, and every affine method is this formula
    return match_colors(
        luminance(image),
        luminance(reference),
        "symmetric",
        image_weights=image_weights,
        reference_weights=reference_weights,
    )


def with_luminance(image: Tensor, new_luminance: Tensor) -> Tensor:
    r"""Return an image's chrominance (what is left of RGB without luminance) with another luminance.

    Where :math:`y + c`, the new luminance and the chrominance :math:`c = x - Y(x)`, is outside the RGB cube, the
    chrominance is reduced to :math:`s\,c` with the largest :math:`s \in [0, 1]` for which no channel leaves [0, 1],

    .. math:: s = \min(1, \min_k (1 - y) / c_k \text{ where } c_k > 0, \min_k y / |c_k| \text{ where } c_k < 0)

    so luminance and hue are kept and only saturation is lost. neural-style and neural-style-pt clip each channel
    instead, which changes all three.

    Args:
        image: sRGB in [0, 1], `(1, 3, H, W)`.
        new_luminance: Wanted luminance, `(1, 1, H, W)`, clamped to [0, 1].

    Returns:
        sRGB in [0, 1], `(1, 3, H, W)`.

    Raises:
        ValueError: If a shape is wrong.
    """
    old_luminance = luminance(image)
    if new_luminance.shape != old_luminance.shape:
        raise ValueError(f"expected luminance {tuple(old_luminance.shape)}, got {tuple(new_luminance.shape)}")
    light = new_luminance.clamp(0, 1)
    chrominance = image - old_luminance
    room = torch.where(chrominance > 0, 1 - light, light)
    fitting = room / chrominance.abs().clamp_min(torch.finfo(chrominance.dtype).tiny)
    scale = fitting.amin(1, keepdim=True).clamp_max(1)
    return (light + scale * chrominance).clamp(0, 1)  # which is inside but for rounding


def with_chrominance(image: Tensor, reference: Tensor, strength: float) -> Tensor:
    """Return an image's luminance with its chrominance moved towards that of a reference.

    Strength 1 is `original_colors` of neural-style, done to the result with the content image as reference, but
    for the colors outside the RGB cube: see `with_luminance`.

    Args:
        image: sRGB in [0, 1], `(1, 3, H, W)`.
        reference: sRGB in [0, 1], `(1, 3, H, W)`.
        strength: Share of the reference's chrominance: 0 keeps the image's, 1 takes the reference's, between them
            both are mixed.

    Returns:
        sRGB in [0, 1], `(1, 3, H, W)`.

    Raises:
        UserError: If *strength* is not in [0, 1].
        ValueError: If a shape is wrong.
    """
    if not 0 <= strength <= 1:
        raise UserError(f"color strength: expected a number from 0 to 1, found {strength}; 1 keeps all colors")
    if image.shape != reference.shape:
        raise ValueError(f"expected images of one size, got {tuple(image.shape)} and {tuple(reference.shape)}")
    # chrominance is linear in RGB: that of the mixture is the mixture of both
    return with_luminance(torch.lerp(image, reference, strength), luminance(image))


def _pixels(image: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the pixels `(C, n)` and their weights `(n,)`, float64."""
    if weights is None:
        weights = image.new_ones(1, 1, *image.shape[2:])
    if weights.shape != (1, 1, *image.shape[2:]):
        raise ValueError(f"expected weights (1, 1, H, W) for {tuple(image.shape)}, got {tuple(weights.shape)}")
    if not (weights.min() >= 0 and weights.max() > 0):  # also refuses NaN
        raise ValueError("expected weights that are at least 0 and not all 0")
    device = "cpu" if image.device.type == "mps" else image.device
    return image[0].flatten(1).to(device, torch.float64).contiguous(), weights.flatten().to(device, torch.float64)


def _moments(pixels: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weighted mean `(C, 1)` and the covariance `(C, C)`, its eigenvalues at least `_LEAST_VARIANCE`."""
    shares = weights / weights.sum()
    mean = (pixels @ shares)[:, None]
    centered = pixels - mean
    values, vectors = torch.linalg.eigh((centered * shares) @ centered.T)
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
