"""Decoding an opened image file to tensors: every mode that Pillow reads, upright, as sRGB in [0, 1]."""

import re
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from nst_lightning.errors import UserError, one_line
from nst_lightning.images.icc import to_srgb

# No others: some of Pillow's readers start programs (EPS) or accept nearly any file (TGA).
_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "AVIF", "JPEG2000")
_DEEP_GRAY = ("I", "I;16", "I;16B", "I;16L", "I;16N")
_COLOR = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr")
# what Pillow's readers raise on damaged files
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
)

_LONGEST_HEADER = 65_536  # bytes, of a PPM file: three numbers and comments

_pillow_lock = threading.Lock()


def decode_image(file: BinaryIO, name: str, max_pixels: int) -> tuple[Tensor, Tensor | None]:
    """Decode an image file: first frame, turned as its EXIF orientation says, colors converted to sRGB.

    Gray images of 16 bits keep their precision, except where a color profile has to be applied, which
    Pillow does in 8 bits. Pillow reads 16-bit color as 8 bits.

    Args:
        file: Opened file.
        name: Name of the file in messages.
        max_pixels: Largest number of pixels (height times width) that is decoded.

    Returns:
        Colors, float32 sRGB in [0, 1], of shape `(1, 3, H, W)`, and alpha in [0, 1], of shape
        `(1, 1, H, W)`; None in place of an alpha that is 1 everywhere. Colors are not composited.

    Raises:
        UserError: If the file is no image, is damaged or cut short, or has too many pixels.
    """
    with _own_pixel_limit():
        image = _open(file, name)
        _check_header(image, name, max_pixels)
        try:
            image.load()
            image = _upright(image)
            color, alpha = _deep_gray(image, name) if image.mode in _DEEP_GRAY else _eight_bits(image, name)
        except _DAMAGE as error:
            raise _damaged(name, error) from error
    opaque = alpha is None or bool((alpha == 1).all())
    return color, None if opaque else alpha


def _open(file: BinaryIO, name: str) -> Image.Image:
    """Return the file with only its header read. Pillow itself refuses one that claims no pixels."""
    Image.init()
    _check_netpbm(file, name)
    try:
        # AVIF and JPEG 2000 are optional parts of Pillow
        return Image.open(file, formats=[name for name in _FORMATS if name in Image.OPEN])
    except UnidentifiedImageError as error:
        raise UserError(
            f"expected a picture ({', '.join(_FORMATS)}), found something else or a damaged file in {name}; "
            "convert it to PNG or JPEG"
        ) from error
    except _DAMAGE as error:
        raise _damaged(name, error) from error


def _check_netpbm(file: BinaryIO, name: str) -> None:
    """Refuse a PPM file whose header goes on and on: Pillow reads its comments byte by byte, in Python."""
    kind = file.read(2)
    if re.fullmatch(rb"P[1-6]", kind):
        header, numbers = file.read(_LONGEST_HEADER), 2 if kind in (b"P1", b"P4") else 3
        without_comments = re.sub(rb"#[^\r\n]*[\r\n]", b"", header)
        if len(header) == _LONGEST_HEADER and not re.match(rb"\s*(?:\S+\s+){%d}" % numbers, without_comments):
            raise UserError(f"expected a header of at most {_LONGEST_HEADER} bytes, found more in {name}; save it anew")
    file.seek(0)


def _check_header(image: Image.Image, name: str, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise UserError(
            f"expected at most {max_pixels:,} pixels, found {width}x{height} = {width * height:,} in {name}; "
            "make the picture smaller or raise max_pixels (on the command line --data.max_pixels)"
        )
    if image.mode not in _DEEP_GRAY + _COLOR:
        raise UserError(
            f"expected grey, RGB or CMYK of 8 or 16 bits, found Pillow's mode {image.mode} in {name}; "
            "convert it to PNG or JPEG"
        )


def _damaged(name: str, error: Exception) -> UserError:
    reason = one_line(error)
    return UserError(f"expected a whole picture, found {name} damaged or cut short ({reason}); get the file anew")


def _upright(image: Image.Image) -> Image.Image:
    """Return an image turned as its EXIF orientation says; one whose EXIF block can't be parsed is taken as it is."""
    try:
        image.getexif()
    except _DAMAGE:
        return image
    return ImageOps.exif_transpose(image)


def _deep_gray(image: Image.Image, name: str) -> tuple[Tensor, Tensor | None]:
    """Return the colors and the alpha of a 16-bit gray image."""
    values = np.asarray(image)
    if values.max() > 65535:
        raise ValueError("gray of more than 16 bits")
    transparent = image.info.get("transparency")  # one gray value that stands for "nothing here"
    alpha = None if transparent is None else _to_tensor(values != transparent, 1)
    if "icc_profile" in image.info:
        gray = Image.fromarray(((values.astype(np.int32) + 128) // 257).astype(np.uint8))
        gray.info["icc_profile"] = image.info["icc_profile"]
        color = _to_tensor(np.asarray(to_srgb(gray, name)), 255)
    else:
        color = _to_tensor(values, 65535).clamp_(0, 1)
    return color.expand(1, 3, -1, -1).contiguous(), alpha


def _eight_bits(image: Image.Image, name: str) -> tuple[Tensor, Tensor | None]:
    """Return the colors and the alpha of any image with 8 bits per channel."""
    is_gray = image.mode in ("1", "L", "LA")
    alpha = None
    if image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = _to_tensor(np.asarray(image.getchannel("A")), 255)
    if image.mode != "CMYK":
        image = image.convert("L" if is_gray else "RGB")
    color = _to_tensor(np.asarray(to_srgb(image, name)), 255)
    return color.expand(1, 3, -1, -1).contiguous(), alpha


def _to_tensor(values: NDArray[np.generic], scale: int) -> Tensor:
    """Return `(H, W)` or `(H, W, C)` numbers from 0 to `scale` as float32 `(1, C, H, W)` in [0, 1]."""
    array = np.atleast_3d(values).transpose(2, 0, 1).astype(np.float32, order="C")
    return torch.from_numpy(array).div_(scale).unsqueeze(0)


@contextmanager
def _own_pixel_limit() -> Iterator[None]:
    """Silence Pillow's own pixel limit, for which `max_pixels` stands, and its warnings about metadata.

    Both are global in Pillow and in Python. So one image is read at a time, and both are put back.
    """
    with _pillow_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit
