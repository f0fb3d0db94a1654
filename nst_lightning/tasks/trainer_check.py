"""What a Trainer may be asked for that does not fit the optimization of one image, refused before anything runs."""

from __future__ import annotations

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import (
    BaseFinetuning,
    BatchSizeFinder,
    EarlyStopping,
    GradientAccumulationScheduler,
    LearningRateFinder,
    ModelPruning,
    StochasticWeightAveraging,
    WeightAveraging,
)
from lightning.pytorch.strategies import DDPStrategy, DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy

from nst_lightning._compat import callbacks_of, is_dev_run, start_method
from nst_lightning.errors import UserError

_AVERAGES = "averages weights, and here they are the picture, which grows from level to level; use model.average"
_NO_LAYERS = "changes layers that are trained, and here the picture is all that is; leave it out"
_UNFIT: dict[type[Callback], str] = {
    StochasticWeightAveraging: _AVERAGES,
    WeightAveraging: _AVERAGES,
    ModelPruning: _NO_LAYERS,
    BaseFinetuning: _NO_LAYERS,
    GradientAccumulationScheduler: "has nothing to accumulate, each step has the whole picture; leave it out",
    BatchSizeFinder: "finds no size, there is one picture; leave it out",
    LearningRateFinder: "would paint over the picture to find a learning rate; compare some by nst sweep "
    "--grid.model.optimizer.lr",
    EarlyStopping: "looks once in an epoch, and one epoch is the whole run; set data.steps or trainer.max_time",
}


def check_trainer(trainer: Trainer) -> None:
    """Refuse settings and callbacks of a Trainer that would cut the schedule, or work on layers that there are not.

    Args:
        trainer: Trainer that is about to fit a `StyleTransfer`.

    Raises:
        UserError: With the setting, or the callback, and what to do instead.
    """
    _check_strategy(trainer)
    if trainer.accumulate_grad_batches != 1:
        raise UserError(
            "each step has the whole picture, there is nothing to accumulate; leave accumulate_grad_batches."
        )
    limit: int | float = trainer.limit_train_batches
    is_whole = isinstance(limit, float) and limit == 1 and not trainer.overfit_batches  # type: ignore[attr-defined]
    if not is_whole and not is_dev_run(trainer):
        raise UserError(
            "trainer.limit_train_batches and trainer.overfit_batches would cut the picture short of its size; set "
            "data.steps for fewer steps, or trainer.max_steps to stop on the way."
        )
    if (trainer.min_epochs or 0) > 1 or (trainer.min_steps is not None and trainer.max_epochs != 1):
        raise UserError(
            "one epoch is the whole schedule; raise data.steps, and leave trainer.min_epochs and trainer.min_steps."
        )
    for callback in callbacks_of(trainer):
        reason = next((reason for kind, reason in _UNFIT.items() if isinstance(callback, kind)), None)
        if reason is not None and not _works_by_steps(callback):
            raise UserError(f"the callback {type(callback).__name__} {reason}.")


def _works_by_steps(callback: Callback) -> bool:
    """Return whether it is an early stopping of the user's own that looks after each step."""
    return isinstance(callback, EarlyStopping) and type(callback).on_train_batch_end is not Callback.on_train_batch_end


def _check_strategy(trainer: Trainer) -> None:
    strategy = trainer.strategy
    if isinstance(strategy, (FSDPStrategy, DeepSpeedStrategy, ModelParallelStrategy)):
        raise UserError(f"a picture can't be shared by {type(strategy).__name__}; leave trainer.strategy.")
    if not isinstance(strategy, DDPStrategy):
        return
    if start_method(strategy) != "popen":
        raise UserError(
            "this trainer.strategy paints in copies of this process, from which no picture comes back; leave it, and "
            "in a notebook ask for one device."
        )
    if type(strategy) is DDPStrategy and trainer.world_size > 1:
        raise UserError(
            f"Lightning's own DDP can't share a picture between {trainer.world_size} processes; use nst fit or "
            "nst_lightning.fit with devices, or one device."
        )
