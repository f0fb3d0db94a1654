import io
import logging
import struct
import time

import numpy as np
import pytest
from PIL import Image, ImageCms

from nst_lightning.images import icc as profiles
from nst_lightning.images.decode import decode_image

RGB = np.random.default_rng(1).integers(0, 256, (6, 5, 3), dtype=np.uint8)
GREY = RGB[..., 0]
D50 = (0.9642, 1.0, 0.8249)
# sRGB's primaries adapted to D50, from the specification of its ICC profile
RED, GREEN, BLUE = (0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410)


def xyz(values):
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))


LINEAR = b"curv\0\0\0\0" + struct.pack(">I", 0)


def icc_profile(space, tags, connection=b"XYZ "):
    """Assemble an ICC version 2 profile (ICC.1:2001-04, section 6)."""
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += struct.pack(">4sII", name, start + len(body), len(data))
        body += data + b"\0" * (-len(data) % 4)
    size = start + len(body)
    header = struct.pack(">I4sI4s4s4s12x4s", size, b"none", 0x02400000, b"mntr", space, connection, b"acsp")
    header += bytes(68 - len(header)) + struct.pack(">3i", *(round(value * 65536) for value in D50))
    return header.ljust(128, b"\0") + table + body


def linear_profile(red, green, blue):
    primaries = {b"rXYZ": xyz(red), b"gXYZ": xyz(green), b"bXYZ": xyz(blue)}
    curves = dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), LINEAR)
    return icc_profile(b"RGB ", {b"wtpt": xyz(D50), **primaries, **curves})


def grey_profile():
    return icc_profile(b"GRAY", {b"wtpt": xyz(D50), b"kTRC": LINEAR})


def black_ink_profile():
    """CMYK of which only the black counts: the lightness L* is 100 (1 - K)."""
    ramp = bytes(range(256))
    nodes = b"".join(bytes([0 if node & 1 else 255, 128, 128]) for node in range(16))  # K varies fastest
    identity = struct.pack(">9i", *(65536 * value for value in (1, 0, 0, 0, 1, 0, 0, 0, 1)))
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + identity + ramp * 4 + nodes + ramp * 3
    return icc_profile(b"CMYK", {b"wtpt": xyz(D50), b"A2B0": table}, connection=b"Lab ")


def srgb_curve(linear):
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def decode(image, file_format="PNG", **options):
    file = io.BytesIO()
    image.save(file, file_format, **options)
    colour, alpha = decode_image(file, "photo.png", 1000)
    return colour[0].permute(1, 2, 0).numpy(), None if alpha is None else alpha[0, 0].numpy()


def test_linear_profile_becomes_srgb():
    colour, _ = decode(Image.fromarray(RGB), icc_profile=linear_profile(RED, GREEN, BLUE))
    np.testing.assert_allclose(colour, srgb_curve(RGB / 255), atol=1.6 / 255)


def test_swapped_primaries_swap_the_channels():
    colour, _ = decode(Image.fromarray(RGB), icc_profile=linear_profile(BLUE, RED, GREEN))
    np.testing.assert_allclose(colour, srgb_curve(RGB[..., [1, 2, 0]] / 255), atol=1.6 / 255)


def test_alpha_survives_the_profile():
    alpha_in = GREY // 2
    image = Image.fromarray(np.dstack([RGB, alpha_in]))
    colour, alpha = decode(image, icc_profile=linear_profile(RED, GREEN, BLUE))
    np.testing.assert_array_equal(alpha, alpha_in / np.float32(255))
    np.testing.assert_allclose(colour, srgb_curve(RGB / 255), atol=1.6 / 255)


def test_palette_colours_go_through_the_profile():
    image = Image.fromarray(RGB).quantize(256)
    expected = srgb_curve(np.asarray(image.convert("RGB")) / 255)
    colour, _ = decode(image, icc_profile=linear_profile(RED, GREEN, BLUE))
    np.testing.assert_allclose(colour, expected, atol=1.6 / 255)


@pytest.mark.parametrize("bits", [8, 16])
def test_grey_profile(bits):
    image = Image.fromarray(GREY if bits == 8 else GREY.astype(np.uint16) * 257)
    colour, _ = decode(image, icc_profile=grey_profile())
    np.testing.assert_allclose(colour, np.stack([srgb_curve(GREY / 255)] * 3, -1), atol=1.6 / 255)


def test_grey_with_alpha_and_grey_profile():
    colour, alpha = decode(Image.fromarray(np.dstack([GREY, GREY // 2])), icc_profile=grey_profile())
    np.testing.assert_allclose(colour, np.stack([srgb_curve(GREY / 255)] * 3, -1), atol=1.6 / 255)
    np.testing.assert_array_equal(alpha, (GREY // 2) / np.float32(255))


def test_grey_picture_with_an_rgb_profile():
    colour, _ = decode(Image.fromarray(GREY), icc_profile=linear_profile(RED, GREEN, BLUE))
    np.testing.assert_allclose(colour, np.stack([srgb_curve(GREY / 255)] * 3, -1), atol=1.6 / 255)


def test_cmyk_goes_through_its_profile():
    inks = np.zeros((4, 4, 4), np.uint8)
    inks[..., 3] = np.arange(0, 256, 17).reshape(4, 4)
    colour, _ = decode(Image.fromarray(inks, "CMYK"), "TIFF", icc_profile=black_ink_profile())
    lightness = 100 * (1 - inks[..., 3] / 255)
    luminance = np.where(lightness > 8, ((lightness + 16) / 116) ** 3, lightness * 27 / 24389)
    np.testing.assert_allclose(colour, np.stack([srgb_curve(luminance)] * 3, -1), atol=2 / 255)


@pytest.mark.parametrize(
    ("image", "profile"),
    [
        (Image.fromarray(RGB), b"no profile at all"),
        (Image.fromarray(RGB), linear_profile(RED, GREEN, BLUE)[:200]),
        (Image.fromarray(RGB), icc_profile(b"RGB ", {b"wtpt": xyz(D50)})),
        (Image.fromarray(RGB), grey_profile()),
        (Image.fromarray(RGB), black_ink_profile()),
        (Image.fromarray(GREY), black_ink_profile()),
    ],
    ids=["junk", "cut", "no primaries", "grey for rgb", "cmyk for rgb", "cmyk for grey"],
)
def test_unusable_profiles_are_ignored_with_one_warning(image, profile, caplog):
    with caplog.at_level(logging.WARNING):
        colour, _ = decode(image, icc_profile=profile)
    np.testing.assert_array_equal(colour, np.asarray(image.convert("RGB")) / np.float32(255))
    assert len(caplog.records) == 1
    assert "photo.png" in caplog.text


def test_our_own_profile_changes_no_pixel():
    every = np.arange(256, dtype=np.uint8)
    image = Image.fromarray(
        np.dstack([every.reshape(16, 16), every[::-1].reshape(16, 16), np.roll(every, 77).reshape(16, 16)])
    )
    colour, _ = decode(image, icc_profile=profiles.srgb_profile())
    np.testing.assert_array_equal(colour, np.asarray(image) / np.float32(255))


@pytest.mark.slow
def test_our_profile_is_srgb_and_does_not_depend_on_the_clock():
    first = profiles.srgb_profile()
    time.sleep(1.1)  # the time in a profile is in whole seconds
    profiles.srgb_profile.cache_clear()
    assert profiles.srgb_profile() == first
    assert "sRGB" in ImageCms.getProfileDescription(ImageCms.getOpenProfile(io.BytesIO(first)))
