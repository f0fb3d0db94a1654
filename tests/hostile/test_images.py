"""Damaged and enormous images: each a line and its exit code, and none of them takes the others along."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from nst_lightning.app.decoding import _examine
from nst_lightning.app.limits import Limits
from nst_lightning.cli.main import main
from nst_lightning.errors import UserError
from nst_lightning.images.decode import READING_BYTES
from nst_lightning.images.files import read_image
from nst_lightning.networks.network_file import save_network
from nst_lightning.networks.transformer import TransformerNet
from tests.helpers.hostile_files import damaged_images, odd_images, picture
from tests.hostile.conftest import Refused, bounded, memory

DAMAGED = dict(damaged_images())
ODD = dict(odd_images())
LENIENT = ("flipped", "too-few-rows", "cut-0.7.bmp", "cut-0.7.ppm")  # may be an image all the same


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_image_is_a_line(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes(DAMAGED[name])
    with bounded():
        if name.startswith(LENIENT):
            with suppress(UserError):
                assert bool(read_image(file).pixels.isfinite().all())
        else:
            with pytest.raises(UserError, match=re.escape(str(file))):
                read_image(file)


@pytest.mark.parametrize("name", ODD)
def test_an_odd_image_is_read(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes(ODD[name])
    with bounded():
        pixels = read_image(file).pixels
    assert pixels.shape in ((1, 3, 30, 40), (1, 3, 1, 1))


@pytest.mark.parametrize("name", [name for name in DAMAGED if not name.startswith(LENIENT)])
def test_an_upload_of_it_is_refused(name: str, tmp_path: Path) -> None:
    file = tmp_path / "upload"
    file.write_bytes(DAMAGED[name])
    with bounded():
        answer = _examine(file, name, Limits().pixels)
    assert isinstance(answer, str)  # what is wrong with it
    assert len(answer.splitlines()) == 1
    assert "max_pixels" not in answer
    assert [path.name for path in tmp_path.iterdir()] == ["upload"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "name"),
    [
        ("--data.content", "empty.png"),
        ("--data.content", "bomb.png"),
        ("--data.style", "bomb.gif"),
        ("--data.style", "cut-0.3.jpg"),
        ("--data.init", "endless-comment.ppm"),
        ("--data.content_guide", "bomb.tiff"),
    ],
)
def test_nst_fit_refuses_it(option: str, name: str, refused: Refused, hostile: Path) -> None:
    (hostile / name).write_bytes(DAMAGED[name])
    assert name in refused("fit", "FIT", option, str(hostile / name))


def test_nst_predict_paints_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    save_network(TransformerNet(styles=1, width=4, blocks=1), "tiny.safetensors", ["dawn"], "none")
    Path("in").mkdir()
    strict = {name: content for name, content in DAMAGED.items() if not name.startswith(LENIENT)}
    for name, content in {**strict, **ODD, "a.heic": b"x", "b.mts": b"x"}.items():
        Path("in", name).write_bytes(content)
    words = ["--config", "fast_predict", "--ckpt_path", "tiny.safetensors", "--data.images", "in"]
    with bounded():
        assert main(["predict", *words, "--trainer.accelerator", "cpu", "--data.num_workers", "0"]) == 1
    shown = capsys.readouterr().err
    assert "Traceback" not in shown
    for name in strict:
        assert len([line for line in shown.splitlines() if f"not painted: in/{name}:" in line]) == 1, name
    assert "passed over 2 files of other kinds: a.heic, b.mts" in shown
    assert len(list(Path("painted").iterdir())) == len(ODD)


def test_what_does_not_fit_into_the_memory_fails_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    save_network(TransformerNet(styles=1, width=4, blocks=1), "tiny.safetensors", ["dawn"], "none")
    Path("in").mkdir()
    for name in ("a.png", "b.png", "c.png"):
        Path("in", name).write_bytes(picture("png", (40 + ord(name[0]), 30)))
    forward = TransformerNet.forward

    def fail_on_b(self: TransformerNet, images: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        if images.shape[-1] == 40 + ord("b"):
            return torch.empty(2**60)
        return forward(self, images, weights)

    monkeypatch.setattr(TransformerNet, "forward", fail_on_b)
    words = ["--config", "fast_predict", "--ckpt_path", "tiny.safetensors", "--data.images", "in"]
    assert main(["predict", *words, "--trainer.accelerator", "cpu", "--data.num_workers", "0"]) == 1
    assert "not painted: in/b.png: memory ran out" in capsys.readouterr().err
    assert sorted(path.name for path in Path("painted").iterdir()) == ["a.png", "c.png"]


@pytest.mark.slow
@pytest.mark.parametrize(("suffix", "options"), [("png", {"compress_level": 1}), ("jpg", {}), ("tiff", {})])
def test_reading_takes_no_more_memory_than_is_said(suffix: str, options: dict[str, int], tmp_path: Path) -> None:
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("peaks are measured on Linux")
    file = tmp_path / f"large.{suffix}"
    file.write_bytes(picture(suffix, (2000, 1600), **options))
    read_image(file)  # what is loaded once
    Path("/proc/self/clear_refs").write_text("5")
    before = memory("VmRSS")
    image = read_image(file)
    assert memory("VmHWM") - before < READING_BYTES * 2000 * 1600
    assert image.pixels.numel() == 3 * 2000 * 1600
