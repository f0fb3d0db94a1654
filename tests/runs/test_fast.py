"""`nst fit --config configs/fast_starry.yaml`, on tiny pictures."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from nst_lightning.cli.main import main
from nst_lightning.networks.network_file import load_network
from tests.helpers.inputs import make_image
from tests.helpers.processes import together
from tests.runs.conftest import CONFIGS


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder_file: str) -> list[str]:
    (tmp_path / "photos").mkdir()
    for index in range(4):
        make_image(tmp_path / "photos" / f"{index}.png", 40, 36, seed=10 + index)
    monkeypatch.chdir(tmp_path)
    return [
        *("fit", "--config", str(CONFIGS / "fast_starry.yaml"), "--trainer.accelerator", "cpu"),
        *("--data.folder", "photos", "--data.crop", "16", "--data.style_size", "32", "--data.steps", "4"),
        *("--model.network.width", "2", "--model.encoder.weights", encoder_file),
        *("--trainer.val_check_interval", "2"),
    ]


@pytest.fixture
def train(words: list[str]) -> Callable[..., int]:
    return lambda *options: main([*words, *options])


@pytest.mark.slow
def test_train_stop_and_go_on(train) -> None:
    assert train("--name", "whole", "--model.output", "whole.safetensors") == 0
    assert train("--name", "cut", "--model.output", "cut.safetensors", "--trainer.max_steps", "3") == 0
    part, _ = load_network("lightning_logs/cut/version_0/checkpoints/last.ckpt")
    assert train("--name", "cut", "--model.output", "cut.safetensors", "--ckpt_path", "last") == 0
    assert Path("cut.safetensors").read_bytes() == Path("whole.safetensors").read_bytes()
    whole, card = load_network("whole.safetensors")
    assert card.styles == ("starry",)
    assert not torch.equal(part.stages[0].convolution.weight, whole.stages[0].convolution.weight)


@pytest.mark.slow
@pytest.mark.processes
def test_two_processes_train_as_one_does_with_twice_the_batch(words: list[str], train: Callable[..., int]) -> None:
    """The photographs of a step are the same, dealt out; also after a stop by one and a resume by the other."""

    def weights(name: str) -> dict[str, torch.Tensor]:
        path = Path("lightning_logs", name, "version_0/checkpoints/last.ckpt")
        state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["state_dict"]
        return state

    exact = ["--trainer.precision", "64-true"]
    one, two = ["--data.batch_size", "4", *exact], ["--data.batch_size", "2", "--trainer.devices", "2", *exact]
    assert train(*one, "--name", "one") == 0
    for options in (["--name", "two"], ["--name", "cut", "--trainer.max_steps", "3"]):
        codes, said = together(2, [*words, *two, *options])
        assert set(codes) == {0}, said
    assert train(*one, "--name", "cut", "--ckpt_path", "last") == 0
    for name in (
        "two",
        "cut",
    ):  # steps are 2e-3 long; roots of matrices and Adam's division enlarge what rounding leaves
        torch.testing.assert_close(weights(name), weights("one"), rtol=0, atol=1e-7)


@pytest.mark.slow
def test_the_bar_counts_steps_right_after_a_resume_too(
    train: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("--trainer.max_steps", "2") == 0
    said = capsys.readouterr().err
    assert "training 100%|" in said
    assert "| 2/2 [" in said
    assert train("--ckpt_path", "last") == 0
    said = capsys.readouterr().err
    assert "training  50%|██████████          | 2/4 [" in said
    assert re.search(r"\| 4/4 \[00:0\d, loss [\d.]+, +[\d.]+ steps/s, 00:00 left\]", said)


@pytest.mark.slow
def test_a_training_shorter_than_its_validations_interval(train: Callable[..., int]) -> None:
    assert train("--trainer.val_check_interval", "500", "--model.output", "made.safetensors") == 0
    assert Path("made.safetensors").exists()


def test_a_mistake_is_one_line(train, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--data.style", "[sample:starry, sample:mosaic]") == 2
    said = [line for line in capsys.readouterr().err.splitlines() if "set --model.network.styles 2" in line]
    assert len(said) == 1
