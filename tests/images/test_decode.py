import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from nst_lightning.errors import UserError
from nst_lightning.images.decode import decode_image

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (5, 7), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (5, 7), dtype=np.uint16)
ALPHA = RNG.integers(0, 255, (5, 7), dtype=np.uint8)
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


def decode(image, file_format="PNG", *, max_pixels=1000, **options):
    """Save with Pillow, then decode; colors as (H, W, 3) and alpha as (H, W)."""
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return decode_bytes(file.getvalue(), max_pixels)


def decode_bytes(content, max_pixels=1000):
    colour, alpha = decode_image(io.BytesIO(content), "picture", max_pixels)
    assert colour.dtype == torch.float32
    assert colour.is_contiguous()
    assert alpha is None or (alpha.dtype == torch.float32 and alpha.shape == (1, 1, *colour.shape[2:]))
    return colour[0].permute(1, 2, 0).numpy(), None if alpha is None else alpha[0, 0].numpy()


def on_three(grey):
    return np.stack([grey] * 3, axis=-1)


def png(width, height, bits, colour_type, rows=b"", extra=b""):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    body = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "BMP", "PPM"])
def test_rgb_is_exact(file_format):
    colour, alpha = decode(Image.fromarray(RGB), file_format)
    np.testing.assert_array_equal(colour, RGB / np.float32(255))
    assert alpha is None


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "WEBP"])
def test_exif_orientation(file_format, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if file_format == "WEBP" else {}
    colour, _ = decode(Image.fromarray(RGB), file_format, exif=exif, **options)
    np.testing.assert_array_equal(colour, UPRIGHT[orientation](RGB) / np.float32(255))


def test_exif_orientation_turns_alpha_and_16_bit_grey_too():
    exif = Image.Exif()
    exif[0x0112] = 6
    _, alpha = decode(Image.fromarray(np.dstack([RGB, ALPHA])), exif=exif)
    np.testing.assert_array_equal(alpha, UPRIGHT[6](ALPHA) / np.float32(255))
    colour, _ = decode(Image.fromarray(DEEP), exif=exif)
    np.testing.assert_array_equal(colour, on_three(UPRIGHT[6](DEEP) / np.float32(65535)))


@pytest.mark.parametrize("tag", [0x0128, 0x0103])
def test_a_tag_that_is_text_for_a_number_costs_neither_the_picture_nor_its_orientation(tag):
    exif = Image.Exif()
    exif[0x0112], exif[tag] = 6, 2
    block = exif.tobytes()  # big-endian entries: tag, type (3 is a short, 2 is text), count, value
    entry = tag.to_bytes(2, "big")
    assert entry + b"\0\3" in block
    colour, _ = decode(Image.fromarray(RGB), exif=block.replace(entry + b"\0\3", entry + b"\0\2"))
    np.testing.assert_array_equal(colour, UPRIGHT[6](RGB) / np.float32(255))


def test_broken_exif_does_not_cost_the_picture():
    colour, _ = decode(Image.fromarray(RGB), exif=b"Exif\0\0neither II nor MM")
    np.testing.assert_array_equal(colour, RGB / np.float32(255))


def test_grey_and_bilevel():
    colour, _ = decode(Image.fromarray(GREY))
    np.testing.assert_array_equal(colour, on_three(GREY / np.float32(255)))
    colour, _ = decode(Image.fromarray(GREY > 100))
    np.testing.assert_array_equal(colour, on_three((GREY > 100).astype(np.float32)))


def test_grey_with_alpha():
    colour, alpha = decode(Image.fromarray(np.dstack([GREY, ALPHA])))
    np.testing.assert_array_equal(colour, on_three(GREY / np.float32(255)))
    np.testing.assert_array_equal(alpha, ALPHA / np.float32(255))


def test_opaque_alpha_is_no_alpha():
    _, alpha = decode(Image.fromarray(np.dstack([RGB, np.full_like(ALPHA, 255)])))
    assert alpha is None


@pytest.mark.parametrize("file_format", ["PNG", "GIF"])
def test_palette_with_one_transparent_index(file_format):
    indices = RNG.integers(0, 4, (5, 7), dtype=np.uint8)
    colours = RNG.integers(0, 256, (4, 3), dtype=np.uint8)
    image = Image.fromarray(indices).convert("P")
    image.putpalette(colours.tobytes())
    colour, alpha = decode(image, file_format)
    np.testing.assert_array_equal(colour, colours[indices] / np.float32(255))
    assert alpha is None
    colour, alpha = decode(image, file_format, transparency=2)
    np.testing.assert_array_equal(alpha, (indices != 2).astype(np.float32))
    opaque = indices != 2
    np.testing.assert_array_equal(colour[opaque], (colours[indices] / np.float32(255))[opaque])


def test_palette_with_partial_alpha():
    indices = RNG.integers(0, 4, (5, 7), dtype=np.uint8)
    image = Image.fromarray(indices).convert("P")
    image.putpalette(bytes(range(12)))
    _, alpha = decode(image, transparency=bytes([0, 85, 170, 255]))
    np.testing.assert_allclose(alpha, indices / 3, atol=1e-6)


def test_cmyk_without_profile():
    inks = RNG.integers(0, 256, (5, 7, 4), dtype=np.uint8)
    colour, _ = decode(Image.fromarray(inks, "CMYK"), "TIFF")
    shares = inks / 255
    expected = (1 - shares[..., :3]) * (1 - shares[..., 3:])
    np.testing.assert_allclose(colour, expected, atol=1.01 / 255)


def test_cmyk_jpeg_is_not_inverted():
    colour, _ = decode(Image.new("CMYK", (16, 16), (255, 0, 0, 0)), "JPEG")
    np.testing.assert_allclose(colour, np.broadcast_to([0.0, 1.0, 1.0], (16, 16, 3)), atol=3 / 255)


@pytest.mark.parametrize(("file_format", "byte_order"), [("PNG", "<"), ("TIFF", "<"), ("TIFF", ">")])
def test_16_bit_grey_keeps_its_precision(file_format, byte_order):
    colour, _ = decode(Image.fromarray(DEEP.astype(f"{byte_order}u2")), file_format)
    np.testing.assert_array_equal(colour, on_three(DEEP / np.float32(65535)))


def test_16_bit_grey_in_32_bit_integers():
    colour, _ = decode(Image.fromarray(DEEP.astype(np.int32)), "TIFF")
    np.testing.assert_array_equal(colour, on_three(DEEP / np.float32(65535)))
    for value in (-5, 1 << 20):
        with pytest.raises(UserError, match="expected gray of at most 16 bits, found 32"):
            decode(Image.fromarray(np.full((2, 2), value, np.int32)), "TIFF")


def tiff(values, bits, photometric):
    """An uncompressed gray TIFF, as TIFF 6.0 has it; 12 bits are packed, a row ends with a whole byte."""
    height, width = values.shape
    if bits == 12:
        rows = ["".join(f"{value:012b}" for value in row) for row in values]
        pixels = b"".join(int(row.ljust(-len(row) % 8 + len(row), "0"), 2).to_bytes(-(-len(row) // 8)) for row in rows)
    else:
        pixels = values.astype("<u2").tobytes()
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: height, 279: len(pixels)}
    entries = b"".join(struct.pack("<HHII", tag, 3, 1, value) for tag, value in tags.items())
    return struct.pack("<2sHI", b"II", 42, 8 + len(pixels)) + pixels + struct.pack("<H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize(("bits", "photometric"), [(12, 1), (16, 0), (16, 1)])
def test_grey_tiffs_of_12_and_16_bits_whose_white_may_be_0(bits, photometric):
    values, most = DEEP >> (16 - bits), 2**bits - 1
    colour, _ = decode_bytes(tiff(values, bits, photometric))
    light = values / most if photometric else 1 - values / most
    np.testing.assert_allclose(colour, on_three(light), atol=1e-5)


def test_16_bit_grey_with_a_transparent_value():
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in DEEP)
    value = DEEP[1, 2]
    key = struct.pack(">I4sH", 2, b"tRNS", value)
    key += struct.pack(">I", zlib.crc32(key[4:]))
    colour, alpha = decode_bytes(png(7, 5, 16, 0, rows, key))
    np.testing.assert_array_equal(alpha, np.where(DEEP - value, 1, 0))
    np.testing.assert_array_equal(colour, on_three(DEEP / np.float32(65535)))


def test_16_bit_colour_is_read_to_8_bits():
    deep = RNG.integers(0, 65536, (5, 7, 3), dtype=np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep)
    colour, _ = decode_bytes(png(7, 5, 16, 2, rows))
    np.testing.assert_allclose(colour, deep / 65535, atol=1 / 255)


def test_floating_point_pictures_are_refused():
    with pytest.raises(UserError, match=r"8 or 16 bits.*mode F"):
        decode(Image.fromarray(np.zeros((2, 2), np.float32)), "TIFF")


@pytest.mark.parametrize("file_format", ["GIF", "PNG", "WEBP"])
def test_first_frame_of_an_animation(file_format):
    frames = [Image.new("RGB", (4, 3), colour) for colour in ("red", "blue")]
    options = {"lossless": True} if file_format == "WEBP" else {}
    colour, _ = decode(frames[0], file_format, save_all=True, append_images=frames[1:], **options)
    np.testing.assert_array_equal(colour, np.broadcast_to([1.0, 0.0, 0.0], (3, 4, 3)))


def test_one_pixel():
    colour, _ = decode(Image.new("RGB", (1, 1), "white"))
    np.testing.assert_array_equal(colour, np.ones((1, 1, 3)))


@pytest.mark.parametrize("start", [b"P6\n#", b"P6 1 1\n#", b"P5\n1 1 255#", b"P4\n1\n#"])
def test_a_header_without_end_is_refused_at_once(start: bytes) -> None:
    with pytest.raises(UserError, match="expected a header of at most 65536 bytes, found more in x; save it anew"):
        decode_image(io.BytesIO(start + b"x" * 29_000_000 + b"\n1 1\n255\nabc"), "x", 100)


@pytest.mark.parametrize("kind", ["1", "L", "RGB"])
def test_a_header_with_comments_is_read(kind: str) -> None:
    file = io.BytesIO()
    image = Image.effect_noise((300, 301), 99).convert(kind)
    image.save(file, "PPM")
    body = file.getvalue()
    commented = body[:3] + b"# a comment\n" * 999 + body[3:]
    plain, _ = decode_image(io.BytesIO(body), "x", 10**6)
    assert plain.equal(decode_image(io.BytesIO(commented), "x", 10**6)[0])
