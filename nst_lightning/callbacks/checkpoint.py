"""Keeping a run resumable: a checkpoint every so often, at the end, and when the run is stopped."""

from __future__ import annotations

import signal
import sys
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor

from nst_lightning._compat import is_about_checkpoint
from nst_lightning.callbacks.run_folder import run_folder
from nst_lightning.errors import UserError
from nst_lightning.utils.atomic import atomic_file
from nst_lightning.utils.signals import leave_closed_terminal, stop_signals
from nst_lightning.utils.storage import push
from nst_lightning.utils.torch_files import no_checkpoint

FOLDER = "checkpoints"
LAST = "last.ckpt"


class CheckpointWriter(Checkpoint):
    """Write `checkpoints/last.ckpt` into the run's folder.

    Ctrl-C, SIGTERM and SIGHUP end the run after the step in progress, with a checkpoint: one taken in the middle of a
    step could not be resumed to the byte. A second signal ends it at once.

    Args:
        every_n_steps: Steps between two checkpoints.
        keep_all: Whether each of them is kept, as `step000100.ckpt`, beside the last one.

    Attributes:
        asked_by: Signal that came during the latest run; `None` if none has.
        stopped_by: Signal that ended it before its last step, whichever of several processes got it.

    Raises:
        UserError: If the number is below 1.
    """

    def __init__(self, every_n_steps: int = 50, keep_all: bool = False) -> None:
        if every_n_steps < 1:
            raise UserError(f"checkpoint.every_n_steps must be at least 1, but {every_n_steps} was given.")
        self.every_n_steps = every_n_steps
        self.keep_all = keep_all
        self.asked_by: signal.Signals | None = None
        self.stopped_by: signal.Signals | None = None
        self._handlers: dict[signal.Signals, Any] = {}
        self._pending: _PendingNumber | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Note the signals' handlers, before Lightning takes them: it puts them back before `teardown`."""
        del trainer, pl_module, stage
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.getsignal(number) for number in stop_signals()}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over the signals; only a program's main thread may."""
        del trainer, pl_module
        self.asked_by = self.stopped_by = self._pending = None
        for number in self._handlers:
            signal.signal(number, self._ask_to_stop)

    def _ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        del frame
        leave_closed_terminal(number)
        if self.asked_by is not None:
            self._restore_handlers()
            raise KeyboardInterrupt
        self.asked_by = signal.Signals(number)

    def _restore_handlers(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write a checkpoint if one is due, at the last step, or if the run is to stop here."""
        del pl_module, outputs, batch
        is_last = batch_idx + 1 == trainer.num_training_batches or trainer.global_step == trainer.max_steps
        is_last = is_last or trainer.should_stop
        stopped_by = self.agree_on_stop(trainer)
        if stopped_by is not None or is_last or trainer.global_step % self.every_n_steps == 0:
            self.save(trainer)
        if stopped_by is not None and not is_last:  # what is complete has not been stopped
            self.stopped_by = stopped_by
            trainer.should_stop = True

    def agree_on_stop(self, trainer: Trainer) -> signal.Signals | None:
        """Return the signal that stops the run after this step, the same one in all of several processes; or `None`."""
        if trainer.world_size == 1:
            return self.asked_by
        asked = torch.full((), float(self.asked_by or 0), device=trainer.strategy.root_device)
        dist.all_reduce(asked, dist.ReduceOp.MAX)
        # Read is the number of the step before: to wait for this one would keep an accelerator idle.
        before, self._pending = self._pending, _PendingNumber(asked)
        number = before.value() if before is not None else 0
        return signal.Signals(number) if number else None

    def save(self, trainer: Trainer) -> None:
        """Write the step's own file if all are kept, then `last.ckpt`: killed in between, a run makes both again."""
        folder = run_folder(trainer) / FOLDER
        if self.keep_all:
            trainer.save_checkpoint(folder / f"step{trainer.global_step:06d}.ckpt")
        trainer.save_checkpoint(folder / LAST)
        if trainer.is_global_zero:
            push(folder.parent)  # what is logged until then

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Put the earlier signal handlers back."""
        del trainer, pl_module, stage
        self._restore_handlers()


class _PendingNumber:
    """Number on its way from an accelerator, which goes on with its work meanwhile.

    To read it off the tensor later would wait for all that was begun until then.
    """

    def __init__(self, number: Tensor) -> None:
        self._copy = number.to("cpu", non_blocking=number.is_cuda)
        self._arrived = torch.cuda.Event() if number.is_cuda else None  # type: ignore[no-untyped-call]
        if self._arrived is not None:
            self._arrived.record(torch.cuda.current_stream(number.device))

    def value(self) -> int:
        """Wait for the number alone, and return it."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return int(self._copy)


@contextmanager
def restoring(checkpoint: Path | None) -> Iterator[None]:
    """Raise what goes wrong while a run is restored as a `UserError` that names the checkpoint."""
    try:
        yield
    except Exception as error:
        if checkpoint is None or isinstance(error, UserError) or not is_about_checkpoint(error):
            raise
        raise no_checkpoint(checkpoint, error) from error


class AtomicCheckpointIO(TorchCheckpointIO):
    """Torch's checkpoint files, written under a temporary name in the same folder and renamed."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Mapping[str, Any] | None = None
    ) -> None:
        """Write a checkpoint so that at `path` there is the old one or the new one, whole, at every moment.

        Equal checkpoints give the same bytes, that of a resumed run and that of one that never stopped.
        """
        del storage_options  # of remote file systems
        # Lightning gathers the whole file in memory first. An open file, not a path: the name would be written into it.
        with atomic_file(path) as file:
            torch.save(_rebuilt(checkpoint), file)


def _rebuilt(value: Any) -> Any:
    """Copy containers and unite equal strings; pickle writes an object that it has met before as a reference.

    Which equal objects are the same one depends on whether they come from a file or from the program.
    """
    if type(value) is str:
        return sys.intern(value)
    if isinstance(value, OrderedDict):  # state_dict, whose versions are an attribute
        rebuilt = OrderedDict((_rebuilt(key), _rebuilt(part)) for key, part in value.items())
        vars(rebuilt).update(_rebuilt(vars(value)))
        return rebuilt
    if type(value) is dict:
        return {_rebuilt(key): _rebuilt(part) for key, part in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(_rebuilt, value))
    return value
