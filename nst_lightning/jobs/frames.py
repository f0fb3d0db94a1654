"""The frames of a video that is being painted: their folder, how one is painted, and what a later one starts from."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from nst_lightning.callbacks.image_writer import FILE_NAME
from nst_lightning.data.colors import ColorKeeper
from nst_lightning.data.schedule import pyramid_sizes
from nst_lightning.encoders.topology import smallest_side
from nst_lightning.errors import UserError
from nst_lightning.images.files import write_image
from nst_lightning.images.resize import fit_long_side
from nst_lightning.jobs.job import Job, JobFolder, Outcome, output_of_run, run_job
from nst_lightning.jobs.settings import KeptSettings
from nst_lightning.losses.temporal import TemporalLoss
from nst_lightning.runs.resume import RUNS
from nst_lightning.runs.saved_config import changed_settings
from nst_lightning.utils.atomic import write_text
from nst_lightning.utils.locks import LOCK, check_locks
from nst_lightning.utils.storage import look, put, remove
from nst_lightning.utils.yaml_texts import to_yaml
from nst_lightning.video.flow import FlowMethod, make_flow
from nst_lightning.video.warping import reliability, warp

SETTINGS = "video.yaml"

SAME_SCENE = 0.3
"""Share of a frame below which the one before is no help: across a cut flow is trusted here and there by chance."""

_SETTLING = 10
"""Frames over which what has come into view is held ever more to the painting of the frame before. The few steps of one
frame don't make paint of it: held at once, it would stay the photograph that it starts from."""

_GROWN = 0.01
"""Share of a frame that is not yet held, above which the frame is painted coarse to fine: strokes come from the coarse
levels. Below it the full size will do, in half the time."""

_NARROW = smallest_side(["relu5_4"])
"""Short side in pixels below which a level of a panorama may be too small for a layer."""

_TEMPORAL = f"{TemporalLoss.__module__}.{TemporalLoss.__name__}"


class FramesFolder:
    """`OUTPUT.frames`: `000001.png` and so on, without gaps; `video.yaml`; `work` for the frame in progress.

    Beside the latest frame is what the next one needs of it: `000012-settled.png` (`WarpedFrame.next_weight`), unless
    it is 1 everywhere, as after a frame that was painted as an image of its own.

    Args:
        folder: Path of the folder.

    Attributes:
        work: Folder of what can be made again; emptied after each frame.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.work = folder / "work"
        self._settings = KeptSettings(
            folder / SETTINGS,
            content="frames of",
            foreign="is not of nst video",
            remedy=f"give another --output, or remove {folder} to paint all anew",
            foreign_remedy="give another --output",
        )

    @classmethod
    def beside(cls, output: Path) -> FramesFolder:
        """Return the folder of a video that is to be written to a file."""
        folder = output.with_name(f"{output.name}.frames")
        look(folder)
        return cls(folder)

    def image(self, number: int) -> Path:
        """Return the file of a painted frame, counted from 1."""
        return self.folder / f"{number:06d}.png"

    def weight(self, number: int) -> Path:
        """Return the file of the weights with which the frame after this one is held to it."""
        return self.folder / f"{number:06d}-settled.png"

    def painted(self) -> int:
        """Return the number of frames that are there, up to the first that is missing."""
        count = 0
        while self.image(count + 1).exists():
            count += 1
        return count

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep the folder from other processes.

        Raises:
            UserError: If it can't be made, one has it, or the file system knows no locks.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"cannot make the folder {self.folder} ({error.strerror}); give another --output."
            ) from error
        check_locks(self.folder, "--output")
        try:
            with FileLock(self.folder / LOCK, timeout=0):
                yield
        except Timeout as error:
            raise UserError(f"another process is painting the frames in {self.folder}; let it end.") from error

    def keep_settings(self, wanted: Mapping[str, Any]) -> None:
        """Note what the frames are painted from, or refuse to add frames of another kind.

        Args:
            wanted: Settings, nested.

        Raises:
            UserError: If the folder holds frames of other settings, or something else.
        """
        kept = self._settings.read()
        changes = [] if kept is None else changed_settings(kept, dict(wanted))
        if self.painted():
            self._settings.refuse(changes)
        if changes:
            with suppress(OSError):
                remove(self.work)  # of a first frame that can't go on under other settings
        if kept is None or changes:
            self._settings.write(wanted)

    def take(self, painted: Path, number: int) -> None:
        """Take in a painted frame; forget how it came about."""
        put(painted, self.image(number))
        painted.replace(self.image(number))
        remove(self.weight(number - 1))
        remove(self.work)

    def leave_images(self) -> None:
        """Remove what only a next frame would need, and what a process left that was killed while it took one in."""
        for number in (self.painted() - 1, self.painted()):
            remove(self.weight(number))
        with suppress(OSError):
            remove(self.work)

    def remove(self) -> None:
        """Remove the folder; nobody may hold it."""
        with suppress(OSError):
            remove(self.folder)


@dataclass(frozen=True, eq=False)
class WarpedFrame:
    """A frame as the painting of the one before predicts it.

    Attributes:
        image: Painting of the frame before, warped, `(1, 3, H, W)` in [0, 1].
        mask: 1 where the flow is to be trusted, else 0, `(1, 1, H, W)`.
        weight: Weight with which the frame is held to the image, `(1, 1, H, W)` in [0, 1]: 0 where the flow is not
            trusted, and 1 only where it was for the last frames.
    """

    image: Tensor
    mask: Tensor
    weight: Tensor

    @property
    def new(self) -> float:
        """The share of the frame that was not seen in the one before."""
        return 1 - float(self.mask.mean())

    @property
    def next_weight(self) -> Tensor:
        """The weight that goes with each pixel of the frame, once painted, to the next one, `(1, 1, H, W)`."""
        return (self.weight + 1 / _SETTLING).clamp(max=1)


class FrameWarper:
    """Warps paintings from frame to frame by optical flow.

    Args:
        method: Method of estimation.
        accelerator: Accelerator of the Trainer: with `auto` and those of GPUs the flow is estimated on a GPU where
            there is one.

    Attributes:
        name: Name of the method in use.
    """

    def __init__(self, method: FlowMethod, accelerator: str) -> None:
        on_gpu = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
        self._flow = make_flow(method, "cuda" if on_gpu else "cpu")
        self.name = self._flow.name

    @torch.no_grad()
    def warp(self, painted: Tensor, weight: Tensor, before: Tensor, now: Tensor) -> WarpedFrame:
        """Warp a painting to the next frame.

        Args:
            painted: Painting of the frame before, `(1, 3, H, W)` in [0, 1].
            weight: Weight of each of its pixels, `WarpedFrame.next_weight`, `(1, 1, H, W)` in [0, 1].
            before: Frame before, unpainted, of the painting's shape.
            now: Frame to be painted, of the same shape.

        Returns:
            A prediction of the frame's painting.
        """
        backward = self._flow.estimate(now, before)
        mask = reliability(backward, self._flow.estimate(before, now))
        return WarpedFrame(warp(painted, backward), mask, mask * warp(weight, backward))


def painted_sizes(settings: Mapping[str, Any]) -> list[int]:
    """Return the long sides of the levels that an image is painted at, pixels, ascending."""
    data = settings["data"]["init_args"]
    return list(data.get("sizes") or pyramid_sizes(data["size"], data["min_size"]))


class FramePainter:
    """Paints one frame after another, each as `nst fit` does.

    Everything a frame is painted from is written to `work` first: a frame that was cut short goes on from its
    checkpoint, and `work/frame.yaml` is a config of `nst fit` that paints the same.

    Args:
        settings: Settings of `nst fit` in force for all frames.
        frames: Folder that takes the paintings.
        steps: Number of steps of each level of a frame that starts from the one before.
        lr_factor: Factor of its learning rate at the full size.
        temporal_weight: Weight of its `TemporalLoss`; 0 for none.
    """

    def __init__(
        self, settings: Mapping[str, Any], frames: FramesFolder, steps: int, lr_factor: float, temporal_weight: float
    ) -> None:
        self._frames = frames
        self._steps = steps
        self._lr_factor = lr_factor
        self._temporal_weight = temporal_weight
        self._first = copy.deepcopy(dict(settings))
        self._first["data"]["init_args"]["content"] = str(frames.work / "content.png")
        # A config that a run has kept names that run's own output.
        self._first["output"] = {**(settings.get("output") or {}), "path": None}
        self._first["trainer"].update(default_root_dir=str(frames.work), logger=False, enable_progress_bar=False)
        self._sizes = painted_sizes(settings)
        colors = settings["data"]["init_args"]
        self._colors = ColorKeeper(colors.get("preserve_color"), colors.get("color_strength", 1.0))
        self._warned: set[str] = set()

    def paint(self, number: int, content: Tensor, start: WarpedFrame | None) -> Outcome:
        """Paint a frame.

        Args:
            number: Number of the frame, from 1.
            content: The frame, `(1, 3, H, W)` in [0, 1].
            start: Prediction that it starts from; `None` to paint it as an image of its own.

        Returns:
            Status and message, as `run_job` returns them.
        """
        work = self._frames.work
        write_image(work / "content.png", content)
        if start is not None:
            # Where the content's luminance alone is painted, its colors have been put back into what was written.
            write_image(work / "warped.png", self._colors.prepare_content(start.image))
            write_image(work / "held.png", start.weight.expand(-1, 3, -1, -1))
        write_text(work / "frame.yaml", to_yaml(self._settings(content, start)))
        label = f"{number:06d}"
        folder = JobFolder(work / RUNS / label)
        job = Job(label, ("fit", f"--config={work / 'frame.yaml'}", f"--name={label}"), folder.folder)
        look(job.folder)
        with output_of_run(None, lambda text: self._warn(number, text)):
            outcome = run_job(job, lambda kind, value: None)
        if outcome.status == "complete":
            if start is not None:
                write_image(self._frames.weight(number), start.next_weight.expand(-1, 3, -1, -1))
            self._frames.take(folder.run / FILE_NAME, number)
        return outcome

    def _settings(self, content: Tensor, start: WarpedFrame | None) -> Mapping[str, Any]:
        if start is None:
            return self._first
        if 1 - float(start.weight.mean()) <= _GROWN:
            return self._later_settings(self._sizes[-1:])
        height, width = content.shape[-2:]
        large = [size for size in self._sizes if min(fit_long_side(height, width, size)) >= _NARROW]
        return self._later_settings(large or self._sizes[-1:])

    def _later_settings(self, sizes: Sequence[int]) -> dict[str, Any]:
        """Return the settings of a frame that goes on from the one before, at some sizes.

        At the full size the learning rate is lower: Adam's first steps are as long whatever the gradient, and would
        shake what is painted already. No layer is left out at it: there may be no smaller size.
        """
        later = copy.deepcopy(self._first)
        model = later["model"]["init_args"]
        later["data"]["init_args"].update(
            sizes=list(sizes),
            steps=self._steps,
            first_steps=None,
            warped=str(self._frames.work / "warped.png"),
            warped_guide=str(self._frames.work / "held.png"),
        )
        for loss in (model.get("content"), model.get("style"), *(model.get("extra_losses") or ())):
            if loss is not None:
                loss.get("init_args", {}).pop("up_to", None)
        if self._temporal_weight > 0:
            temporal = {"class_path": _TEMPORAL, "init_args": {"weight": self._temporal_weight}}
            model["extra_losses"] = [*(model.get("extra_losses") or []), temporal]
        at_full_size = [self._steps * (len(sizes) - 1)]
        model["lr_scheduler"] = {
            "class_path": "torch.optim.lr_scheduler.MultiStepLR",
            "init_args": {"milestones": at_full_size, "gamma": self._lr_factor},
        }
        return later

    def _warn(self, number: int, text: str) -> None:
        """Show a warning, each of them once."""
        if text not in self._warned:
            self._warned.add(text)
            sys.stderr.write(f"frame {number}: {text}\n")
