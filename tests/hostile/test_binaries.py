"""Weights, checkpoints and videos that mean harm or have come to it."""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from nst_lightning.cli.main import main
from nst_lightning.encoders.encoder_weights import load_weights
from nst_lightning.errors import UserError
from nst_lightning.networks.network_file import save_network
from nst_lightning.networks.transformer import TransformerNet
from tests.helpers.clips import make_clip, moving_frames
from tests.helpers.hostile_files import png
from tests.hostile.conftest import WORDS, Refused, bounded


class Harm:
    """What runs a program when it is unpickled."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("harm"),)


def saved(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def state(**changes: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"conv1_1.weight": torch.ones(4, 3, 3, 3), "conv1_1.bias": torch.ones(4), **changes}


def zipped_zeros() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(50_000_000))
        archive.writestr("archive/version", "3")
    return file.getvalue()


def header(length: int, text: bytes) -> bytes:
    return struct.pack("<Q", length) + text


WEIGHTS: dict[str, bytes] = {
    "empty.pth": b"",
    "text.pth": b"Dear all,\n",
    "harm.pth": saved({"conv1_1.weight": Harm()}),
    "harm-alone.pth": saved(Harm()),
    "zeros.pth": zipped_zeros(),
    "cut.pth": saved(state())[:-300],
    "list.pth": saved([1, 2]),
    "number.pth": saved(3),
    "nested.pth": saved({"state_dict": {"state_dict": {"state_dict": {"x": torch.ones(1)}}}}),
    "strings.pth": saved({"conv1_1.weight": "x", "conv1_1.bias": "y"}),
    "nan.pth": saved(state(**{"conv1_1.bias": torch.full((4,), float("nan"))})),
    "infinity.pth": saved(state(**{"conv1_1.weight": torch.full((4, 3, 3, 3), float("inf"))})),
    "float64.pth": saved(state(**{"conv1_1.weight": torch.full((4, 3, 3, 3), 1e300, dtype=torch.float64)})),
    "complex.pth": saved(state(**{"conv1_1.bias": torch.ones(4, dtype=torch.complex64)})),
    "integers.pth": saved(state(**{"conv1_1.bias": torch.ones(4, dtype=torch.int32)})),
    "sparse.pth": saved(state(**{"conv1_1.bias": torch.ones(4).to_sparse()})),
    "no-channels.pth": saved({"conv1_1.weight": torch.ones(0, 3, 3, 3), "conv1_1.bias": torch.ones(0)}),
    "grey.pth": saved(state(**{"conv1_1.weight": torch.ones(4, 1, 3, 3)})),
    "kernel.pth": saved(state(**{"conv1_1.weight": torch.ones(4, 3, 5, 5)})),
    "scalar.pth": saved(state(**{"conv1_1.weight": torch.ones(())})),
    "expanded.pth": saved(state(**{"conv1_1.bias": torch.ones(1).expand(2**34)})),
    "no-bias.pth": saved({"conv1_1.weight": torch.ones(4, 3, 3, 3)}),
    "hole.pth": saved(state(**{"conv2_1.weight": torch.ones(4, 4, 3, 3), "conv2_1.bias": torch.ones(4)})),
    "vgg16.pth": saved(
        {
            f"features.{i}.{part}": torch.ones(1)
            for i in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21)
            for part in ("weight", "bias")
        }
    ),
    "resnet.pth": saved({"layer1.0.conv1.weight": torch.ones(1)}),
    "image.pth": png(4, 4, data=bytes(52)),
    "empty.safetensors": b"",
    "long-header.safetensors": header(2**62, b"{}"),
    "no-header.safetensors": header(2, b"{}"),
    "list.safetensors": header(2, b"[]"),
    "deep.safetensors": header(2000, b"[" * 2000),
    "beyond.safetensors": header(
        100,
        json.dumps({"conv1_1.bias": {"dtype": "F32", "shape": [2**60], "data_offsets": [0, 2**62]}})
        .encode()
        .ljust(100),
    ),
    "pickle.safetensors": saved(state()),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_are_a_line(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(WEIGHTS[name])
    with bounded(), pytest.raises(UserError, match=name):
        load_weights(str(tmp_path / name))
    assert not Path("harm").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["harm.pth", "nan.pth", "long-header.safetensors"])
def test_so_they_are_for_the_command(name: str, refused: Refused, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(WEIGHTS[name])
    assert name in refused("fit", "FIT", "--model.encoder.weights", str(tmp_path / name))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, encoder_file: str, hostile: Path) -> bytes:
    """The last checkpoint of a run."""
    folder = tmp_path_factory.mktemp("run")
    words = [*WORDS, "--model.encoder.weights", encoder_file, "--trainer.default_root_dir", str(folder)]
    good = str(hostile / "good.png")
    assert main(["fit", *words, "--data.style", good, "--data.content", good]) == 0
    return next(folder.rglob("last.ckpt")).read_bytes()


DAMAGE: dict[str, Any] = {
    "empty": lambda whole: b"",
    "cut": lambda whole: whole[: len(whole) // 2],
    "text": lambda whole: b"Dear all,\n",
    "image": lambda whole: png(4, 4, data=bytes(52)),
    "zeros": lambda whole: bytes(len(whole)),
    "harm": lambda whole: saved({"state_dict": Harm()}),
    "a list": lambda whole: saved([1]),
    "a number": lambda whole: saved(1),
    "nothing in it": lambda whole: saved({}),
    "weights": lambda whole: saved(state()),
    "no state": lambda whole: saved({"state_dict": {}, "loops": {}}),
    "zipped zeros": lambda whole: zipped_zeros(),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", DAMAGE)
def test_a_checkpoint_is_a_line(name: str, checkpoint: bytes, refused: Refused, tmp_path: Path) -> None:
    file = tmp_path / "x.ckpt"
    file.write_bytes(DAMAGE[name](checkpoint))
    refused("fit", "FIT", "--ckpt_path", str(file))
    assert not Path("harm").exists()
    assert not list(Path().rglob("*.png"))


@pytest.mark.parametrize("name", ["empty", "cut", "text", "harm", "a list", "nothing in it", "weights"])
def test_a_network_is_a_line(name: str, checkpoint: bytes, refused: Refused, tmp_path: Path) -> None:
    file = tmp_path / "x.ckpt"
    file.write_bytes(DAMAGE[name](checkpoint))
    refused("predict", "--data.images", "sample:town", "--ckpt_path", str(file), "--trainer.accelerator", "cpu")
    assert not Path("harm").exists()


def videos() -> dict[str, bytes]:
    """Return files named as videos that are none."""
    whole = {}
    for suffix in ("mp4", "mkv"):
        path = Path(f"whole.{suffix}")
        make_clip(path, moving_frames(8))
        whole[suffix] = path.read_bytes()
        path.unlink()
    found = {
        "empty.mp4": b"",
        "text.mp4": b"Dear all,\n" * 100,
        "zeros.mkv": bytes(5000),
        "image.mp4": png(4, 4, data=bytes(52)),
        "playlist.mp4": b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
        "concat.mp4": b"ffconcat version 1.0\nfile /etc/passwd\n",
        "long-box.mp4": struct.pack(">I4sQ", 1, b"ftyp", 2**62) + bytes(50),
        "box-in-itself.mp4": struct.pack(">I4s", 0, b"moov") * 500,
    }
    generator = random.Random(0)
    for suffix, content in whole.items():
        for part in (0.1, 0.5, 0.9):
            found[f"cut-{part}.{suffix}"] = content[: int(len(content) * part)]
        flipped = bytearray(content)
        for _ in range(20):
            flipped[generator.randrange(len(flipped))] ^= 255
        found[f"flipped.{suffix}"] = bytes(flipped)
    return found


def test_videos_are_a_line_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("av")
    monkeypatch.chdir(tmp_path)
    save_network(TransformerNet(styles=1, width=4, blocks=1), "tiny.safetensors", ["dawn"], "none")
    files = videos()
    Path("in").mkdir()
    for name, content in files.items():
        Path("in", name).write_bytes(content)
    make_clip(Path("in/whole.mp4"), moving_frames(3))
    words = ["--config", "fast_predict", "--ckpt_path", "tiny.safetensors", "--data.images", "in"]
    with bounded():
        assert main(["predict", *words, "--trainer.accelerator", "cpu", "--data.num_workers", "0"]) == 1
    shown = capsys.readouterr().err
    assert "Traceback" not in shown
    for name in files:
        lines = [line for line in shown.splitlines() if f"not painted: in/{name}:" in line]
        assert len(lines) == (0 if Path("painted", name).exists() else 1), name
    assert Path("painted/whole.mp4").exists()
    assert not [name for name in files if not name.startswith("flipped") and Path("painted", name).exists()]
