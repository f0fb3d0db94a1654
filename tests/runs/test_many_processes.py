"""One picture painted by several processes is the one that a single process paints."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from torch import Tensor

from nst_lightning.cli.main import main
from tests.helpers.processes import together
from tests.helpers.shared_image import paint, paint_all

from .conftest import fit_words

WHOLE = ["adam-none", "adam-16", "lbfgs-32", "wasserstein-none"]
HERE = Path(__file__).parent


def paint_together(processes: int, files: list[str], pictures: list[Path]) -> None:
    codes, said = together(processes, [*files, str(processes), *map(str, pictures)], paint_all)
    assert set(codes) == {0}, said


def image(picture: Path) -> Tensor:
    path = picture.parent / "lightning_logs" / picture.name / "version_0" / "checkpoints" / "last.ckpt"
    found: Tensor = torch.load(path, weights_only=True)["state_dict"]["image"]
    return found


@pytest.mark.slow
@pytest.mark.processes
def test_two_and_four_processes_paint_what_one_does(
    tmp_path: Path, encoder_file: str, content: str, style: str
) -> None:
    """Through a change of level, with one tile for each process, with several, and with too few for all."""
    files = [encoder_file, content, style]
    one, two, four = (tmp_path / name for name in ("one", "two", "four"))
    for name in [*WHOLE, "adam-16-cut"]:
        paint(one / name, files, 1)
    paint_together(2, files, [*(two / name for name in WHOLE), two / "adam-16-cut", one / "adam-16-resumed"])
    paint(two / "adam-16-resumed", files, 1)
    paint_together(4, files, [four / "adam-16", four / "lbfgs-none"])
    paint(one / "lbfgs-none", files, 1)
    assert image(one / "adam-16").shape == (1, 3, 42, 56)
    for name in WHOLE:
        torch.testing.assert_close(image(two / name), image(one / name), atol=1e-8, rtol=0)
    for name in ("adam-16", "lbfgs-none"):
        torch.testing.assert_close(image(four / name), image(one / name), atol=1e-8, rtol=0)
    for folder in (one, two):  # cut by one process and resumed by two, and the other way round
        torch.testing.assert_close(image(folder / "adam-16-resumed"), image(one / "adam-16"), atol=1e-8, rtol=0)


class Run:
    """`nst fit` on two devices, in the background."""

    def __init__(self, folder: Path, words: list[str], *options: str) -> None:
        self.checkpoint = folder / "lightning_logs" / "starry" / "version_0" / "checkpoints" / "last.ckpt"
        command = [sys.executable, "-m", "nst_lightning", *words, "--trainer.devices", "2", *options]
        told = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parents[1])}
        before = self.saved_at()
        self.process = subprocess.Popen(command, cwd=folder, env=told, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 120
        while self.saved_at() == before:
            assert time.monotonic() < deadline
            assert self.process.poll() is None
            time.sleep(0.05)
        (self.other,) = psutil.Process(self.process.pid).children()

    def saved_at(self) -> int:
        return self.checkpoint.stat().st_mtime_ns if self.checkpoint.exists() else 0

    def end(self) -> tuple[int, str]:
        """Wait for the end; give the exit code and what was said."""
        _, said = self.process.communicate(timeout=60)
        psutil.wait_procs([self.other], timeout=60)
        assert not self.other.is_running()
        return self.process.returncode, said


@pytest.mark.slow
def test_all_processes_stop_together_and_one_goes_on_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder_file: str, content: str, style: str
) -> None:
    """SIGTERM to one stops all after the same step; without one the other ends with an error; nothing is lost."""
    words = fit_words("starry", encoder_file, content, style)
    long = ["--data.steps", "[4, 9000]", "--checkpoint.every_n_steps", "5", "--trainer.enable_progress_bar", "false"]
    stopped = Run(tmp_path, words, *long)
    stopped.other.send_signal(signal.SIGTERM)
    code, said = stopped.end()
    assert code == 128 + signal.SIGTERM
    assert said.count("continue with the same command and --ckpt_path last") == 1
    killed = Run(tmp_path, words, *long, "--ckpt_path", "last")
    killed.process.kill()  # the first: Lightning, which is there alone, would kill it too were it another
    _, said = killed.end()
    assert said.splitlines()[-1] == "nst: another process of the run has ended; go on with --ckpt_path last."
    reached = torch.load(killed.checkpoint, weights_only=True)["global_step"]
    assert reached > 4
    rest = ["--data.steps", f"[4, {reached}]", "--ckpt_path", "last", "--trainer.devices", "1"]
    monkeypatch.chdir(tmp_path)
    assert main([*words, *rest]) == 0
    assert torch.load(killed.checkpoint, weights_only=True)["global_step"] == reached + 4
