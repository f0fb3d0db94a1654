"""Writing a video frame by frame, with the sound of another one, whole or not at all."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from torch import Tensor

from nst_lightning.errors import UserError, user_path
from nst_lightning.utils.atomic import atomic_path, check_writable
from nst_lightning.video.audio import Sound, copy_audio
from nst_lightning.video.reading import check_pyav, reason
from nst_lightning.video.rgb_frames import RGBToFrame

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.stream import VideoStream

_FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
_TICKS = 60_000  # a second, at most: more than MPEG-4 can count; divisible by what all usual rates count in
_LARGEST_DENOMINATOR = 1001  # of the rate, frames per second: 30000/1001 and its like
_Codec = Literal["libx264", "mpeg4", "libvpx-vp9"]
_BT709 = 1  # as FFmpeg counts matrices, primaries and transfer functions
_LIMITED = 1
_THREADS = 4  # a fixed number, because x264's result depends on it


def written_suffix(source_suffix: str) -> str:
    """Return the suffix of the file that is written for a video: its own where that can be written.

    Args:
        source_suffix: Suffix of the video with its dot, as `Path.suffix` has it.

    Returns:
        Suffix; `.mp4` in place of `.avi` and of anything unknown.
    """
    suffix = source_suffix.lower()
    return suffix if suffix in _FORMATS else ".mp4"


def check_video_target(path: Path) -> None:
    """Refuse what `VideoWriter` could not write, before anything is painted.

    Args:
        path: File to be written.

    Raises:
        UserError: If the suffix is unknown, PyAV or the encoder is not installed, or the folder can't be written to.
    """
    target = user_path(path)
    if target.suffix.lower() not in _FORMATS:
        raise UserError(
            f"expected a video file ending in {', '.join(_FORMATS)}, found {target.name!r}; change the suffix"
        )
    check_pyav(target.name)
    _codec(target)
    check_writable(target)


class VideoWriter:
    """Writes a video; a context manager, at whose end the file appears, unless there was an exception.

    MP4 (the index first, so that a browser plays while it loads), M4V, MOV and MKV hold H.264, or MPEG-4 where
    PyAV has no H.264 encoder; WebM holds VP9. Colors are 4:2:0 in BT.709, limited range, tagged as such; an odd
    last row or column is cut off. The frames are taken to be upright: no rotation is noted. Times are exact to
    1/60,000 s, in MKV and WebM to a millisecond, which is all that these can say.

    The same frames give the same bytes on machines of one kind. The encoder holds some 50 frames, however many
    there are.

    Args:
        path: File to write; missing folders are created.
        height: Height of the frames, pixels.
        width: Width of the frames, pixels.
        rate: Frames per second, on average; the last frame is shown for 1/rate.
        sound_from: Video whose sound is copied as `nst_lightning.video.audio.Sound` says; the first frame
            written (`time` 0) takes the place of its first one. None for a silent video.
        crf: Constant rate factor of H.264, 0 (lossless) to 51; 17 is held to be visually lossless. For VP9, whose
            scale goes to 63, it is stretched.

    Raises:
        UserError: If `check_video_target` refuses the file; on entering, writing or leaving, if the file system or
            the container refuses, or the sound cannot be read.
    """

    def __init__(
        self,
        path: Path,
        height: int,
        width: int,
        rate: Fraction,
        *,
        sound_from: Path | None = None,
        crf: int = 17,
    ) -> None:
        check_video_target(path)
        self._target = user_path(path)
        self._rate = Fraction(rate).limit_denominator(_LARGEST_DENOMINATOR)
        self._sound_from = None if sound_from is None else user_path(sound_from)
        self._crf = crf
        self._to_frame = RGBToFrame(height, width)
        # a whole number of ticks to a frame, if there are enough of them
        ticks = _TICKS // self._rate.numerator * self._rate.numerator or _TICKS
        self._tick = Fraction(1, ticks)
        self._sound: Sound | None = None
        self._last: Fraction | None = None

    def __enter__(self) -> VideoWriter:
        import av

        with ExitStack() as opened, _ffmpeg_errors_as_user_errors(self._target):
            temporary = opened.enter_context(atomic_path(self._target))
            # +bitexact: no versions, no dates, no random numbers
            options = {"fflags": "+bitexact"}
            kind = _FORMATS[self._target.suffix.lower()]
            if kind in ("mp4", "mov"):
                options["movflags"] = "+faststart"
            container = av.open(str(temporary.absolute()), "w", format=kind, container_options=options)
            self._container = opened.enter_context(container)
            self._stream = self._add_stream()
            if self._sound_from is not None:
                self._sound = opened.enter_context(copy_audio(self._sound_from, container))
            container.start_encoding()  # so that a container's refusal comes before the first frame is painted
            self._opened = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        if kind is not None:
            return self._opened.__exit__(kind, error, trace)
        with _ffmpeg_errors_as_user_errors(self._target), self._opened:
            if self._last is None:
                raise ValueError("expected a frame to be written, got none")
            self._mux(self._stream.encode(None))
            if self._sound is not None:
                self._sound.write_until(math.inf)
        return None

    def write(self, pixels: Tensor, time: Fraction) -> None:
        """Append a frame.

        Args:
            pixels: sRGB in [0, 1] of shape `(1, 3, height, width)`, on any device.
            time: Time at which it is shown, in seconds since the first frame of the video whose sound it gets.

        Raises:
            ValueError: If the shape is another one, a value is not finite, or the time does not come after the
                last frame's.
            UserError: If the file system or the container refuses, or the sound cannot be read.
        """
        if self._last is not None and self._ticks(time) <= self._ticks(self._last):
            raise ValueError(f"expected a time after the last frame's {self._last} s, got {time} s")
        frame = self._to_frame.frame(pixels)
        frame.pts, frame.time_base = self._ticks(time), self._tick
        self._last = time
        with _ffmpeg_errors_as_user_errors(self._target):
            self._mux(self._stream.encode(frame))

    def _ticks(self, time: Fraction) -> int:
        return round((time + (self._sound.delay if self._sound else 0)) / self._tick)

    def _mux(self, packets: list[Packet[VideoStream]]) -> None:
        for packet in packets:
            packet.duration = round(1 / self._rate / self._tick)  # that of the last one counts
            if self._sound is not None and packet.dts is not None:
                self._sound.write_until(packet.dts * packet.time_base)
            self._container.mux(packet)

    def _add_stream(self) -> VideoStream:
        codec = _codec(self._target)
        stream = self._container.add_stream(
            codec, rate=self._rate, time_base=self._tick, options=_quality(codec, self._crf)
        )
        stream.width, stream.height, stream.pix_fmt = self._to_frame.width, self._to_frame.height, "yuv420p"
        context = stream.codec_context
        context.thread_count, context.thread_type = _THREADS, "FRAME"
        context.max_b_frames = 0  # an MP4 adds up times in decoding order: it would seem to end before a late frame
        context.color_range, context.colorspace = _LIMITED, _BT709
        context.color_primaries = context.color_trc = _BT709
        return stream


def _codec(target: Path) -> _Codec:
    """Return the name of the encoder for a file."""
    import av

    wanted: tuple[_Codec, ...] = ("libvpx-vp9",) if target.suffix.lower() == ".webm" else ("libx264", "mpeg4")
    codec = next((name for name in wanted if name in av.codecs_available), None)
    if codec is None:
        raise UserError(f"expected a PyAV with {wanted[0]} for {target.name!r}, found one without; use .mp4 or .mkv")
    return codec


def _quality(codec: _Codec, crf: int) -> dict[str, str]:
    if codec == "libvpx-vp9":
        # cpu-used 4 takes 0.4 of the time of the default, 1, for 1 % more bytes
        return {"crf": str(round(crf * 63 / 51)), "b": "0", "deadline": "good", "cpu-used": "4"}
    if codec == "libx264":
        # With x264's macroblock tree the same frames give other bytes once in a thousand times on a busy machine.
        return {"crf": str(crf), "mbtree": "0"}
    return {"qmin": "2", "qmax": "4"}


@contextmanager
def _ffmpeg_errors_as_user_errors(target: Path) -> Iterator[None]:
    import av

    try:
        yield
    except av.FFmpegError as error:
        raise UserError(f"cannot write {target} ({reason(error)}); choose another suffix or another place") from error
