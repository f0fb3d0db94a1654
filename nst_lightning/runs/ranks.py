"""Processes that run one command together: their strategy, their number, and how they end."""

from __future__ import annotations

import multiprocessing
import os
import signal
from datetime import timedelta
from typing import Any

import torch.distributed as dist
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy, StrategyRegistry

from nst_lightning._compat import rendezvous_store, start_method
from nst_lightning.callbacks.checkpoint import CheckpointWriter
from nst_lightning.errors import UserError

_ENDED = "nst_lightning/ended"
_PATIENCE = timedelta(minutes=10)
"""How long rank zero may take to write what there is after an error: huge images take minutes."""


class SharedImageStrategy(DDPStrategy):
    """Lightning's DDP without its wrapper: processes, devices and nodes, but no reducer; `shared_picture` by name.

    The objective deals its tiles out and adds statistics and gradient up itself (`losses/tiling/`): every process has
    the gradient of the whole image. DistributedDataParallel would average what is complete already, would not see
    the parameter that each pyramid level puts in the place of the first, and would broadcast the encoder at every
    step.
    """

    def configure_ddp(self) -> None:
        """Leave the module as it is."""


StrategyRegistry.register(
    "shared_picture", SharedImageStrategy, description="one picture, its tiles dealt out to all processes"
)


def choose_strategy(settings: dict[str, Any]) -> Any:
    """Return the strategy for one image: the one asked for, with `SharedImageStrategy` in the place of Lightning's DDP.

    Args:
        settings: Arguments of `lightning.Trainer`, `devices` among them.

    Raises:
        UserError: If an image can't be shared as was asked.
    """
    wanted = settings.get("strategy") or "auto"
    if (settings["devices"] == 1 and settings.get("num_nodes") in (None, 1)) or wanted == "shared_picture":
        return wanted
    placing = {key: settings[key] for key in ("accelerator", "devices", "num_nodes", "strategy") if settings.get(key)}
    # Lightning alone knows how many devices "auto" and the like are.
    found = Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False, **placing)
    if found.world_size == 1 or isinstance(found.strategy, SharedImageStrategy):
        return wanted
    if type(found.strategy) is not DDPStrategy:
        raise UserError(f"a picture can't be shared with --trainer.strategy {wanted}; use auto.")
    if multiprocessing.parent_process() is not None:
        # Lightning would start the other processes with this one's command line, which is not the run's.
        raise UserError(
            f"each run of a sweep is painted on one device, but {found.world_size} were asked for; "
            "set --trainer.devices 1."
        )
    return SharedImageStrategy(start_method=start_method(found.strategy))


def check_launch(trainer: Trainer) -> None:
    """Refuse to let each process of a launcher run the whole command.

    Args:
        trainer: Trainer, which knows how many processes are wanted.

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
    """Return the exit code of a run that met no error.

    Of several processes that share an image rank zero's is that of the run: Lightning and torchrun kill it as soon
    as another ends with anything but 0, while it may still be writing the image.

    Args:
        trainer: Trainer of the run.

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


def wait_for_rank_zero(trainer: Trainer) -> bool:
    """Wait after an error that other processes may have met as well, until rank zero has kept what there is.

    That goes through the store by which they found each other, not through a collective: one that did not meet the
    error waits in another. If rank zero dies, the wait is over at once.

    Args:
        trainer: Trainer of a run that has ended with an error; all its hooks are done.

    Returns:
        Whether rank zero, which is another process than this one, has met such an error too.
    """
    if trainer.world_size == 1 or not dist.is_initialized():
        return False
    store = rendezvous_store()
    try:
        if trainer.is_global_zero:
            store.set(_ENDED, "")
            return False
        store.wait([_ENDED], _PATIENCE)
    except dist.DistError:
        return False
    return True
