"""Files that mean harm, or have come to it: damaged, cut, enormous by their headers, of another kind than they say."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageDraw

FORMATS = {"png": {}, "jpg": {}, "webp": {}, "tiff": {}, "bmp": {}, "gif": {}, "ppm": {}, "jp2": {}}


def picture(suffix: str, size: tuple[int, int] = (40, 30), **options: object) -> bytes:
    """Return a whole image of random colors."""
    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    image = Image.fromarray(values)
    names = {"jpg": "JPEG", "jp2": "JPEG2000", "tiff": "TIFF"}
    file = io.BytesIO()
    image.save(file, names.get(suffix, suffix.upper()), **options)  # type: ignore[arg-type]
    return file.getvalue()


def png(
    width: int, height: int, *chunks: tuple[bytes, bytes], data: bytes = b"", bits: int = 8, kind: int = 2
) -> bytes:
    """Return a PNG of any header, with chunks between header and pixels."""
    header = (b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))
    written = b"\x89PNG\r\n\x1a\n"
    for name, content in (header, *chunks, (b"IDAT", zlib.compress(data)), (b"IEND", b"")):
        written += struct.pack(">I", len(content)) + name + content
        written += struct.pack(">I", zlib.crc32(name + content))
    return written


def damaged_images() -> Iterator[tuple[str, bytes]]:
    """Yield the name and the content of files that are no whole image."""
    for suffix in FORMATS:
        whole = picture(suffix)
        for part in (0.05, 0.3, 0.7):
            yield f"cut-{part}.{suffix}", whole[: int(len(whole) * part)]
    yield from {
        "empty.png": b"",
        "zeros.png": bytes(5000),
        "text.jpg": b"Dear all,\n" * 50,
        "html.png": b"<!doctype html><title>404</title>" * 9,
        "svg.png": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        "program.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(touch harm) system\n",
        "archive.png": b"PK\x03\x04" + bytes(300),
        "pickle.png": b"\x80\x04\x95" + bytes(90),
        "header.png": b"\x89PNG\r\n\x1a\n",
        "no-pixels.png": png(0, 0),
        "no-rows.png": png(40, 0),
        "too-few-rows.png": png(40, 30, data=bytes(121)),
        "wrong-kind.png": png(40, 30, kind=7, data=bytes(9999)),
        "wrong-bits.png": png(40, 30, bits=3, data=bytes(9999)),
        "bomb.png": png(60_000, 60_000),
        "widest.png": png(2**31 - 1, 2**31 - 1),
        "one-wide-row.png": png(2**31 - 1, 1),
        "text-bomb.png": png(40, 30, (b"zTXt", b"a\0\0" + zlib.compress(bytes(200_000_000), 9)), data=bytes(3630)),
        "bomb.bmp": b"BM" + struct.pack("<IHHIIIIHHIIIIII", 54, 0, 0, 54, 40, 60000, 60000, 1, 24, 0, 0, 0, 0, 0, 0),
        "negative.bmp": b"BM" + struct.pack("<IHHIIiiHHIIIIII", 54, 0, 0, 54, 40, -5, 5, 1, 24, 0, 0, 0, 0, 0, 0),
        "bomb.gif": b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + b",\0\0\0\0\xff\xff\xff\xff\0\x02\0;",
        "bomb.ppm": b"P6 99999 99999 255\n",
        "negative.ppm": b"P6 -4 4 255\n" + bytes(99),
        "letters.ppm": b"P6 a b 255\n",
        "endless-comment.ppm": b"P6 " + b"#" * 300_000,
        "digits.ppm": b"P6 " + b"9" * 5000 + b" 1 255\n",
        "loop.tiff": b"II*\0\x08\0\0\0" + struct.pack("<H", 0) + struct.pack("<I", 8),
        "bomb.tiff": _tiff(65_000, 65_000),
        "tags.tiff": b"II*\0\x08\0\0\0" + b"\xff\xff" + bytes(3000),
        "bomb.jpg": _jpeg_header(65_000, 65_000),
    }.items()
    generator = random.Random(0)
    for suffix in ("jpg", "webp", "tiff", "gif"):
        for _ in range(3):
            content = bytearray(picture(suffix))
            start = generator.randrange(4, 40)
            content[start : start + 60] = generator.randbytes(60)
            yield f"flipped-{start}.{suffix}", bytes(content)


def odd_images() -> Iterator[tuple[str, bytes]]:
    """Yield the name and the content of files that look strange, but hold an image."""
    whole = picture("png")
    yield "png-named.jpg", whole
    yield "profile.jpg", picture("jpg", icc_profile=b"no profile" * 20)
    yield "orientation.jpg", picture("jpg", exif=b"Exif\0\0II*\0" + b"\xff" * 40)
    yield "rest.png", whole + b"PK\x03\x04" + bytes(5000)
    yield "comment.jpg", picture("jpg", comment=b"x" * 60_000)
    frames = [Image.new("P", (40, 30), index) for index in range(40)]
    for suffix, name in (("gif", "GIF"), ("tiff", "TIFF"), ("png", "PNG"), ("webp", "WEBP")):
        file = io.BytesIO()
        frames[0].convert("RGB").save(file, name, save_all=True, append_images=[f.convert("RGB") for f in frames[1:]])
        yield f"pages.{suffix}", file.getvalue()
    dot = Image.new("RGBA", (1, 1))
    ImageDraw.Draw(dot).point((0, 0), (9, 9, 9, 0))
    file = io.BytesIO()
    dot.save(file, "PNG")
    yield "dot.png", file.getvalue()


def _tiff(width: int, height: int) -> bytes:
    tags = ((256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, height), (279, 10))
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4)


def _jpeg_header(width: int, height: int) -> bytes:
    whole = bytearray(picture("jpg"))
    start = whole.index(b"\xff\xc0")
    whole[start + 5 : start + 9] = struct.pack(">HH", height, width)
    return bytes(whole)
