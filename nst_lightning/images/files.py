"""Image files: found in folders, read as tensors whatever their format, written whole or not at all."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from nst_lightning.errors import UserError, did_you_mean, user_path
from nst_lightning.images.decode import decode_image, decode_opened, own_pixel_limit
from nst_lightning.images.embedded_settings import png_text, save_options
from nst_lightning.images.icc import srgb_profile
from nst_lightning.images.png import write_png16
from nst_lightning.images.samples import SAMPLE, sample_path
from nst_lightning.utils.addresses import is_address, path_of, shown
from nst_lightning.utils.atomic import atomic_file, check_writable
from nst_lightning.utils.hashing import file_sha256
from nst_lightning.utils.memory import named_out_of_memory
from nst_lightning.utils.storage import fetch, look

OUTPUT_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF"}
"""Formats of images that are written, by suffix. Each can hold settings (`embedded_settings`)."""

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".ppm", ".avif", ".jp2")
"""Suffixes of the files that are taken for images where a folder is searched."""

_OPTIONS = {"JPEG": {"subsampling": "4:4:4"}, "TIFF": {"compression": "tiff_adobe_deflate"}}
LONGEST_SIDES = {"JPEG": 65500, "WEBP": 16383}
"""Longest side that a format can hold, pixels; the others hold any."""

ImageLike: TypeAlias = "str | os.PathLike[str] | Image.Image | NDArray[Any] | Tensor"
"""What an image may be given as in Python; see `held_images`."""

_ROWS_AT_ONCE = 256  # bounds the float copies made while a large image is rounded
_MOST_NAMED = 20  # files in a message

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class LoadedImage:
    """An image as read from a file.

    Attributes:
        pixels: Float32 sRGB in [0, 1], of shape `(1, 3, H, W)`, composited on white where it has alpha.
        alpha: Opacity in [0, 1], of shape `(1, 1, H, W)`; None for an image that is opaque everywhere.
        digest: First 16 hexadecimal digits of the SHA-256 of the file.
    """

    pixels: Tensor
    alpha: Tensor | None
    digest: str


def read_image(path: str | os.PathLike[str], *, max_pixels: int = 200_000_000) -> LoadedImage:
    """Return the image in a file: upright, sRGB, on white.

    The EXIF orientation is obeyed; an embedded ICC profile is converted to sRGB; gray, palette, CMYK and
    16-bit images become RGB (16-bit gray keeps its precision, 16-bit color is read as 8 bits); of an
    animation the first frame is taken. Partial alpha is composited on white in sRGB, as browsers do.

    Args:
        path: Image file, `sample:NAME` for one of the built-in samples, or a name that `held_images` gives.
        max_pixels: Largest number of pixels (height times width) that is read. It is compared with the
            file's header before anything is decoded. The default takes up to 6.4 GB while it is read
            (`READING_BYTES` a pixel), of which 2.4 GB stay, as float32; it must be free.

    Raises:
        UserError: If there is no such file, or it cannot be read as an image, or it has too many pixels.

    Example:
        >>> image = read_image("sample:town")
        >>> image.pixels.shape, image.alpha
        (torch.Size([1, 3, 768, 1024]), None)
    """
    if is_held(path):
        return _held_image(os.fspath(path))
    with named_out_of_memory(f"memory does not suffice to read {path}; make the picture smaller."):
        try:
            with _find(path).open("rb") as file:
                pixels, alpha = decode_image(file, str(path), max_pixels)
                digest = file_sha256(file)[:16]
        except OSError as error:
            raise UserError(
                f"expected a picture that can be opened, found {path} ({error.strerror}); check its permissions"
            ) from error
        return _on_white(pixels, alpha, digest)


def _on_white(pixels: Tensor, alpha: Tensor | None, digest: str) -> LoadedImage:
    return LoadedImage(pixels if alpha is None else pixels.mul_(alpha).add_(1 - alpha), alpha, digest)


MEMORY = "memory:"
"""Prefix of the name of an image that was given as an object, as long as `held_images` holds it."""

_held: dict[str, LoadedImage] = {}


def is_held(name: str | os.PathLike[str]) -> bool:
    """Return whether a name is that of an image that was given as an object; `memory://` begins an address."""
    return os.fspath(name).startswith(MEMORY) and not is_address(name)


@contextmanager
def held_images(images: Sequence[ImageLike]) -> Iterator[list[str]]:
    """Yield names by which `read_image` returns images, as long as the body runs.

    Args:
        images: Paths and names of samples, which are their own names; images of Pillow's; arrays `(H, W)`, `(H, W, 3)`
            or `(H, W, 4)` and tensors `(3, H, W)` or `(1, 3, H, W)`, of 8 bits or of floats in [0, 1].

    Yields:
        The names.

    Raises:
        UserError: If an object is no image.
    """
    names, loaded = [], {}
    for image in images:
        if isinstance(image, str | os.PathLike):
            names.append(os.fspath(image))
        else:
            found = _loaded(image)
            names.append(f"{MEMORY}{found.digest}")
            loaded[names[-1]] = found
    _held.update(loaded)
    try:
        yield names
    finally:
        for name in loaded:
            _held.pop(name, None)


def _held_image(name: str) -> LoadedImage:
    if name not in _held:
        raise UserError(
            f"expected a picture file, found {name}: it was given as an object in Python, which is gone; name a file"
        )
    return _held[name]


def _loaded(image: Image.Image | NDArray[Any] | Tensor) -> LoadedImage:
    if isinstance(image, Image.Image):
        with own_pixel_limit():
            color, alpha = decode_opened(image, "the image", image.width * image.height)
    elif isinstance(image, np.ndarray):
        array = image[..., None] if image.ndim == 2 else image
        if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
            raise UserError(f"expected an array of shape (H, W, 3), found {image.shape}; transpose or convert it")
        color, alpha = _scaled(torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1)))[None])
    elif isinstance(image, Tensor):
        batch = image[None] if image.ndim == 3 else image
        if batch.ndim != 4 or batch.shape[0] != 1 or batch.shape[1] not in (1, 3, 4):
            raise UserError(f"expected a tensor of shape (3, H, W), found {tuple(image.shape)}; permute or convert it")
        color, alpha = _scaled(batch.detach().cpu())
    else:
        raise UserError(f"expected a path, an image, an array or a tensor, found {type(image).__name__}; convert it")
    digest = hashlib.sha256(str(tuple(color.shape)).encode())
    for values in (color, alpha):
        digest.update(b"" if values is None else values.contiguous().numpy().tobytes())
    return _on_white(color, alpha, digest.hexdigest()[:16])


def _scaled(values: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return colors and alpha in [0, 1] of `(1, C, H, W)`, which is not changed."""
    if values.dtype == torch.uint8:
        values = values.float().div_(255)
    elif values.is_floating_point():
        values = values.float()
        low, high = (float(bound) for bound in torch.aminmax(values)) if values.numel() else (0.0, 0.0)
        if not (low >= 0 and high <= 1):
            raise UserError(f"expected floats from 0 to 1, found {low:g} to {high:g}; scale them")
    else:
        raise UserError(f"expected 8 bits without sign or floats, found {values.dtype}; convert them")
    if values.numel() == 0:
        raise UserError(f"expected an image, found one of {values.shape[-1]}×{values.shape[-2]} pixels; check it")
    color, alpha = (values[:, :3], values[:, 3:]) if values.shape[1] == 4 else (values, None)
    opaque = alpha is None or bool((alpha == 1).all())
    return color.expand(1, 3, -1, -1).clone(memory_format=torch.contiguous_format), None if opaque else alpha


def to_pillow(pixels: Tensor, alpha: Tensor | None = None) -> Image.Image:
    """Return an image of Pillow's with the 8-bit pixels that `write_image` writes to a PNG file.

    Args:
        pixels: sRGB in [0, 1], of shape `(1, 3, H, W)`.
        alpha: Opacity in [0, 1], of shape `(1, 1, H, W)`, on any device; `None` for none.
    """
    _check_shapes(pixels, alpha, 8)
    return Image.fromarray(_quantize(_with_alpha(pixels, alpha), 8))


def _with_alpha(pixels: Tensor, alpha: Tensor | None) -> Tensor:
    return pixels if alpha is None else torch.cat([pixels, alpha.to(pixels.device)], dim=1)


def write_image(
    path: str | os.PathLike[str],
    pixels: Tensor,
    *,
    alpha: Tensor | None = None,
    bits: int = 8,
    quality: int = 95,
    settings: str | None = None,
) -> None:
    """Write an image with the sRGB profile embedded; the same pixels give the same bytes.

    The suffix of *path* names the format: .png, .jpg, .jpeg, .webp, .tif or .tiff. Values are clamped to
    [0, 1] and rounded to the nearest level. The file appears whole or not at all (`atomic_file`).

    Args:
        path: File to write; missing folders are created.
        pixels: sRGB in [0, 1], of shape `(1, 3, H, W)`.
        alpha: Opacity in [0, 1], of shape `(1, 1, H, W)`, on any device. It is stored beside the unchanged pixels,
            except in a JPEG, which has no alpha: there the image is composited on white.
        bits: Bits per channel, 8 or 16; 16 only for PNG.
        quality: Quality of JPEG and WebP, 1 to 100. Color is not subsampled in JPEG.
        settings: Text in ASCII that is put into the file and changes no pixel (`embedded_settings`); `None` for none.

    Raises:
        UserError: If the suffix is unknown, the format cannot hold the image, or the file system refuses.
        ValueError: If a shape or `bits` is none of the above, or a value is not finite.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_image(f"{folder}/gray.png", torch.full((1, 3, 8, 8), 0.2))
        ...     read_image(f"{folder}/gray.png").pixels.unique()
        tensor([0.2000])
    """
    target = path_of(path)
    _check_shapes(pixels, alpha, bits)
    file_format = _format_for(target, bits, longest_side=max(pixels.shape[-2:]))
    if alpha is not None and file_format == "JPEG":
        opacity = alpha.to(pixels.device)
        pixels, alpha = pixels * opacity + (1 - opacity), None
    with named_out_of_memory(f"memory does not suffice to write {path}."), atomic_file(target) as file:
        levels = _quantize(_with_alpha(pixels, alpha), bits)
        if bits == 16:
            write_png16(file, levels, srgb_profile(), () if settings is None else (png_text(settings),))
        else:
            lossy = {"quality": quality} if file_format in ("JPEG", "WEBP") else {}
            options = {**lossy, **_OPTIONS.get(file_format, {}), "icc_profile": srgb_profile()}
            if settings is not None:
                options |= save_options(settings, file_format)
            Image.fromarray(levels).save(file, file_format, **options)


def check_output(path: str | os.PathLike[str], longest_side: int = 1) -> None:
    """Refuse a name that `write_image` could not write to, before anything is computed.

    Args:
        path: File to be written.
        longest_side: Long side of the image, pixels, as far as it is known.

    Raises:
        UserError: If the suffix is unknown, the format can't hold the image, or the folder can't be written to.
    """
    target = user_path(path)
    _format_for(target, 8, longest_side)
    check_writable(target)


def is_image_file(file: Path) -> bool:
    """Return whether a file has an image's suffix."""
    return file.suffix.lower() in IMAGE_SUFFIXES


def visible_files(folder: Path) -> list[Path]:
    """Return all files below a folder, sorted, but hidden ones and those in hidden folders."""
    look(folder)
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]


def log_passed_over(folder: Path, files: Sequence[Path]) -> None:
    """Log which files of a folder are passed over because of their suffix.

    Args:
        folder: Folder that was searched.
        files: Files, absolute or relative as the folder.
    """
    if files:
        named = ", ".join(str(file.relative_to(folder)) for file in files[:_MOST_NAMED])
        more = f" and {len(files) - _MOST_NAMED} more" if len(files) > _MOST_NAMED else ""
        _log.warning("%s: passed over %d files of other kinds: %s%s", folder, len(files), named, more)


def _find(path: str | os.PathLike[str]) -> Path:
    """Return the file that *path* means, which exists and is not empty."""
    name = os.fspath(path)
    if name.startswith(SAMPLE):
        return sample_path(name.removeprefix(SAMPLE))
    file = user_path(path)
    if file.is_dir():
        raise UserError(f"expected a picture file, found a folder: {file}; name one of the files in it")
    if not file.exists():
        raise UserError(f"expected a picture file, found nothing at {file}; {_hint(file, name)}")
    if file.is_fifo():
        raise UserError(
            f"expected a picture file, found a pipe: {file}; it is read more than once, so write it to a file"
        )
    if file.stat().st_size == 0:
        raise UserError(f"expected a picture, found an empty file (0 bytes): {file}; get the file anew")
    return fetch(file)


def _hint(missing: Path, given: str) -> str:
    """Return what to do about a missing file: its nearest neighbor, or the folder that is missing."""
    if given.startswith("["):
        return "if it is a list, put names with other than letters, digits and dots in quotes: '[\"#1.jpg\", b.jpg]'"
    parts = [part for part in re.split(r"[\s,;]+", given) if part]
    if len(parts) > 1 and all(part.startswith(SAMPLE) or user_path(part).is_file() for part in parts):
        return f"several pictures are a list, such as --data.style '[{', '.join(parts)}]'"
    with suppress(UserError):  # of who may read a file, but not what else is there
        look(missing.parent, deep=False)
    if not missing.parent.is_dir():
        return f"there is no folder {missing.parent} either, check the path"
    neighbors = {file.name.lower(): file.name for file in sorted(missing.parent.iterdir())}
    return did_you_mean(
        missing.name.lower(),
        neighbors,
        "check the path",
        shown=lambda name: str(missing.with_name(neighbors[name])),
    )


def _check_shapes(pixels: Tensor, alpha: Tensor | None, bits: int) -> None:
    if pixels.ndim != 4 or pixels.shape[:2] != (1, 3):
        raise ValueError(f"expected pixels of shape (1, 3, H, W), got {tuple(pixels.shape)}")
    if alpha is not None and alpha.shape != (1, 1, *pixels.shape[2:]):
        raise ValueError(f"expected alpha of shape (1, 1, H, W) like the pixels, got {tuple(alpha.shape)}")
    if bits not in (8, 16):
        raise ValueError(f"expected 8 or 16 bits, got {bits}")


def _format_for(path: Path, bits: int, longest_side: int) -> str:
    """Return Pillow's name of the format, which the suffix names and which can hold the picture."""
    file_format = OUTPUT_FORMATS.get(path.suffix.lower())
    if file_format is None:
        raise UserError(
            f"expected an output file ending in {', '.join(OUTPUT_FORMATS)}, found "
            f"{path.name if path.suffix else shown(path)!r}; change the suffix"
        )
    if bits == 16 and file_format != "PNG":
        raise UserError(f"expected a .png file for 16 bits per channel, found {path.name!r}; use .png or 8 bits")
    if longest_side > LONGEST_SIDES.get(file_format, longest_side):
        raise UserError(
            f"expected at most {LONGEST_SIDES[file_format]} pixels a side in a {file_format} file, "
            f"found {longest_side} for {path.name!r}; use .png or .tif"
        )
    return file_format


def _quantize(values: Tensor, bits: int) -> NDArray[np.unsignedinteger]:
    """Return `(1, C, H, W)` in [0, 1] rounded to `(H, W, C)` unsigned integers of 8 or 16 bits, halves up."""
    _, channels, height, width = values.shape
    levels = np.empty((height, width, channels), np.uint8 if bits == 8 else np.uint16)
    for start in range(0, height, _ROWS_AT_ONCE):
        rows = values[0, :, start : start + _ROWS_AT_ONCE].detach().float().cpu().permute(1, 2, 0)
        if not bool(rows.isfinite().all()):
            raise ValueError("expected finite pixels, got NaN or infinity")
        # the cast to an integer cuts the fraction off, which is floor for what is not negative
        levels[start : start + _ROWS_AT_ONCE] = rows.clamp(0, 1).mul(2**bits - 1).add(0.5).numpy()
    return levels
