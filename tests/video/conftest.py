"""Tiny clips made with PyAV alone: moving smooth colors, and a tone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

RATE, HEIGHT, WIDTH, COUNT = 25, 32, 48, 25
SAMPLES, TONE, SILENT = 48_000, 440, 0.3  # Hz, Hz, seconds before the tone begins
FORMATS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm", ".avi": "avi"}
WELL_ROUNDED = 0x2 | 0x2000 | 0x4000 | 0x40000  # of libswscale


class Clips:
    """Writes clips of a second into the test's folder, with FFmpeg's own conversion of colors."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @staticmethod
    def picture(index: int, height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.float64]:
        """Smooth colors from 0 to 255 that move; no two of the sides look alike."""
        y, x = np.mgrid[:height, :width] / WIDTH
        phase = index / 8
        waves = [np.sin(5 * x + phase), np.sin(4 * y - phase), np.cos(3 * x + 6 * y + phase)]
        return np.round(np.stack(waves, -1) * 90 + 128)

    @staticmethod
    def tone(count: int) -> NDArray[np.float32]:
        """A tone after some silence, by whose end the sound is found in time."""
        time = np.arange(count) / SAMPLES
        return np.where(time < SILENT, 0, 0.5 * np.sin(2 * np.pi * TONE * time)).astype(np.float32)

    def write(
        self,
        name: str,
        frames: int | Sequence[int] = COUNT,
        *,
        codec: str = "libx264",
        pixels: str = "yuv420p",
        options: dict[str, str] | None = None,
        size: tuple[int, int] = (HEIGHT, WIDTH),
        flat: tuple[int, int, int] | None = None,
        tags: tuple[int, int] | None = (5, 1),
        aspect: Fraction | None = None,
        sound: str | None = None,
        sound_later: Fraction = Fraction(0),
    ) -> Path:
        """Write a clip; by default without loss but for the conversion to BT.601 of limited range.

        Args:
            name: Name of the file; the suffix says the container.
            frames: Number of frames, or times at which they are shown, in milliseconds.
            codec: Codec of the video.
            pixels: Pixel format.
            options: Options of the codec.
            size: Height and width, pixels.
            flat: Y', Cb and Cr, in place of moving colors.
            tags: FFmpeg's numbers of matrix and range.
            aspect: Width of a pixel by its height.
            sound: Codec of the sound, if there is any.
            sound_later: Seconds from the first frame to the first sample.
        """
        import av

        path = self.folder / name
        count = frames if isinstance(frames, int) else len(frames)
        times = [1000 * index // RATE for index in range(count)] if isinstance(frames, int) else frames
        tick = Fraction(1, RATE if path.suffix == ".avi" else 1000)
        with av.open(str(path), "w", format=FORMATS[path.suffix]) as container:
            given = {"width": size[1], "height": size[0], "pix_fmt": pixels, "time_base": tick}
            stream: Any = container.add_stream(codec, rate=RATE, options=options or {"qp": "0"}, **given)
            context = stream.codec_context
            if tags is not None:
                context.colorspace, context.color_range = tags
            if aspect is not None:
                context.sample_aspect_ratio = aspect
            track: Any = None if sound is None else container.add_stream(sound, rate=SAMPLES, layout="mono")
            for index, time in enumerate(times):
                frame = self._flat(pixels, size, flat) if flat else self._moving(pixels, index, size, tags or (5, 1))
                earlier = max(Fraction(0), -sound_later)
                frame.pts, frame.time_base = round((Fraction(time, 1000) + earlier) / tick), tick
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
            if track is not None:
                container.mux(self._sound(track, max(Fraction(0), sound_later)))
        return path

    def _moving(self, pixels: str, index: int, size: tuple[int, int], tags: tuple[int, int]) -> Any:
        import av

        frame = av.VideoFrame.from_ndarray(self.picture(index, *size).astype(np.uint8))
        kinds = {"dst_colorspace": tags[0], "dst_color_range": tags[1]}
        return frame.reformat(format=pixels, interpolation=WELL_ROUNDED, **kinds)

    def _flat(self, pixels: str, size: tuple[int, int], values: tuple[int, int, int]) -> Any:
        import av

        frame = av.VideoFrame(size[1], size[0], pixels)
        kind = np.dtype(np.uint16 if "10" in pixels else np.uint8)
        for plane, value in zip(frame.planes, values, strict=True):
            plane.update(np.full(plane.buffer_size // kind.itemsize, value, kind).tobytes())
        return frame

    def _sound(self, track: Any, later: Fraction) -> Iterable[Any]:
        import av

        samples = av.AudioFrame.from_ndarray(self.tone(SAMPLES)[None], format="flt", layout="mono")
        samples.sample_rate, samples.time_base, samples.pts = SAMPLES, Fraction(1, SAMPLES), round(later * SAMPLES)
        cut = av.AudioResampler(format=track.format, layout="mono", rate=SAMPLES, frame_size=960)
        parts = [*cut.resample(samples), *cut.resample(None), None]
        return [packet for part in parts for packet in track.encode(part)]


@pytest.fixture
def clips(tmp_path: Path) -> Clips:
    pytest.importorskip("av")
    return Clips(tmp_path)
