"""What there is to paint: pictures, and the frames of videos."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path, PurePosixPath

from torch import Tensor

from nst_lightning.video.reading import VideoInfo, is_video


@dataclass(frozen=True)
class PictureFile:
    """A picture or a video to be painted.

    Attributes:
        path: A file, or `sample:NAME`, as `read_image` takes it.
        name: Relative to the folder that was searched, with its suffix; the file's own if it was given itself.
    """

    path: str
    name: PurePosixPath

    @property
    def is_video(self) -> bool:
        """Whether the suffix is a video's."""
        return is_video(Path(self.path))


@dataclass(frozen=True)
class Moment:
    """Where a frame stands in its video.

    Attributes:
        index: Frames before it.
        time: Seconds from the start of the video.
        info: Of the video.
        is_last: Whether nothing of this video follows.
    """

    index: int
    time: Fraction
    info: VideoInfo
    is_last: bool = False


@dataclass(eq=False)
class Unpainted:
    """A picture as read, or a frame of a video.

    Attributes:
        file: Where it is from.
        pixels: Float32 sRGB in [0, 1], `(1, 3, H, W)`; `(1, 3, 0, 0)` if it can't be read.
        alpha: Opacity in [0, 1], `(1, 1, H, W)`, on the CPU; `None` for a frame and for an opaque picture.
        problem: Why it can't be read, in one line; `None` if it can.
        moment: Of a frame; `None` for a picture, and for a video that can't be opened.
    """

    file: PictureFile
    pixels: Tensor
    alpha: Tensor | None = None
    problem: str | None = None
    moment: Moment | None = None
