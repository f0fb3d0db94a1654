"""Writing the course of a run as an animation."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from nst_lightning._compat import callbacks_of
from nst_lightning.callbacks.image_writer import FILE_NAME, ImageWriter, painted, transfer_data
from nst_lightning.callbacks.run_folder import run_folder
from nst_lightning.errors import UserError, user_path
from nst_lightning.images.files import write_image
from nst_lightning.images.resize import resize, shrunk_size
from nst_lightning.utils.overwriting import WrittenFile, check_overwriting, find_same
from nst_lightning.utils.storage import remove
from nst_lightning.video.animated_image import check_animation, write_animation

_log = logging.getLogger(__name__)

FOLDER = "frames"
_RANGES = {"every_n_steps": (1, 1_000_000), "fps": (1, 60), "size": (16, 4096), "hold": (0, 60)}


class Animation(Callback):
    """Write an animation of the run: what it starts from, every so many steps, and the result.

    The frames are kept as `frames/000010.png` and so on in the run's folder, named by the steps done, and put
    together when the run ends or is stopped. A run that is interrupted and resumed gives the same file, to the
    byte, as one that is not. A run that fails leaves its frames, of which the resumed run makes the animation.
    A checkpoint continued under another `--name` has no earlier frames: its animation begins there.

    The frames have the size of the final image or, if that is larger, fitted to `size`; coarse levels are
    enlarged. They are opaque, whatever `data.keep_alpha` says.

    Args:
        path: File to write; `.webp`, `.gif`, `.png` and `.apng` (both APNG) or `.mp4` by suffix. `None` for none.
        every_n_steps: Steps between two frames.
        fps: Frames per second.
        size: Long side of the frames, pixels; never more than the image's own.
        hold: Time that the result stays before the animation starts again, seconds.

    Raises:
        UserError: If a number is out of range, the suffix is unknown, the folder can't be written to, or MP4 is
            asked for without PyAV.
    """

    def __init__(
        self,
        path: str | None = None,
        every_n_steps: int = 10,
        fps: int = 15,
        size: int = 480,
        hold: float = 2.0,
    ) -> None:
        given = {"every_n_steps": every_n_steps, "fps": fps, "size": size, "hold": hold}
        for name, (lowest, highest) in _RANGES.items():
            if not lowest <= given[name] <= highest:
                raise UserError(f"animation.{name} must be from {lowest} to {highest}, but {given[name]} was given.")
        if path is not None:
            check_animation(path, fps)  # not after minutes of painting
        self.path = None if path is None else user_path(path)
        self.every_n_steps = every_n_steps
        self.fps = fps
        self.size = size
        self.hold = hold
        self._begun = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove frames that a run without the interruption would not have.

        Those are the result as it was when the run was stopped, and those that the run had reached after the
        checkpoint that it goes on from: they are painted again.
        """
        del pl_module
        if self.path is None or not trainer.is_global_zero:
            return
        data = transfer_data(trainer)
        if data is not None:
            check_overwriting(self.targets(), data.inputs)
        self.check_other_writers(trainer)
        self._begun = trainer.global_step > 0
        for step, file in _frames(trainer).items():
            if step % self.every_n_steps or step > trainer.global_step:
                remove(file)

    def targets(self) -> list[WrittenFile]:
        """Return the file that is written; none if none was asked for."""
        return [] if self.path is None else [WrittenFile(self.path, f"--animation.path {self.path}")]

    def check_other_writers(self, trainer: Trainer) -> None:
        """Refuse a file that the image is written to as well.

        Raises:
            UserError: If the animation would replace it.
        """
        writers = [callback for callback in callbacks_of(trainer) if isinstance(callback, ImageWriter)]
        images = [(writer.path, "--output.path") for writer in writers if writer.path is not None]
        images += [(run_folder(trainer) / FILE_NAME, "the picture of the run")]
        for path, name in images:
            if self.path is not None and find_same([path, self.path]):
                raise UserError(f"--animation.path and {name} are both {path}; choose another name for one of them.")

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Keep what the run starts from: the image is there, and no step has been done.

        At `on_train_batch_start` it is not there yet: callbacks come before the module, which makes it.
        """
        del loss
        if not self._begun:  # L-BFGS comes here several times before the first step is done
            self._begun = True
            self._write_frame(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keep each `every_n_steps`-th step."""
        del outputs, batch, batch_idx
        if trainer.global_step % self.every_n_steps == 0:
            self._write_frame(trainer, pl_module)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the result, and put the animation together.

        That comes after every callback's `on_train_end`: the image has been written by then, whatever happens
        here, and the progress bar is closed.
        """
        self._write_frame(trainer, pl_module)
        if self.path is None or not trainer.is_global_zero:
            return
        try:
            write_animation(self.path, list(_frames(trainer).values()), fps=self.fps, hold=self.hold)
        except UserError as error:
            _log.warning("the animation was not written, its frames are in %s: %s", _folder(trainer), error)
        else:
            _log.info("animation: %s", self.path)

    def _write_frame(self, trainer: Trainer, module: LightningModule) -> None:
        if self.path is None or not trainer.is_global_zero:
            return
        image = painted(trainer, module)
        data = transfer_data(trainer)
        final = data.schedule.levels[-1] if data is not None else None
        height, width = (final.height, final.width) if final is not None else image.shape[-2:]
        file = _folder(trainer) / f"{trainer.global_step:06d}.png"
        try:
            write_image(file, resize(image, shrunk_size(height, width, self.size)))
        except UserError as error:
            _log.warning("the animation will lack a frame: %s", error)


def _folder(trainer: Trainer) -> Path:
    return run_folder(trainer) / FOLDER


def _frames(trainer: Trainer) -> dict[int, Path]:
    """Return the files of the frames by their steps, in order."""
    files = {int(file.stem): file for file in _folder(trainer).glob("*.png") if file.stem.isdecimal()}
    return dict(sorted(files.items()))
