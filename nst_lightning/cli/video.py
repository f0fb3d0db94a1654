"""`nst video`: a video painted frame by frame, each started from the one before."""

from __future__ import annotations

import gc
import logging
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from nst_lightning.encoders.encoder_weights import weights_kept
from nst_lightning.errors import UserError
from nst_lightning.images.files import read_image
from nst_lightning.images.resize import fit_long_side, resize
from nst_lightning.jobs.batch_painter import StopSignals
from nst_lightning.jobs.video_folder import FramesFolder
from nst_lightning.jobs.video_painter import FramePainter
from nst_lightning.jobs.video_request import VideoRequest, read_video_request
from nst_lightning.jobs.video_settings import check_settings, identity, painted_sizes
from nst_lightning.jobs.video_start import SAME_SCENE, Carried, Motion
from nst_lightning.runs.fit_command import resolve_settings
from nst_lightning.video.reading import VideoInfo, read_frames, read_info
from nst_lightning.video.writing import VideoWriter, check_video_target

_log = logging.getLogger(__name__)


def run_video(words: Sequence[str]) -> int:
    """Run `nst video …`.

    The first frame is painted as `nst fit` does it. Every later one starts from the painting before it, moved along by
    optical flow, and is painted for fewer steps, at the full size alone, at a lower learning rate and with a
    `TemporalLoss` where the flow is to be trusted (Ruder, Dosovitskiy and Brox 2016, arXiv 1604.08610). Where little of
    a frame was seen before, it is painted like the first.

    Started again with the same words it goes on where it was stopped or killed; the frames so far are in
    `OUTPUT.frames`.

    Args:
        words: After `nst video`.

    Returns:
        0 if the video is written, 1 if a frame could not be painted, 130 or 143 after Ctrl-C or SIGTERM.

    Raises:
        UserError: If what is asked for makes no sense, before anything runs, or the video is damaged.
    """
    request = read_video_request(words)
    settings = resolve_settings(["fit", *(f"--config={path}" for path in request.configs), *request.base])
    check_settings(settings)
    info = read_info(request.video)
    check_video_target(request.output)
    if request.output.exists() and request.output.samefile(request.video):
        raise UserError(f"--output {request.output} is the video that is read; choose another name.")
    frames = FramesFolder(request.output)
    if request.output.exists() and not frames.folder.exists() and not request.overwrite:
        _log.info("%s is there already (--overwrite true paints it again)", request.output)
        return 0
    motion = Motion(request.flow, str(settings["trainer"]["accelerator"]))
    painter = FramePainter(settings, request, frames)
    wanted = identity(request, settings, motion.name)
    signals = StopSignals()
    with frames.held():
        frames.keep_settings(wanted)
        painting = _Painting(request.video, info, painted_sizes(settings)[-1], painter, motion, frames)
        try:
            with signals, weights_kept():
                status = painting.paint()
                if status == 0:
                    _write(request, info, frames)
                    frames.leave_pictures()
        except KeyboardInterrupt:
            status = 128 + (signals.number or signal.SIGINT)
    if status > 128:
        _log.info("stopped; the same command goes on where this one was")
    if status == 0 and not request.keep_frames:
        frames.remove()
    return status


class _Painting:
    """The frames of one video, painted in order.

    Args:
        video: The file.
        info: What is known of it.
        size: Long side of the paintings, pixels.
        painter: Paints a frame.
        motion: Carries paintings along.
        frames: Where they are.
    """

    def __init__(
        self, video: Path, info: VideoInfo, size: int, painter: FramePainter, motion: Motion, frames: FramesFolder
    ) -> None:
        self._video = video
        self._size = size
        self._painter = painter
        self._motion = motion
        self._frames = frames
        self._count = info.frames
        self._started = time.monotonic()
        self._later: list[float] = []  # seconds of the frames that started from the one before

    def paint(self) -> int:
        """Paint the frames that are not there yet; give the command's exit code."""
        done = self._frames.painted()
        of_how_many = "" if self._count is None else f" of {self._count}"
        _log.info("%d%s frames painted; flow by %s", done, of_how_many, self._motion.name)
        before: Tensor | None = None
        gc.freeze()  # what was imported is not looked through after each frame
        try:
            for number, content in self._contents(max(0, done - 1)):
                if number > done:
                    self._started = time.monotonic()
                    carried = None if before is None else self._carry(number, before, content)
                    status, message = self._painter.paint(number, content, carried)
                    gc.collect()  # Trainer and module refer to each other: they would stay beside the next run's
                    if status == "stopped":
                        return 128 + signal.Signals[message or "SIGINT"]
                    if status == "failed":
                        _log.error("frame %d could not be painted: %s", number, message)
                        return 1
                    self._say(number, carried)
                before = content
        finally:
            gc.unfreeze()
        return 0

    def _contents(self, start: int) -> Iterator[tuple[int, Tensor]]:
        """Give frames, counted from 1, at the size of the paintings."""
        for frame in read_frames(self._video, size=self._size, start=start):
            height, width = frame.pixels.shape[-2:]
            yield frame.index + 1, resize(frame.pixels, fit_long_side(height, width, self._size))

    def _carry(self, number: int, before: Tensor, now: Tensor) -> Carried | None:
        """Give what the frame starts from; `None` after a cut."""
        # Not what was painted but what was written of it: that alone is still there after a restart.
        painted, settled = read_image(self._frames.picture(number - 1)).pixels, self._frames.settled(number - 1)
        held = read_image(settled).pixels[:, :1] if settled.exists() else torch.ones_like(painted[:, :1])
        carried = self._motion.carry(painted, held, before, now)
        return None if carried.new > 1 - SAME_SCENE else carried

    def _say(self, number: int, carried: Carried | None) -> None:
        seconds = time.monotonic() - self._started
        parts = [f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"]
        parts += ["a new scene" if carried is None else f"{carried.new:.0%} new"]
        if carried is not None:
            self._later.append(seconds)
        if self._count is not None and number < self._count and self._later:
            left = (self._count - number) * sum(self._later) / len(self._later)
            parts.append(f"{tqdm.format_interval(left)} left")
        of_how_many = "" if self._count is None else f"/{self._count}"
        _log.info("[%d%s] %s", number, of_how_many, ", ".join(parts))


def _write(request: VideoRequest, info: VideoInfo, frames: FramesFolder) -> None:
    """Put the paintings together, each at the time of its frame."""
    height, width = read_image(frames.picture(1)).pixels.shape[-2:]
    sound = request.video if info.has_sound else None
    with VideoWriter(request.output, height, width, info.rate, sound_from=sound) as writer:
        for frame in read_frames(request.video, size=1):  # for its time alone
            writer.write(read_image(frames.picture(frame.index + 1)).pixels, frame.time)
    _log.info("video: %s", request.output)
