"""`nst predict --data.style`: any picture's style for folders and videos, by the network of any style."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nst_lightning.cli.main import main
from nst_lightning.images.color_matching import ColorMatching, match_colors
from nst_lightning.images.color_spaces import luminance
from nst_lightning.images.files import read_image
from nst_lightning.images.resize import fit_long_side, resize
from nst_lightning.networks.any_style import AnyStyleNet
from nst_lightning.networks.any_style_painting import paint_any_tiled
from nst_lightning.networks.network_file import load_network, save_network
from nst_lightning.networks.video_statistics import VideoStatistics
from nst_lightning.video.reading import read_frames
from tests.helpers.clips import make_clip, moving_frames
from tests.helpers.processes import together


@pytest.fixture
def predict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder_file: str) -> Callable[..., int]:
    """Run `nst predict` in a folder with two pictures in `in/` and two styles; options given come last and win."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    network = AnyStyleNet(encoder_file, width=4, blocks=1)
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_what_is_missing_is_painted_again_to_the_same_bytes(predict: Callable[..., int]) -> None:
    assert predict("--data.style", "one.png") == 0
    before = {path.name: path.read_bytes() for path in Path("painted").iterdir()}
    Path("painted/b.png").unlink()
    assert predict("--data.style", "one.png") == 0
    assert {path.name: path.read_bytes() for path in Path("painted").iterdir()} == before


def clip(path: str, exposures: list[float]) -> list[torch.Tensor]:
    """Write a clip of a still scene under changing light."""
    scene = moving_frames(1, 48, 64)[0]
    make_clip(Path(path), [scene * exposure for exposure in exposures], with_sound=False)
    return [frame.pixels for frame in read_frames(Path(path))]


@pytest.mark.slow
@torch.no_grad()
def test_a_frame_is_painted_by_statistics_of_those_before(predict: Callable[..., int]) -> None:
    pytest.importorskip("av")
    frames = clip("in/c.mkv", [1.0, 1.0, 1.0, 0.6, 0.6, 1.0])
    words = ["--data.images", "in/c.mkv", "--data.style", "one.png", "--model.strength", "0.5"]
    assert predict(*words) == 0
    assert predict(*words, "--model.smoothing", "0", "--output.folder", "plain") == 0
    smooth, plain = (list(read_frames(Path(folder, "c.mkv"))) for folder in ("painted", "plain"))
    network, _ = load_network("tiny.safetensors")
    style = read_image("one.png").pixels
    styles = [network.measure(resize(style, fit_long_side(*style.shape[-2:], 512)))]
    statistics, differing = VideoStatistics(1.0, 10.0), []
    for index, frame in enumerate(frames):
        statistics.begin_frame(frame)
        wanted = network(frame, styles, torch.tensor([0.5]), None, statistics.smooth)
        other = network(frame, styles, torch.tensor([0.5]))
        if float((wanted - other).abs().mean()) < 0.01:  # the codec rounds as much
            continue
        differing.append(index)
        found, alone = smooth[index].pixels, plain[index].pixels
        assert float((found - wanted).abs().mean()) < 0.5 * float((found - other).abs().mean())
        assert float((alone - other).abs().mean()) < 0.5 * float((alone - wanted).abs().mean())
    assert float((smooth[0].pixels - plain[0].pixels).abs().mean()) < 0.01
    assert {3, 4} <= set(differing)


def test_a_video_painted_again_or_after_another_is_the_same(predict: Callable[..., int]) -> None:
    pytest.importorskip("av")
    clip("in/c.mkv", [1.0, 0.6, 0.8])
    clip("in/d.mkv", [0.2, 0.3, 0.4])
    assert predict("--data.style", "one.png") == 0
    before = {path.name: path.read_bytes() for path in Path("painted").iterdir()}
    Path("painted/d.mkv").unlink()
    assert predict("--data.style", "one.png") == 0
    assert {path.name: path.read_bytes() for path in Path("painted").iterdir()} == before


@pytest.mark.slow
@pytest.mark.processes
def test_two_processes_share_the_folder(predict: Callable[..., int]) -> None:
    pytest.importorskip("av")
    clip("in/c.mkv", [1.0, 0.6, 0.8])
    clip("in/d.mkv", [0.2, 0.3, 0.4])
    assert predict("--data.style", "one.png") == 0
    codes, _ = together(2, ["predict", *words(), "--data.style", "one.png", "--output.folder", "shared"])
    assert codes == [0, 0]
    for name in ("a.png", "b.png", "c.mkv", "d.mkv"):
        assert Path("shared", name).read_bytes() == Path("painted", name).read_bytes()


@pytest.mark.slow
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


def mask(path: str, size: tuple[int, int], columns: int) -> None:
    values = np.zeros(size, np.uint8)
    values[:, :columns] = 255
    Path(path).parent.mkdir(exist_ok=True)
    Image.fromarray(values).save(path)


@torch.no_grad()
def in_regions(
    name: str, columns: int, part: torch.Tensor | None = None, matching: ColorMatching | None = None
) -> torch.Tensor:
    """The first style, or a part of it, left of a column, the second one right of it, in the region's own colors."""
    network, _ = load_network("tiny.safetensors")
    image = read_image(f"in/{name}").pixels
    left = torch.zeros_like(image[:, :1])
    left[..., :columns] = 1
    paintings = []
    for path, region, of_style in (("one.png", left, part), ("two.png", 1 - left, None)):
        style = read_image(path).pixels
        style = resize(style, fit_long_side(*style.shape[-2:], 512))
        if matching is not None:
            style = match_colors(style, image, matching, reference_weights=region).clamp(0, 1)
        statistics = network.measure(style, None if of_style is None else resize(of_style, style.shape[-2:]))
        paintings.append(network(image, [statistics], torch.ones(1), region))
    return left * paintings[0] + (1 - left) * paintings[1]


BOTH = ["--data.style", "[one.png,two.png]"]


@pytest.mark.slow
def test_a_style_in_each_region(predict: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    """Masks of a folder belong to the images of their names, whatever the suffix; one file belongs to all."""
    mask("masks/a.png", (37, 50), 20)
    mask("masks/b.tif", (20, 12), 4)  # a smaller copy
    mask("part.png", (64, 48), 30)
    part = read_image("part.png").pixels[:, :1]
    options = ["--data.guides", "[masks, rest]", "--data.style_guides", "[part.png, null]"]
    assert predict(*BOTH, *options) == 0
    assert differs(painted("a.png"), in_regions("a.png", 20, part)) <= 0.6
    assert painted("b.png").shape == (1, 3, 40, 24)
    assert predict(*BOTH, *options, "--model.tile_size", "16", "--output.folder", "tiled") == 0
    for name in ("a.png", "b.png"):
        assert differs(painted(name), painted(name, "tiled")) <= 1
    one = ["--data.images", "in/a.png", "--data.guides", "[masks/a.png, rest]", "--output.folder", "one"]
    assert predict(*BOTH, *one) == 0
    assert differs(painted("a.png", "one"), in_regions("a.png", 20)) <= 0.6
    capsys.readouterr()
    assert predict(*BOTH, *options, "--output.folder", "masks", "--output.overwrite", "true") == 2
    assert "masks/a.png would be painted over a mask that is read" in capsys.readouterr().err


@pytest.mark.slow
def test_an_image_without_its_mask_is_passed_over(
    predict: Callable[..., int], caplog: pytest.LogCaptureFixture
) -> None:
    mask("masks/a.png", (37, 50), 20)
    assert predict(*BOTH, "--data.guides", "[masks, rest]") == 1
    assert "not painted: in/b.png: data.guides: " in caplog.text
    assert "masks/b.png" in caplog.text
    assert Path("painted/a.png").exists()
    caplog.clear()
    assert predict(*BOTH, "--data.guides", "[masks/a.png, rest]", "--output.folder", "other") == 1
    assert "expected a mask in the shape of its picture, 24×40" in caplog.text


def test_opacity_is_a_region_of_each_image(predict: Callable[..., int]) -> None:
    for name in ("a.png", "b.png"):
        image = Image.open(f"in/{name}").convert("RGBA")
        opacity = np.zeros((image.height, image.width), np.uint8)
        opacity[:, :10] = 255
        image.putalpha(Image.fromarray(opacity))
        image.save(f"in/{name}")
    assert predict("--data.style", "one.png", "--data.guides", "[alpha]", "--data.keep_alpha", "false") == 0
    for name in ("a.png", "b.png"):
        assert differs(painted(name)[..., 10:], torch.ones(1)) == 0  # on white, and left as it is
        assert differs(painted(name)[..., :10], read_image(f"in/{name}").pixels[..., :10]) > 10


@pytest.mark.slow
def test_colors_of_a_region_are_kept(predict: Callable[..., int]) -> None:
    mask("left.png", (37, 50), 20)
    options = ["--data.images", "in/a.png", "--data.guides", "[left.png, rest]"]
    assert predict(*BOTH, *options, "--data.preserve_color", "symmetric") == 0
    assert differs(painted("a.png"), in_regions("a.png", 20, matching="symmetric")) <= 0.6
    assert differs(painted("a.png"), in_regions("a.png", 20)) > 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data.guides", "[rest]"], "need style pictures; set data.style"),
        ([*BOTH, "--data.guides", "[rest]"], "data.guides lists 1 masks for 2 styles"),
        ([*BOTH, "--data.guides", "[rest, rest]"], "the word rest more than once"),
        ([*BOTH, "--data.guides", "[none.png, rest]"], "data.guides: expected a picture file, found nothing at none"),
        ([*BOTH, "--data.style_guides", "[one.png]"], "data.style_guides lists 1 masks for 2 styles"),
        ([*BOTH, "--data.style_guides", "[two.png, null]"], "data.style_guides: expected a mask in the shape"),
        ([*BOTH, "--model.smoothing", "-1"], "model.smoothing must be 0 seconds or more, but -1"),
    ],
)
def test_mistakes_about_masks(
    options: list[str], message: str, predict: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(*options) == 2
    assert message in capsys.readouterr().err
