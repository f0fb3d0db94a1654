"""Whatever is thrown at the program costs one line, an exit code, little time and little memory."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nst_lightning.cli.main import main
from tests.helpers.inputs import make_image

MOST_SECONDS = 10.0  # of the processor, whatever else the machine does
MOST_BYTES = 1e9
WORDS = ["--data.sizes", "[32]", "--data.steps", "2", "--data.first_steps", "null", "--trainer.accelerator", "cpu"]


def memory(name: str) -> int:
    """Return a line of Linux' status of this process, bytes."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return 1024 * int(found[1])


@contextmanager
def bounded() -> Iterator[None]:
    """Fail if the body takes more time or memory than anything hostile may."""
    measures = Path("/proc/self/clear_refs").exists()
    if measures:
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
        before = memory("VmRSS")
    started = time.process_time()
    yield
    assert time.process_time() - started < MOST_SECONDS
    if measures:
        assert memory("VmHWM") - before < MOST_BYTES


@pytest.fixture(scope="package")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for what is generated, with a content and a style that are all right."""
    folder = tmp_path_factory.mktemp("hostile")
    make_image(folder / "good.png", 40, 30, seed=1)
    return folder


Refused = Callable[..., str]


@pytest.fixture
def refused(
    hostile: Path,
    encoder_file: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> Refused:
    """Run a command that has to be refused, and return its line; `FIT` stands for a run that is fine."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str, code: int = 2) -> str:
        args: list[str] = []
        for word in words:
            fit = [*WORDS, "--model.encoder.weights", encoder_file, "--data.style", str(hostile / "good.png")]
            args += [*fit, "--data.content", str(hostile / "good.png")] if word == "FIT" else [word]
        with bounded():
            assert main(args) == code
        shown = capsys.readouterr().err
        assert "Traceback" not in shown
        lines = [line for line in shown.splitlines() if line.startswith("nst: ")]
        assert len(lines) == 1, shown
        assert 20 < len(lines[0]) < 2100
        return lines[0].removeprefix("nst: ")

    return run
