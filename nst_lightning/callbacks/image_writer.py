"""Writing the image: into the run's folder, and where the user wants it."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from nst_lightning._compat import datamodule_of
from nst_lightning.callbacks.run_folder import run_folder
from nst_lightning.data.transfer_batch import TransferBatch
from nst_lightning.data.transfer_data import TransferData
from nst_lightning.errors import StorageError, UserError, user_path
from nst_lightning.images.files import check_output, write_image
from nst_lightning.tasks.style_transfer import StyleTransfer
from nst_lightning.utils.overwriting import WrittenFile, check_overwriting

_log = logging.getLogger(__name__)

FILE_NAME = "stylized.png"
STEPS = "steps"


def transfer_data(trainer: Trainer) -> TransferData | None:
    """Return the run's data module; `None` if images come from a loader or a data module of the user's own."""
    data = datamodule_of(trainer)
    return data if isinstance(data, TransferData) else None


def painted(trainer: Trainer, module: LightningModule) -> Tensor:
    """Return the image as it is shown and written: the module's result, finished by the data module.

    Args:
        trainer: Trainer of the run.
        module: Task of the run, a `StyleTransfer`.

    Returns:
        sRGB in [0, 1], `(1, 3, H, W)`, detached.
    """
    assert isinstance(module, StyleTransfer)  # runs/trainer.py adds these callbacks to no other
    data = transfer_data(trainer)
    return module.result() if data is None else data.finish(module.result())


class ImageWriter(Callback):
    """Write `stylized.png` into the run's folder at the end, and as often as asked before.

    It is written also when the run is stopped or fails, from what there is by then.

    Args:
        path: File that the image is written to as well, or its address, such as `s3://bucket/me.png`; `.png`, `.jpg`,
            `.webp` and `.tiff` by suffix.
        every_n_steps: Steps between two further writings, whose images are kept as `steps/000100.png`; `None` for none.
        bits: Bits per channel of PNG files, 8 or 16.
        quality: Quality of JPEG and WebP, 1 to 100.
        gain: Factor of each of red, green and blue in the files.
        offset: Summand of each after that; 1 is the whole range from black to white. The image that is optimized,
            and what TensorBoard shows, have neither. With the Keras example's constants changed from its
            (123.68, 116.779, 103.939) to (r, g, b) the offset is their difference over 255.
        settings: Whether the files hold the run's settings, by which `nst fit --config FILE` paints them again and
            `nst compare` tells them apart. They name the input files as they were given, with their folders.

    Attributes:
        describe: Function that returns the settings of an image, given the number of steps after which it is written,
            or `None` for all of them; for whoever starts the run to set.
        written: The image: `path`, or the run's own file; `None` before it is written.

    Raises:
        UserError: If a number is out of range or the suffix is unknown.
    """

    def __init__(
        self,
        path: str | None = None,
        every_n_steps: int | None = None,
        bits: Literal[8, 16] = 8,
        quality: int = 95,
        gain: tuple[float, float, float] = (1.0, 1.0, 1.0),
        offset: tuple[float, float, float] = (0.0, 0.0, 0.0),
        settings: bool = True,
    ) -> None:
        if every_n_steps is not None and every_n_steps < 1:
            raise UserError(f"output.every_n_steps must be at least 1, but {every_n_steps} was given.")
        if not 1 <= quality <= 100:
            raise UserError(f"output.quality must be from 1 to 100, but {quality} was given.")
        if not all(math.isfinite(number) for number in (*gain, *offset)):
            raise UserError(f"output.gain and output.offset must be finite, but {gain} and {offset} were given.")
        if path is not None:
            check_output(path)  # not after minutes of painting
        self.path = None if path is None else user_path(path)
        self.every_n_steps = every_n_steps
        self.bits = bits
        self.quality = quality
        self.gain = gain
        self.offset = offset
        self.settings = settings
        self.describe: Callable[[int | None], str] | None = None
        self.written: Path | None = None
        self._data: TransferData | None = None
        self._has_stepped = False  # in this run: what the module has painted before is another run's

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Begin afresh, also where the module has painted before."""
        del trainer, pl_module, stage
        self._has_stepped = False

    def targets(self) -> list[WrittenFile]:
        """Return the file beside the run's own that is written; none if none was asked for."""
        return [] if self.path is None else [WrittenFile(self.path, f"--output.path {self.path}")]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse to write over an image that is being read, or a finished one that is not of these images."""
        self._data = transfer_data(trainer)
        if trainer.global_step > 0 and self._data is not None and isinstance(pl_module, StyleTransfer):
            pl_module.check_images(self._data.digest())
        if self._data is not None:
            in_run = run_folder(trainer) / FILE_NAME
            own = WrittenFile(in_run, f"the picture of the run, {in_run},", remedy="copy that elsewhere first")
            check_overwriting([*self.targets(), own], self._data.inputs)
            if self.path is not None:
                last = self._data.schedule.levels[-1]
                check_output(self.path, max(last.height, last.width))  # not after hours of painting

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: TransferBatch, batch_idx: int
    ) -> None:
        """Write at each `every_n_steps`-th step."""
        del outputs, batch, batch_idx
        self._has_stepped = True
        if self.every_n_steps and trainer.global_step % self.every_n_steps == 0:
            self._write(trainer, pl_module)
            if trainer.is_global_zero:
                self._write_to(run_folder(trainer) / STEPS / f"{trainer.global_step:06d}.png", trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the final image."""
        self._write(trainer, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Write the image as it is, if this run has done a step."""
        if self._has_stepped:
            try:
                self._write(trainer, pl_module)
            except (UserError, ValueError) as error:  # must not hide the exception that ended the run
                if not isinstance(exception, StorageError):  # which says so already
                    _log.warning("the picture could not be written: %s", error)

    def _write(self, trainer: Trainer, module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        in_run = run_folder(trainer) / FILE_NAME
        try:
            self._write_to(in_run, trainer, module)
        finally:  # that one place has no room need not keep the image from the other
            if self.path is not None:
                self._write_to(self.path, trainer, module)
        self.written = self.path or in_run

    def _write_to(self, path: Path, trainer: Trainer, module: LightningModule) -> None:
        bits = self.bits if path.suffix.lower() == ".png" else 8
        image = self._balanced(painted(trainer, module))
        alpha = self._data.alpha((image.shape[-2], image.shape[-1])) if self._data is not None else None
        write_image(path, image, alpha=alpha, bits=bits, quality=self.quality, settings=self.settings_text(trainer))

    def settings_text(self, trainer: Trainer) -> str | None:
        """Return the settings that the image as it is now is to hold; `None` for none."""
        if not self.settings or self.describe is None:
            return None
        step = trainer.global_step
        return self.describe(step if step < trainer.num_training_batches else None)

    def _balanced(self, image: Tensor) -> Tensor:
        if self.gain == (1.0, 1.0, 1.0) and self.offset == (0.0, 0.0, 0.0):
            return image
        gain, offset = (torch.tensor(numbers).view(1, 3, 1, 1).to(image) for numbers in (self.gain, self.offset))
        return (image * gain + offset).clamp(0, 1)
