"""`stylize` from Python: the bytes of the command, whatever an image is given as, and quietly."""

from __future__ import annotations

import io
import logging
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nst_lightning import Result, UserError, stylize
from nst_lightning.cli.main import main
from nst_lightning.images.files import held_images, read_image
from nst_lightning.jobs.pictures import run_name
from tests.runs.conftest import fit_words

OPTIONS: dict[str, Any] = {
    "trainer.accelerator": "cpu",
    "trainer.precision": "32-true",
    "style_layers": ["relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"],
    "style_weight": 20,
    "model.content.convention": "relative",
    "content_weight": 1,
    "data.sizes": [24, 34],
    "steps": [4, 3],
    "data.first_steps": None,
}


@pytest.fixture
def painted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder_file: str) -> Callable[..., Result]:
    """Paint in an empty folder with a tiny encoder and schedule."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(logging.getLogger("nst_lightning"), "handlers", [])  # those of `nst` in an earlier test
    return lambda *images, **options: stylize(*images, **{**OPTIONS, "encoder": encoder_file, **options})


def pixels(path: str | Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.mark.slow
def test_it_is_the_command_to_the_byte(
    painted: Callable[..., Result],
    encoder_file: str,
    content: str,
    style: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    result = painted(content, style, output="python.png", progress=False)
    assert capsys.readouterr() == ("", "")
    assert not [record for record in caplog.records if record.levelname != "INFO"]
    assert (result.path, result.complete) == (Path("python.png"), True)
    assert main([*fit_words("starry", encoder_file, content, style), "--output.path", "command.png"]) == 0
    assert Path("python.png").read_bytes() == Path("command.png").read_bytes()
    monkeypatch.setenv("HOME", str(Path.cwd()))
    for given in ("saved.png", "~/at_home.png"):
        result.save(given)
        assert Path(given.removeprefix("~/")).read_bytes() == Path("command.png").read_bytes()
    assert result.folder == Path(f"lightning_logs/{Path(content).stem}-{Path(style).stem}/version_0")


@pytest.mark.slow
def test_instant_is_the_command_to_the_byte(
    painted: Callable[..., Result], any_style_file: str, content: str, style: str, capsys: pytest.CaptureFixture[str]
) -> None:
    del painted  # for its folder
    network: dict[str, Any] = {"model.network": any_style_file, "trainer.accelerator": "cpu"}
    state = torch.get_rng_state()
    result = stylize(content, [style, content], instant=True, size=36, progress=False, **network)
    assert capsys.readouterr() == ("", "")
    assert torch.equal(torch.get_rng_state(), state)
    assert result.path == Path("lightning_logs/instant/version_0/stylized.png")
    assert (result.folder, result.complete) == (result.path.parent, True)
    words = ["--instant", "--size", "36", "-o", "command.png"]
    options = [f"--{name}={value}" for name, value in network.items()]
    assert main([content, style, content, *words, *options]) == 0
    first = capsys.readouterr().err.splitlines()[0]
    assert first == f"in one pass, float32 on cpu; style: {Path(style).name} 0.5, {Path(content).name} 0.5"
    assert result.path.read_bytes() == Path("command.png").read_bytes()
    result.save("saved.png")
    assert Path("saved.png").read_bytes() == Path("command.png").read_bytes()
    given = stylize(Image.open(content), [read_image(style).pixels, content], instant=True, size=36, **network)
    assert torch.equal(given.tensor, result.tensor)
    with pytest.raises(UserError, match="quality is for optimizing"):
        stylize(content, style, instant=True, quality="fine")
    with pytest.raises(UserError, match="found nothing at gone"):
        stylize(content, "gone.png", instant=True)
    with pytest.raises(UserError, match=r"^stylize has no option strenght; options of nst fit are dotted"):
        stylize(content, style, strenght=3)
    with pytest.raises(UserError, match=r"^stylize has no option syle_weight; did you mean style_weight\?$"):
        stylize(content, style, syle_weight=3)


@pytest.mark.slow
def test_images_are_paths_or_objects_of_any_kind(painted: Callable[..., Result], content: str, style: str) -> None:
    expected = painted(content, style, progress=False).tensor
    array = pixels(style)
    chosen: list[Any] = [
        Image.open(style),
        array,
        array.astype(np.float64) / 255,
        torch.from_numpy(array).permute(2, 0, 1),
        read_image(style).pixels,
        Path(style),
    ]
    for given in chosen:
        assert torch.equal(painted(Image.open(content), given, progress=False).tensor, expected)
    mixture = painted(content, [style, Image.open(content)], progress=False)
    assert mixture.folder == Path(f"lightning_logs/{Path(content).stem}-{Path(style).stem}-image/version_0")
    blended = mixture.tensor
    named = painted(Image.open(content), array, progress=False, name="portrait")
    assert named.folder == Path("lightning_logs/portrait/version_0")
    assert torch.equal(painted(content, (array, content), progress=False).tensor, blended)
    assert not torch.equal(blended, expected)


@pytest.mark.slow
def test_the_result_is_an_image_in_a_notebook(painted: Callable[..., Result], content: str, style: str) -> None:
    result = painted(content, style, progress=False)
    run = f"lightning_logs/{Path(content).stem}-{Path(style).stem}/version_0"
    assert repr(result) == f"Result(34×26, complete, {run}/stylized.png)"
    assert result.picture is result.tensor
    assert result.tensor.shape == (1, 3, 26, 34)
    assert result.path is not None
    assert np.array_equal(np.asarray(result.image), pixels(result.path))
    assert np.array_equal(pixels(io.BytesIO(result._repr_png_())), pixels(result.path))  # type: ignore[arg-type]
    result.save("deep.png", bits=16)
    assert Path("deep.png").read_bytes()[24] == 16
    stopped = painted(content, style, progress=False, **{"trainer.max_steps": 2})
    assert not stopped.complete
    assert "stopped" in repr(stopped)


def test_it_leaves_random_generators_and_arguments_alone(
    painted: Callable[..., Result], content: str, style: str
) -> None:
    array, tensor = pixels(content).copy(), read_image(style).pixels
    before = array.copy(), tensor.clone()
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # type: ignore[index]
    painted(array, tensor, progress=False, init="noise", seed=3)
    assert np.array_equal(array, before[0])
    assert torch.equal(tensor, before[1])
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])  # type: ignore[index]
    assert random.getstate() == states[2]


def test_a_bar_alone_is_shown(
    painted: Callable[..., Result], content: str, style: str, capsys: pytest.CaptureFixture[str]
) -> None:
    painted(content, style)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert "7/7" in shown.err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((3, 8, 8), np.uint8), r"array of shape \(H, W, 3\), found \(3, 8, 8\)"),
        (torch.zeros(8, 8, 3), r"tensor of shape \(3, H, W\), found \(8, 8, 3\)"),
        (np.full((8, 8, 3), 255.0), "floats from 0 to 1, found 255 to 255"),
        (np.full((8, 8, 3), np.nan), "floats from 0 to 1, found nan"),
        (np.zeros((8, 8, 3), np.int64), "8 bits without sign or floats, found torch.int64"),
        (np.zeros((0, 8, 3)), "found one of 8×0 pixels"),
        (7, "expected a path, an image, an array or a tensor, found int"),
        ([], "expected a painting or several, found an empty list"),
        ("gone.png", "found nothing at gone.png"),
    ],
)
def test_mistakes_are_one_line(given: Any, message: str, painted: Callable[..., Result], content: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        painted(content, given)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="did you mean 'draft'"):
        painted(content, content, quality="drafty")


@pytest.mark.slow
def test_alpha_is_kept_if_asked(painted: Callable[..., Result], content: str, style: str) -> None:
    photo = np.dstack([pixels(content), np.full((30, 40), 128, np.uint8)])
    result = painted(photo, style, progress=False, **{"data.keep_alpha": True})
    assert result.image.mode == "RGBA"
    assert result.path is not None
    assert np.array_equal(np.asarray(result.image), pixels(result.path))


def test_a_runs_name_is_a_folders_name_in_any_writing() -> None:
    names = [character * 80 for character in "aé写"]
    assert run_name(f"in/{names[0]}.jpg", [f"{name}.png" for name in names[1:]]) == f"{'a' * 30}-{'é' * 30}-{'写' * 20}"
    assert run_name("sample:town", ["..jpg"]) == "town-_"


def test_an_object_that_is_gone_is_named() -> None:
    with held_images([np.zeros((4, 4), np.uint8)]) as (name,):
        assert read_image(name).pixels.shape == (1, 3, 4, 4)
    with pytest.raises(UserError, match=f"{name}: it was given as an object in Python, which is gone; name a file"):
        read_image(name)
