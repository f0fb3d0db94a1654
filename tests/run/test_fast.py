"""`nst fit --config configs/fast_starry.yaml`, on tiny pictures."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nst_lightning.cli import main
from nst_lightning.networks.weights import load_network
from tests.conftest import make_picture
from tests.run.conftest import CONFIGS


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder_file: str):
    (tmp_path / "photos").mkdir()
    for index in range(4):
        make_picture(tmp_path / "photos" / f"{index}.png", 40, 36, seed=10 + index)
    monkeypatch.chdir(tmp_path)

    def run(*options: str) -> int:
        return main(
            [
                *("fit", "--config", str(CONFIGS / "fast_starry.yaml"), "--trainer.accelerator", "cpu"),
                *("--data.folder", "photos", "--data.crop", "16", "--data.style_size", "32", "--data.steps", "4"),
                *("--model.network.width", "2", "--model.encoder.weights", encoder_file),
                *("--trainer.val_check_interval", "2", *options),
            ]
        )

    return run


def test_train_stop_and_go_on(train) -> None:
    assert train("--name", "whole", "--model.output", "whole.safetensors") == 0
    assert train("--name", "cut", "--model.output", "cut.safetensors", "--trainer.max_steps", "3") == 0
    part, _ = load_network("lightning_logs/cut/version_0/checkpoints/last.ckpt")
    assert train("--name", "cut", "--model.output", "cut.safetensors", "--ckpt_path", "last") == 0
    assert Path("cut.safetensors").read_bytes() == Path("whole.safetensors").read_bytes()
    whole, card = load_network("whole.safetensors")
    assert card.styles == ("starry",)
    assert not torch.equal(part.stages[0].convolution.weight, whole.stages[0].convolution.weight)


def test_a_mistake_is_one_line(train, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--data.style", "[sample:starry, sample:mosaic]") == 2
    said = [line for line in capsys.readouterr().err.splitlines() if "set --model.network.styles 2" in line]
    assert len(said) == 1
