"""Resampling of images: antialiased bicubic, aspect ratio kept."""

import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.functional import center_crop


def resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Return an image resampled with a bicubic filter, antialiased where it shrinks.

    With `antialias=True` PyTorch widens the filter where the image shrinks and uses the plain one where it
    grows. Either way it is Pillow's bicubic (Keys, a = -0.5); without the flag it would be the one with
    a = -0.75, which rings more.

    Args:
        image: sRGB image or mask in [0, 1], floating point, of shape `(N, C, H, W)`.
        size: Wanted `(height, width)` in pixels.

    Returns:
        A new tensor of shape `(N, C, *size)`, clamped to [0, 1] because the bicubic filter overshoots at
        edges. An image that already has the size keeps its values.

    Raises:
        ValueError: If `image` is not four-dimensional or `size` is not positive.

    Example:
        >>> import torch
        >>> resize(torch.rand(1, 3, 48, 64), (24, 32)).shape
        torch.Size([1, 3, 24, 32])
    """
    if image.ndim != 4 or min(size) < 1:
        raise ValueError(f"expected an image (N, C, H, W) and a positive size, got {tuple(image.shape)} and {size}")
    return F.interpolate(image, size, mode="bicubic", align_corners=False, antialias=True).clamp_(0, 1)


def fit_long_side(height: int, width: int, long_side: int) -> tuple[int, int]:
    """Return the size with the same aspect ratio whose longer side has `long_side` pixels.

    Args:
        height: Height in pixels.
        width: Width in pixels.
        long_side: Wanted length of the longer side in pixels.

    Returns:
        `(height, width)`. The longer side is exact, the other one is rounded to the nearest pixel (halves
        up) and is at least 1.

    Raises:
        ValueError: If an argument is not positive.

    Example:
        >>> fit_long_side(480, 640, 512)
        (384, 512)
    """
    if min(height, width, long_side) < 1:
        raise ValueError(f"expected positive lengths, got {height}x{width} and long_side={long_side}")
    longest = max(height, width)
    # in integers, because a float's product may fall on the wrong side of one half
    fitted = [max(1, (2 * side * long_side + longest) // (2 * longest)) for side in (height, width)]
    return fitted[0], fitted[1]


def shrunk_size(height: int, width: int, long_side: int) -> tuple[int, int]:
    """Return the size with the same aspect ratio whose longer side has at most `long_side` pixels."""
    return fit_long_side(height, width, min(long_side, max(height, width)))


def cover(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Return an image resampled so that it fills another shape, its aspect ratio kept: what protrudes is cut off.

    Args:
        image: sRGB image in [0, 1] of shape `(N, C, H, W)`.
        size: Wanted `(height, width)` in pixels.

    Returns:
        Center of the image, `(N, C, *size)`.
    """
    height, width = image.shape[-2:]
    scale = max(size[0] / height, size[1] / width)
    # max() because rounding must not leave a strip uncovered
    scaled = (max(size[0], round(height * scale)), max(size[1], round(width * scale)))
    cropped: Tensor = center_crop(resize(image, scaled), list(size))
    return cropped
