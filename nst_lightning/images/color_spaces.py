"""Other coordinates for RGB: luminance, and opponent colors with their inverse."""

from __future__ import annotations

import torch
from torch import Tensor

_BT601 = (0.299, 0.587, 0.114)


def luminance(image: Tensor) -> Tensor:
    """Return the luminance 0.299 R + 0.587 G + 0.114 B.

    This is Y of YIQ, YUV and YCbCr (ITU-R BT.601) of gamma-encoded sRGB, as in Gatys et al. 2016 (arXiv 1606.05897).
    torchvision's `rgb_to_grayscale` has 0.2989 for red, so that its white is 0.9999.

    Args:
        image: sRGB in [0, 1], `(N, 3, H, W)`.

    Returns:
        Luminance in [0, 1], `(N, 1, H, W)`.

    Raises:
        ValueError: If the shape is another.
    """
    if image.ndim != 4 or image.shape[1] != 3:
        raise ValueError(f"expected an image (N, 3, H, W), got {tuple(image.shape)}")
    return (image * image.new_tensor(_BT601)[:, None, None]).sum(1, keepdim=True)


def opponent_colors(image: Tensor, chroma: float = 1.0) -> Tensor:
    r"""Return an image in opponent colors: brightness, red against blue, and both against green.

    Its channels, :math:`(R + G + B) / \sqrt 3`, :math:`(R - B) / \sqrt 2` and :math:`(R - 2 G + B) / \sqrt 6`, are
    coordinates in an orthonormal basis (the :math:`I_1 I_2 I_3` of Ohta, Kanade and Sakai 1980, "Color information for
    region segmentation", normalized): gray has no second and third component, and with *chroma* 1 squared distances
    stay what they are.

    Args:
        image: RGB, `(N, 3, H, W)`.
        chroma: Factor of the second and the third channel.

    Returns:
        `(N, 3, H, W)`.

    Example:
        >>> red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
        >>> opponent_colors(red).flatten()
        tensor([0.5774, 0.7071, 0.4082])
    """
    # No matrix product: autocast would round both factors to bfloat16, and differences of neighbors would be noise.
    red, green, blue = image.unbind(1)
    colors = (red - blue) * (chroma * 2**-0.5), (red - 2 * green + blue) * (chroma * 6**-0.5)
    return torch.stack([(red + green + blue) * 3**-0.5, *colors], dim=1)


def rgb_colors(opponent: Tensor, chroma: float = 1.0) -> Tensor:
    """Return an image in RGB; the inverse of `opponent_colors`.

    Args:
        opponent: Brightness and two colors, `(N, 3, H, W)`.
        chroma: Factor that the second and the third channel had, not 0.

    Returns:
        `(N, 3, H, W)`.
    """
    brightness, first, second = opponent.unbind(1)
    gray, apart, green = brightness * 3**-0.5, first * (2**-0.5 / chroma), second * (6**-0.5 / chroma)
    return torch.stack([gray + apart + green, gray - 2 * green, gray - apart + green], dim=1)
