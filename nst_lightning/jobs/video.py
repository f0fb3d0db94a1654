"""A video painted frame by frame, each started from the one before."""

from __future__ import annotations

import gc
import importlib
import logging
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from nst_lightning.data.transfer_data import TransferData
from nst_lightning.encoders.encoder_weights import weights_kept
from nst_lightning.errors import UserError, user_path
from nst_lightning.images.files import read_image
from nst_lightning.images.resize import fit_long_side, resize
from nst_lightning.jobs.frames import SAME_SCENE, FramePainter, FramesFolder, FrameWarper, WarpedFrame, painted_sizes
from nst_lightning.jobs.processes import StopSignals
from nst_lightning.jobs.settings import OF_THE_RUN, check_many, shared_settings
from nst_lightning.runs.fit_command import resolve_settings
from nst_lightning.tasks.style_transfer import StyleTransfer
from nst_lightning.utils.addresses import shown
from nst_lightning.utils.hashing import file_sha256
from nst_lightning.utils.memory import release_memory
from nst_lightning.utils.overwriting import ReadFile, WrittenFile, check_overwriting, named_files
from nst_lightning.video.flow import FlowMethod
from nst_lightning.video.reading import VideoInfo, read_frames, read_info
from nst_lightning.video.writing import VideoWriter, check_video_target

_log = logging.getLogger(__name__)

_IMAGES = ("style", "guides", "style_guides", "content_guide", "init")  # options of the data that may name files


@dataclass(frozen=True)
class VideoRequest:
    """A video to be painted.

    Attributes:
        configs: Files of settings of `nst fit`.
        base: Further arguments of `nst fit`.
        video: File that is read.
        output: File that is written.
        frame_steps: Optimizer steps of each level of a frame that starts from the one before.
        frame_lr: Learning rate of such a frame at the full size over the config's.
        temporal_weight: Weight of its `TemporalLoss`; 0 for none.
        flow: Method by which motion is estimated.
        keep_frames: Whether the painted frames stay as images beside the output.
        overwrite: Whether an output that is there already, finished, is painted anew.
    """

    configs: tuple[str, ...]
    base: tuple[str, ...]
    video: Path
    output: Path
    frame_steps: int
    frame_lr: float
    temporal_weight: float
    flow: FlowMethod
    keep_frames: bool
    overwrite: bool


def run_video(request: VideoRequest) -> int:
    """Paint a video, or what is left of it.

    The first frame is painted as `nst fit` does it. Every later one starts from the painting before it, warped by
    optical flow, and is painted for fewer steps, at the full size alone, at a lower learning rate and with a
    `TemporalLoss` where the flow is to be trusted (Ruder, Dosovitskiy and Brox 2016, arXiv 1604.08610). Where little of
    a frame was seen before, it is painted like the first.

    Started again with the same request it goes on where it was stopped or killed; the frames so far are in
    `OUTPUT.frames`.

    Args:
        request: The video.

    Returns:
        0 if the video is written, 1 if a frame could not be painted, 130, 143 or 129 after Ctrl-C, SIGTERM or SIGHUP.

    Raises:
        UserError: If what is asked for makes no sense, before anything runs, or the video is damaged.
    """
    settings = resolve_settings(["fit", *(f"--config={path}" for path in request.configs), *request.base])
    check_settings(settings)
    info = read_info(request.video)
    check_video_target(request.output)
    frames = FramesFolder.beside(request.output)
    check_overwriting(
        [
            WrittenFile(request.output, f"--output {request.output}"),
            WrittenFile(frames.folder, f"the folder of the frames, {frames.folder},", "holds", is_folder=True),
        ],
        [
            ReadFile(request.video, "the video that is read"),
            *named_files([settings, request.configs], [*OF_THE_RUN, "data.init_args.content"]),
        ],
    )
    if request.output.exists() and not frames.folder.exists() and not request.overwrite:
        remedy = "whether it was painted from this is not known (--overwrite true paints it again)"
        _log.info("%s is there already; %s", request.output, remedy)
        return 0
    warper = FrameWarper(request.flow, str(settings["trainer"]["accelerator"]))
    painter = FramePainter(settings, frames, request.frame_steps, request.frame_lr, request.temporal_weight)
    wanted = identity(request, settings, warper.name)
    signals = StopSignals()
    with frames.locked():
        frames.keep_settings(wanted)
        painting = _Painting(request.video, info, painted_sizes(settings)[-1], painter, warper, frames)
        try:
            with signals, weights_kept():
                status = painting.paint()
                if status == 0:
                    _write(request, info, frames)
                    frames.leave_images()
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
        video: File that is read.
        info: Properties of the video.
        size: Long side of the paintings, pixels.
        painter: Paints a frame.
        warper: Warps paintings from frame to frame.
        frames: Folder of the paintings.
    """

    def __init__(
        self, video: Path, info: VideoInfo, size: int, painter: FramePainter, warper: FrameWarper, frames: FramesFolder
    ) -> None:
        self._video = video
        self._size = size
        self._painter = painter
        self._warper = warper
        self._frames = frames
        self._count = info.frames
        self._started = time.monotonic()
        self._later: list[float] = []  # seconds of the frames that started from the one before

    def paint(self) -> int:
        """Paint the frames that are not there yet; return the command's exit code."""
        done = self._frames.painted()
        of_how_many = "" if self._count is None else f" of {self._count}"
        _log.info("%d%s frames painted; flow by %s", done, of_how_many, self._warper.name)
        before: Tensor | None = None
        gc.freeze()  # what was imported is not looked through after each frame
        try:
            for number, content in self._contents(max(0, done - 1)):
                if number > done:
                    self._started = time.monotonic()
                    start = None if before is None else self._predict(number, before, content)
                    outcome = self._painter.paint(number, content, start)
                    release_memory()  # the next run must not need room beside this one's
                    if outcome.status == "stopped":
                        return 128 + signal.Signals[outcome.message or "SIGINT"]
                    if outcome.status == "failed":
                        _log.error("frame %d could not be painted: %s", number, outcome.message)
                        return 1
                    self._log(number, start)
                before = content
        finally:
            gc.unfreeze()
        return 0

    def _contents(self, start: int) -> Iterator[tuple[int, Tensor]]:
        """Yield frames, counted from 1, at the size of the paintings."""
        for frame in read_frames(self._video, size=self._size, start=start):
            height, width = frame.pixels.shape[-2:]
            yield frame.index + 1, resize(frame.pixels, fit_long_side(height, width, self._size))

    def _predict(self, number: int, before: Tensor, now: Tensor) -> WarpedFrame | None:
        """Return what the frame starts from; `None` after a cut."""
        # Not what was painted but what was written of it: that alone is still there after a restart.
        painted, file = read_image(self._frames.image(number - 1)).pixels, self._frames.weight(number - 1)
        weight = read_image(file).pixels[:, :1] if file.exists() else torch.ones_like(painted[:, :1])
        warped = self._warper.warp(painted, weight, before, now)
        return None if warped.new > 1 - SAME_SCENE else warped

    def _log(self, number: int, start: WarpedFrame | None) -> None:
        seconds = time.monotonic() - self._started
        parts = [f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"]
        parts += ["a new scene" if start is None else f"{start.new:.0%} new"]
        if start is not None:
            self._later.append(seconds)
        if self._count is not None and number < self._count and self._later:
            left = (self._count - number) * sum(self._later) / len(self._later)
            parts.append(f"{tqdm.format_interval(left)} left")
        of_how_many = "" if self._count is None else f"/{self._count}"
        _log.info("[%d%s] %s", number, of_how_many, ", ".join(parts))


def _write(request: VideoRequest, info: VideoInfo, frames: FramesFolder) -> None:
    """Put the paintings together, each at the time of its frame."""
    height, width = read_image(frames.image(1)).pixels.shape[-2:]
    sound = request.video if info.has_sound else None
    with VideoWriter(request.output, height, width, info.rate, sound_from=sound) as writer:
        for frame in read_frames(request.video, size=1):  # for its time alone
            writer.write(read_image(frames.image(frame.index + 1)).pixels, frame.time)
    _log.info("video: %s", request.output)


def check_settings(settings: Mapping[str, Any]) -> None:
    """Refuse what can't hold for the frames of a video.

    Args:
        settings: Settings of `nst fit`, as `resolve_settings` returns them.

    Raises:
        UserError: If they don't paint images, all frames would write the same file, a frame would be painted on
            several devices, what is written is not what was painted, or there is no style that can be read.
    """
    for key, kind in (("model", StyleTransfer), ("data", TransferData)):
        found = settings[key]["class_path"]
        module, _, name = found.rpartition(".")
        if not issubclass(getattr(importlib.import_module(module), name), kind):
            raise UserError(f"nst video paints with a {kind.__name__}, but {key} is {found}; give another --config.")
    data, output = settings["data"]["init_args"], settings["output"]
    styles = _listed(data.get("style"))
    if not styles:
        raise UserError("nst video needs --style: a painting or several, or sample:NAME.")
    for style in styles:
        read_image(style, max_pixels=data["max_pixels"])
    if set(output["gain"]) != {1.0} or set(output["offset"]) != {0.0}:
        raise UserError("a frame starts from the one before as it was written; leave output.gain and output.offset.")
    if settings["model"]["init_args"].get("lr_scheduler") is not None:
        raise UserError("a frame that starts from the one before has a schedule of its own; leave model.lr_scheduler.")
    one_device = "nst video paints on one device; leave trainer.devices and trainer.num_nodes."
    check_many(settings, "frames", one_device)


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def identity(request: VideoRequest, settings: Mapping[str, Any], flow: str) -> dict[str, Any]:
    """Return all that the frames follow from, by which one knows them again.

    Args:
        request: The video.
        settings: Settings of `nst fit`.
        flow: Name of the method by which motion is estimated.

    Returns:
        Settings, nested, and the SHA-256 of each file that is read, its first 16 hexadecimal digits.

    Raises:
        UserError: If a file can't be read.
    """
    data = settings["data"]["init_args"]
    named = [shown(request.video), *(name for key in _IMAGES for name in _listed(data.get(key)) if name)]
    files = {name: user_path(name) for name in named}
    files |= {shown(read.path): read.path for read in named_files(settings["model"])}  # an encoder of one's own
    kept = shared_settings(settings)
    return {
        "frame_steps": request.frame_steps,
        "frame_lr": request.frame_lr,
        "temporal_weight": request.temporal_weight,
        "flow": flow,
        **kept,
        "data": {**kept["data"], "init_args": {**data, "content": shown(request.video)}},
        "sha256 of": {name: _digest(file) for name, file in files.items() if file.is_file()},
    }


def _digest(file: Path) -> str:
    try:
        return file_sha256(file)[:16]
    except OSError as error:
        raise UserError(f"{file} can't be read ({error.strerror}); check its permissions.") from error
