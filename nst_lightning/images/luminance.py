"""Luminance and chrominance: the light and dark of one picture with the colours of another.

Luminance is Y of YIQ, YUV and YCbCr (ITU-R BT.601) of gamma-encoded sRGB, as in Gatys et al. 2016 (arXiv
1606.05897) and in the option `original_colors` of neural-style; chrominance is what is left of RGB without it.
"""

import torch
from torch import Tensor

from nst_lightning.errors import UserError
from nst_lightning.images.color import match_colors

_BT601 = (0.299, 0.587, 0.114)


def luminance(picture: Tensor) -> Tensor:
    """Return the luminance 0.299 R + 0.587 G + 0.114 B.

    torchvision's `rgb_to_grayscale` has 0.2989 for red, so that its white is 0.9999.

    Args:
        picture: sRGB in [0, 1], `(N, 3, H, W)`.

    Returns:
        Luminance in [0, 1], `(N, 1, H, W)`.

    Raises:
        ValueError: If the shape is another.
    """
    if picture.ndim != 4 or picture.shape[1] != 3:
        raise ValueError(f"expected a picture (N, 3, H, W), got {tuple(picture.shape)}")
    return (picture * picture.new_tensor(_BT601)[:, None, None]).sum(1, keepdim=True)


def match_luminance(
    picture: Tensor,
    reference: Tensor,
    *,
    picture_weights: Tensor | None = None,
    reference_weights: Tensor | None = None,
) -> Tensor:
    r"""Return the luminance of a picture, moved to the mean and standard deviation of a reference's luminance.

    :math:`L' = \sigma_c / \sigma_s\, (L - \mu_s) + \mu_c`, section 3 of Gatys et al. 2016: done to the style picture
    with the content picture as reference where the transfer works on luminance alone. A standard deviation below
    0.003 (less than one of 255 steps) counts as 0.003, so that a picture of one luminance gets the reference's
    mean. Gatys' program moves the mean only.

    Args:
        picture: sRGB in [0, 1], `(1, 3, H, W)`.
        reference: sRGB in [0, 1], `(1, 3, H', W')`.
        picture_weights: How much each pixel of *picture* counts in its statistics, at least 0, `(1, 1, H, W)`; by
            default all count alike. The map is applied to all pixels.
        reference_weights: The same for *reference*, `(1, 1, H', W')`.

    Returns:
        Luminance, float32 of shape `(1, 1, H, W)`, not clamped.

    Raises:
        ValueError: If a shape is wrong, or weights are negative or sum to 0.
    """
    # with a single channel the covariance is the variance, and every affine method is this formula
    return match_colors(
        luminance(picture),
        luminance(reference),
        "symmetric",
        picture_weights=picture_weights,
        reference_weights=reference_weights,
    )


def with_luminance(picture: Tensor, new_luminance: Tensor) -> Tensor:
    r"""Return a picture's chrominance with another luminance.

    Where :math:`y + c`, the new luminance and the chrominance :math:`c = x - Y(x)`, is outside the RGB cube, the
    chrominance is reduced to :math:`s\,c` with the largest :math:`s \in [0, 1]` for which no channel leaves [0, 1],

    .. math:: s = \min(1, \min_k (1 - y) / c_k \text{ where } c_k > 0, \min_k y / |c_k| \text{ where } c_k < 0)

    so luminance and hue are kept and only saturation is lost. neural-style and neural-style-pt clip each channel
    instead, which changes all three.

    Args:
        picture: sRGB in [0, 1], `(1, 3, H, W)`.
        new_luminance: The wanted luminance, `(1, 1, H, W)`, clamped to [0, 1].

    Returns:
        sRGB in [0, 1], `(1, 3, H, W)`.

    Raises:
        ValueError: If a shape is wrong.
    """
    old_luminance = luminance(picture)
    if new_luminance.shape != old_luminance.shape:
        raise ValueError(f"expected luminance {tuple(old_luminance.shape)}, got {tuple(new_luminance.shape)}")
    light = new_luminance.clamp(0, 1)
    chrominance = picture - old_luminance
    room = torch.where(chrominance > 0, 1 - light, light)
    fitting = room / chrominance.abs().clamp_min(torch.finfo(chrominance.dtype).tiny)
    scale = fitting.amin(1, keepdim=True).clamp_max(1)
    return (light + scale * chrominance).clamp(0, 1)  # which is inside but for rounding


def with_chrominance(picture: Tensor, reference: Tensor, strength: float) -> Tensor:
    """Return a picture's luminance with its chrominance moved towards that of a reference.

    Strength 1 is `original_colors` of neural-style, done to the result with the content picture as reference, but
    for the colours outside the RGB cube: see `with_luminance`.

    Args:
        picture: sRGB in [0, 1], `(1, 3, H, W)`.
        reference: sRGB in [0, 1] of the same size, `(1, 3, H, W)`.
        strength: 0 keeps the picture's chrominance, 1 takes the reference's, between them both are mixed.

    Returns:
        sRGB in [0, 1], `(1, 3, H, W)`.

    Raises:
        UserError: If *strength* is not in [0, 1].
        ValueError: If a shape is wrong.
    """
    if not 0 <= strength <= 1:
        raise UserError(f"colour strength: expected a number from 0 to 1, found {strength}; 1 keeps all colours")
    if picture.shape != reference.shape:
        raise ValueError(f"expected pictures of one size, got {tuple(picture.shape)} and {tuple(reference.shape)}")
    # chrominance is linear in RGB: that of the mixture is the mixture of both
    return with_luminance(torch.lerp(picture, reference, strength), luminance(picture))
