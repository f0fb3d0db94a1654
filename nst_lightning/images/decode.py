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
from PIL import ExifTags, Image, UnidentifiedImageError
from torch import Tensor

from nst_lightning.errors import UserError, one_line
from nst_lightning.images.icc import to_srgb
from nst_lightning.utils.memory import free_on_cpu

# No others: some of Pillow's readers start programs (EPS) or accept nearly any file (TGA).
_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "AVIF", "JPEG2000")
_DEEP_GRAY = ("I", "I;16", "I;16B", "I;16L", "I;16N")
_COLOR = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr")
# what Pillow's readers raise on damaged files
DAMAGE = (
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
_ROWS_AT_ONCE = 256  # bounds the copies made while the pixels of a large image become floats

READING_BYTES = 32
"""Bytes for each pixel at the peak of reading an image: Pillow's own 4, those of copies in other colors, 12 of the
result, and with transparency 4 more and as many while it is composited. Measured: 18 for most files, 32 for one with
transparency and a color profile."""
_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262  # tags of a TIFF
_SMALL = 4_000_000  # pixels; no reason to ask how much memory is free

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
        UserError: If the file is no image, is damaged or cut short, has too many pixels, or more than the free memory
            holds while it is read.
    """
    with own_pixel_limit():
        return decode_opened(open_image(file, name), name, max_pixels)


def decode_opened(image: Image.Image, name: str, max_pixels: int) -> tuple[Tensor, Tensor | None]:
    """Decode an image of Pillow's as `decode_image` does a file."""
    _check_header(image, name, max_pixels)
    try:
        image.load()
        black, white = _gray_levels(image)
        image = _upright(image)
        is_deep = image.mode in _DEEP_GRAY
        color, alpha = _deep_gray(image, name, black, white) if is_deep else _eight_bits(image, name)
    except UserError:
        raise
    except DAMAGE as error:
        raise _damaged(name, error) from error
    opaque = alpha is None or bool((alpha == 1).all())
    return color, None if opaque else alpha


def open_image(file: BinaryIO, name: str) -> Image.Image:
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
    except DAMAGE as error:
        raise _damaged(name, error) from error


def _check_netpbm(file: BinaryIO, name: str) -> None:
    """Refuse a PPM file whose header goes on and on: Pillow reads its comments byte by byte, in Python."""
    kind = file.read(2)
    if re.fullmatch(rb"P[1-6]", kind):
        header, numbers = file.read(_LONGEST_HEADER), 2 if kind in (b"P1", b"P4") else 3
        without_comments = re.sub(rb"#[^\r\n]*", b"", header)  # in time proportional to its length
        if len(header) == _LONGEST_HEADER and not re.match(rb"\s*(?:\S+\s+){%d}" % numbers, without_comments):
            raise UserError(f"expected a header of at most {_LONGEST_HEADER} bytes, found more in {name}; save it anew")
    file.seek(0)


def _check_header(image: Image.Image, name: str, max_pixels: int) -> None:
    width, height = image.size
    needed = width * height * READING_BYTES
    if width * height > max_pixels:
        raise UserError(
            f"expected at most {max_pixels:,} pixels, found {width}x{height} = {width * height:,} in {name}, which "
            f"take up to {needed / 1e9:,.1f} GB to read; make the picture smaller or raise max_pixels (on the "
            "command line --data.max_pixels)"
        )
    if width * height > _SMALL and needed > (free := free_on_cpu()):
        raise UserError(
            f"expected a picture that fits into the memory, found {width}x{height} in {name}, which take "
            f"up to {needed / 1e9:,.1f} GB to read where {free / 1e9:,.1f} GB are free; make the picture smaller"
        )
    if image.mode not in _DEEP_GRAY + _COLOR:
        raise UserError(
            f"expected gray, RGB or CMYK of 8 or 16 bits, found Pillow's mode {image.mode} in {name}; "
            "convert it to PNG or JPEG"
        )


def _damaged(name: str, error: Exception) -> UserError:
    reason = one_line(error)
    return UserError(f"expected a whole picture, found {name} damaged or cut short ({reason}); get the file anew")


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _upright(image: Image.Image) -> Image.Image:
    """Return an image turned as its EXIF orientation says; one whose EXIF block can't be parsed is taken as it is.

    `ImageOps.exif_transpose` also writes the block anew, less the orientation, and fails on other tags in it that are
    not of their type; here nothing of it is kept.
    """
    image.load()  # which turns a TIFF, and takes the orientation away
    try:
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except DAMAGE:
        return image
    return image if turn is None else image.transpose(turn)


def _gray_levels(image: Image.Image) -> tuple[int, int]:
    """Return the values that stand for black and white in an image of 16-bit gray.

    Pillow leaves the values of a TIFF as they are: its 12 bits end at 4095, and its white may be 0 (TIFF 6.0, section
    4, `PhotometricInterpretation`).
    """
    tags = getattr(image, "tag_v2", {})
    white = 4095 if tags.get(_BITS_PER_SAMPLE) in ((12,), 12) else 65535
    return (white, 0) if tags.get(_PHOTOMETRIC) == 0 else (0, white)


def _deep_gray(image: Image.Image, name: str, black: int, white: int) -> tuple[Tensor, Tensor | None]:
    """Return the colors and the alpha of a 16-bit gray image, given its values of black and white."""
    values = np.asarray(image)
    if values.max() > 65535 or values.min() < 0:
        raise UserError(f"expected gray of at most 16 bits, found 32 in {name}; convert it to 16 bits or to 8")
    if (black, white) != (0, 65535):
        values = np.rint((values.astype(np.float64) - black) * (65535 / (white - black))).clip(0, 65535)
    transparent = image.info.get("transparency")  # one gray value that stands for "nothing here"
    alpha = None if transparent is None else _to_tensor(values != transparent, 1)
    if "icc_profile" in image.info:
        gray = Image.fromarray(((values.astype(np.int32) + 128) // 257).astype(np.uint8))
        gray.info["icc_profile"] = image.info["icc_profile"]
        color = _to_tensor(to_srgb(gray, name), 255)
    else:
        color = _to_tensor(values, 65535).clamp_(0, 1)
    return color.expand(1, 3, -1, -1).contiguous(), alpha


def _eight_bits(image: Image.Image, name: str) -> tuple[Tensor, Tensor | None]:
    """Return the colors and the alpha of any image with 8 bits per channel."""
    is_gray = image.mode in ("1", "L", "LA")
    alpha = None
    if image.has_transparency_data:
        image = _in_mode(image, "RGBA")
        alpha = _to_tensor(image.getchannel("A"), 255)
    if image.mode != "CMYK":
        image = _in_mode(image, "L" if is_gray else "RGB")
    image = to_srgb(image, name)
    color = _to_tensor(image, 255)
    return color.expand(1, 3, -1, -1).contiguous(), alpha


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    """Return an image in a mode of Pillow's, which itself makes a copy even of one that has it."""
    return image if image.mode == mode else image.convert(mode)


def _to_tensor(values: NDArray[np.generic] | Image.Image, scale: int) -> Tensor:
    """Return an image, or `(H, W)` numbers, from 0 to `scale` as float32 `(1, C, H, W)` in [0, 1]."""
    if isinstance(values, Image.Image):
        (width, height), channels = values.size, len(values.getbands())
    else:
        (height, width), channels = values.shape, 1
    result = torch.empty(1, channels, height, width)
    for start in range(0, height, _ROWS_AT_ONCE):
        end = min(height, start + _ROWS_AT_ONCE)
        if isinstance(values, Image.Image):
            rows: NDArray[np.generic] = np.asarray(values.crop((0, start, width, end)))
        else:
            rows = values[start:end]
        result[0, :, start:end] = torch.from_numpy(np.atleast_3d(rows).transpose(2, 0, 1).astype(np.float32, order="C"))
    return result.div_(scale)


@contextmanager
def own_pixel_limit() -> Iterator[None]:
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
