"""The command line on tiny pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nst_lightning.cli.main import main

CONFIGS = Path(__file__).parents[2] / "configs"


def fit_words(config: str, encoder_file: str, content: str, style: str) -> list[str]:
    """Give the words after `nst` for a run of 7 steps over two levels."""
    return [
        *("fit", "--config", str(CONFIGS / f"{config}.yaml"), "--trainer.accelerator", "cpu"),
        *("--model.encoder.weights", encoder_file, "--data.content", content, "--data.style", style),
        *("--model.style.layers", "[relu1_1, relu2_1, relu3_1, relu4_1, relu5_1]", "--model.style.weight", "20"),
        *("--model.content.convention", "relative", "--model.content.weight", "1"),  # for any encoder
        *("--trainer.precision", "32-true"),  # in processes of their own too
        *("--data.sizes", "[24, 34]", "--data.steps", "[4, 3]", "--data.first_steps", "null"),
    ]


@pytest.fixture
def nst(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder_file: str, content: str, style: str
) -> Callable[..., int]:
    """Run `nst fit` in an empty folder with a tiny encoder, pictures and schedule; options given come last and win."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def run(*options: str, config: str = "starry") -> int:
        return main([*fit_words(config, encoder_file, content, style), *options])

    return run
