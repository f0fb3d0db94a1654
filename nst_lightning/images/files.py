"""Pictures on disk: read as tensors whatever their format, written whole or not at all."""

import difflib
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from nst_lightning.errors import UserError, user_path
from nst_lightning.images.decode import decode_image
from nst_lightning.images.icc import srgb_profile
from nst_lightning.images.png import write_png16
from nst_lightning.images.samples import SAMPLE, sample_path
from nst_lightning.utils.atomic import atomic_path, check_writable

_FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
_LONGEST_SIDES = {"JPEG": 65500, "WEBP": 16383}  # limits of the formats, in pixels
_ROWS_AT_ONCE = 256  # bounds the float copies made while a large picture is rounded


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture as read from a file.

    Attributes:
        pixels: Float32 sRGB in [0, 1], of shape `(1, 3, H, W)`, composited on white where it has alpha.
        alpha: Opacity in [0, 1], of shape `(1, 1, H, W)`; None for a picture that is opaque everywhere.
        digest: The first 16 hexadecimal digits of the SHA-256 of the file.
    """

    pixels: Tensor
    alpha: Tensor | None
    digest: str


def read_image(path: str | os.PathLike[str], *, max_pixels: int = 200_000_000) -> Picture:
    """Read a picture: upright, sRGB, on white.

    The EXIF orientation is obeyed; an embedded ICC profile is converted to sRGB; grey, palette, CMYK and
    16-bit pictures become RGB (16-bit grey keeps its precision, 16-bit colour is read as 8 bits); of an
    animation the first frame is taken. Partial alpha is composited on white in sRGB, as browsers do.

    Args:
        path: A picture file, or `sample:NAME` for one of the built-in samples.
        max_pixels: Largest number of pixels (height times width) that is read. It is compared with the
            file's header before anything is decoded. The default is 2.4 GB as float32.

    Returns:
        The picture.

    Raises:
        UserError: If there is no such file, or it cannot be read as a picture, or it has too many pixels.
    """
    try:
        with _find(path).open("rb") as file:
            pixels, alpha = decode_image(file, str(path), max_pixels)
            digest = _sha256(file)[:16]
    except OSError as error:
        raise UserError(
            f"expected a picture that can be opened, found {path} ({error.strerror}); check its permissions"
        ) from error
    if alpha is not None:
        pixels = pixels.mul_(alpha).add_(1 - alpha)
    return Picture(pixels, alpha, digest)


def write_image(
    path: str | os.PathLike[str],
    pixels: Tensor,
    *,
    alpha: Tensor | None = None,
    bits: int = 8,
    quality: int = 95,
) -> None:
    """Write a picture with the sRGB profile embedded; the same pixels give the same bytes.

    The suffix of `path` names the format: .png, .jpg, .jpeg, .webp, .tif or .tiff. Values are clamped to
    [0, 1] and rounded to the nearest level. The file appears whole or not at all (`atomic_path`).

    Args:
        path: File to write; missing folders are created.
        pixels: sRGB in [0, 1], of shape `(1, 3, H, W)`.
        alpha: Opacity in [0, 1], of shape `(1, 1, H, W)`. It is stored beside the unchanged pixels, except
            in a JPEG, which has no alpha: there the picture is composited on white.
        bits: Bits per channel, 8 or 16; 16 only for PNG.
        quality: Quality of JPEG and WebP, 1 to 100. Colour is not subsampled in JPEG.

    Raises:
        UserError: If the suffix is unknown, the format cannot hold the picture, or the file system refuses.
        ValueError: If a shape or `bits` is none of the above, or a value is not finite.
    """
    target = Path(path)
    _check_shapes(pixels, alpha, bits)
    file_format = _format_for(target, bits, longest_side=max(pixels.shape[-2:]))
    if alpha is not None and file_format == "JPEG":
        pixels, alpha = pixels * alpha + (1 - alpha), None
    levels = _quantize(pixels if alpha is None else torch.cat([pixels, alpha], dim=1), bits)
    with atomic_path(target) as temporary:
        if bits == 16:
            write_png16(temporary, levels, srgb_profile())
        else:
            _save(Image.fromarray(levels), temporary, file_format, quality)


def check_output(path: str | os.PathLike[str], *, bits: int = 8) -> None:
    """Refuse a name that `write_image` could not write to, before anything is computed.

    Args:
        path: The file to be written.
        bits: Bits per channel, 8 or 16.

    Raises:
        UserError: If the suffix is unknown, the format has no such bits, or the folder can't be written to.
    """
    target = user_path(path)
    _format_for(target, bits, longest_side=1)
    check_writable(target)


def _find(path: str | os.PathLike[str]) -> Path:
    """Return the file that `path` means, which exists and is not empty."""
    name = os.fspath(path)
    if name.startswith(SAMPLE):
        return sample_path(name.removeprefix(SAMPLE))
    file = user_path(path)
    if file.is_dir():
        raise UserError(f"expected a picture file, found a folder: {file}; name one of the files in it")
    if not file.exists():
        raise UserError(f"expected a picture file, found nothing at {file}; {_hint(file)}")
    if file.stat().st_size == 0:
        raise UserError(f"expected a picture, found an empty file (0 bytes): {file}; get the file anew")
    return file


def _hint(missing: Path) -> str:
    """Say what to do about a missing file: name its nearest neighbour or the folder that is missing."""
    if not missing.parent.is_dir():
        return f"there is no folder {missing.parent} either, check the path"
    neighbours = {file.name.lower(): file.name for file in sorted(missing.parent.iterdir())}
    nearest = difflib.get_close_matches(missing.name.lower(), neighbours, n=1)
    return f"did you mean {missing.with_name(neighbours[nearest[0]])}?" if nearest else "check the path"


def _sha256(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    file.seek(0)
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def _check_shapes(pixels: Tensor, alpha: Tensor | None, bits: int) -> None:
    if pixels.ndim != 4 or pixels.shape[:2] != (1, 3):
        raise ValueError(f"expected pixels of shape (1, 3, H, W), got {tuple(pixels.shape)}")
    if alpha is not None and alpha.shape != (1, 1, *pixels.shape[2:]):
        raise ValueError(f"expected alpha of shape (1, 1, H, W) like the pixels, got {tuple(alpha.shape)}")
    if bits not in (8, 16):
        raise ValueError(f"expected 8 or 16 bits, got {bits}")


def _format_for(path: Path, bits: int, longest_side: int) -> str:
    """Return Pillow's name of the format, which the suffix names and which can hold the picture."""
    file_format = _FORMATS.get(path.suffix.lower())
    if file_format is None:
        raise UserError(
            f"expected an output file ending in {', '.join(_FORMATS)}, found {path.name!r}; change the suffix"
        )
    if bits == 16 and file_format != "PNG":
        raise UserError(f"expected a .png file for 16 bits per channel, found {path.name!r}; use .png or 8 bits")
    if longest_side > _LONGEST_SIDES.get(file_format, longest_side):
        raise UserError(
            f"expected at most {_LONGEST_SIDES[file_format]} pixels a side in a {file_format} file, "
            f"found {longest_side} for {path.name!r}; use .png or .tif"
        )
    return file_format


def _save(image: Image.Image, path: Path, file_format: str, quality: int) -> None:
    """Let Pillow write the file; every option by which a format differs is here."""
    profile = srgb_profile()
    if file_format == "JPEG":
        image.save(path, "JPEG", icc_profile=profile, quality=quality, subsampling="4:4:4")
    elif file_format == "WEBP":
        image.save(path, "WEBP", icc_profile=profile, quality=quality)
    elif file_format == "TIFF":
        image.save(path, "TIFF", icc_profile=profile, compression="tiff_adobe_deflate")
    else:
        image.save(path, "PNG", icc_profile=profile)


def _quantize(values: Tensor, bits: int) -> NDArray[np.unsignedinteger]:
    """Round `(1, C, H, W)` in [0, 1] to `(H, W, C)` unsigned integers of 8 or 16 bits, halves up."""
    _, channels, height, width = values.shape
    levels = np.empty((height, width, channels), np.uint8 if bits == 8 else np.uint16)
    for start in range(0, height, _ROWS_AT_ONCE):
        rows = values[0, :, start : start + _ROWS_AT_ONCE].detach().float().cpu().permute(1, 2, 0)
        if not bool(rows.isfinite().all()):
            raise ValueError("expected finite pixels, got NaN or infinity")
        # the cast to an integer cuts the fraction off, which is floor for what is not negative
        levels[start : start + _ROWS_AT_ONCE] = rows.clamp(0, 1).mul(2**bits - 1).add(0.5).numpy()
    return levels
