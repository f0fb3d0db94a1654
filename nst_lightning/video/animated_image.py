"""Animations out of image files: WebP, GIF, APNG and MP4, written whole or not at all."""

import importlib.util
import io
import itertools
import os
import struct
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

from PIL import Image
from torchvision.transforms.functional import pil_to_tensor

from nst_lightning._compat import hold_pixels
from nst_lightning.errors import UserError, user_path
from nst_lightning.images.icc import srgb_profile
from nst_lightning.images.png import PNG_SIGNATURE, png_chunk
from nst_lightning.images.resize import shrunk_size
from nst_lightning.utils.atomic import atomic_file, check_writable
from nst_lightning.utils.storage import fetch
from nst_lightning.video.writing import VideoWriter

_SUFFIXES = (".webp", ".gif", ".png", ".apng", ".mp4")
_GIF_TICKS = 100  # per second, of the format
_GIF_FASTEST = 50  # browsers take a shorter duration than two ticks for a mistake and show a tenth of a second
_PALETTE_COLORS = 255  # and one for Pillow to mark what has not changed since the frame before
_PALETTE_SAMPLES = 12  # frames that a GIF's palette is made from
_FOREVER = 0  # number of plays, of APNG
_PALETTE_SIDE = 64  # their long side, pixels; 160 takes seven times as long and gives no better colors


def check_animation(path: str | os.PathLike[str], fps: int) -> None:
    """Refuse what `write_animation` could not write, before anything is painted.

    Args:
        path: File to be written.
        fps: Frames per second.

    Raises:
        UserError: If the suffix is unknown, the format has no such rate, its encoder is not installed, or the
            folder can't be written to.
    """
    target = user_path(path)
    suffix = target.suffix.lower()
    if suffix not in _SUFFIXES:
        raise UserError(
            f"expected an animation file ending in {', '.join(_SUFFIXES)}, found {target.name!r}; change the suffix"
        )
    if suffix == ".gif" and fps > _GIF_FASTEST:
        raise UserError(f"expected at most {_GIF_FASTEST} frames per second in a GIF, found {fps}; use .webp or .mp4")
    if suffix == ".mp4" and importlib.util.find_spec("av") is None:
        raise UserError(
            f"expected PyAV for {target.name!r}, found it not installed; pip install 'nst-lightning[video]', or use "
            ".webp"
        )
    check_writable(target)


def write_animation(path: str | os.PathLike[str], frames: Sequence[Path], *, fps: int, hold: float) -> None:
    """Write an animation that plays forever; the same frames give the same bytes.

    The suffix names the format. WebP is lossy (quality 80), APNG (`.png` or `.apng`) lossless, GIF has one
    palette of 255 colors for all frames, MP4 is what `nst_lightning.video.writing.VideoWriter` writes: an odd last
    row or column is cut off. All but MP4 are sRGB; MP4 is BT.709.

    One frame is in memory at a time; with it, WebP has the file, GIF a byte for each pixel of each frame, and MP4
    the encoder's some 50 frames, however many there are. WebP and GIF join frames that come out the same.

    Args:
        path: File to write; missing folders are created.
        frames: 8-bit RGB PNG files as `write_image` makes them, at least one. Those that differ in size from
            the last one are given its size.
        fps: Frames per second. GIF and the others count in hundredths and thousandths of a second: the
            durations of single frames are rounded so that their sum is not.
        hold: Duration of the last frame, seconds, up to 60; it stays at least as long as any other.

    Raises:
        UserError: If a frame can't be read, or the file system refuses.
    """
    target = user_path(path)
    if target.suffix.lower() == ".mp4":  # whose writer renames the file itself
        _write_mp4(target, _FrameSequence(frames), fps, hold)
        return
    write = {".webp": _write_webp, ".gif": _write_gif}.get(target.suffix.lower(), _write_png)
    with atomic_file(target) as file:
        write(file, _FrameSequence(frames), fps, hold)


class _FrameSequence(Image.Image):
    """Frames as one image of many, which Pillow's writers step through by `seek`; it holds the present one.

    Pillow's WebP writer makes a list of what it is given, so a generator of frames would end up in memory.

    Args:
        frames: Image files. The last one gives the size.
    """

    def __init__(self, frames: Sequence[Path]) -> None:
        super().__init__()
        self.files = frames
        self.n_frames = len(frames)
        with Image.open(fetch(frames[-1])) as last:
            hold_pixels(self, last.convert("RGB"))
        self.seek(0)

    def seek(self, frame: int) -> None:
        if not 0 <= frame < self.n_frames:
            raise EOFError
        self._index = frame
        hold_pixels(self, self.frame(frame))

    def tell(self) -> int:
        return self._index

    def frame(self, index: int) -> Image.Image:
        with Image.open(fetch(self.files[index])) as image:
            return image.convert("RGB").resize(self.size, Image.Resampling.BICUBIC)  # a copy where it has the size

    def png(self, index: int) -> bytes:
        with Image.open(fetch(self.files[index])) as image:
            if image.size == self.size:
                return self.files[index].read_bytes()
        buffer = io.BytesIO()
        self.frame(index).save(buffer, "PNG", icc_profile=srgb_profile())
        return buffer.getvalue()

    def durations(self, fps: int, hold: float, ticks: int) -> list[int]:
        starts = [round(index * ticks / fps) for index in range(self.n_frames)]
        shown = [after - before for before, after in itertools.pairwise(starts)]
        return [*shown, max(round(hold * ticks), round(ticks / fps))]


def _write_webp(file: BinaryIO, sequence: _FrameSequence, fps: int, hold: float) -> None:
    durations = sequence.durations(fps, hold, 1000)
    profile = srgb_profile()
    sequence.save(file, "WEBP", save_all=True, duration=durations, loop=0, quality=80, method=4, icc_profile=profile)


def _write_png(file: BinaryIO, sequence: _FrameSequence, fps: int, hold: float) -> None:
    """Write an animated PNG (PNG third edition, W3C 2025) that plays forever.

    Pillow would hold all frames, decoded, until the last one has come: the chunks of PNG files are copied instead. A
    reader that knows nothing of animations shows the first frame.
    """
    numbers = itertools.count()  # one sequence for control and data chunks together
    durations = sequence.durations(fps, hold, 1000)
    for index, duration in enumerate(durations):
        chunks = list(_chunks(sequence.png(index)))
        if index == 0:
            size = chunks[0][1][:8]
            before = chunks[: [kind for kind, _ in chunks].index(b"IDAT")]
            file.write(PNG_SIGNATURE + b"".join(png_chunk(*chunk) for chunk in before))
            file.write(png_chunk(b"acTL", struct.pack(">II", len(durations), _FOREVER)))
        # offset (0, 0), leave the frame in place, overwrite the one before
        where_and_when = size + struct.pack(">IIHHBB", 0, 0, duration, 1000, 0, 0)
        file.write(png_chunk(b"fcTL", struct.pack(">I", next(numbers)) + where_and_when))
        for content in (content for kind, content in chunks if kind == b"IDAT"):
            numbered = struct.pack(">I", next(numbers)) + content if index else content
            file.write(png_chunk(b"fdAT" if index else b"IDAT", numbered))
    file.write(png_chunk(b"IEND", b""))


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and data of each chunk."""
    offset = len(PNG_SIGNATURE)
    while offset < len(png):
        length, kind = struct.unpack_from(">I4s", png, offset)
        yield kind, png[offset + 8 : offset + 8 + length]
        offset += 12 + length


def _write_gif(file: BinaryIO, sequence: _FrameSequence, fps: int, hold: float) -> None:
    palette = _palette(sequence)

    def colors(index: int) -> Image.Image:
        return sequence.frame(index).quantize(palette=palette, dither=Image.Dither.NONE)

    rest = (colors(index) for index in range(1, sequence.n_frames))
    durations = [10 * ticks for ticks in sequence.durations(fps, hold, _GIF_TICKS)]
    colors(0).save(file, "GIF", save_all=True, append_images=rest, duration=durations, loop=0)


def _palette(sequence: _FrameSequence) -> Image.Image:
    """Return the colors of a sheet of frames spread evenly from the first to the last.

    One palette for all frames, since a palette for each makes the file 2.5 times as large and flickers; dithering
    makes it 1.7 times as large. K-means after the median cut saves the colors of small things.
    """
    count = min(sequence.n_frames, _PALETTE_SAMPLES)
    height, width = shrunk_size(sequence.height, sequence.width, _PALETTE_SIDE)
    sheet = Image.new("RGB", (width, height * count))
    for row in range(count):
        index = row * (sequence.n_frames - 1) // max(1, count - 1)
        sheet.paste(sequence.frame(index).resize((width, height), Image.Resampling.NEAREST), (0, row * height))
    return sheet.quantize(_PALETTE_COLORS, method=Image.Quantize.MEDIANCUT, kmeans=1)


def _write_mp4(path: Path, sequence: _FrameSequence, fps: int, hold: float) -> None:
    with VideoWriter(path, sequence.height, sequence.width, Fraction(fps), crf=18) as writer:
        for index in range(sequence.n_frames):
            pixels = pil_to_tensor(sequence.frame(index)).unsqueeze(0) / 255
            is_last = index == sequence.n_frames - 1
            for number in range(index, index + (max(1, round(hold * fps)) if is_last else 1)):
                writer.write(pixels, Fraction(number, fps))
