"""Tiny networks and pictures for all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

# Tests on all cores (pytest -n auto) have one each, and so have the processes they start. Read when torch is imported.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from nst_lightning.encoders.topology import CONVOLUTIONS


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(min(2, before))
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _float32_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a processor without bfloat16: numbers are compared with float32's wherever the tests run."""
    monkeypatch.setattr("nst_lightning.tasks.precision.native_bfloat16", lambda: False)


def make_encoder(path: Path, seed: int, convolutions: Sequence[str] = CONVOLUTIONS) -> str:
    """Write a VGG19 with 4 to 8 channels and random weights that keep the signal alive through 16 layers."""
    generator = torch.Generator().manual_seed(seed)
    state, channels = {}, 3
    for name in convolutions:
        width = 4 if name[4] == "1" else 8
        scale = (2 / (channels * 9)) ** 0.5
        state[f"{name}.weight"] = torch.randn(width, channels, 3, 3, generator=generator) * scale
        state[f"{name}.bias"] = torch.rand(width, generator=generator) * 0.1
        channels = width
    save_file(state, path, {"preprocessing": "imagenet"})
    return str(path)


@pytest.fixture(scope="session")
def encoder_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny VGG19."""
    return make_encoder(tmp_path_factory.mktemp("weights") / "tiny.safetensors", seed=3)


def make_picture(path: Path, width: int, height: int, seed: int) -> str:
    """Write smooth random colours."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 6, 6, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)
    array = fine[0].permute(1, 2, 0).mul(255).round().byte().numpy()
    Image.fromarray(array).save(path)
    return str(path)


@pytest.fixture
def content(tmp_path: Path) -> str:
    """A content picture of 40×30 pixels."""
    return make_picture(tmp_path / "content.png", 40, 30, seed=1)


@pytest.fixture
def style(tmp_path: Path) -> str:
    """A style picture of 36×36 pixels."""
    return make_picture(tmp_path / "style.png", 36, 36, seed=2)
