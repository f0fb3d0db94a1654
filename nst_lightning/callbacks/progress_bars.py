"""Progress bars, one for each kind of run: steps of one image, steps of a training, images to predict."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from tqdm.auto import tqdm
from tqdm.utils import disp_len, disp_trim

from nst_lightning.data.predict_data import PredictLoader, PredictSample
from nst_lightning.data.transfer_batch import TransferBatch
from nst_lightning.tasks.style_transfer import StyleTransfer

_TERMINAL_INTERVAL = 0.2
_FILE_INTERVAL = 10.0  # a log file keeps each line


class FittedBar(tqdm):  # type: ignore[misc]
    """A bar that leaves out what is least missed where a terminal is too narrow for all of it.

    `bar_format` has a way of drawing it on each line, the longest first.

    Attributes:
        parts: Texts for the formats, by their names.
    """

    parts: Mapping[str, str] = MappingProxyType({"loss": "", "speed": "", "left": "", "count": ""})

    @property
    def format_dict(self) -> dict[str, Any]:
        """Values for the formats."""
        return {**super().format_dict, **self.parts}

    @staticmethod
    def format_meter(*args: Any, ncols: int | None = None, bar_format: str = "", **settings: Any) -> str:
        """Return the first way of drawing that fits; the last one, cut off, if none does."""
        text = ""
        for form in bar_format.split("\n"):
            text = str(tqdm.format_meter(*args, bar_format=form, **settings))
            if not ncols or disp_len(text) <= ncols:
                return text
        return str(disp_trim(text, ncols))


def _ways(before: str, loss: str, speed: str, left: str) -> str:
    count, percentage = "{n_fmt}/{total_fmt}", "{percentage:3.0f}%"
    ways = [
        f"{before} {percentage}|{{bar:20}}| {count} [{{elapsed}}{loss}{speed}{left}]",
        f"{before} {percentage}|{{bar:20}}| {count} [{{elapsed}}{loss}{left}]",
        f"{before} {percentage}|{{bar:10}}| {count} [{{elapsed}}{loss}{left}]",
        f"{before} {percentage}|{{bar:10}}| {count} [{{elapsed}}{left}]",
        f"{before} {percentage} {count} [{{elapsed}}{left}]",
        f"{before} {percentage} {count}{left}",
        f"{percentage} {count}{left}",
        f"{count}{left}",
        count,
    ]
    return "\n".join(ways)


def redraw_interval() -> float:
    """Return the seconds between two drawings of a bar on stderr: few where somebody looks, many in a file."""
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    return _TERMINAL_INTERVAL if is_terminal or _is_notebook() else _FILE_INTERVAL


def _is_notebook() -> bool:
    return type(sys.stderr).__module__.startswith("ipykernel")


class SingleBar(ProgressBar):
    """Bar on stderr, shown by the first process only, and closed before anything else is said.

    Attributes:
        bar: Open bar; `None` before the run, after it, and where it is hidden.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bar: FittedBar | None = None
        self._is_enabled = True
        self._interval = redraw_interval()
        self._drawn_at = 0.0

    def enable(self) -> None:
        """Show the bar."""
        self._is_enabled = True

    def disable(self) -> None:
        """Hide the bar; Lightning does so on all ranks but the first."""
        self._is_enabled = False

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Close the bar, so that the message starts on a line of its own."""
        self._close()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the bar."""
        self._close()

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the bar."""
        self._close()

    def _open(self, before: str, loss: str, speed: str, left: str, **settings: Any) -> FittedBar:
        """Return a bar of these texts; `{desc}` and the like are tqdm's."""
        bar_format = _ways(before, loss, speed, left)
        if _is_notebook():  # a widget, which has room for all, takes the place of this word alone
            bar_format = bar_format.partition("\n")[0].replace("{bar:20}", "{bar}")
        stream = io.StringIO() if sys.stderr is None else sys.stderr  # None in a program without a console
        return FittedBar(bar_format=bar_format, dynamic_ncols=True, file=stream, **settings)

    def _is_due(self, *, is_last: bool) -> bool:
        """Return whether to redraw: the last drawing is old enough, or this is the last step."""
        now = time.monotonic()
        if now - self._drawn_at < self._interval and not is_last:
            return False
        self._drawn_at = now
        return True

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


class TransferProgressBar(SingleBar):
    """One bar over all levels, right after a resume as well.

    The time left counts a step's cost as proportional to its pixels: steps at the fine levels, most of the
    work, are still to come when the quick coarse ones are done. The loss is read off the device only when
    the bar is redrawn.
    """

    def __init__(self) -> None:
        super().__init__()
        self._level = -1
        self._level_started = (0.0, 0)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: TransferBatch, batch_idx: int
    ) -> None:
        """Open the bar at the first step of this process; note when a level begins."""
        del pl_module
        if not self._is_enabled:
            return
        if self.bar is None:
            total = batch.schedule.total_steps
            total = min(total, trainer.max_steps) if trainer.max_steps > 0 else total
            self.bar = self._open(
                *("{desc}", "{loss}", "{speed}", "{left}"), total=total, initial=batch_idx, mininterval=0
            )
        if batch.level != self._level:
            self._level = batch.level
            self._level_started = (time.monotonic(), batch_idx)
            level = batch.size
            self.bar.set_description_str(
                f"level {batch.level + 1}/{len(batch.schedule.levels)} {level.width}×{level.height}",
                refresh=False,
            )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: TransferBatch, batch_idx: int
    ) -> None:
        """Redraw if the last drawing is old enough, or this was the last step."""
        del trainer, outputs
        done = batch_idx + 1
        if self.bar is None or not self._is_due(is_last=done >= (self.bar.total or 0)):
            return
        assert isinstance(pl_module, StyleTransfer)  # runs/trainer.py adds this callback to no other
        assert pl_module.loss is not None
        started, first = self._level_started
        rate = (done - first) / max(self._drawn_at - started, 1e-9)
        level, finest = batch.size, batch.schedule.levels[-1]
        work_rate = rate * (level.height * level.width) / (finest.height * finest.width)
        left = tqdm.format_interval(batch.schedule.remaining_work(done, int(self.bar.total)) / work_rate)
        loss, speed = f", loss {float(pl_module.loss):.4g}", f", {rate:.{1 if rate >= 1 else 2}f} steps/s"
        self.bar.parts = {"loss": loss, "speed": speed, "left": f", {left} left"}
        self.bar.n = done
        self.bar.refresh()


class TrainingProgressBar(SingleBar):
    """One bar over all optimizer steps, whatever the epochs, right after a resume as well.

    The loss is the value of `training_step`; it is read off the device only when the bar is redrawn.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar."""
        if self._is_enabled:
            steps = trainer.estimated_stepping_batches
            total = None if steps == float("inf") else int(steps)
            texts = ("training", "{postfix}", ", {rate_noinv_fmt}", ", {remaining} left")
            self.bar = self._open(*texts, total=total, initial=trainer.global_step, unit=" steps")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Redraw if the last drawing is old enough, or this was the last step."""
        del pl_module, batch, batch_idx
        if self.bar is None or not self._is_due(is_last=trainer.global_step == self.bar.total):
            return
        self.bar.n = trainer.global_step
        self.bar.set_postfix_str(f"loss {float(outputs['loss']):.4g}", refresh=False)
        self.bar.refresh()


class PredictProgressBar(SingleBar):
    """One bar over the images and frames of this process; the first process shows it.

    What a video's header says of its frames is put right when the video ends; where it says nothing, the bar counts
    without a total.
    """

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar."""
        if self._is_enabled:
            texts = ("painting", "", ", {rate_noinv_fmt}", ", {remaining} left")
            total = _expected(trainer)
            self.bar = self._open(*texts, total=total, unit=" pictures", mininterval=self._interval)

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: PredictSample,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count an image or frame; the bar is redrawn if the last drawing is old enough."""
        if self.bar is None:
            return
        frame = batch.frame
        if frame is not None and frame.is_last and frame.info.frames is not None and self.bar.total is not None:
            self.bar.total += frame.index + 1 - frame.info.frames
        self.bar.update()


def _expected(trainer: Trainer) -> int | None:
    """Return the number of batches as far as it is known; `None` if it is not."""
    numbers = trainer.num_predict_batches
    if all(number != float("inf") for number in numbers):
        return int(sum(numbers))
    loader = trainer.predict_dataloaders
    return loader.count() if isinstance(loader, PredictLoader) else None
