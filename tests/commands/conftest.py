"""`nst sweep` on tiny pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nst_lightning.cli import main
from tests.run.conftest import fit_words


@pytest.fixture
def sweep_words(encoder_file: str, content: str, style: str) -> list[str]:
    """Give the words after `nst` for a sweep without a grid: runs of 7 steps over two levels."""
    return ["sweep", *fit_words("starry", encoder_file, content, style)[1:], "--trainer.log_every_n_steps", "1"]


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sweep_words: list[str]) -> Callable[..., int]:
    """Run `nst sweep` in an empty folder; options given come last and win."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def run(*options: str) -> int:
        return main([*sweep_words, *options])

    return run
