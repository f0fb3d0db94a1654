"""`nst predict --data.style`: any picture's style for folders and videos, by the network of any style."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nst_lightning.cli.main import main
from nst_lightning.images.color_spaces import luminance
from nst_lightning.images.files import read_image
from nst_lightning.images.resize import fit_long_side, resize
from nst_lightning.networks.any_style import AnyStyleNet
from nst_lightning.networks.any_style_tiles import paint_any_tiled
from nst_lightning.networks.network_file import load_network, save_network
from tests.helpers.processes import together


@pytest.fixture
def predict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder_file: str) -> Callable[..., int]:
    """Run `nst predict` in a folder with two pictures in `in/` and two styles; options given come last and win."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    network = AnyStyleNet(encoder_file, width=2, blocks=1)
    torch.nn.init.normal_(network.modulate.weight, 0, 0.3)
    save_network(network, "tiny.safetensors", [], network.encoder.digest)
    Path("in").mkdir()
    for name, size in (("in/a.png", (37, 50)), ("in/b.png", (40, 24)), ("one.png", (64, 48)), ("two.png", (30, 90))):
        values = np.random.default_rng(len(name) + size[0]).integers(0, 256, (*size, 3), np.uint8)
        if name == "one.png":
            values = (values * (1.0, 0.4, 0.1)).astype(np.uint8)
        Image.fromarray(values).save(name)
    return lambda *options: main(["predict", *words(), *options])


def words() -> list[str]:
    return [
        *("--config", "fast_predict", "--ckpt_path", "tiny.safetensors", "--data.images", "in"),
        *("--trainer.accelerator", "cpu", "--data.num_workers", "0"),
    ]


def painted(name: str, folder: str = "painted") -> torch.Tensor:
    return read_image(f"{folder}/{name}").pixels


@torch.no_grad()
def expected(name: str, styles: list[str], weights: list[float], scale: float = 1.0) -> torch.Tensor:
    network, _ = load_network("tiny.safetensors")
    measured = []
    for path in styles:
        style = read_image(path).pixels
        measured.append(network.measure(resize(style, fit_long_side(*style.shape[-2:], round(512 * scale)))))
    return network(read_image(f"in/{name}").pixels, measured, torch.tensor(weights))


def differs(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found - wanted).abs().max()) * 255


def test_every_picture_is_painted_in_the_style(predict: Callable[..., int]) -> None:
    assert predict("--data.style", "one.png") == 0
    for name in ("a.png", "b.png"):
        assert differs(painted(name), expected(name, ["one.png"], [1.0])) <= 0.6  # rounded once


def test_several_styles_with_weights_strength_and_scale(
    predict: Callable[..., int], caplog: pytest.LogCaptureFixture
) -> None:
    options = ["--data.style", "[one.png,two.png]", "--data.style_weights", "[3,1]", "--data.style_scale", "0.5"]
    assert predict(*options, "--model.strength", "0.8") == 0
    assert differs(painted("a.png"), expected("a.png", ["one.png", "two.png"], [0.6, 0.2], 0.5)) <= 0.6
    assert "style: one.png 0.6, two.png 0.2" in caplog.text


def test_strength_0_gives_the_photograph(predict: Callable[..., int]) -> None:
    assert predict("--data.style", "one.png", "--model.strength", "0") == 0
    assert torch.equal(painted("a.png"), read_image("in/a.png").pixels)


def test_tiles_make_no_difference(predict: Callable[..., int]) -> None:
    assert predict("--data.style", "one.png") == 0
    assert predict("--data.style", "one.png", "--model.tile_size", "16", "--output.folder", "tiled") == 0
    for name in ("a.png", "b.png"):
        assert differs(painted(name), painted(name, "tiled")) <= 1


def test_styles_are_measured_once(predict: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> None:
    counted = []
    measure = AnyStyleNet.measure
    monkeypatch.setattr(AnyStyleNet, "measure", lambda *args: counted.append(1) or measure(*args))
    assert predict("--data.style", "[one.png,two.png]") == 0
    assert len(counted) == 2


def test_colors_are_kept(predict: Callable[..., int]) -> None:
    assert predict("--data.style", "one.png", "--data.preserve_color", "luminance") == 0
    assert predict("--data.style", "one.png", "--data.preserve_color", "cholesky", "--output.folder", "other") == 0
    for name in ("a.png", "b.png"):
        photo, result = read_image(f"in/{name}").pixels, painted(name)
        inside = ((result > 0.02) & (result < 0.98)).all(dim=1, keepdim=True).expand_as(result)
        kept, had = result - luminance(result), photo - luminance(photo)
        assert differs(kept[inside], had[inside]) <= 1.5
        assert differs(luminance(result), luminance(photo)) > 10
        plain = expected(name, ["one.png"], [1.0])
        assert differs(painted(name, "other"), plain) > 2


def test_the_same_again_and_by_two_processes(predict: Callable[..., int]) -> None:
    assert predict("--data.style", "one.png") == 0
    before = {path.name: path.read_bytes() for path in Path("painted").iterdir()}
    Path("painted/b.png").unlink()
    assert predict("--data.style", "one.png") == 0
    assert {path.name: path.read_bytes() for path in Path("painted").iterdir()} == before


@pytest.mark.processes
def test_two_processes_share_the_folder(predict: Callable[..., int]) -> None:
    assert predict("--data.style", "one.png") == 0
    codes, _ = together(2, ["predict", *words(), "--data.style", "one.png", "--output.folder", "shared"])
    assert codes == [0, 0]
    for name in ("a.png", "b.png"):
        assert Path("shared", name).read_bytes() == Path("painted", name).read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "paints in the style of any picture; set --data.style"),
        (["--data.style", "one.png", "--ckpt_path", "null", "--model.network", "starry"], "paints starry only"),
        (["--data.style", "one.png", "--model.style", "dusk"], "for any other set data.style"),
        (["--data.style", "none.png"], "found nothing at none.png"),
        (["--data.style", "one.png", "--data.style_weights", "[1,2]"], "lists 2 numbers for 1 styles"),
        (["--data.style", "one.png", "--data.style_scale", "0"], "style_scale must be above 0"),
        (["--data.style", "one.png", "--model.strength", "1.5"], "from 0 to 1, but 1.5"),
        (["--data.preserve_color", "luminance"], "need style pictures; set data.style"),
    ],
)
def test_mistakes(
    options: list[str], message: str, predict: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(*options) == 2
    assert message in capsys.readouterr().err
    assert not Path("painted").exists() or not any(Path("painted").iterdir())


def test_the_style_is_not_painted_over(predict: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    Path("painted").mkdir()
    Path("painted/a.png").write_bytes(Path("one.png").read_bytes())
    assert predict("--data.style", "painted/a.png", "--output.overwrite", "true") == 2
    assert "would be painted over a style that is read" in capsys.readouterr().err
    assert Path("painted/a.png").read_bytes() == Path("one.png").read_bytes()


@torch.no_grad()
def test_from_python(predict: Callable[..., int]) -> None:
    del predict
    network, _ = load_network("tiny.safetensors")
    image, style = read_image("in/a.png").pixels, read_image("one.png").pixels
    painted = network(image, [network.measure(style)])
    assert painted.shape == image.shape
    assert differs(paint_any_tiled(network, image, [network.measure(style)], None, 16), painted) < 0.1
