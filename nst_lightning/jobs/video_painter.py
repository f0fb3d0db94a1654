"""Paints the frames of a video in this process, each as `nst fit` does."""

from __future__ import annotations

import copy
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import yaml
from torch import Tensor

from nst_lightning.callbacks.image_writer import FILE_NAME
from nst_lightning.data.colors import ColorKeeper
from nst_lightning.images.files import write_image
from nst_lightning.jobs.video_folder import FramesFolder
from nst_lightning.jobs.video_request import VideoRequest
from nst_lightning.jobs.video_settings import painted_sizes
from nst_lightning.jobs.video_start import Carried
from nst_lightning.jobs.worker import VERSION, Job, Status, Tell, WarningHandler, paint
from nst_lightning.losses.temporal import TemporalLoss
from nst_lightning.runs.run_folder import RUNS
from nst_lightning.utils.atomic import atomic_path

_GROWN = 0.01
"""Share of a frame that is not yet held, above which the frame is painted coarse to fine: strokes come from the coarse
levels. Below it the full size will do, in half the time."""

_TEMPORAL = f"{TemporalLoss.__module__}.{TemporalLoss.__name__}"


class FramePainter:
    """Paints one frame after another.

    Everything a frame is painted from is written to `work` first: a frame that was cut short goes on from its
    checkpoint, and `work/frame.yaml` is a config of `nst fit` that paints the same.

    Args:
        settings: Of `nst fit`, in force for all frames.
        request: Of the video.
        frames: Takes the paintings.
    """

    def __init__(self, settings: Mapping[str, Any], request: VideoRequest, frames: FramesFolder) -> None:
        self._frames = frames
        self._first = _frame_settings(settings, frames)
        sizes = painted_sizes(settings)
        self._moved = _later_settings(self._first, request, frames, sizes[-1:])
        self._grown = _later_settings(self._first, request, frames, sizes)
        colors = settings["data"]["init_args"]
        self._colors = ColorKeeper(colors.get("preserve_color"), colors.get("color_strength", 1.0))
        self._warned: set[str] = set()

    def paint(self, number: int, content: Tensor, carried: Carried | None) -> tuple[Status, str]:
        """Paint a frame.

        Args:
            number: Counted from 1.
            content: The frame, `(1, 3, H, W)` in [0, 1].
            carried: What it starts from; `None` to paint it as a picture of its own.

        Returns:
            How it ended, and why, as `worker.paint` tells.
        """
        work = self._frames.work
        write_image(work / "content.png", content)
        if carried is not None:
            # Where the content's luminance alone is painted, its colours have been put back into what was written.
            write_image(work / "warped.png", self._colors.prepare_content(carried.warped))
            write_image(work / "held.png", carried.held.expand(-1, 3, -1, -1))
        with atomic_path(work / "frame.yaml") as temporary:
            temporary.write_text(yaml.safe_dump(self._settings(carried), allow_unicode=True), encoding="utf-8")
        label = f"{number:06d}"
        words = ("fit", f"--config={work / 'frame.yaml'}", f"--name={label}")
        job = Job(label, words, work / RUNS / label, {}, 1.0)
        with self._warnings_of(number) as tell:
            status, message = paint(job, tell)
        if status == "complete":
            if carried is not None:
                write_image(self._frames.settled(number), carried.settled.expand(-1, 3, -1, -1))
            self._frames.take(job.folder / VERSION / FILE_NAME, number)
        return status, message

    def _settings(self, carried: Carried | None) -> Mapping[str, Any]:
        if carried is None:
            return self._first
        return self._grown if 1 - float(carried.held.mean()) > _GROWN else self._moved

    @contextmanager
    def _warnings_of(self, number: int) -> Iterator[Tell]:
        """Show of what a run says only the warnings, and each of them once."""
        ours = logging.getLogger("nst_lightning")
        handlers = ours.handlers

        def tell(kind: str, value: Any) -> None:
            if kind == "warning" and value not in self._warned:
                self._warned.add(value)
                sys.stderr.write(f"frame {number}: {value}\n")

        ours.handlers = [WarningHandler(tell)]
        try:
            yield tell
        finally:
            ours.handlers = handlers


def _frame_settings(settings: Mapping[str, Any], frames: FramesFolder) -> dict[str, Any]:
    """Give the settings of a frame that is painted as a picture of its own."""
    mine = copy.deepcopy(dict(settings))
    mine["data"]["init_args"]["content"] = str(frames.work / "content.png")
    mine["trainer"].update(default_root_dir=str(frames.work), logger=False, enable_progress_bar=False)
    return mine


def _later_settings(
    first: Mapping[str, Any], request: VideoRequest, frames: FramesFolder, sizes: Sequence[int]
) -> dict[str, Any]:
    """Give the settings of a frame that goes on from the one before, at some sizes.

    At the full size the learning rate is lower: Adam's first steps are as long whatever the gradient, and would shake
    what is painted already.
    """
    mine = copy.deepcopy(dict(first))
    model = mine["model"]["init_args"]
    mine["data"]["init_args"].update(
        sizes=list(sizes),
        steps=request.frame_steps,
        first_steps=None,
        warped=str(frames.work / "warped.png"),
        warped_guide=str(frames.work / "held.png"),
    )
    if request.temporal_weight > 0:
        temporal = {"class_path": _TEMPORAL, "init_args": {"weight": request.temporal_weight}}
        model["extra_losses"] = [*(model.get("extra_losses") or []), temporal]
    at_full_size = [request.frame_steps * (len(sizes) - 1)]
    model["lr_scheduler"] = {
        "class_path": "torch.optim.lr_scheduler.MultiStepLR",
        "init_args": {"milestones": at_full_size, "gamma": request.frame_lr},
    }
    return mine
