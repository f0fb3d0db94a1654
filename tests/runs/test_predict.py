"""`nst predict` from its config: outputs, restarts, damaged files, several processes."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nst_lightning.cli.main import main
from nst_lightning.images.files import LONGEST_SIDES, read_image
from nst_lightning.networks.network_file import load_network, save_network
from nst_lightning.networks.transformer import TransformerNet
from tests.helpers.processes import together

NAMES = ["a.jpg", "b.png", "deep/c.webp", "deep/d.bmp"]


@pytest.fixture
def predict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run `nst predict` in a folder with four pictures in `in/`; options given come last and win."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    save_network(TransformerNet(styles=2, width=4, blocks=1), "tiny.safetensors", ["dawn", "dusk"], "none")
    Path("in/deep").mkdir(parents=True)
    for index, name in enumerate(NAMES):
        values = np.random.default_rng(index).integers(0, 256, (20 + index, 31, 3), np.uint8)
        Image.fromarray(values).save(f"in/{name}")
    return lambda *options: main(["predict", *words(), *options])


def words() -> list[str]:
    return [
        *("--config", "fast_predict", "--ckpt_path", "tiny.safetensors", "--data.images", "in"),
        *("--trainer.accelerator", "cpu", "--data.num_workers", "0"),
    ]


def written(folder: str = "painted") -> dict[str, bytes]:
    paths = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_every_picture_is_painted_under_its_name(predict: Callable[..., int]) -> None:
    assert predict("--model.style", "dusk", "--model.strength", "0.8") == 0
    assert list(written()) == ["a.jpg", "b.png", "deep/c.webp", "deep/d.bmp.png"]
    network = load_network("tiny.safetensors")[0]
    for source, painted in (("b.png", "b.png"), ("deep/d.bmp", "deep/d.bmp.png")):
        with torch.no_grad():
            expected = network(read_image(f"in/{source}").pixels, torch.tensor([0.0, 0.8]))
        difference = read_image(f"painted/{painted}").pixels - expected
        assert float(difference.abs().max()) <= 0.5001 / 255  # rounded once
    assert not Path("lightning_logs").exists()


@pytest.mark.slow
def test_tiles_change_no_pixel_by_more_than_a_level(predict: Callable[..., int]) -> None:
    assert predict("--model.tile_size", "null") == 0
    assert predict("--model.tile_size", "8", "--output.folder", "tiled") == 0
    for name in ("b.png", "deep/d.bmp.png"):
        whole, tiled = (np.asarray(Image.open(f"{folder}/{name}"), int) for folder in ("painted", "tiled"))
        assert np.abs(whole - tiled).max() <= 1


def test_a_checkpoint_of_a_training_serves(predict: Callable[..., int]) -> None:
    network, card = load_network("tiny.safetensors")
    state = {f"network.{key}": value for key, value in network.state_dict().items()}
    torch.save({"state_dict": state, "fast_style_transfer": card.as_dict()}, "last.ckpt")
    assert predict() == 0
    assert predict("--ckpt_path", "last.ckpt", "--output.folder", "other") == 0
    assert written("other") == written()


def test_size_format_and_alpha(predict: Callable[..., int]) -> None:
    picture = Image.open("in/b.png").convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    picture.save("in/b.png")
    assert predict("--data.size", "16", "--output.format", "png") == 0
    assert list(written()) == ["a.png", "b.png", "deep/c.png", "deep/d.png"]
    made = Image.open("painted/b.png")
    assert (made.mode, max(made.size)) == ("RGBA", 16)
    expected = np.asarray(picture.getchannel("A").resize(made.size, Image.Resampling.BICUBIC), int)
    assert np.abs(np.asarray(made.getchannel("A"), int) - expected).max() <= 1


def test_standard_output_has_the_path_of_one_picture(
    predict: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict("--data.images", "in/b.png") == 0
    assert capsys.readouterr().out == "painted/b.png\n"


@pytest.mark.slow
def test_a_restart_paints_what_is_missing(predict: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert predict() == 0
    first = written()
    Path("painted/b.png").unlink()
    Path("painted/a.jpg").write_bytes(b"mine")
    assert predict() == 0
    assert written() == {**first, "a.jpg": b"mine"}
    said = capsys.readouterr()
    assert "painting 1 of 4 pictures; 3 are in painted already" in said.err
    assert said.out == "painted\npainted\n"  # the folder of several, once for each command
    assert predict() == 0
    assert "painting 0 of 4 pictures" in capsys.readouterr().err
    assert predict("--output.overwrite", "true") == 0
    assert written() == first


def test_damaged_files_are_reported_and_the_rest_is_painted(
    predict: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("in/a.jpg").write_bytes(Path("in/a.jpg").read_bytes()[:200])
    Path("in/z.png").write_text("no picture")
    assert predict() == 1
    assert list(written()) == ["b.png", "deep/c.webp", "deep/d.bmp.png"]
    said = capsys.readouterr().err
    assert "not painted: in/a.jpg: expected a whole picture" in said
    assert "not painted: in/z.png: expected a picture" in said
    assert said.splitlines()[-2:] == [
        "pictures painted: 3, in painted",
        "pictures that could not be painted: 2, for the reasons above",
    ]


def test_a_picture_that_its_format_cannot_hold_is_reported(
    predict: Callable[..., int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LONGEST_SIDES, "WEBP", 30)
    assert predict() == 1
    assert list(written()) == ["a.jpg", "b.png", "deep/d.bmp.png"]
    assert "not painted: in/deep/c.webp: expected at most 30 pixels a side" in capsys.readouterr().err


def test_a_size_that_a_format_cannot_hold_is_refused_before_anything_is_painted(
    predict: Callable[..., int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LONGEST_SIDES, "WEBP", 30)
    assert predict("--data.size", "31") == 2
    assert "expected at most 30 pixels a side in a WEBP file, found 31" in capsys.readouterr().err
    assert not written()


def test_a_file_system_that_refuses_ends_the_run(
    predict: Callable[..., int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    assert predict() == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("nst: cannot write painted/a.jpg (No space left")
    assert not written()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--output.folder", "in"], "painted over a picture that is read"),
        (["--output.quality", "0"], "output.quality must be from 1 to 100, but 0"),
        (["--output.format", "gif"], "output.format: expected one of png, jpg, webp, tiff, but gif was given"),
        (["--model.tile_size", "many"], "model.tile_size: expected int or expected one of auto, but many was given"),
        (["--model.style", "down"], "did you mean 'dawn'"),
        (["--ckpt_path", "in/b.png"], "expected a transformer network .* found something else in in/b.png"),
        (["--data.image", "in"], "no setting 'image' here; did you mean images"),
        (["--data", "FolderImages", "--data.folder", "in"], "paints what a PredictData hands out"),
    ],
)
def test_mistakes(
    options: list[str], message: str, predict: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(*options) == 2
    said = capsys.readouterr().err.splitlines()
    assert re.search(message, said[-1]), said
    assert said[-1].startswith("nst: ")
    assert not Path("painted").exists()


@pytest.mark.slow
@pytest.mark.processes
def test_two_processes_share_the_pictures(predict: Callable[..., int]) -> None:
    """One can't be read: the exit code says so whichever process came across it."""
    assert predict() == 0
    first = written()
    for name in ("a.jpg", "b.png", "deep/c.webp"):
        (Path("painted") / name).unlink()
    Path("in/b.png").write_text("no picture")  # the second process's
    codes, said = together(2, ["predict", *words(), "--trainer.devices", "2"])
    assert codes[0] == 1, said
    assert written() == {name: data for name, data in first.items() if name != "b.png"}
    assert "not painted: in/b.png" in said
    assert "pictures painted: 2, in painted" in said  # neither of them twice
    assert "could not be painted: 1," in said
