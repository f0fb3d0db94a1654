"""`nst sweep` and `nst batch` on tiny pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nst_lightning.cli.main import main
from tests.helpers.inputs import make_image
from tests.runs.conftest import fit_words


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


@pytest.fixture
def batch_words(encoder_file: str) -> list[str]:
    """Give the words after `nst` for a batch without pictures: runs of 7 steps over two levels."""
    words = fit_words("starry", encoder_file, "", "")[1:]
    start = words.index("--data.content")
    return ["batch", *words[:start], *words[start + 4 :], "--name", "many", "--output", "out"]


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make an empty folder the working folder, with two contents, one in a subfolder, and two styles in folders."""
    folder = tmp_path / "work"
    (folder / "photos/trip").mkdir(parents=True)
    (folder / "paintings").mkdir()
    make_image(folder / "photos/me.png", 40, 30, seed=1)
    make_image(folder / "photos/trip/sea.jpg", 30, 40, seed=2)
    make_image(folder / "paintings/waves.png", 36, 36, seed=3)
    make_image(folder / "paintings/dots.png", 36, 30, seed=4)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def batch(pictures: Path, batch_words: list[str]) -> Callable[..., int]:
    """Run `nst batch` in the folder of `pictures`; options given come last and win."""
    del pictures

    def run(*options: str) -> int:
        return main([*batch_words, *options])

    return run
