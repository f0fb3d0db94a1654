"""What every drawing needs: pixel grids in frame units, blends, blur, and the way to 8-bit images.

Frame units: x runs from 0 to 1 over the image's width, y downwards in the same unit, so an image of 4:3
ends at y = 0.75. Everything drawn is placed in these units and looks the same at every size.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

__all__ = [
    "Array",
    "blur",
    "grid",
    "mask_of",
    "mix",
    "palette",
    "ramp",
    "sample",
    "smoothstep",
    "to_linear",
    "to_picture",
    "to_srgb",
]

Array: TypeAlias = NDArray[np.floating[Any]]


def grid(width: int, height: int) -> tuple[Array, Array]:
    """Frame coordinates of the pixel centers, two arrays of shape (height, width)."""
    x = (np.arange(width, dtype=np.float32) + 0.5) / width
    y = (np.arange(height, dtype=np.float32) + 0.5) / width
    xs, ys = np.meshgrid(x, y)
    return xs, ys


def smoothstep(low: float, high: float, value: Array) -> Array:
    """Hermite ramp from 0 at `low` to 1 at `high` (which may lie below `low`)."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def mix(first: Array, second: Array, amount: Array) -> Array:
    """Blend colors `(..., 3)` by `amount` `(...)`: 0 gives the first, 1 the second."""
    return np.asarray(first + (second - first) * amount[..., None])


def palette(*colors: str) -> Array:
    """Colors `(n, 3)` in [0, 1] from hexadecimal strings such as "1b3a6b"."""
    return np.array([[int(c[i : i + 2], 16) / 255 for i in (0, 2, 4)] for c in colors], np.float32)


def ramp(colors: Array, position: Array) -> Array:
    """Piecewise linear color ramp: `position` 0 gives the first color, 1 the last; adds an axis of 3."""
    at = np.clip(position, 0, 1) * (len(colors) - 1)
    low = np.minimum(at.astype(np.int32), len(colors) - 2)
    return mix(colors[low], colors[low + 1], at - low)


def sample(field: Array, x: Array, y: Array) -> Array:
    """Bilinear look-up in an image `(H, W)` or `(H, W, C)` at pixel coordinates, clamped at the border."""
    height, width = field.shape[:2]
    x = np.clip(x, 0, width - 1.001)
    y = np.clip(y, 0, height - 1.001)
    left, top = x.astype(np.int32), y.astype(np.int32)
    fx, fy = x - left, y - top
    if field.ndim == 3:
        fx, fy = fx[..., None], fy[..., None]
    upper = field[top, left] * (1 - fx) + field[top, left + 1] * fx
    lower = field[top + 1, left] * (1 - fx) + field[top + 1, left + 1] * fx
    return np.asarray(upper * (1 - fy) + lower * fy)


def blur(field: Array, radius: float) -> Array:
    """Gaussian blur of `(H, W)` or `(H, W, C)` with standard deviation `radius` pixels, borders repeated."""
    if radius < 0.2:
        return field
    reach = int(np.ceil(3 * radius))
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / radius) ** 2).astype(np.float32)
    taps /= taps.sum()
    for axis in (0, 1):
        widths = [(reach, reach) if a == axis else (0, 0) for a in range(field.ndim)]
        padded = np.pad(field, widths, mode="edge")
        length = field.shape[axis]
        parts = (t * padded.take(np.arange(i, i + length), axis=axis) for i, t in enumerate(taps))
        field = np.asarray(sum(parts), np.float32)
    return field


def mask_of(polygons: list[Array], width: int, height: int) -> Array:
    """Coverage `(height, width)` in [0, 1] of polygons in frame units, smoothed by 3x3 supersampling."""
    image = Image.new("L", (3 * width, 3 * height), 0)
    draw = ImageDraw.Draw(image)
    for polygon in polygons:
        draw.polygon([(float(x) * 3 * width, float(y) * 3 * width) for x, y in polygon], fill=255)
    small = image.resize((width, height), Image.Resampling.BOX)
    return np.asarray(small, np.float32) / 255


def to_linear(color: Array) -> Array:
    """SRGB in [0, 1] to linear light, by the 2.2 power law."""
    return np.asarray(np.clip(color, 0, None) ** 2.2)


def to_srgb(light: Array) -> Array:
    """Linear light to sRGB, by the 2.2 power law; values above 1 stay above 1."""
    return np.asarray(np.clip(light, 0, None) ** (1 / 2.2))


def to_picture(color: Array, width: int) -> Image.Image:
    """An sRGB array `(H, W, 3)` in [0, 1] as an 8-bit image of the asked width, reduced by averaging."""
    pixels = np.round(np.clip(color, 0, 1) * 255).astype(np.uint8)
    height = round(width * color.shape[0] / color.shape[1])
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BOX)
