"""Animated PNG out of PNG files, copied chunk by chunk: nothing is decoded, and one frame is in memory at a time."""

import struct
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path

from nst_lightning.images.png import PNG_SIGNATURE, png_chunk

_FOREVER = 0  # number of plays


def write_apng(path: Path, frames: Iterable[bytes], durations: list[int]) -> None:
    """Write an animated PNG (PNG third edition, W3C 2025) that plays forever.

    Pillow would hold all frames, decoded, until the last one has come. A reader that knows nothing of
    animations shows the first frame.

    Args:
        path: File to write.
        frames: PNG files, all with the same size, bits, colour type and profile.
        durations: Of the frames, in milliseconds, up to 65535.
    """
    numbers = count()  # one sequence for control and data chunks together
    with path.open("wb") as file:
        for index, (frame, duration) in enumerate(zip(frames, durations, strict=True)):
            chunks = list(_chunks(frame))
            data = [content for kind, content in chunks if kind == b"IDAT"]
            if index == 0:
                size = chunks[0][1][:8]
                before = chunks[: [kind for kind, _ in chunks].index(b"IDAT")]
                file.write(PNG_SIGNATURE + b"".join(png_chunk(*chunk) for chunk in before))
                file.write(png_chunk(b"acTL", struct.pack(">II", len(durations), _FOREVER)))
            # offset (0, 0), leave the frame in place, overwrite the one before
            where_and_when = size + struct.pack(">IIHHBB", 0, 0, duration, 1000, 0, 0)
            file.write(png_chunk(b"fcTL", struct.pack(">I", next(numbers)) + where_and_when))
            for content in data:
                numbered = struct.pack(">I", next(numbers)) + content if index else content
                file.write(png_chunk(b"fdAT" if index else b"IDAT", numbered))
        file.write(png_chunk(b"IEND", b""))


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Give kind and data of each chunk."""
    offset = len(PNG_SIGNATURE)
    while offset < len(png):
        length, kind = struct.unpack_from(">I4s", png, offset)
        yield kind, png[offset + 8 : offset + 8 + length]
        offset += 12 + length
