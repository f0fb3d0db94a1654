"""What the decoder does with files that are too large, cut short, damaged or empty."""

import io
import struct
import time
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageFile

from nst_lightning.errors import UserError
from nst_lightning.images.decode import decode_image

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def saved(file_format="PNG", pixels=RGB, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, file_format, **options)
    return file.getvalue()


def decode(content, max_pixels=1000):
    colour, _ = decode_image(io.BytesIO(content), "picture", max_pixels)
    return colour[0].permute(1, 2, 0).numpy()


def claim(width, height):
    """Return a small PNG whose header claims another size (the size stands in bytes 16 to 23)."""
    content = bytearray(saved())
    content[16:24] = struct.pack(">II", width, height)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


def test_a_bomb_is_refused_from_its_header(monkeypatch):
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded before the check"))
    with pytest.raises(UserError, match=r"100,000,000 .*30000x30000 = 900,000,000 .*--data\.max_pixels"):
        decode(claim(30000, 30000), max_pixels=100_000_000)


def test_limit_is_inclusive():
    decode(saved(), max_pixels=35)
    with pytest.raises(UserError, match="at most 34 pixels, found 7x5 = 35"):
        decode(saved(), max_pixels=34)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "WEBP"])
def test_pillow_limit_is_replaced_and_restored(monkeypatch, file_format):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        colour = decode(saved(file_format), max_pixels=35)
    assert colour.shape == (5, 7, 3)
    assert Image.MAX_IMAGE_PIXELS == 10
    with pytest.raises(UserError):
        decode(b"no picture")
    assert Image.MAX_IMAGE_PIXELS == 10


def test_threads_leave_the_limit_as_it_was(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 12345)
    load = ImageFile.ImageFile.load

    def load_slowly(image):
        time.sleep(0.02)  # so that without a lock all threads are in the decoder at once
        return load(image)

    monkeypatch.setattr(ImageFile.ImageFile, "load", load_slowly)
    with ThreadPoolExecutor(4) as pool:
        assert len(list(pool.map(decode, [saved()] * 4))) == 4
    assert Image.MAX_IMAGE_PIXELS == 12345


@pytest.mark.parametrize("size", [(0, 0), (0, 5), (5, 0)])
def test_a_picture_without_pixels(size):
    with pytest.raises(UserError, match="damaged file in picture") as caught:
        decode(claim(*size))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("WEBP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("BMP", {}),
        ("GIF", {}),
    ],
)
def test_a_cut_file_is_an_error_or_whole(file_format, options):
    blocks = np.kron(RGB, np.ones((8, 8, 1), np.uint8))
    content = saved(file_format, blocks, **options)
    whole = decode(content, 10_000)
    refused = 0
    for length in range(1, len(content), max(1, len(content) // 60)):
        try:
            cut = decode(content[:length], 10_000)
        except UserError as error:
            assert "\n" not in str(error)  # noqa: PT017 (not every cut has to raise)
            refused += 1
        else:
            np.testing.assert_array_equal(cut, whole)
    assert refused > 50


def test_a_flipped_byte_in_a_png_is_an_error():
    content = bytearray(saved())
    content[content.index(b"IDAT") + 12] ^= 0xFF
    with pytest.raises(UserError, match="damaged"):
        decode(bytes(content))
