"""Processes that run one command together: that they are as many as was asked for, and how they end."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
from datetime import timedelta

import torch.distributed as dist
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch import Trainer

from nst_lightning.callbacks.checkpoint import CheckpointWriter
from nst_lightning.errors import UserError

_ENDED = "nst_lightning/ended"
_PATIENCE = timedelta(minutes=10)
"""How long the first process may take to write what there is after an error: huge pictures take minutes."""

_ANOTHER_ENDED = re.compile(
    r"by (remote )?peer|broken pipe|connection was likely closed|remote process exited|communicator was aborted", re.I
)
"""How gloo, NCCL and the processes' common store say that a connection broke."""


def check_launch(trainer: Trainer) -> None:
    """Refuse to let each process of a launcher run the whole command.

    Args:
        trainer: Says how many processes there are to be.

    Raises:
        UserError: If torchrun or SLURM has started another number of them.
    """
    if multiprocessing.parent_process() is not None:  # a run of a sweep is for one process, whoever started that
        return
    if TorchElasticEnvironment.detect():
        launcher, started = "torchrun", TorchElasticEnvironment().world_size()
        here = int(os.environ.get("LOCAL_WORLD_SIZE", started))
    elif SLURMEnvironment.detect():
        launcher, started = "SLURM", int(os.environ["SLURM_NTASKS"])
        here = started // int(os.environ.get("SLURM_NNODES", 1))
    else:
        return
    asked = trainer.num_devices * trainer.num_nodes
    if started in (1, asked):
        return
    nodes = f" --trainer.num_nodes {started // here}" if started > here else ""
    of_nodes = f" on {trainer.num_nodes} nodes" if trainer.num_nodes > 1 else ""
    raise UserError(
        f"{launcher} started {started} processes, but trainer.devices is {trainer.num_devices}{of_nodes}; set "
        f"--trainer.devices {here}{nodes}."
    )


def exit_code(trainer: Trainer) -> int:
    """Give the exit code of a run that came to no error.

    Of several processes that share a picture the first one's is that of the run: Lightning and torchrun kill it as soon
    as another ends with anything but 0, while it may still be writing the picture.

    Args:
        trainer: Of the run.

    Returns:
        0, or 128 and the signal's number after a run that was stopped. After one that was complete when the signal
        came, 0 too, unless the program around it listens to that signal itself: it has to be told.
    """
    keepers = [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, CheckpointWriter)]
    if not keepers or not trainer.is_global_zero:
        return 0
    number, late = keepers[0].stopped_by, keepers[0].asked_by
    if number is None and late is not None and _is_listened_to(late):
        number = late
    return 0 if number is None else 128 + int(number)


def _is_listened_to(number: signal.Signals) -> bool:
    handler = signal.getsignal(number)
    return callable(handler) and handler is not signal.default_int_handler


def left_to_the_first(trainer: Trainer) -> bool:
    """Wait after an error that other processes may have met as well, until the first one has kept what there is.

    That goes through the store by which they found each other, not through a collective: one that did not meet the
    error waits in another. If the first one dies, the wait is over at once.

    Args:
        trainer: Its run has ended with an error; all its hooks are done.

    Returns:
        Whether the first one, which is not this one, has ended by such an error too.
    """
    if trainer.world_size == 1 or not dist.is_initialized():
        return False
    store = dist.distributed_c10d._get_default_store()
    try:
        if trainer.is_global_zero:
            store.set(_ENDED, "")
            return False
        store.wait([_ENDED], _PATIENCE)
    except dist.DistError:
        return False
    return True


def is_another_ones_end(error: RuntimeError) -> bool:
    """Tell whether an exchange failed because another process is gone."""
    return _ANOTHER_ENDED.search(str(error)) is not None
