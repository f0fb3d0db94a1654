"""Encoding stylized frames as a video, while the next frame is being stylized."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from queue import Full, Queue

from torch import Tensor

from nst_lightning.data.predict_data import FrameInfo, MediaFile
from nst_lightning.video.writing import VideoWriter

_WAITING = 2  # frames painted and not yet encoded
_POLL = 0.2  # seconds between looks at a task that takes no more frames


class VideoEncoder:
    """Encoder of one video in a thread, frame after frame.

    Args:
        file: Video that is read; its sound is kept.
        target: File that is written.
        rate: Frames per second.
        size: Height and width of the frames, pixels.
        pool: Pool that lends a thread until the video is finished.

    Attributes:
        file: Video that is read.
        task: Future that is done when the video is there, or has the error that kept it from being written.
        is_closed: Whether no more frames are taken.
    """

    def __init__(
        self, file: MediaFile, target: Path, rate: Fraction, size: tuple[int, int], pool: ThreadPoolExecutor
    ) -> None:
        self.file = file
        self.is_closed = False
        self._frames: Queue[tuple[Tensor, Fraction] | None] = Queue(_WAITING)
        self._reason: BaseException | None = None
        self.task: Future[None] = pool.submit(self._write, target, rate, size)

    def add(self, pixels: Tensor, frame: FrameInfo) -> None:
        """Hand over a frame; wait if those before it have not been encoded.

        Args:
            pixels: sRGB in [0, 1], `(1, 3, H, W)`.
            frame: Position of the frame; after the last one nothing is taken, nor where the video can't be written.
        """
        self._put((pixels, frame.time))
        if frame.is_last:
            self._put(None)
        self.is_closed = frame.is_last or self.task.done()

    def abandon(self, reason: BaseException) -> bool:
        """Let the task end with an error, unless it has all frames; nothing is left of the file.

        Returns:
            Whether frames were missing.
        """
        was_open, self.is_closed = not self.is_closed, True
        if was_open:
            self._reason = reason
            with suppress(Full):  # then there are frames for the thread to wake up for
                self._frames.put_nowait(None)
        wait([self.task])
        return was_open

    def _put(self, frame: tuple[Tensor, Fraction] | None) -> None:
        while not self.task.done():  # one that has failed takes nothing more
            with suppress(Full):
                self._frames.put(frame, timeout=_POLL)
                return

    def _write(self, target: Path, rate: Fraction, size: tuple[int, int]) -> None:
        frame = self._take()
        with VideoWriter(target, *size, rate, sound_from=Path(self.file.path)) as video:
            while frame is not None:
                video.write(*frame)
                frame = self._take()

    def _take(self) -> tuple[Tensor, Fraction] | None:
        frame = self._frames.get()
        if self._reason is not None:
            raise self._reason
        return frame
