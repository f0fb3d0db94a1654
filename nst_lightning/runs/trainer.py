"""Builds the Trainer of a run: the only place that does."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import torch
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, OnExceptionCheckpoint, ProgressBar, Timer
from lightning.pytorch.plugins import Precision
from lightning.pytorch.strategies import DDPStrategy

from nst_lightning._compat import (
    ask_no_store_of_local_files,
    callbacks_of,
    keep_buffers_local,
    set_timeout,
    silence_lightning,
)
from nst_lightning.callbacks.animation import Animation
from nst_lightning.callbacks.checkpoint import AtomicCheckpointIO, CheckpointWriter, restoring
from nst_lightning.callbacks.image_writer import ImageWriter, painted, transfer_data
from nst_lightning.callbacks.progress_bars import PredictProgressBar, TrainingProgressBar, TransferProgressBar
from nst_lightning.callbacks.run_folder import InRunFolder, RunFolder, keeper_of, run_folder
from nst_lightning.callbacks.tensorboard import TensorBoardImages
from nst_lightning.data.transfer_data import TransferData
from nst_lightning.errors import UserError, user_path
from nst_lightning.runs.ranks import check_launch, choose_strategy
from nst_lightning.runs.result import Result
from nst_lightning.runs.resume import find_checkpoint, runs_root
from nst_lightning.runs.run_logger import RunLogger
from nst_lightning.tasks.network_training import NetworkTraining
from nst_lightning.tasks.precision import ENCODER_DTYPES, default_precision
from nst_lightning.tasks.style_transfer import StyleTransfer, precision_of
from nst_lightning.tasks.tile_size import check_fits
from nst_lightning.tasks.trainer_check import check_trainer
from nst_lightning.utils.atomic import sweep_below
from nst_lightning.utils.memory import free_memory, named_out_of_memory, release_memory
from nst_lightning.utils.overwriting import check_overwriting, named_files
from nst_lightning.utils.torch_files import readable_by_name

TRAINER_DEFAULTS: dict[str, Any] = {
    "max_epochs": 1,  # one epoch is the whole schedule
    "devices": 1,  # several share one image, which pays only for large ones
    "log_every_n_steps": 10,
    "enable_model_summary": False,  # one parameter: the image
}
"""Settings of the Trainer where the default is not Lightning's."""

_PATIENCE = timedelta(days=7)
"""How long a process that has done its share waits for the others: one may have got the long video."""


class SessionTimer(Timer):
    """Lightning's `Timer` for `trainer.max_time`, which counts the time since the run was started or resumed.

    With the time of earlier sessions, as Lightning counts, a run that was stopped by it would never go on.
    """

    @property
    def state_key(self) -> str:
        """Name of the state in a checkpoint, that of Lightning's own."""
        return "Timer"

    def state_dict(self) -> dict[str, Any]:
        """Keep nothing."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take nothing over."""


def build_trainer(
    model: LightningModule, folder: RunFolder, *, checkpoint: Path | None = None, **settings: Any
) -> Trainer:
    """Make the Trainer for a model.

    Args:
        model: Model to be fitted; callbacks that watch an image are left out unless it is a `StyleTransfer`.
        folder: Folder of the run, whatever logger the settings bring.
        checkpoint: Checkpoint that the run goes on from; `None` for a new run.
        **settings: Arguments of `lightning.Trainer`. An image for which no precision is asked is optimized in that of
            the checkpoint, or in `default_precision`.

    Returns:
        A trainer with our progress bar, checkpoint writer and TensorBoard logger where none was given.

    Raises:
        UserError: If the settings make no sense for an image.
    """
    ask_no_store_of_local_files()
    settings = {**TRAINER_DEFAULTS, **settings}
    if settings.get("default_root_dir"):
        settings["default_root_dir"] = str(user_path(settings["default_root_dir"]))
    paints = isinstance(model, StyleTransfer)
    wanted = [
        callback
        for callback in _listed(settings.get("callbacks"))
        if paints or not isinstance(callback, (ImageWriter, Animation, TensorBoardImages))
    ]
    if settings.get("enable_progress_bar") is not False and not _has(wanted, ProgressBar):
        wanted.append(TransferProgressBar() if paints else TrainingProgressBar())
    if settings.get("enable_checkpointing") is False:
        wanted = [callback for callback in wanted if not isinstance(callback, CheckpointWriter)]
    elif not _has(wanted, Checkpoint):
        wanted.append(CheckpointWriter())
    sweep_below(folder.group)  # a run that was killed early has nobody who goes on with it
    is_default = settings.get("logger") in (None, True)  # then it is made when the folder is
    settings["logger"] = False if is_default else settings["logger"]
    settings["callbacks"] = [InRunFolder(folder, RunLogger if is_default else None), *wanted]
    plugins = _listed(settings.get("plugins"))
    if not _has(plugins, CheckpointIO):
        plugins.append(AtomicCheckpointIO())
    settings["plugins"] = plugins
    if isinstance(model, StyleTransfer):
        _check_painting(settings)
        settings["precision"] = _choose_precision(model, settings, checkpoint)
        settings["strategy"] = choose_strategy(settings)
    if settings.get("max_time") is not None and not _has(wanted, Timer):
        settings["callbacks"].append(SessionTimer(settings.pop("max_time")))
    trainer = Trainer(**settings)
    if paints:
        check_trainer(trainer)
    if isinstance(model, NetworkTraining) and isinstance(trainer.strategy, DDPStrategy):
        # Its only buffers are the frozen encoder's, which DDP would send around at every step.
        keep_buffers_local(trainer.strategy)
    return trainer


def build_predictor(**settings: Any) -> Trainer:
    """Make the Trainer of a trained network: it leaves no run behind, neither log nor checkpoint.

    Args:
        **settings: Arguments of `lightning.Trainer`.

    Raises:
        UserError: If networks don't run at the precision.
    """
    settings = {**TRAINER_DEFAULTS, **settings}
    _check_precision(settings, ["32-true", "bf16-mixed", "16-mixed"])
    wanted = _listed(settings.get("callbacks"))
    if settings.get("enable_progress_bar") is not False and not _has(wanted, ProgressBar):
        wanted.append(PredictProgressBar())
    trainer = Trainer(**{**settings, "callbacks": wanted, "logger": settings.get("logger") or False})
    if isinstance(trainer.strategy, DDPStrategy):
        set_timeout(trainer.strategy, _PATIENCE)  # not a setting: the strategy may be Lightning's own choice
    return trainer


def _choose_precision(model: StyleTransfer, settings: dict[str, Any], checkpoint: Path | None) -> Any:
    """Return the precision asked for; else the checkpoint's, or the machine's best."""
    if settings.get("precision") or _has(_listed(settings.get("plugins")), Precision):
        return settings.get("precision")
    if checkpoint is not None:
        with readable_by_name(checkpoint) as name:
            return precision_of(torch.load(name, map_location="cpu", weights_only=True, mmap=True))
    lbfgs = isinstance(model.optimizer([model.image]), torch.optim.LBFGS)
    return default_precision(str(settings.get("accelerator") or "auto"), lbfgs=lbfgs)


def _check_precision(settings: dict[str, Any], known: Sequence[str]) -> None:
    precision = str(settings.get("precision") or "32-true")
    aliases = {"32": "32-true", "16": "16-mixed", "bf16": "bf16-mixed", "64": "64-true"}
    if aliases.get(precision, precision) not in known:
        raise UserError(f"a picture can't be painted at precision {precision}; use one of {', '.join(known)}.")


def _check_painting(settings: dict[str, Any]) -> None:
    _check_precision(settings, list(ENCODER_DTYPES))
    if settings.get("fast_dev_run"):
        raise UserError("trainer.fast_dev_run has no run to keep its picture in; for a quick look set data.steps to 1.")
    if _has(settings["callbacks"], OnExceptionCheckpoint):
        raise UserError(
            "the callback OnExceptionCheckpoint would let the next run go on with this one unasked; leave it out, a "
            "run that is stopped goes on by --ckpt_path last."
        )
    if settings["max_epochs"] not in (None, 1, -1):
        raise UserError(
            "one epoch is the whole schedule; to go on for longer raise data.steps, not trainer.max_epochs."
        )


def fit(
    model: StyleTransfer,
    data: TransferData,
    *,
    output: str | None = None,
    ckpt_path: str | None = None,
    name: str = "python",
    **trainer_settings: Any,
) -> Result:
    """Optimize an image, as `nst fit` does.

    Args:
        model: Task with encoder, losses and optimizer.
        data: Images and schedule.
        output: File that the image is written to, beside the one in the run's folder.
        ckpt_path: Checkpoint file to go on from, or `last`.
        name: Name of the run, which lives in `lightning_logs/NAME/version_N`.
        **trainer_settings: Arguments of `lightning.Trainer`, such as `accelerator` or `precision`.

    Returns:
        The image and where it is.

    Raises:
        UserError: If something the user gave can't be used.

    Example:
        >>> import tempfile
        >>> from nst_lightning import ContentLoss, GramStyleLoss, StyleTransfer, TransferData, fit
        >>> task = StyleTransfer(content=ContentLoss(["relu3_1"]), style=GramStyleLoss(["relu1_1", "relu2_1"]))
        >>> data = TransferData("sample:town", "sample:starry", sizes=[32], steps=2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     result = fit(task, data, accelerator="cpu", default_root_dir=folder)
        >>> result.picture.shape, result.complete
        (torch.Size([1, 3, 24, 32]), True)
    """
    silence_lightning()
    release_memory()  # of an earlier run: this one must not need room beside it
    folder = RunFolder(runs_root(trainer_settings.get("default_root_dir")), name)
    checkpoint: Path | None = None
    if ckpt_path is not None:
        checkpoint, folder = find_checkpoint(ckpt_path, folder)
    callbacks = [ImageWriter(path=output), TensorBoardImages(), CheckpointWriter()]
    callbacks += _listed(trainer_settings.pop("callbacks", None))
    trainer = build_trainer(model, folder, checkpoint=checkpoint, callbacks=callbacks, **trainer_settings)
    if "devices" not in trainer_settings:  # who asks for one may give each process an image of its own
        check_launch(trainer)
    _check_files(trainer, model, data, checkpoint)
    check_memory(trainer, model, data)
    keeper = keeper_of(trainer)
    assert keeper is not None  # build_trainer adds it
    with keeper.occupied(trainer), restoring(checkpoint), named_out_of_memory():
        trainer.fit(model, data, ckpt_path=checkpoint)
    return result_of(trainer, model)


def _check_files(trainer: Trainer, model: StyleTransfer, data: TransferData, checkpoint: Path | None) -> None:
    encoders = [objective.encoder.weights_name for objective in model.objectives.all()]
    read = [*data.inputs, *named_files([*encoders, checkpoint])]
    for callback in callbacks_of(trainer):
        if isinstance(callback, (ImageWriter, Animation)):
            check_overwriting(callback.targets(), read)


def check_memory(trainer: Trainer, model: StyleTransfer, data: TransferData) -> None:
    """Refuse a painting that memory can't hold at its largest level, before anything of it is painted.

    Args:
        trainer: Trainer that is to paint.
        model: Task.
        data: Images and schedule.

    Raises:
        UserError: If it can't.
    """
    device = trainer.strategy.root_device
    free = free_memory(device) * (1 if device.type == "cpu" else trainer.world_size)
    free += psutil.swap_memory().free if device.type == "cpu" else 0
    level = max(data.schedule.levels, key=lambda level: level.height * level.width)
    objective = model.objectives.at(level)
    itemsize = ENCODER_DTYPES[str(trainer.precision)].itemsize
    check_fits(
        *(level.height, level.width, objective.encoder, objective.taps(), free), model.tile_sizes.wanted, itemsize
    )


def result_of(trainer: Trainer, model: StyleTransfer) -> Result:
    """Return what a finished or stopped run left."""
    writer = next((callback for callback in callbacks_of(trainer) if isinstance(callback, ImageWriter)), None)
    picture, data = painted(trainer, model).cpu(), transfer_data(trainer)
    return Result(
        picture=picture,
        path=writer.written if writer is not None else None,
        folder=run_folder(trainer),
        complete=trainer.global_step >= trainer.num_training_batches,
        alpha=None if data is None else data.alpha((picture.shape[-2], picture.shape[-1])),
        settings=writer.settings_text(trainer) if writer is not None else None,
    )


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]


def _has(objects: Sequence[object], kind: type) -> bool:
    return any(isinstance(thing, kind) for thing in objects)
