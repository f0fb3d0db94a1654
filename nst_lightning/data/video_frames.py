"""Videos to be painted frame by frame, and how they take turns with pictures."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from itertools import chain
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from nst_lightning.data.predict_sample import Moment, PictureFile, Unpainted
from nst_lightning.errors import UserError
from nst_lightning.video.reading import VideoInfo, read_frames, read_info


class Footage:
    """All frames of some videos, one video after another.

    A video that can't be read, or breaks in the middle, ends with a frame that has a `problem` and no pixels; its index
    counts the frames before it.

    Args:
        files: The videos.
        size: Long side of the frames, pixels; `None` for each video's own.
        max_pixels: Videos with more pixels a frame are not read.
        read_ahead: Read the next frame in a thread, while the last one is painted. A process as of a `DataLoader` would
            gain nothing, since FFmpeg lets other threads run, and frames would have to fit into shared memory.
    """

    def __init__(self, files: list[PictureFile], size: int | None, max_pixels: int, read_ahead: bool = False) -> None:
        self.files = files
        self.size = size
        self.max_pixels = max_pixels
        self.read_ahead = read_ahead

    def __iter__(self) -> Iterator[Unpainted]:
        frames = chain.from_iterable(_mark_last(self._read(file)) for file in self.files)
        return _read_ahead(frames) if self.read_ahead else frames

    def _read(self, file: PictureFile) -> Iterator[Unpainted]:
        info: VideoInfo | None = None
        index, time = 0, Fraction(0)
        try:
            info = self._check(file)
            for frame in read_frames(Path(file.path), size=self.size):
                index, time = frame.index + 1, frame.time
                yield Unpainted(file, frame.pixels, moment=Moment(frame.index, time, info))
        except UserError as error:
            moment = None if info is None else Moment(index, time, info)
            yield Unpainted(file, torch.empty(1, 3, 0, 0), problem=str(error), moment=moment)

    def _check(self, file: PictureFile) -> VideoInfo:
        info = read_info(Path(file.path))
        if info.width * info.height > self.max_pixels:
            raise UserError(
                f"expected at most {self.max_pixels} pixels a frame, found {info.width}×{info.height} in {file.path}; "
                "raise data.max_pixels"
            )
        return info

    def count_frames(self) -> int | None:
        """Add up what the files say of themselves, which may be off by some; `None` if one does not say."""
        counts = [self._count(file) for file in self.files]
        return None if None in counts else sum(count for count in counts if count is not None)

    def _count(self, file: PictureFile) -> int | None:
        try:
            return self._check(file).frames
        except UserError:
            return 1  # its problem


def _mark_last(frames: Iterator[Unpainted]) -> Iterator[Unpainted]:
    """Read one frame ahead, to know which is the last of a video, of which there is at least one."""
    waiting = next(frames)
    for frame in frames:
        yield waiting
        waiting = frame
    moment = waiting.moment
    yield replace(waiting, moment=None if moment is None else replace(moment, is_last=True))


def _read_ahead(frames: Iterator[Unpainted]) -> Iterator[Unpainted]:
    with ThreadPoolExecutor(1, thread_name_prefix="reader") as pool:
        coming = pool.submit(next, frames, None)
        while (frame := coming.result()) is not None:
            coming = pool.submit(next, frames, None)
            yield frame


class Share:
    """What one of several processes paints: its pictures, then its videos.

    It has no length, on no process: Lightning would add up lengths over all of them, and wait for ever where only
    some have one.

    Args:
        pictures: Loads one at a time.
        footage: Reads frame after frame, from when the pictures are done.
    """

    def __init__(self, pictures: DataLoader[Unpainted], footage: Footage) -> None:
        self.pictures = pictures
        self.footage = footage

    def __iter__(self) -> Iterator[Unpainted]:
        return chain.from_iterable((self.pictures, self.footage))

    def count(self) -> int | None:
        """Give the number of pictures and frames, as far as it is known before they are read."""
        frames = self.footage.count_frames()
        return None if frames is None else len(self.pictures) + frames
