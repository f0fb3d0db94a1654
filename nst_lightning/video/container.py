"""Opening a video file with PyAV, which is an optional extra, and saying in one line why it cannot be done."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from nst_lightning.errors import UserError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

# No other formats and protocols: a play list named .mp4 could name other files, or addresses in the network.
_ONLY_VIDEO_FILES = {"format_whitelist": "mov,matroska,avi", "protocol_whitelist": "file"}


def check_pyav(name: str) -> None:
    """Refuse a video where PyAV is not installed.

    Args:
        name: The file's name in the message.

    Raises:
        UserError: If there is no PyAV.
    """
    if importlib.util.find_spec("av") is None:
        raise UserError(f"expected PyAV for {name!r}, found it not installed; pip install 'nst-lightning[video]'")


@contextmanager
def open_video(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a video file: MP4, MOV, MKV, WebM or AVI by its content, whatever its suffix.

    Args:
        path: The file.

    Yields:
        The opened file and the video stream in it that FFmpeg holds for the main one (no cover picture).

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
        container = av.open(str(path.absolute()), container_options=_ONLY_VIDEO_FILES, metadata_errors="replace")
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
        yield container, stream


def moment(frame: VideoFrame) -> Fraction | None:
    """Give the time of a decoded frame on the clock of its file, in seconds; None if the file does not say."""
    return None if frame.pts is None or not frame.time_base else frame.pts * frame.time_base


def reason(error: Exception) -> str:
    """Give what FFmpeg says in one line."""
    return " ".join(str(getattr(error, "strerror", None) or error).split())
