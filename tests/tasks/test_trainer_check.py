"""Whoever knows Lightning tries these first: they work, or are refused before anything is painted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import (
    BackboneFinetuning,
    BatchSizeFinder,
    EarlyStopping,
    EMAWeightAveraging,
    GradientAccumulationScheduler,
    LearningRateFinder,
    LearningRateMonitor,
    ModelPruning,
    OnExceptionCheckpoint,
    StochasticWeightAveraging,
    Timer,
    WeightAveraging,
)
from lightning.pytorch.tuner import Tuner

from nst_lightning import VGG19, ContentLoss, GramStyleLoss, StyleTransfer, TransferData, UserError, fit

QUIET: dict[str, Any] = {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False}


@pytest.fixture
def paint(
    encoder_file: str, content: str, style: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], tuple[StyleTransfer, TransferData]]:
    """Return a task of five steps over two levels, and its data; in an empty folder."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")

    def make() -> tuple[StyleTransfer, TransferData]:
        losses = {"content": ContentLoss(["relu3_1"]), "style": GramStyleLoss(["relu1_1", "relu2_1"])}
        task = StyleTransfer(VGG19(encoder_file, padding="replicate"), **losses)
        return task, TransferData(content, style, sizes=[16, 24], steps=[3, 2])

    return make


Make = Callable[[], tuple[StyleTransfer, TransferData]]

UNFIT: dict[str, tuple[dict[str, Any], str]] = {
    "SWA": ({"callbacks": [StochasticWeightAveraging(0.1)]}, "StochasticWeightAveraging .* use model.average"),
    "averaging": ({"callbacks": [WeightAveraging()]}, "WeightAveraging .* use model.average"),
    "EMA": ({"callbacks": [EMAWeightAveraging()]}, "EMAWeightAveraging .* use model.average"),
    "accumulation": ({"callbacks": [GradientAccumulationScheduler({0: 2})]}, "nothing to accumulate"),
    "accumulated": ({"accumulate_grad_batches": 2}, "nothing to accumulate"),
    "pruning": ({"callbacks": [ModelPruning("l1_unstructured")]}, "ModelPruning changes layers"),
    "fine tuning": ({"callbacks": [BackboneFinetuning()]}, "BackboneFinetuning changes layers"),
    "batch size": ({"callbacks": [BatchSizeFinder()]}, "there is one picture"),
    "learning rate": ({"callbacks": [LearningRateFinder()]}, "nst sweep"),
    "early stopping": ({"callbacks": [EarlyStopping("loss/total")]}, "looks once in an epoch"),
    "part of the batches": ({"limit_train_batches": 0.3}, "data.steps for fewer"),
    "one batch": ({"limit_train_batches": 1}, "data.steps for fewer"),
    "no batch": ({"limit_train_batches": 0}, "data.steps for fewer"),
    "overfit": ({"overfit_batches": 1}, "data.steps for fewer"),
    "epochs": ({"min_epochs": 2}, "raise data.steps"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", UNFIT)
@pytest.mark.parametrize("plain", [True, False], ids=["Trainer", "fit"])
def test_what_does_not_fit_is_refused_before(name: str, plain: bool, paint: Make) -> None:
    settings, message = UNFIT[name]
    task, data = paint()

    def run() -> None:
        if plain:
            lightning.Trainer(**QUIET, **settings).fit(task, data)
        else:
            fit(task, data, accelerator="cpu", enable_progress_bar=False, **settings)

    with pytest.raises(UserError, match=message):
        run()
    assert task.loss is None
    assert plain or not list(Path().iterdir())


def test_no_run_goes_on_with_another_unasked(paint: Make) -> None:
    """Lightning takes up what this callback has left, whichever run it was."""
    with pytest.raises(UserError, match="OnExceptionCheckpoint would let the next run go on with this one unasked"):
        fit(*paint(), accelerator="cpu", callbacks=[OnExceptionCheckpoint("x")])


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp_notebook", "ddp_spawn", "ddp_fork"])
@pytest.mark.parametrize("devices", [1, 2])
def test_copies_of_a_process_are_refused_before(strategy: str, devices: int, paint: Make) -> None:
    with pytest.raises(UserError, match="no picture comes back; leave it"):
        fit(*paint(), accelerator="cpu", strategy=strategy, devices=devices)
    assert not list(Path().iterdir())


@pytest.mark.parametrize("search", ["lr_find", "scale_batch_size"])
def test_tuners_are_refused(search: str, paint: Make) -> None:
    with pytest.raises(UserError, match=r"leave it out|nst sweep"):
        getattr(Tuner(lightning.Trainer(**QUIET, max_epochs=1)), search)(*paint())


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings", [{}, {"max_epochs": -1}, {"max_epochs": 3}, {"max_steps": 50}, {"barebones": True, "max_epochs": 2}]
)
def test_a_plain_trainer_paints_once(settings: dict[str, Any], paint: Make) -> None:
    """As the project's own does, to the byte."""
    torch.manual_seed(0)
    expected = fit(*paint(), accelerator="cpu", enable_progress_bar=False, precision="32-true").picture
    quiet = {"accelerator": "cpu"} if "barebones" in settings else {**QUIET, "logger": False}
    task, data = paint()
    trainer = lightning.Trainer(**quiet, **settings)
    torch.manual_seed(0)
    trainer.fit(task, data)
    assert trainer.global_step == 5
    assert torch.equal(task.result(), expected)


def test_a_callback_that_stops_by_steps_is_the_users_business(paint: Make) -> None:
    class ByStep(EarlyStopping):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            trainer.should_stop = trainer.global_step >= 2

        def on_train_epoch_end(self, *_: Any) -> None:
            """Look no more."""

    result = fit(*paint(), accelerator="cpu", enable_progress_bar=False, callbacks=[ByStep("loss/total")])
    assert not result.complete


def test_callbacks_that_look_on_fit(paint: Make) -> None:
    callbacks = [LearningRateMonitor(), Timer("00:01:00:00")]
    assert fit(*paint(), accelerator="cpu", enable_progress_bar=False, callbacks=callbacks).complete


@pytest.mark.slow
def test_a_checkpoint_is_loaded_without_a_trainer(paint: Make, encoder_file: str) -> None:
    """The picture is the run's, whatever the losses and the optimizer that one names to load it."""
    result = fit(*paint(), accelerator="cpu", enable_progress_bar=False)
    assert result.folder is not None
    checkpoint = result.folder / "checkpoints" / "last.ckpt"
    encoder = VGG19(encoder_file, padding="replicate")
    loaded = StyleTransfer.load_from_checkpoint(checkpoint, encoder=encoder, content=ContentLoss(["relu2_1"]))
    assert torch.equal(loaded.result(), result.picture)
    other = StyleTransfer.load_from_checkpoint(
        checkpoint, encoder=encoder, content=ContentLoss(["relu2_1"]), optimizer=torch.optim.SGD
    )
    assert torch.equal(other.result(), result.picture)
    assert torch.equal(StyleTransfer.load_from_checkpoint(checkpoint, encoder=encoder).result(), result.picture)


@pytest.mark.slow
def test_a_loaded_task_paints_anew(paint: Make, encoder_file: str) -> None:
    torch.manual_seed(0)
    result = fit(*paint(), accelerator="cpu", enable_progress_bar=False)
    assert result.folder is not None
    losses = {"content": ContentLoss(["relu3_1"]), "style": GramStyleLoss(["relu1_1", "relu2_1"])}
    loaded = StyleTransfer.load_from_checkpoint(
        result.folder / "checkpoints" / "last.ckpt", encoder=VGG19(encoder_file, padding="replicate"), **losses
    )
    torch.manual_seed(0)
    again = fit(loaded, paint()[1], accelerator="cpu", enable_progress_bar=False)
    assert torch.equal(again.picture, result.picture)
