"""Training a network: what is minimised, what a checkpoint holds, what a resumed training makes."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy
from torch import nn

from nst_lightning.callbacks.checkpoint import AtomicCheckpointIO, CheckpointWriter
from nst_lightning.callbacks.run_folder import RunFolder
from nst_lightning.callbacks.tensorboard import StylizedImages
from nst_lightning.data.fast_transfer_data import FastBatch, FastTransferData
from nst_lightning.encoders.vgg19 import VGG19
from nst_lightning.errors import UserError
from nst_lightning.losses import ContentLoss, GramStyleLoss, TemporalLoss, TotalVariationLoss, WassersteinStyleLoss
from nst_lightning.losses.objective import Objective, References
from nst_lightning.networks.network_file import load_network
from nst_lightning.networks.transformer import TransformerNet
from nst_lightning.runs.trainer import build_trainer
from nst_lightning.tasks.fast_style_transfer import FastStyleTransfer
from nst_lightning.tasks.network_training import strength_of_step
from tests.helpers.inputs import make_image


@pytest.fixture
def photos(tmp_path: Path) -> str:
    (tmp_path / "photos").mkdir()
    for index in range(7):
        make_image(tmp_path / "photos" / f"{index}.png", 40, 36, seed=10 + index)
    return str(tmp_path / "photos")


@pytest.fixture
def model(encoder_file: str):
    def make(
        *, styles: int = 2, width: int = 3, encoder: str = encoder_file, style=None, **options
    ) -> FastStyleTransfer:
        torch.manual_seed(0)
        return FastStyleTransfer(
            VGG19(encoder, padding="replicate"),
            TransformerNet(styles, width, 1),
            ContentLoss(["relu2_2"], weight=2.0),
            style or GramStyleLoss(["relu1_1", "relu3_1"], weight=5.0),
            TotalVariationLoss(weight=3.0),
            optimizer=partial(torch.optim.Adam, lr=0.01),
            **{"weaker": 0.5, **options},
        )

    return make


@pytest.fixture
def data(photos: str, content: str, style: str):
    def make(steps: int = 6, styles: tuple[str, ...] = (style, content), **options) -> FastTransferData:
        return FastTransferData(photos, list(styles), 32, steps, crop=24, batch_size=2, holdout_every=3, **options)

    return make


@pytest.fixture
def trainer(tmp_path: Path):
    def make(folder: str = "run", **options) -> Trainer:
        settings = {
            "accelerator": "cpu",
            "max_epochs": 1,
            "logger": False,
            "limit_val_batches": 0,
            "callbacks": [CheckpointWriter(every_n_steps=1, keep_all=True)],
            "plugins": [AtomicCheckpointIO()],
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "log_every_n_steps": 1,
            "default_root_dir": tmp_path / folder,
        }
        return Trainer(**{**settings, **options})

    return make


@pytest.mark.parametrize(("batch_idx", "strength"), [(1, 1.0), (5, 6 * 5**0.5 - 13)])
@pytest.mark.parametrize("kind", [GramStyleLoss, WassersteinStyleLoss])
def test_the_loss_is_the_mean_of_what_each_picture_would_be_painted_for(
    kind, batch_idx, strength, model, data, trainer
) -> None:
    task = model(style=kind(["relu1_1", "relu3_1"], weight=5.0))
    pictures = data()
    task.trainer = trainer(log_every_n_steps=100)
    photos = next(iter(pictures.train_dataloader()))[[0, 1, 1]]  # 3 pictures: an odd batch begins with the other style
    batch = pictures.on_after_batch_transfer(photos, 0)
    assert strength_of_step(batch_idx, 0.5) == pytest.approx(strength)
    loss = task.training_step(batch, batch_idx)
    expected = []
    for place in range(3):
        number = (3 * batch_idx + place) % 2
        photo, weights = photos[place : place + 1], torch.eye(2)[number] * strength
        task.objective.losses[1].weight = 5.0 * strength**2
        reference = Objective(task.encoder, task.objective.losses)
        targets = reference.measure(References(photo, [pictures.styles[number]], [1.0]))
        expected.append(float(reference(task.network(photo, weights), targets)[0]))
    assert float(loss) == pytest.approx(sum(expected) / 3, rel=1e-5)


def test_weaker_steps_are_spread_evenly() -> None:
    strengths = torch.tensor([strength_of_step(step, 0.3) for step in range(4000)])
    weaker = strengths[strengths < 1]
    assert len(weaker) == pytest.approx(1200, abs=10)
    assert torch.histc(weaker, 6, 0, 1).tolist() == pytest.approx([200] * 6, abs=12)
    assert all(strength_of_step(step, 0.0) == 1.0 for step in range(50))


def test_training_makes_a_network_and_changes_nothing_else(
    model, data, trainer, tmp_path, photos, content, style
) -> None:
    path = tmp_path / "made" / "network.safetensors"
    task, lightning = model(output=str(path)), trainer(limit_val_batches=1, val_check_interval=6)
    before = {name: value.clone() for name, value in task.named_parameters()}
    encoder = {name: value.clone() for name, value in task.encoder.named_buffers()}
    lightning.fit(task, datamodule=data())
    assert all(name.startswith("network.") for name in before)
    changed = [name for name, value in task.named_parameters() if not torch.equal(value, before[name])]
    assert set(changed) == set(before)
    assert all(torch.equal(value, encoder[name]) for name, value in task.encoder.named_buffers())
    metrics = lightning.callback_metrics
    assert {"loss/total", "loss/style/relu3_1", "loss/tv", "val/loss", "val/content/relu2_2"} <= set(metrics)
    parts = sum(float(metrics[f"val/{name}"]) for name in ("content", "style", "tv"))
    assert float(metrics["val/loss"]) == pytest.approx(parts, rel=1e-5)
    network, card = load_network(path)
    assert card.styles == ("style", "content")
    assert card.encoder == task.encoder.digest
    checkpoint = tmp_path / "run" / "checkpoints" / "last.ckpt"
    assert set(torch.load(checkpoint, weights_only=True)["state_dict"]) == set(before)
    trained, same_card = load_network(checkpoint)
    assert same_card == card
    image = torch.rand(1, 3, 20, 20)
    with torch.no_grad():
        torch.testing.assert_close(trained(image), task.network(image))
        torch.testing.assert_close(network(image), task.network(image), atol=0.01, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_an_interrupted_training_goes_on_exactly(workers, model, data, trainer, tmp_path) -> None:
    schedule = partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=6)
    outputs = {name: tmp_path / f"{name}.safetensors" for name in ("whole", "cut")}
    trainer("whole").fit(
        model(output=str(outputs["whole"]), lr_scheduler=schedule), datamodule=data(num_workers=workers)
    )
    torch.manual_seed(99)  # what the global generator is at does not matter
    last = tmp_path / "whole" / "checkpoints" / "step000004.ckpt"
    resumed = model(output=str(outputs["cut"]), lr_scheduler=schedule)
    nn.init.zeros_(resumed.network.stages[-1].convolution.weight)
    trainer("cut").fit(resumed, datamodule=data(num_workers=workers), ckpt_path=str(last))
    assert outputs["cut"].read_bytes() == outputs["whole"].read_bytes()
    final = [(tmp_path / name / "checkpoints" / "last.ckpt").read_bytes() for name in outputs]
    assert final[0] == final[1]


def test_a_stopped_training_writes_no_network(model, data, trainer, tmp_path) -> None:
    class Stop(CheckpointWriter):
        def on_train_batch_end(self, trainer, *args):
            trainer.should_stop = trainer.global_step == 3

    path = tmp_path / "network.safetensors"
    path.write_text("an earlier one")
    lightning = trainer(callbacks=[Stop()])
    lightning.fit(model(output=str(path)), datamodule=data())
    assert lightning.global_step == 3
    assert path.read_text() == "an earlier one"


def test_the_learning_rate_of_the_config_counts_on_resume(model, data, trainer, tmp_path) -> None:
    trainer().fit(model(), datamodule=data(2))
    task, lightning = model(), trainer()
    task.optimizer = partial(torch.optim.Adam, lr=0.5)
    lightning.fit(task, datamodule=data(3), ckpt_path=str(tmp_path / "run" / "checkpoints" / "last.ckpt"))
    assert lightning.global_step == 3
    assert lightning.optimizers[0].param_groups[0]["lr"] == 0.5


class Rates(Callback):
    """The learning rate of each optimiser step as it is made."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_before_optimizer_step(self, trainer, module, optimizer):
        self.seen.append(optimizer.param_groups[0]["lr"])


LINE = torch.optim.lr_scheduler.PolynomialLR


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "then"),
    [
        ({"decay": 0.0}, {"decay": 0.0}),
        ({"lr_scheduler": partial(LINE, total_iters=4)}, {"lr_scheduler": partial(LINE, total_iters=8)}),
        ({"lr_scheduler": partial(LINE, total_iters=4)}, {"decay": 0.0}),
        ({}, {"lr_scheduler": partial(LINE, total_iters=8)}),
    ],
)
def test_a_finished_training_goes_on_under_a_longer_schedule(first, then, model, data, trainer, tmp_path) -> None:
    """Both ways the rate at step k of 8 is 0.01 (1 - k / 8), which the second half begins at 0.005."""
    rates, last = Rates(), tmp_path / "run" / "checkpoints" / "last.ckpt"
    trainer(callbacks=[rates, CheckpointWriter()]).fit(model(**first), datamodule=data(4))
    assert rates.seen == pytest.approx([0.01 * (1 - step / 4) if first else 0.01 for step in range(4)])
    before = torch.load(last, weights_only=True)["state_dict"]
    task, rates = model(**then), Rates()
    lightning = trainer("longer", callbacks=[rates, CheckpointWriter()])
    lightning.fit(task, datamodule=data(8), ckpt_path=str(last))
    assert rates.seen == pytest.approx([0.01 * (1 - step / 8) for step in range(4, 8)])
    assert float(lightning.callback_metrics["learning_rate"]) == pytest.approx(0.01 / 8)
    moved = max(float((value - before[name]).abs().max()) for name, value in task.state_dict().items())
    assert moved > 0.005


def test_the_rate_follows_the_steps_whatever_part_a_run_makes(model, data, trainer) -> None:
    """Stopping early, by max_steps, is no shorter training."""
    rates = Rates()
    trainer(max_steps=2, callbacks=[rates]).fit(model(decay=0.2), datamodule=data(4))
    assert rates.seen == pytest.approx([0.01, 0.01 * 0.8])


def test_a_schedule_that_ends_before_the_checkpoint(model, data, trainer, tmp_path) -> None:
    cycle = torch.optim.lr_scheduler.OneCycleLR
    trainer().fit(model(lr_scheduler=partial(cycle, max_lr=0.01, total_steps=9)), datamodule=data(4))
    task = model(lr_scheduler=partial(cycle, max_lr=0.01, total_steps=3))
    with pytest.raises(UserError, match=r"4 steps into its training, but model\.lr_scheduler ends before"):
        trainer().fit(task, datamodule=data(8), ckpt_path=str(tmp_path / "run/checkpoints/last.ckpt"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"width": 4}, "made with .*'width': 3.* asks for .*'width': 4"),
        ({"encoder": "random"}, "other encoder weights"),
        ({"swap": True}, "other style pictures"),
        ({"steps": 1}, "2 steps into its training, but data.steps is 1"),
    ],
)
def test_what_cannot_go_on_is_refused(change, said, model, data, trainer, tmp_path, style, content) -> None:
    trainer().fit(model(), datamodule=data(2))
    pictures = data(change.pop("steps", 4), *([(content, style)] if change.pop("swap", False) else []))
    with pytest.raises(UserError, match=said) as caught:
        trainer().fit(model(**change), datamodule=pictures, ckpt_path=str(tmp_path / "run/checkpoints/last.ckpt"))
    assert "\n" not in str(caught.value)


def test_bfloat16_is_the_same_but_for_rounding(model, data, trainer) -> None:
    losses = {}
    for precision in ("32-true", "bf16-mixed"):
        lightning = trainer(precision=precision, max_steps=1)
        task = model()
        lightning.fit(task, datamodule=data())
        losses[precision] = float(lightning.callback_metrics["loss/total"])
        assert task.encoder.dtype == (torch.float32 if precision == "32-true" else torch.bfloat16)
        assert next(task.network.parameters()).dtype == torch.float32
    assert losses["bf16-mixed"] != losses["32-true"]
    assert losses["bf16-mixed"] == pytest.approx(losses["32-true"], rel=0.02)


def test_tensorboard_shows_the_photographs_above_every_style(model, data, trainer, tmp_path, monkeypatch) -> None:
    logger = TensorBoardLogger(tmp_path / "logs")
    shown = []
    monkeypatch.setattr(logger.experiment, "add_image", lambda *logged: shown.append(logged))
    task, pictures = model(), data()
    callbacks = [StylizedImages(2)]
    options = {"limit_val_batches": 2, "val_check_interval": 3, "enable_checkpointing": False}
    trainer(logger=logger, callbacks=callbacks, **options).fit(task, datamodule=pictures)
    assert [(tag, step) for tag, _, step in shown] == [("val/painted", 3), ("val/painted", 6)]
    grid, side = shown[-1][1], 48  # twice the crop
    held_out = next(iter(pictures.val_dataloader()))
    rows = [grid[:, 2 + row * (side + 2) :, :][:, :side] for row in range(3)]
    cells = [[row[:, :, 2 + place * (side + 2) :][:, :, :side] for place in range(2)] for row in rows]
    torch.testing.assert_close(torch.stack(cells[0]), held_out)
    with torch.no_grad():
        for number in range(2):
            expected = task.network(held_out, torch.eye(2)[number])
            torch.testing.assert_close(torch.stack(cells[1 + number]), expected)


@pytest.mark.slow
def test_as_many_styles_as_the_network_is_made_for(model, data, trainer) -> None:
    with pytest.raises(UserError, match=r"2 pictures.* made for 3 styles; set --model.network.styles 2"):
        trainer().fit(model(styles=3), datamodule=data())


def test_a_loss_against_the_frame_before_is_refused() -> None:
    with pytest.raises(UserError, match="'temporal' compares frames of a video"):
        FastStyleTransfer(extra_losses=[TemporalLoss()])


def test_a_layer_of_small_levels_is_refused() -> None:
    loss = GramStyleLoss(["relu1_1", "relu2_1"], up_to={"relu2_1": 256})
    with pytest.raises(UserError, match="up_to of the loss 'style' is for levels of a pyramid"):
        FastStyleTransfer(style=loss)


def test_a_checkpoint_of_another_task(model) -> None:
    with pytest.raises(UserError, match="not one of a FastStyleTransfer run"):
        model().on_load_checkpoint({"style_transfer": {}})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"weaker": 1.0}, "weaker .* but 1.0 was given"),
        ({"decay": 1.5}, "decay .* but 1.5 was given"),
        ({"output": "network.pth"}, "must end in .safetensors"),
    ],
)
def test_settings_that_make_no_sense(options, said, model) -> None:
    with pytest.raises(UserError, match=said):
        model(**options)


def test_the_home_folder_is_understood(model, data, trainer, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    trainer().fit(model(output="~/made.safetensors"), datamodule=data(1))
    assert (tmp_path / "made.safetensors").is_file()
    assert not (tmp_path / "~").exists()


def test_the_frozen_encoder_is_not_sent_around_by_ddp(model, tmp_path) -> None:
    settings = {"accelerator": "cpu", "devices": 2, "strategy": "ddp_spawn", "logger": False}
    trainer = build_trainer(model(), RunFolder(tmp_path, "run"), **settings)
    assert trainer.strategy._ddp_kwargs["broadcast_buffers"] is False
    explicit = build_trainer(
        model(), RunFolder(tmp_path, "run"), **{**settings, "strategy": DDPStrategy(broadcast_buffers=True)}
    )
    assert explicit.strategy._ddp_kwargs["broadcast_buffers"] is True


def test_a_batch_says_which_styles(data) -> None:
    batch = data().on_after_batch_transfer(torch.zeros(1, 3, 8, 8), 0)
    assert isinstance(batch, FastBatch)
    assert batch.style_names == ("style", "content")
    assert [tuple(style.shape) for style in batch.styles] == [(1, 3, 32, 32), (1, 3, 24, 32)]
