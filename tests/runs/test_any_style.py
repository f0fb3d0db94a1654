"""`nst fit --config configs/any_style.yaml`, on tiny pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from nst_lightning.cli.main import main
from nst_lightning.networks.any_style import AnyStyleNet
from nst_lightning.networks.network_file import load_network
from tests.helpers.inputs import make_image
from tests.runs.conftest import CONFIGS


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder_file: str) -> Callable[..., int]:
    for place in ("photos", "paintings"):
        (tmp_path / place).mkdir()
        for index in range(4):
            make_image(tmp_path / place / f"{index}.png", 40, 36, seed=10 * len(place) + index)
    monkeypatch.chdir(tmp_path)
    words = [
        *("fit", "--config", str(CONFIGS / "any_style.yaml"), "--trainer.accelerator", "cpu"),
        *("--data.crop", "16", "--data.style_crop", "24", "--data.steps", "4", "--data.batch_size", "2"),
        *("--model.network.weights", encoder_file, "--model.network.width", "2", "--model.network.blocks", "1"),
        *("--trainer.val_check_interval", "2"),
    ]
    return lambda *options: main([*words, *options])


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_train_stop_and_go_on(precision: str, train: Callable[..., int]) -> None:
    """With validation and its pictures, to the same bytes as never stopped."""
    options = ["--trainer.precision", precision]
    assert train(*options, "--name", "whole", "--model.output", "whole.safetensors") == 0
    assert train(*options, "--name", "cut", "--model.output", "cut.safetensors", "--trainer.max_steps", "3") == 0
    part, _ = load_network("lightning_logs/cut/version_0/checkpoints/last.ckpt")
    assert train(*options, "--name", "cut", "--model.output", "cut.safetensors", "--ckpt_path", "last") == 0
    assert Path("cut.safetensors").read_bytes() == Path("whole.safetensors").read_bytes()
    whole, _ = load_network("whole.safetensors")
    assert isinstance(part, AnyStyleNet)
    assert isinstance(whole, AnyStyleNet)
    assert not torch.equal(part.leave.weight, whole.leave.weight)
