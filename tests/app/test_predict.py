"""Painting in one pass from the page, by a tiny network."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from nst_lightning.app.lifecycle import networks
from nst_lightning.app.limits import Limits, RefusalError
from nst_lightning.app.options import PREVIEW_FILE, RESULT_FILE, JobRequest, PaintOptions, read_options
from nst_lightning.app.process import predict
from nst_lightning.cli.main import main
from nst_lightning.networks.network_file import save_network
from nst_lightning.networks.transformer import TransformerNet


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Ship a network of two styles, beside a file that is none."""
    torch.manual_seed(0)
    folder = tmp_path / "networks"
    save_network(TransformerNet(styles=2, width=4, blocks=1), folder / "tiny.safetensors", ["starry", "other"], "")
    (folder / "broken.safetensors").write_bytes(b"nothing")
    monkeypatch.setattr("nst_lightning.networks.network_file.SHIPPED_FOLDER", folder)
    return "tiny"


def test_only_networks_that_can_be_loaded_are_offered_for_samples(network: str) -> None:
    assert networks() == {network: ["starry"]}
    with pytest.raises(RefusalError, match="network is one of tiny"):
        read_options({"network": "../../evil"}, Limits(), networks())
    assert read_options({"network": "tiny"}, Limits(), networks()) == PaintOptions(network="tiny")
    assert read_options({"network": None}, Limits(), networks()) == PaintOptions()


def test_it_is_the_command_to_the_byte(
    network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    options = PaintOptions(size=64, strength=0.75, network=network)
    upload = str(shutil.copy(content, tmp_path / "-upload_1"))  # as the page keeps it
    request = JobRequest("id", options, upload, "sample:starry", ("content.png", ""), tmp_path / "job", 10**6)
    (tmp_path / "job").mkdir()
    progress = predict(request, ["--trainer.accelerator", "cpu"])
    assert (progress.width, progress.height, progress.fraction) == (64, 48, 1)
    assert Image.open(tmp_path / "job" / PREVIEW_FILE).size == (64, 48)
    assert sorted(file.name for file in (tmp_path / "job").iterdir()) == [RESULT_FILE, PREVIEW_FILE]
    monkeypatch.chdir(tmp_path)
    words = shlex.split(request.command())
    assert main([*words[1:], "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]) == 0
    assert Path("painted/content.png").read_bytes() == (tmp_path / "job" / RESULT_FILE).read_bytes()
