"""Program of each of several processes that start at one moment; for tests/runs/test_simultaneous.py.

Images of 12 pixels and one step: what counts is that all make their folders at once.
"""

from __future__ import annotations

import time
from pathlib import Path

import torch

from nst_lightning import VGG19, StyleTransfer, TotalVariationLoss, TransferData, fit
from nst_lightning.cli.main import main


def by_command(words: list[str]) -> int:
    """Wait for the file that lets all go, then run `nst WORDS`."""
    go, *words = words
    _wait(Path(go))
    return main(words)


def by_fit(words: list[str]) -> int:
    """Wait for the file that lets all go, then paint from Python: ENCODER CONTENT SEED, with or without a logger."""
    go, encoder, content, seed = words
    torch.manual_seed(int(seed))
    model = StyleTransfer(VGG19(encoder, padding="replicate"), variation=TotalVariationLoss())
    data = TransferData(content, sizes=[12], steps=1, init="noise")
    _wait(Path(go))
    quiet = {"accelerator": "cpu", "enable_progress_bar": False, "logger": int(seed) % 2 == 0}
    fit(model, data, name="many", precision="32-true", **quiet)
    return 0


def _wait(go: Path) -> None:
    Path(f"{go}.{time.monotonic_ns()}.ready").touch()
    while not go.exists():
        time.sleep(0.001)
