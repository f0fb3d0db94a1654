"""PNG with 16 bits per channel, which Pillow reads but cannot write in color."""

import struct
import zlib
from collections.abc import Sequence
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
"""The first bytes of every PNG file."""

_COLOR_TYPES = {3: 2, 4: 6}  # channels: color type of the PNG specification
_UP_FILTER = 2
_ROWS_AT_ONCE = 64  # bounds the memory beside the image itself


def write_png16(
    file: BinaryIO,
    pixels: NDArray[np.unsignedinteger],
    icc_profile: bytes,
    chunks: Sequence[tuple[bytes, bytes]] = (),
) -> None:
    """Write a 16-bit PNG (ISO/IEC 15948), without interlacing and without a time stamp.

    Each row is stored as its difference from the row above (filter "up"), which halves the size of a photo.

    Args:
        file: File open for writing.
        pixels: RGB or RGBA, of shape `(H, W, 3)` or `(H, W, 4)`, values 0 to 65535, alpha not premultiplied.
        icc_profile: Color profile to embed.
        chunks: Kind and data of further chunks, before the pixels.
    """
    height, width, channels = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 16, _COLOR_TYPES[channels], 0, 0, 0)
    compressor = zlib.compressobj()
    above = np.zeros((1, width * channels * 2), np.uint8)
    file.write(PNG_SIGNATURE)
    file.write(png_chunk(b"IHDR", header))
    file.write(png_chunk(b"iCCP", b"sRGB\0\0" + zlib.compress(icc_profile)))
    for kind, data in chunks:
        file.write(png_chunk(kind, data))
    for start in range(0, height, _ROWS_AT_ONCE):
        rows = pixels[start : start + _ROWS_AT_ONCE].astype(">u2").view(np.uint8)
        rows = rows.reshape(len(rows), -1)
        differences = rows - np.concatenate([above, rows[:-1]])  # modulo 256, as the filter wants it
        above = rows[-1:]
        filtered = np.insert(differences, 0, _UP_FILTER, axis=1)
        file.write(png_chunk(b"IDAT", compressor.compress(filtered.tobytes())))
    file.write(png_chunk(b"IDAT", compressor.flush()))
    file.write(png_chunk(b"IEND", b""))


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk: its data framed with its length, its kind and its checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
