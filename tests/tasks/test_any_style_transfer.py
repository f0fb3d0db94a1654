"""Training a network of any style: what is minimized, what is left alone, what a resumed training makes."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Trainer
from torch import nn

from nst_lightning.callbacks.checkpoint import AtomicCheckpointIO, CheckpointWriter
from nst_lightning.data.any_style_data import AnyStyleBatch, AnyStyleData
from nst_lightning.data.fast_transfer_data import FastTransferData
from nst_lightning.encoders.vgg19 import VGG19
from nst_lightning.errors import UserError
from nst_lightning.losses import ContentLoss, TemporalLoss, TotalVariationLoss, WassersteinStyleLoss
from nst_lightning.losses.objective import Objective, References
from nst_lightning.networks.any_style import AnyStyleNet, describe
from nst_lightning.networks.gaussians import optimal_transport
from nst_lightning.networks.network_file import load_network
from nst_lightning.networks.noise import with_noise
from nst_lightning.networks.transformer import TransformerNet
from nst_lightning.runs.fit_command import check_compatible
from nst_lightning.tasks.any_style_transfer import AnyStyleTransfer
from nst_lightning.tasks.fast_style_transfer import FastStyleTransfer
from tests.helpers.inputs import make_encoder, make_image


@pytest.fixture
def data(tmp_path: Path):
    for place in ("photos", "paintings"):
        (tmp_path / place).mkdir()
        for index in range(5):
            make_image(tmp_path / place / f"{index}.png", 40, 36, seed=10 * len(place) + index)

    def make(steps: int = 6, **options) -> AnyStyleData:
        folders = str(tmp_path / "photos"), str(tmp_path / "paintings")
        return AnyStyleData(*folders, steps, crop=20, style_crop=28, batch_size=2, holdout_every=3, **options)

    return make


@pytest.fixture
def model(encoder_file: str):
    def make(noise: float = 0.2, drafts: int = 0, **options) -> AnyStyleTransfer:
        torch.manual_seed(0)
        return AnyStyleTransfer(
            AnyStyleNet(
                encoder_file, width=4, blocks=1, described=4, noise=noise, drafts=drafts, draft_strength=0.7, detail=0.9
            ),
            content=ContentLoss(["relu2_2"], weight=2.0),
            style=WassersteinStyleLoss(["relu1_1", "relu3_1"], weight=5.0),
            variation=TotalVariationLoss(weight=3.0),
            optimizer=partial(torch.optim.Adam, lr=0.01),
            **{"weaker": 0.5, **options},
        )

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


def images(seed: int) -> torch.Tensor:
    return torch.rand(3, 3, 24, 32, generator=torch.Generator().manual_seed(seed))


def unfinished(network: AnyStyleNet, contents: torch.Tensor, styles: torch.Tensor, weights=None) -> torch.Tensor:
    """What the network paints of what it reads, before the result is given the style's colors."""
    maps = network.encode(contents)
    return network.paint(maps, network.transport(describe(maps), [network.measure(styles)], weights), False)


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("step", [0, 1, 2])
@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_the_loss_is_the_mean_of_what_each_image_would_be_painted_for(
    own, step, noise, model, tmp_path, trainer
) -> None:
    """In each second step the last image is its own style, and read without noise."""
    encoder = None if own else VGG19(make_encoder(tmp_path / "other.safetensors", seed=9), padding="replicate")
    task = model(noise, encoder=encoder, weaker=0.0, identity=7.0)
    task.trainer = trainer(log_every_n_steps=100)
    contents, larger = images(1), images(2).repeat(1, 1, 2, 1)
    loss = task.training_step(AnyStyleBatch(contents, larger), step)
    expected = 0.0
    for index in range(3):
        content = contents[index : index + 1]
        itself = step != 1 and index == 2
        style = content if itself else larger[index : index + 1]
        # Of each step another part of the field of noise.
        read = content if itself else with_noise(content, noise, 1021 * step, 2039 * step)
        painted = unfinished(task.network, read, style)
        objective = Objective(task.encoder, task.objective.losses)
        loss_of_one = objective(painted, objective.measure(References(content, [style], [1.0])))[0]
        expected += float(loss_of_one.detach()) / 3
    if step != 1:
        expected += 7 * float((painted - contents[2:]).detach().square().mean())
    assert float(loss) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("strength", [1.0, 0.5])
@pytest.mark.parametrize("step", [0, 1, 2, 3, 4, "validation"])
def test_two_pairs_of_steps_of_three_are_painted_on_drafts(step, strength, model) -> None:
    """Which are what a network without drafts paints at half of the resolution."""
    training, step = step != "validation", 0 if step == "validation" else step
    moved = ContentLoss({"relu2_1": 2.0, "relu3_1": 1.0}, weight=4.0, name="moved")
    task = model(drafts=1, weaker=0.0, identity=7.0, moved=moved)
    task.train(training)
    network, weights = task.network, torch.tensor([strength])
    contents, styles = (F.interpolate(images(seed), (32, 48)) for seed in (1, 2))
    loss, _ = task._evaluate(AnyStyleBatch(contents, styles), step, strength)
    expected = 0.0
    for index in range(3):
        content, style = contents[index : index + 1], styles[index : index + 1]
        drafted, itself = step >= 2 or not training, training and step % 2 == 0 and index == 2
        if itself:
            read, style = content, content
        elif drafted:
            smaller, small_style = (each.unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5)) for each in (content, style))
            plain = without_drafts(network)
            with torch.no_grad():
                draft = plain(smaller, [plain.measure(small_style)], 0.7 * weights)
            doubled, coarse = (F.interpolate(each, scale_factor=2, mode="bilinear") for each in (draft, smaller))
            read = (doubled + (1 - 0.1 * strength) * (content - coarse)).clamp(0, 1)
        else:
            read = with_noise(content, 0.2 * strength, 1021 * step, 2039 * step)
        maps = network.encode(read)
        own, wanted = describe(maps), network.measure(style)
        painted = network.paint(maps, network.transport(own, [wanted], weights, drafted), drafted)
        others = [each for each in task.objective.losses if each is not moved]
        objective = Objective(task.encoder, others)
        _, found = objective(painted, objective.measure(References(content, [style], [1.0])))
        shares = {name: strength**2 if name.startswith("style") else 1.0 for name in found}
        expected += sum(shares[name] * float(term) for name, term in found.items()) / 3
        given = {
            tap: torch.lerp(maps[tap], optimal_transport(own[tap], wanted[tap])(maps[tap]), strength)
            for tap in moved.taps
        }
        terms = moved(task.encoder(painted, moved.taps), moved.prepare(moved.measure(given)))
        expected += sum(float(term.detach()) for term in terms.values()) / 3
    if training and step % 2 == 0:
        expected += 7 * float((painted - contents[2:]).detach().square().mean())
    assert float(loss) == pytest.approx(expected, rel=1e-4)


def without_drafts(network: AnyStyleNet) -> AnyStyleNet:
    """A network with the same weights, but those of what joins where there is a draft."""
    other = AnyStyleNet(network.weights, network.width, network.blocks, network.described, network.noise)
    state = network.state_dict()
    for name, value in other.state_dict().items():
        if state[name].shape != value.shape:
            state[name] = state[name][:, : value.shape[1]]
    other.load_state_dict(state)
    return other.eval()


def test_the_style_counts_the_square_of_the_strength(model) -> None:
    """And the noise the strength."""
    task = model()
    batch = AnyStyleBatch(images(1), images(2))
    _, terms = task._evaluate(batch, 1, 0.5)
    weights = torch.tensor([0.5])
    painted = unfinished(task.network, with_noise(batch.contents, 0.1, 1021, 2039), batch.styles, weights)
    loss = task.objective.losses[1]
    encoder = task.encoder
    targets = loss.prepare(loss.measure(encoder(batch.styles, loss.taps)))
    for name, term in loss(encoder(painted, loss.taps), targets).items():
        assert float(terms[name]) == pytest.approx(0.25 * float(term), rel=1e-4)


def test_training_changes_the_decoder_alone(model, data, trainer, tmp_path) -> None:
    path = tmp_path / "made" / "network.safetensors"
    task, lightning = model(output=str(path)), trainer(limit_val_batches=1, val_check_interval=6)
    before = {name: value.clone() for name, value in task.named_parameters()}
    encoder = {name: value.clone() for name, value in task.encoder.named_buffers()}
    lightning.fit(task, datamodule=data())
    unchanged = [name for name, value in task.named_parameters() if torch.equal(value, before[name])]
    assert not unchanged
    assert all(torch.equal(value, encoder[name]) for name, value in task.encoder.named_buffers())
    assert {"loss/total", "loss/style/relu3_1", "loss/tv", "val/loss"} <= set(lightning.callback_metrics)
    checkpoint = tmp_path / "run" / "checkpoints" / "last.ckpt"
    assert set(torch.load(checkpoint, weights_only=True)["state_dict"]) == set(before)
    trained, card = load_network(checkpoint)
    network, same_card = load_network(path)
    assert card == same_card
    image, style = images(1), images(2)
    expected = task.network(image, [task.network.measure(style)])
    with torch.no_grad():
        torch.testing.assert_close(trained(image, [trained.measure(style)]), expected)
        torch.testing.assert_close(network(image, [network.measure(style)]), expected, atol=0.02, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_an_interrupted_training_goes_on_exactly(workers, model, data, trainer, tmp_path) -> None:
    outputs = {name: tmp_path / f"{name}.safetensors" for name in ("whole", "cut")}
    trainer("whole").fit(model(output=str(outputs["whole"]), decay=0.1), datamodule=data(num_workers=workers))
    torch.manual_seed(99)  # what the global generator is at does not matter
    last = tmp_path / "whole" / "checkpoints" / "step000003.ckpt"
    resumed = model(output=str(outputs["cut"]), decay=0.1)
    nn.init.zeros_(resumed.network.leave.weight)
    trainer("cut").fit(resumed, datamodule=data(num_workers=workers), ckpt_path=str(last))
    assert outputs["cut"].read_bytes() == outputs["whole"].read_bytes()
    final = [(tmp_path / name / "checkpoints" / "last.ckpt").read_bytes() for name in outputs]
    assert final[0] == final[1]


@pytest.mark.slow
def test_a_checkpoint_of_another_network(model, data, trainer, tmp_path, encoder_file) -> None:
    trainer().fit(model(), datamodule=data(2))
    last = str(tmp_path / "run" / "checkpoints" / "last.ckpt")
    wider = AnyStyleTransfer(AnyStyleNet(encoder_file, width=3, blocks=1, described=4), variation=TotalVariationLoss())
    with pytest.raises(UserError, match=r"the config asks for .*'width': 3"):
        trainer().fit(wider, datamodule=data(2), ckpt_path=last)
    fast = FastStyleTransfer(VGG19(encoder_file), TransformerNet(1, 2, 1), variation=TotalVariationLoss())
    with pytest.raises(UserError, match="another kind of network than FastStyleTransfer trains"):
        trainer().fit(fast, datamodule=data(2), ckpt_path=last)


def test_mistakes(model, tmp_path: Path, data, content: str) -> None:
    with pytest.raises(UserError, match="compares frames of a video"):
        model(extra_losses=[TemporalLoss()])
    with pytest.raises(UserError, match=r"the decoder is given .*but reads relu2_1 of .*; choose among those layers"):
        model(moved=ContentLoss(["relu2_1"], name="moved"))
    with pytest.raises(UserError, match=r"must end in \.safetensors"):
        model(output="network.onnx")
    with pytest.raises(UserError, match="AnyStyleTransfer learns from AnyStyleData, but data is FastTransferData"):
        check_compatible(model(), FastTransferData(str(tmp_path / "photos"), content, 32))
