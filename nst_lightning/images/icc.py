"""ICC color profiles: what is read becomes sRGB, what is written says that it is sRGB."""

import functools
import io
import logging
import struct

from PIL import Image, ImageCms

from nst_lightning.errors import one_line

log = logging.getLogger(__name__)

_MODES_OF_SPACE = {"GRAY": ("L",), "RGB": ("RGB", "L"), "CMYK": ("CMYK",)}


@functools.cache
def srgb_profile() -> bytes:
    """Return an ICC profile of sRGB, the same bytes at every call and on every day."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    # bytes 24 to 35 are the time of creation, with which no image would be written twice alike
    profile[24:36] = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)
    return bytes(profile)


def to_srgb(image: Image.Image, name: str) -> Image.Image:
    """Return an image without alpha in sRGB, converted through its embedded ICC profile where it has one.

    A profile that is damaged, or made for another kind of image, is ignored with one warning in the log:
    the image is there, and its colors are nearly right.

    Args:
        image: Image of mode L, RGB or CMYK.
        name: Name of the image in the warning.

    Returns:
        Image of mode L or RGB.
    """
    profile = image.info.get("icc_profile")
    if profile:
        try:
            return _through_profile(image, profile)
        except (ImageCms.PyCMSError, OSError, ValueError) as error:
            log.warning("%s: its color profile is ignored and sRGB assumed (%s)", name, one_line(error))
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


def _through_profile(image: Image.Image, profile_bytes: bytes) -> Image.Image:
    """Return an image converted through a profile; raise if it is broken or does not go with the image's mode."""
    profile = ImageCms.getOpenProfile(io.BytesIO(profile_bytes))
    space = profile.profile.xcolor_space.strip()
    if image.mode not in _MODES_OF_SPACE.get(space, ()):
        raise ValueError(f"a profile for {space} in a picture of mode {image.mode}")
    if space == "RGB":
        image = image.convert("RGB")  # gray images are often saved with the RGB profile of their program
    srgb = ImageCms.getOpenProfile(io.BytesIO(srgb_profile()))
    converted = ImageCms.profileToProfile(
        image,
        profile,
        srgb,
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        "RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION | ImageCms.Flags.HIGHRESPRECALC,
    )
    assert converted is not None  # None only for conversions in place
    return converted
