"""An image that holds its settings is a config: it is painted again to the byte."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from nst_lightning.cli.main import main
from nst_lightning.images.embedded_settings import read_settings
from nst_lightning.images.files import read_image, write_image
from nst_lightning.runs.fit_command import resolve_settings
from nst_lightning.runs.saved_config import image_settings

RUN = Path("lightning_logs/starry/version_0")


def settings_of(path: str) -> dict[str, Any]:
    text = read_settings(path)
    assert text is not None
    settings: dict[str, Any] = yaml.safe_load(text)
    return settings


@pytest.mark.slow
@pytest.mark.parametrize("name", ["out.png", "out.jpg", "out.webp", "out.tif"])
def test_it_is_painted_again_to_the_byte(name: str, nst: Callable[..., int]) -> None:
    assert (
        nst("--output.path", name, "--model.style.weight", "7", "--seed_everything", "4", "--data.init", "noise") == 0
    )
    again = f"again{Path(name).suffix}"
    assert main(["fit", "--config", name, "--output.path", again]) == 0
    assert Path(again).read_bytes() == Path(name).read_bytes()
    assert Path("lightning_logs/out/version_0/stylized.png").read_bytes() == (RUN / "stylized.png").read_bytes()


@pytest.mark.slow
def test_one_that_was_stopped_is_painted_as_far(nst: Callable[..., int]) -> None:
    assert nst("--output.path", "out.png", "--trainer.max_steps", "5") == 0
    assert settings_of("out.png")["trainer"]["max_steps"] == 5
    assert main(["fit", "--config", "out.png", "--output.path", "again.png"]) == 0
    assert Path("again.png").read_bytes() == Path("out.png").read_bytes()
    assert nst("--output.path", "rest.png", "--ckpt_path", "last") == 0
    assert settings_of("rest.png")["trainer"]["max_steps"] == -1
    assert main(["fit", "--config", "rest.png", "--output.path", "again.png"]) == 0
    assert Path("again.png").read_bytes() == Path("rest.png").read_bytes()


@pytest.mark.slow
def test_options_win_over_the_settings_and_the_image_may_be_written_to(nst: Callable[..., int]) -> None:
    assert nst("--output.path", "out.png") == 0
    told = settings_of("out.png")
    settings = resolve_settings(["fit", "--config=out.png", "--data.sizes", "[24]", "--data.steps", "2"])
    assert settings["data"]["init_args"]["sizes"] == [24]
    assert settings["model"]["init_args"]["style"] == told["model"]["init_args"]["style"]
    assert settings["name"] == "out"
    assert main(["fit", "--config", "out.png", "--data.sizes", "[24]", "--data.steps", "2"]) == 0
    assert read_image("lightning_logs/out/version_0/stylized.png").pixels.shape[-1] == 24


def test_what_is_null_is_said() -> None:
    """It is the default of few settings: a config of these, as of a video's frames, would have the default instead."""
    settings = resolve_settings(["fit", "--config", "gatys2015"])
    assert settings["model"]["init_args"]["full_lr_size"] is None
    quick = resolve_settings(["fit", "--config", "quick", "--model.style.up_to", "null", "--data.first_steps", "null"])
    assert quick["model"]["init_args"]["style"]["init_args"]["up_to"] is None
    assert quick["data"]["init_args"]["first_steps"] is None


def test_it_says_nothing_of_the_run(nst: Callable[..., int]) -> None:
    options = ["--name", "secret-name", "--trainer.default_root_dir", "elsewhere", "--data.max_pixels", "9999999"]
    assert nst("--output.path", "deep/secret.png", "--animation.path", "secret.gif", *options) == 0
    text = read_settings("deep/secret.png")
    assert text is not None
    assert text.isascii()
    assert not any(word in text for word in ("secret", "elsewhere", "max_pixels", "accelerator"))
    assert settings_of("deep/secret.png")["trainer"]["precision"] == "32-true"


def test_it_can_be_switched_off(nst: Callable[..., int]) -> None:
    assert nst("--output.path", "out.png", "--output.settings", "false") == 0
    assert read_settings("out.png") is None


@pytest.mark.slow
def test_the_image_in_the_runs_folder_is_the_same_file(nst: Callable[..., int]) -> None:
    assert nst("--output.path", "out.png") == 0
    assert (RUN / "stylized.png").read_bytes() == Path("out.png").read_bytes()
    assert main(["fit", "--config", str(RUN / "stylized.png"), "--output.path", "again.png"]) == 0
    assert Path("again.png").read_bytes() == Path("out.png").read_bytes()


def test_an_image_without_settings_is_no_config(content: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--config", content]) == 2
    assert capsys.readouterr().err == (
        f"nst: --config {content} is a picture without settings; give one that nst fit has painted, or YAML.\n"
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("nonsense: 1", "nonsense"),
        ("[1, 2]", "--config evil.png holds no settings"),
        ("a: [", "--config evil.png is not valid YAML"),
        ("model: {class_path: os.system, init_args: {command: touch hacked}}", "os.system"),
        ("grid: {style_weight: [1, 2]}", "is a sweep of many runs"),
    ],
)
def test_a_strangers_image_is_checked_as_a_strangers_config(
    settings: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_image("evil.png", read_image("sample:town").pixels[:, :, :40, :40], settings=settings)
    assert main(["fit", "--config", "evil.png"]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not Path("hacked").exists()


def test_names_take_the_place_of_files_that_only_this_machine_has() -> None:
    settings = {"data": {"init_args": {"content": "/srv/1", "style": ["/srv/2", "sample:town"]}}, "trainer": {}}
    told = yaml.safe_load(image_settings(settings, "32-true", names={"/srv/1": "me.jpg", "/srv/2": "./-a.jpg"}))
    assert told["data"]["init_args"] == {"content": "me.jpg", "style": ["./-a.jpg", "sample:town"]}
    assert settings["data"]["init_args"]["content"] == "/srv/1"
