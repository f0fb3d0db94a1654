"""`fit` in a loop, as a notebook has it: memory does not grow from run to run.

`python -m tests.runs.test_memory RUNS` prints what a loop of so many runs takes.
"""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nst_lightning import VGG19, ContentLoss, GramStyleLoss, StyleTransfer, TransferData, fit

GROWTH = 0.1
"""Largest growth, MB a run; it was 2.6."""


def resident_memory() -> float:
    """Return the memory of this process, MB."""
    return int(re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1000


def run_after_run(runs: int) -> Iterator[float]:
    """Yield the memory after each run."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(runs):
            losses = {"content": ContentLoss(["relu1_1"]), "style": GramStyleLoss(["relu1_1", "relu2_1"])}
            task = StyleTransfer(VGG19("compact"), **losses)
            data = TransferData("sample:town", "sample:starry", sizes=[32], steps=2)
            fit(task, data, default_root_dir=folder, enable_progress_bar=False, accelerator="cpu")
            yield resident_memory()


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads memory as Linux tells it")
def test_memory_does_not_grow_from_run_to_run() -> None:
    words = [sys.executable, "-m", "tests.runs.test_memory", "40"]
    process = subprocess.run(words, capture_output=True, text=True, check=True)
    memory = [float(line) for line in process.stdout.split()]
    assert len(memory) == 40
    assert (memory[-1] - memory[9]) / 30 < GROWTH, memory


if __name__ == "__main__":
    for after in run_after_run(int(sys.argv[1])):
        sys.stdout.write(f"{after:.1f}\n")
