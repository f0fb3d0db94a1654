"""Fixtures of all tests: a tiny encoder, tiny images, and the same arithmetic on every machine."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path

# Tests on all cores (pytest -n auto) have one each, and so have the processes they start. Read when torch is imported.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

from nst_lightning.errors import encodable
from nst_lightning.networks.any_style import AnyStyleNet
from nst_lightning.networks.network_file import save_network
from tests.helpers.inputs import make_encoder, make_image

# Under nohup the hangup would be ignored, here and in the processes that tests start.
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let pytest-xdist send what was captured: names of files that are not UTF-8 may be in it."""
    report = yield
    report.sections = [(name, encodable(text)) for name, text in report.sections]
    return report


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(min(2, before))
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _same_random_numbers() -> None:
    """Whatever another test has drawn in this process."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _float32_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a processor without bfloat16: numbers are compared with float32's wherever the tests run."""
    monkeypatch.setattr("nst_lightning.tasks.precision.native_bfloat16", lambda: False)


@pytest.fixture(scope="session")
def encoder_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny VGG19."""
    return make_encoder(tmp_path_factory.mktemp("weights") / "tiny.safetensors", seed=3)


@pytest.fixture(scope="session")
def any_style_file(tmp_path_factory: pytest.TempPathFactory, encoder_file: str) -> str:
    """A tiny network of any style, which looks at the style's statistics."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = AnyStyleNet(encoder_file, width=4, blocks=1)
        torch.nn.init.normal_(network.modulate.weight, 0, 0.3)
    path = tmp_path_factory.mktemp("network") / "any.safetensors"
    save_network(network, path, [], network.encoder.digest)
    return str(path)


@pytest.fixture
def content(tmp_path: Path) -> str:
    """A content image of 40×30 pixels."""
    return make_image(tmp_path / "content.png", 40, 30, seed=1)


@pytest.fixture
def style(tmp_path: Path) -> str:
    """A style image of 36×36 pixels."""
    return make_image(tmp_path / "style.png", 36, 36, seed=2)
