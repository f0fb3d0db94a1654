"""Smooth noise that is a function of position, added where an image is flat: a decoder makes strokes of it."""

from __future__ import annotations

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

NOISE_REACH = 24
"""Pixels around a part of an image that the noise there depends on; a multiple of `GRID`."""

_WAVES = 96
_LONGEST, _SHORTEST = 64.0, 12.0  # pixels
_COLOR = 0.35  # standard deviation of what each channel has for itself; the rest of the variance of 1 is shared
_CELL = 8  # pixels: side of the squares whose variance tells whether an image is flat
_FLAT = 0.06  # standard deviation of an image around a pixel at which half of the noise is left


@cache
def _waves() -> tuple[list[float], ...]:
    """Return of each wave the frequency down and across, radians a pixel, and phases: shared, red, green, blue.

    They are not drawn but spread evenly in all dimensions, as multiples, modulo 1, of the powers of the inverse of the
    root of :math:`x^7 = x + 1` (Roberts, "The unreasonable effectiveness of quasirandom sequences", 2018).

    Numbers, not tensors: what is kept while a network is traced for an export would be of no use afterwards.
    """
    root = 1.0
    for _ in range(64):
        root = (1 + root) ** (1 / 7)
    waves = []
    for number in range(1, _WAVES + 1):
        place, direction, *phases = ((0.5 + number * root**-power) % 1 for power in range(1, 7))
        frequency = 2 * math.pi / (_LONGEST * (_SHORTEST / _LONGEST) ** place)
        angle = math.pi * direction
        waves.append([frequency * math.sin(angle), frequency * math.cos(angle), *(2 * math.pi * at for at in phases)])
    return tuple(map(list, zip(*waves, strict=True)))


def smooth_noise(rows: Tensor, columns: Tensor) -> Tensor:
    r"""Return smooth noise at the crossings of rows and columns: the same at a position, whatever is asked for with it.

    .. math:: \sqrt{2 / K} \sum_{k=1}^{K} \cos(u_k y + v_k x + \varphi_k)

    with :math:`K` = 96 waves of 12 to 64 pixels, evenly spread in direction and in the logarithm of their length: the
    spectral representation of a Gaussian field (Shinozuka and Deodatis 1991). It has no grid and does not repeat.
    The phases of red, green and blue are their own for an eighth of the variance.

    Args:
        rows: Positions, `(H,)`, pixels.
        columns: Positions, `(W,)`, pixels.

    Returns:
        Noise of mean 0 and variance 1, `(1, 3, H, W)`, float32.

    Example:
        >>> whole = smooth_noise(torch.arange(40), torch.arange(50))
        >>> torch.equal(smooth_noise(torch.arange(8, 40), torch.arange(16, 50)), whole[..., 8:, 16:])
        True
    """
    frequency_down, frequency_across, *phases = (torch.tensor(values, device=rows.device) for values in _waves())
    down = rows.float()[:, None] * frequency_down
    across = columns.float()[:, None] * frequency_across
    shares = torch.tensor([(1 - _COLOR**2) ** 0.5, _COLOR], device=rows.device)[:, None, None]
    channels = []
    with torch.autocast(rows.device.type, enabled=False):
        for own in phases[1:]:
            # cos(a + b) = cos a cos b - sin a sin b: two matrix products, not a cosine at each pixel of each wave.
            shifted = down + torch.stack([phases[0], own])[:, None]
            cosines, sines = ((shares * values).sum(0) for values in (shifted.cos(), shifted.sin()))
            channels.append(cosines @ across.cos().mT - sines @ across.sin().mT)
    return torch.stack(channels)[None] * math.sqrt(2 / _WAVES)


def flatness(images: Tensor) -> Tensor:
    r"""Return how flat images are at each pixel.

    .. math:: 1 / (1 + v / 0.06^2)

    with :math:`v` the variance of the mean of the channels in 5 times 5 squares of 8 pixels around, interpolated.

    Args:
        images: sRGB in [0, 1], `(N, 3, H, W)`, sides multiples of 8.

    Returns:
        From 0 where there is much contrast to 1 where there is none, `(N, 1, H, W)`.

    Example:
        >>> flatness(torch.full((1, 3, 16, 24), 0.5)).unique()
        tensor([1.])
    """
    gray = images.mean(dim=1, keepdim=True)
    mean, square = (_around(F.avg_pool2d(values, _CELL)) for values in (gray, gray.square()))
    flat = 1 / (1 + (square - mean.square()).clamp_min(0) / _FLAT**2)
    interpolated: Tensor = F.interpolate(flat, scale_factor=float(_CELL), mode="bilinear", align_corners=False)
    return interpolated


def _around(cells: Tensor) -> Tensor:
    return F.avg_pool2d(F.pad(cells, (2, 2, 2, 2), mode="replicate"), 5, stride=1)


def with_noise(images: Tensor, amplitude: Tensor | float, row: int = 0, column: int = 0) -> Tensor:
    """Return images with `smooth_noise` where they are flat.

    Args:
        images: sRGB in [0, 1], `(N, 3, H, W)`, sides multiples of 8; or a part of images.
        amplitude: Standard deviation of the noise where an image is flat, on the images' scale; a number, or a tensor
            `(N, 1, 1, 1)`.
        row: Position of the images' first row in the field of noise, pixels.
        column: Position of the first column.

    Returns:
        Images, of which single values may be a little outside [0, 1].

    Example:
        >>> image = torch.rand(1, 3, 64, 96)
        >>> part = with_noise(image[..., 8:, :], 0.1, row=8)
        >>> torch.allclose(part[..., 24:, :], with_noise(image, 0.1)[..., 32:, :], atol=1e-6)
        True
    """
    rows, columns = (torch.arange(size, device=images.device) for size in images.shape[-2:])
    field = smooth_noise(row + rows, column + columns).to(images.dtype)
    return torch.addcmul(images, amplitude * flatness(images), field)
