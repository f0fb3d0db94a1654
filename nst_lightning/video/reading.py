"""Reading a video frame by frame with PyAV: upright, in square pixels, with the time of each frame."""

from __future__ import annotations

import importlib.util
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from nst_lightning.errors import UserError, one_line, user_path
from nst_lightning.utils.storage import fetch
from nst_lightning.video.rgb_frames import FrameToRGB

_log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".3gp", ".3g2", ".mkv", ".webm", ".avi")
_HDR = {16: "PQ", 18: "HLG"}  # transfer functions, as FFmpeg counts them
_MOST_PIXELS = 200_000_000  # of a frame; more are not even decoded
# No other formats and protocols: a play list named .mp4 could name other files, or addresses in the network.
_ONLY_VIDEO_FILES = {"format_whitelist": "mov,matroska,avi", "protocol_whitelist": "file"}
_USUAL_RATE = Fraction(25)  # where a file gives no hint at all
_SLACK = Fraction(1, 4)  # seconds by which a header may promise too much


def is_video(path: Path) -> bool:
    """Return whether a file has a video's suffix."""
    return path.suffix.lower() in VIDEO_SUFFIXES


@dataclass(frozen=True)
class VideoInfo:
    """What is known of a video before its frames are read.

    Args:
        width: Width of an upright frame in square pixels.
        height: Height of an upright frame in square pixels.
        rate: Frames per second, on average.
        frames: Number of frames: as the file says, else estimated from its duration; None if it says neither.
        has_sound: Whether there is sound.
    """

    width: int
    height: int
    rate: Fraction
    frames: int | None
    has_sound: bool


@dataclass(eq=False)
class Frame:
    """One frame of a video.

    Args:
        index: Number of the frame, from 0.
        time: Time at which it is shown, in seconds since the first frame.
        pixels: Float32 sRGB in [0, 1], of shape `(1, 3, H, W)`, upright and in square pixels.
    """

    index: int
    time: Fraction
    pixels: Tensor


def check_pyav(name: str) -> None:
    """Refuse a video where PyAV is not installed.

    Args:
        name: Name of the file in the message.

    Raises:
        UserError: If there is no PyAV.
    """
    if importlib.util.find_spec("av") is None:
        raise UserError(f"expected PyAV for {name!r}, found it not installed; pip install 'nst-lightning[video]'")


@contextmanager
def open_video(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a video file: MP4, MOV, MKV, WebM or AVI by its content, whatever its suffix.

    Args:
        path: Video file.

    Yields:
        Opened file and the video stream in it that FFmpeg holds for the main one (no cover picture).

    Raises:
        UserError: If PyAV or the file is missing, or there is no video in it that can be decoded.
    """
    check_pyav(path.name)
    import av
    from av.video.stream import VideoStream

    if not path.is_file():
        found = f"the folder {path}" if path.is_dir() else f"no {path}"
        raise UserError(f"expected a video file, found {found}; check the path")
    try:
        # absolute, because FFmpeg takes what stands before a colon for a protocol
        container = av.open(str(fetch(path).absolute()), container_options=_ONLY_VIDEO_FILES, metadata_errors="replace")
    except av.FFmpegError as error:
        raise UserError(
            f"expected a video (MP4, MOV, MKV, WebM or AVI), found something else or a damaged file in {path} "
            f"({reason(error)}); convert it to MP4"
        ) from error
    with container:
        stream = container.streams.best("video")
        if not isinstance(stream, VideoStream):
            raise UserError(f"expected a video, found no moving picture in {path}; choose another file")
        if stream.codec_context is None:
            raise UserError(
                f"expected a video that FFmpeg can decode, found another codec in {path}; convert it to H.264"
            )
        if stream.codec_context.width * stream.codec_context.height > _MOST_PIXELS:
            raise UserError(
                f"expected at most {_MOST_PIXELS:,} pixels a frame, found {stream.codec_context.width}×"
                f"{stream.codec_context.height} in {path}; make the video smaller"
            )
        yield container, stream


def reason(error: Exception) -> str:
    """Return what FFmpeg says, in one line."""
    return one_line(getattr(error, "strerror", None) or error)


def read_info(path: Path) -> VideoInfo:
    """Return what is known of a video; its first frame is decoded, since only there the orientation stands.

    Args:
        path: Video file.

    Raises:
        UserError: If PyAV or the file is missing, the file is no video, or its first frame is damaged.
    """
    path = user_path(path)
    with open_video(path) as (container, stream):
        _, first = next(_timed_frames(path, container, stream))
        height, width = FrameToRGB(stream).shape(first)
        rate, has_sound = _rate(stream), bool(container.streams.audio)
        return VideoInfo(width, height, rate, _count(container, stream), has_sound)


def read_frames(path: Path, *, size: int | None = None, start: int = 0) -> Iterator[Frame]:
    """Yield the frames of a video, one in memory at a time.

    The rotation or mirroring that a phone notes beside the frames is carried out, pixels that are not square are
    made so by changing the width, and colors are converted as `nst_lightning.video.rgb_frames.FrameToRGB` says: HDR is
    not tone-mapped. Times are kept as the file has them, also where the rate varies; a frame without a time, or
    with one that does not come after the frame before, follows that one at the average rate.

    Args:
        path: Video file.
        size: Length of the longer side of the frames, pixels; None for their own.
        start: Number of frames to leave out at the beginning. They are decoded nevertheless, since others are made
            from them.

    Yields:
        Frames in the order in which they are shown; `index` and `time` count those left out.

    Raises:
        UserError: If PyAV or the file is missing, the file is no video, or it is damaged or cut short: after the frames
            before the damage, with the number and the time of the frame that is missing.
    """
    path = user_path(path)
    with open_video(path) as (container, stream):
        stream.thread_type = "AUTO"
        to_rgb = FrameToRGB(stream, size)
        for index, (time, frame) in enumerate(_timed_frames(path, container, stream)):
            if index == 0:
                _log_unread(path, int(stream.codec_context.color_trc), frame)
                to_rgb.shape(frame)  # goes for all, also for those of another start
            if index >= start:
                yield Frame(index, time, to_rgb.pixels(frame))


def _log_unread(path: Path, color_trc: int, frame: VideoFrame) -> None:
    """Log what is lost of a video whose first frame this is."""
    if curve := _HDR.get(color_trc):
        _log.warning(
            "%s is HDR (%s), which is read as if it were not: colors come out flat and pale; convert it to SDR before, "
            "such as by FFmpeg's filter tonemap",
            path,
            curve,
        )
    if frame.interlaced_frame:
        _log.warning("%s is interlaced: moving edges come out as combs; deinterlace it before", path)
    if any(component.is_alpha for component in frame.format.components):
        _log.warning("%s is transparent in parts, which is not read: what lies beneath is seen there", path)


def first_frame_time(path: Path) -> Fraction:
    """Return when the first frame is shown, in seconds on the clock of the file, which sound goes by as well.

    Args:
        path: Video file.

    Raises:
        UserError: As `read_info`.
    """
    with open_video(path) as (container, stream):
        _, first = next(_timed_frames(path, container, stream))
        return _frame_time(first) or Fraction(0)


def _frame_time(frame: VideoFrame) -> Fraction | None:
    """Return the time of a decoded frame on the clock of its file, in seconds; None if the file does not say."""
    return None if frame.pts is None or not frame.time_base else frame.pts * frame.time_base


def _timed_frames(path: Path, container: InputContainer, stream: VideoStream) -> Iterator[tuple[Fraction, VideoFrame]]:
    """Yield each frame with its time since the first one; end only where the video does."""
    import av

    count, step = 0, 1 / _rate(stream)
    beginning, time, shown = Fraction(0), -step, step
    try:
        for frame in container.decode(stream):
            if frame.is_corrupt:
                raise _damaged(path, count, time + step, "its data are")
            now = _frame_time(frame)
            if count == 0 and now is not None:
                beginning = now
            time = now - beginning if now is not None and now - beginning > time else time + step
            yield time, frame
            count += 1
            shown = max(step, Fraction(frame.duration or 0) * (frame.time_base or 0))
    except av.FFmpegError as error:
        raise _damaged(path, count, time + step, reason(error)) from error
    promised = _promised_end(container, stream)
    if count == 0 or (promised is not None and beginning + time + shown + _SLACK < promised):
        raise _damaged(path, count, time + step, "the file ends there")


def _damaged(path: Path, index: int, time: Fraction, reason: str) -> UserError:
    return UserError(
        f"expected a whole video, found {path} damaged or cut short at frame {index}, {float(time):.2f} s ({reason}); "
        "get the file anew, or cut it off there"
    )


def _promised_end(container: InputContainer, stream: VideoStream) -> Fraction | None:
    """Return the time at which the last frame ends according to the file's header, in seconds; None if it says none.

    FFmpeg ends a file that is cut short like any other, without an error.
    """
    whole = None if container.duration is None else Fraction(container.duration, 1_000_000)
    tag = re.match(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", ""))  # Matroska
    if tag is not None and whole is not None:
        hours, minutes, seconds = map(Fraction, tag.groups())
        return min(3600 * hours + 60 * minutes + seconds, whole)  # a program that cuts videos may leave the old tag
    if container.format.name == "avi":  # where FFmpeg's duration is what the length of the file allows
        return stream.frames / _rate(stream)
    return None if stream.duration is None or not stream.time_base else stream.duration * stream.time_base


def _rate(stream: VideoStream) -> Fraction:
    return stream.average_rate or stream.guessed_rate or _USUAL_RATE


def _count(container: InputContainer, stream: VideoStream) -> int | None:
    if stream.frames:
        return stream.frames
    end, start = _promised_end(container, stream), (stream.start_time or 0) * (stream.time_base or 1)
    return None if end is None else max(1, round((end - start) * _rate(stream)))
