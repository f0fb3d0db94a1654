"""Runs that start at one moment have a folder each, and every picture is there.

NST_ROUNDS=10 pytest tests/runs/test_simultaneous.py runs as many rounds as wanted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.processes import Command
from tests.helpers.simultaneous import by_command, by_fit

from .conftest import CONFIGS

AT_ONCE = 10
ROUNDS = int(os.environ.get("NST_ROUNDS", "1"))


def start(program: Callable[[list[str]], int], words: list[list[str]]) -> list[tuple[int, str]]:
    """Start processes, let all go when the last is ready, and wait for their ends."""
    go = Path("go")
    commands = [Command([str(go.absolute()), *each], program=program) for each in words]
    deadline = time.monotonic() + 300
    while len(list(Path().glob("go.*.ready"))) < len(words) and time.monotonic() < deadline:
        time.sleep(0.01)
    go.touch()
    return [command.end(600) for command in commands]


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize("way", ["command", "fit"])
@pytest.mark.parametrize("round_", range(ROUNDS))
def test_ten_at_once_have_ten_folders_and_ten_pictures(
    way: str, round_: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder_file: str, content: str
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    program, words = by_fit, [[encoder_file, content, str(seed)] for seed in range(AT_ONCE)]
    if way == "command":
        shared = [
            *("fit", "--config", str(CONFIGS / "inversion.yaml"), "--trainer.accelerator", "cpu", "--name", "many"),
            *("--model.encoder.weights", encoder_file, "--data.content", content, "--data.init", "noise"),
            *("--data.sizes", "[16]", "--data.steps", "1", "--data.first_steps", "null"),
            *("--model.content.layers", "[relu2_1]", "--trainer.precision", "32-true"),
        ]
        program, words = by_command, [[*shared, "--seed_everything", str(seed)] for seed in range(AT_ONCE)]
    for code, said in start(program, words):
        assert code == 0, said
    runs = sorted(path.name for path in Path("lightning_logs/many").iterdir())
    assert runs == sorted(f"version_{number}" for number in range(AT_ONCE))
    pictures = {path.read_bytes() for path in Path("lightning_logs/many").glob("*/stylized.png")}
    assert len(pictures) == AT_ONCE  # each seed's own
    checkpoints = list(Path("lightning_logs/many").glob("*/checkpoints/last.ckpt"))
    assert len(checkpoints) == AT_ONCE
