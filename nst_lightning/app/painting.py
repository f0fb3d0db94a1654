"""Painting in a process of its own: one for each device, for as long as the page is open."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import sys
import time
import traceback
import warnings
from copy import deepcopy
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from pydoc import locate
from typing import Any

import lightning
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from nst_lightning.app.instant import paint_instantly
from nst_lightning.app.order import NAME, PICTURE, PREVIEW, Order, Progress
from nst_lightning.app.recipe import Recipe, settings_of
from nst_lightning.callbacks.image_writer import painted
from nst_lightning.data import TransferData
from nst_lightning.data.transfer_batch import TransferBatch
from nst_lightning.errors import UserError
from nst_lightning.images.files import write_image
from nst_lightning.runs import fit
from nst_lightning.tasks import StyleTransfer

_TELL_INTERVAL = 0.2  # seconds
_PREVIEW_INTERVAL = 0.5
_PREVIEW_SHARE = 0.05  # of the time, at most
_STEADY = 3  # steps at a level before its speed is taken for granted


def work(pipe: Connection, device: dict[str, Any], root: Path) -> None:
    """Paint what comes through the pipe until it closes; the body of a process.

    Args:
        pipe: Brings an `Order`, or the id of one that is to stop; gets `(kind, value)` as `paint` tells, and in the end
            `("complete" | "stopped" | "failed" | "broken", message)`; after `broken` it ends.
        device: Arguments of the Trainer.
        root: The page's temporary folder, removed here if the page's process was killed and could not.
    """
    if sys.platform != "win32":
        os.setsid()  # the terminal's signals are the page's, which closes the pipe
    # What Lightning would advise the person at a terminal, on every run.
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning")
    try:
        while True:
            order = pipe.recv()
            if isinstance(order, Order):  # else a stop that came when the run had ended
                outcome = paint(order, device, pipe)
                pipe.send(outcome)
                if outcome[0] == "broken":
                    return
                gc.collect()  # Trainer and module refer to each other: the next run must not need room beside them
    except (EOFError, OSError):
        shutil.rmtree(root, ignore_errors=True)


def paint(order: Order, device: dict[str, Any], pipe: Connection) -> tuple[str, str]:
    """Do a run, or what is left of it.

    Args:
        order: What to do.
        device: Arguments of the Trainer.
        pipe: Gets `("progress", Progress)`; brings the order's id if it is to stop.

    Returns:
        `complete` or `stopped` with an empty message, or `failed` or `broken` with the reason in one line. After an
        error that nobody expected the process is taken for broken: once CUDA has failed, it fails for ever.

    Raises:
        ConnectionError: If the page's process is gone.
    """
    watcher = Watcher(order, pipe)
    try:
        if order.recipe.network is not None:
            pipe.send(("progress", paint_instantly(order, device)))
            return "complete", ""
        lightning.seed_everything(order.recipe.seed, verbose=False)
        result = fit(
            make_model(order.recipe),
            make_data(order),
            output=str(order.folder / PICTURE),
            ckpt_path="last" if has_checkpoint(order.folder) else None,
            name=NAME,
            default_root_dir=str(order.folder),
            logger=False,
            enable_progress_bar=False,
            callbacks=[watcher],
            **device,
        )
    except UserError as error:
        return "failed", order.without_paths(str(error))
    except torch.OutOfMemoryError:
        return "failed", "the device ran out of memory; choose a smaller size."
    except ConnectionError:
        raise
    except Exception as error:  # one picture must not take the others along, whatever happens to it
        traceback.print_exc()
        return "broken", f"something went wrong ({type(error).__name__}); the terminal of nst app says what."
    return ("complete" if result.complete else "stopped"), ""


def has_checkpoint(folder: Path) -> bool:
    """Tell whether a run in this folder can be gone on with."""
    return any(folder.glob(f"lightning_logs/{NAME}/*/checkpoints/last.ckpt"))


def make_model(recipe: Recipe) -> StyleTransfer:
    """Return the model of the quality's config with the recipe's changes."""
    settings = deepcopy(settings_of(recipe.quality, "model"))
    for key, value in recipe.model_options().items():
        part, name = key.split(".")
        settings[part]["init_args"][name] = value
    return StyleTransfer(**{name: _made(value) for name, value in settings.items()})


def _made(setting: Any) -> Any:
    """Make the object that a config describes; of an optimiser or a schedule the function that makes it."""
    if not isinstance(setting, dict) or "class_path" not in setting:
        return setting
    kind = locate(setting["class_path"])
    assert isinstance(kind, type)
    is_part_of_training = issubclass(kind, (Optimizer, LRScheduler))
    return partial(kind, **setting["init_args"]) if is_part_of_training else kind(**setting["init_args"])


def make_data(order: Order) -> TransferData:
    """Return the images and the schedule of the quality's config with the recipe's changes."""
    options = {**settings_of(order.recipe.quality, "data"), **order.recipe.data_options()}
    options |= {"content": order.content, "style": order.style, "max_pixels": order.max_pixels}
    return TransferData(**options)


class Watcher(Callback):
    """Tells how far a run is, shows the picture as it is, and stops it when asked.

    Args:
        order: The run's.
        pipe: To the page's process.
    """

    def __init__(self, order: Order, pipe: Connection) -> None:
        self._order = order
        self._pipe = pipe
        self._previews = 0
        self._told = self._next_preview = 0.0
        self._level = -1
        self._level_began = (0.0, 0)
        self._seconds_left: float | None = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: TransferBatch, batch_idx: int
    ) -> None:
        """Look whether to stop; show and tell what is due."""
        del outputs
        now, done = time.monotonic(), batch_idx + 1
        if batch.level != self._level:
            self._level, self._level_began = batch.level, (now, done)
        if self._is_to_stop():
            trainer.should_stop = True  # CheckpointWriter comes after this and keeps the step
        if now >= self._next_preview:
            self._show(trainer, pl_module)
            now = time.monotonic()
        if now - self._told >= _TELL_INTERVAL or trainer.should_stop or done == trainer.num_training_batches:
            self._told = now
            self._tell(batch, done, now)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the finished picture."""
        self._show(trainer, pl_module)

    def _is_to_stop(self) -> bool:
        try:
            while self._pipe.poll():
                if self._pipe.recv() == self._order.id:
                    return True
        except (EOFError, OSError):  # the page's process is gone
            return True
        return False

    def _show(self, trainer: Trainer, module: LightningModule) -> None:
        began = time.monotonic()
        write_image(self._order.folder / PREVIEW, painted(trainer, module), quality=88)
        self._previews += 1
        ended = time.monotonic()
        self._next_preview = ended + max(_PREVIEW_INTERVAL, (ended - began) / _PREVIEW_SHARE)

    def _tell(self, batch: TransferBatch, done: int, now: float) -> None:
        schedule = batch.schedule
        began, first = self._level_began
        left = schedule.remaining_work(done)
        if done - first >= _STEADY:
            level, finest = batch.size, schedule.levels[-1]
            share = level.height * level.width / (finest.height * finest.width)
            self._seconds_left = left * (now - began) / ((done - first) * share)
        progress = Progress(
            step=done,
            steps=tuple(level.steps for level in schedule.levels),
            level=batch.level,
            width=batch.size.width,
            height=batch.size.height,
            fraction=1 - left / schedule.remaining_work(0),
            seconds_left=self._seconds_left,
            previews=self._previews,
        )
        self._pipe.send(("progress", progress))
