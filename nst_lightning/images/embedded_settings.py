"""Settings inside an image file: a text that says how it was painted, and changes no pixel."""

from __future__ import annotations

import os
import zlib
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from nst_lightning.errors import UserError
from nst_lightning.images.decode import DAMAGE, open_image, own_pixel_limit
from nst_lightning.utils.addresses import path_of
from nst_lightning.utils.storage import fetch

_KEY = "nst-lightning"  # of the PNG text chunk
_FIRST_LINE = "# settings of nst-lightning\n"
_EXIF_IFD, _USER_COMMENT, _IMAGE_DESCRIPTION = 0x8769, 0x9286, 0x010E
_ASCII = b"ASCII\0\0\0"  # how the EXIF standard marks such a comment
_LONGEST_EXIF = 65_000  # bytes: a JPEG's segment holds 65,533 with its head


def save_options(settings: str, file_format: str) -> dict[str, Any]:
    """Return the options of `PIL.Image.Image.save` that put settings into a file.

    Args:
        settings: Text in ASCII, such as YAML.
        file_format: `PNG` (a compressed text chunk), `JPEG` or `WEBP` (EXIF's user comment), or `TIFF` (image
            description). A JPEG without room for the text is left without.
    """
    text = _FIRST_LINE + settings
    if file_format == "PNG":
        info = PngInfo()
        info.add_text(_KEY, text, zip=True)
        return {"pnginfo": info}
    if file_format == "TIFF":
        return {"tiffinfo": {_IMAGE_DESCRIPTION: text}}
    exif = Image.Exif()
    # Set as a whole: before version 11, Pillow forgets what is put into the result of `get_ifd`.
    exif[_EXIF_IFD] = {_USER_COMMENT: _ASCII + text.encode("ascii")}
    return {"exif": exif} if file_format != "JPEG" or len(exif.tobytes()) <= _LONGEST_EXIF else {}


def png_text(settings: str) -> tuple[bytes, bytes]:
    """Return kind and data of the PNG chunk that `save_options` makes Pillow write."""
    return b"zTXt", _KEY.encode() + b"\0\0" + zlib.compress((_FIRST_LINE + settings).encode("ascii"))


def read_settings(path: str | os.PathLike[str]) -> str | None:
    """Return the settings in an image file; `None` for a file without, or one that is no image.

    Args:
        path: File; of its pixels nothing is decoded.

    Raises:
        UserError: If the file can't be opened.
    """
    try:
        with fetch(path_of(path)).open("rb") as file, own_pixel_limit():
            text = _text_of(open_image(file, str(path)))
    except OSError as error:
        raise UserError(f"{os.fspath(path)} can't be read ({error.strerror}); check it.") from error
    except (UserError, *DAMAGE):  # no image, or metadata that can't be parsed
        return None
    return text.removeprefix(_FIRST_LINE) if text.startswith(_FIRST_LINE) else None


def _text_of(image: Image.Image) -> str:
    if image.format == "PNG":
        return str(image.info.get(_KEY, ""))
    if image.format == "TIFF":
        return str(image.getexif().get(_IMAGE_DESCRIPTION, ""))
    comment = image.getexif().get_ifd(_EXIF_IFD).get(_USER_COMMENT, b"")
    return comment.removeprefix(_ASCII).decode("ascii", "replace") if isinstance(comment, bytes) else ""
