"""The line that helps: names without their group, lists without brackets, addresses, commands; the help of fit."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from nst_lightning.cli.main import main
from nst_lightning.data.transfer_data import TransferData
from nst_lightning.errors import UserError
from nst_lightning.images.files import read_image
from nst_lightning.runs.config_files import OneLineParser, find_config, find_configs
from nst_lightning.runs.fit_command import resolve_settings
from nst_lightning.runs.fit_help import FIT_HELP
from nst_lightning.runs.predict_help import PREDICT_HELP
from tests.helpers.inputs import make_image

HINTS = {
    "--size 64": "there is no option --size; did you mean --data.size?",
    "--style-weight 4": "there is no option --style-weight; did you mean --model.style.weight?",
    "--lr 1": "did you mean --model.optimizer.lr?",
    "-o x.png": "there is no option --o; did you mean --output.path?",
    "--content a.jpg": "did you mean --data.content?",
    "--modle.style.weight 3": "did you mean --model.style.weight?",
    "--data.style a.jpg b.jpg": r"b.jpg belongs to no option; several values are .*--data.style '\[a.jpg, b.jpg\]'",
    "a.jpg b.jpg": "a.jpg belongs to no option; name one, such as --data.content a.jpg",
    "--data.size=64 stray": "stray belongs to no option",
    "--data.style a.jpg,b.jpg": r"several pictures are a list, such as --data.style '\[a.jpg, b.jpg\]'",
    "--data.content htps://x.org/y.jpg": "found htps://x.org/y.jpg .*did you mean https",
    "--data.style [#a.jpg,b]": "names with other than letters, digits and dots in quotes",
    "--model.optimizer Adamm": "Adamm.*did you mean Adam?",
}


@pytest.mark.slow
@pytest.mark.parametrize("line", HINTS)
def test_a_mistake_is_told_what_helps(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.jpg", "b.jpg"):
        make_image(Path(name), 8, 8, seed=1)
    assert main(["fit", *line.split()]) == 2
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1
    assert re.search(HINTS[line], error[0]), error[0]


@pytest.mark.parametrize(
    ("argv", "code", "found"),
    [
        (["fitt"], 2, "there is no command 'fitt'; did you mean fit?; the commands are fit, sweep"),
        (["--data.size", "3"], 2, "a command comes first, such as nst fit --data.size …"),
        (["me.jpg", "x.jpg"], 2, "expected a picture file, found nothing at me.jpg"),
        (["help"], 0, "usage: nst fit"),
        (["-v"], 0, "nst-lightning "),
        (["version"], 0, "nst-lightning "),
        (["fit", "--version"], 0, "nst-lightning "),
    ],
)
def test_the_first_word(argv: list[str], code: int, found: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == code
    said = capsys.readouterr()
    assert found in said.out + said.err


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("--strength 0.6", "there is no option --strength; did you mean --model.strength?"),
        ("--output.pth x.png", "did you mean --output.path?"),
    ],
)
def test_an_option_of_predict_is_not_taken_for_one_of_fit(
    words: str, found: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", *words.split()]) == 2
    assert found in capsys.readouterr().err


@pytest.mark.parametrize("given", ["starry.png", "old/configs/starry.yaml", "configs/starry.yml", "../starry.yaml"])
def test_a_file_that_is_not_there_is_no_shipped_config(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"--config {given} is not a file"):
        find_config(given)
    for name in (
        "starry",
        "starry.yaml",
        "configs/starry.yaml",
        "./configs/starry",
        "sweeps/inits",
        "configs/sweeps/inits.yaml",
    ):
        assert Path(find_config(name)).is_file()


def test_a_config_is_given_by_either_name_and_either_way() -> None:
    ways = (["--config", "quick"], ["--config=quick"], ["-c", "quick"], ["-c=quick"])
    found = [find_configs([*way, "--data.size=64"]) for way in ways]
    assert found == [[f"--config={find_config('quick')}", "--data.size=64"]] * 4


def test_grey_of_32_bits_is_not_called_damaged(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 70_000, np.int32)).save(tmp_path / "deep.tif")
    with pytest.raises(UserError, match=r"expected gray of at most 16 bits, found 32 in .*deep.tif; convert it"):
        read_image(tmp_path / "deep.tif")


@pytest.mark.slow
def test_the_help_begins_with_pictures_and_method_and_ends_with_the_trainer(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["fit", "--help"])
    text = capsys.readouterr().out
    order = [
        "--data.content me.jpg",
        "--ckpt_path last",
        "--data.warped_guide",
        "--model.tile_size",
        "--model.style.layers",
    ]
    places = [text.index(part) for part in [*order, "--output.path PATH", "--trainer.accelerator"]]
    assert places == sorted(places)
    assert "--output." not in text[places[-1] :]
    for action in FIT_HELP.class_options(OneLineParser)._actions:
        assert action.option_strings[0] in text


@pytest.mark.slow
def test_the_help_of_predict_names_what_is_painted_first(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["predict", "--help"])
    text = capsys.readouterr().out
    assert text.startswith("usage: nst predict [--config FILE] [options]\n\nPaint pictures and videos in one pass")
    parts = [
        "--data.images photos",
        "--data.style_guides",
        "--model.tile_size",
        "--output.folder FOLDER",
        "--trainer.accelerator",
    ]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    for action in PREDICT_HELP.class_options(OneLineParser)._actions:
        assert action.option_strings[0] in text
    for example in PREDICT_HELP.examples:
        assert text.count(example.split()[0]) > 1 or example.startswith("--cluster")  # it is an option


@pytest.mark.slow
def test_every_option_that_is_named_works() -> None:
    options = [
        f"--{action.dest}={yaml.safe_dump(action.default, default_flow_style=True).removesuffix('...').strip()}"
        for action in FIT_HELP.class_options(OneLineParser)._actions
        if "." in action.dest and not action.dest.endswith(".help") and not callable(action.default)
        if action.default != "==SUPPRESS=="
    ]
    assert len(options) >= 50
    resolve_settings(["fit", *(option.removesuffix("\n...") for option in options)])
    examples = [
        f"--{example.removeprefix('--').replace(' ', '=', 1)}" for example in FIT_HELP.examples if "ckpt" not in example
    ]
    resolve_settings(["fit", *(example.replace("'", "") for example in examples)])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("argv", "found"),
    [
        (["fit", "--model.help"], "--model.guide_propagation"),
        (["fit", "--data.help"], "--data.preserve_color"),
        (["fit", "--config", "fast_starry", "--data.help"], "--data.folder"),
        (["predict", "--model.help"], "--model.network"),
    ],
)
def test_help_without_a_class_is_that_of_the_config(
    argv: list[str], found: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(argv)
    assert found in capsys.readouterr().out


@pytest.mark.slow
def test_names_that_are_not_utf8_are_painted_and_gone_on_with(
    nst: Callable[..., int], content: str, style: str
) -> None:
    names = [
        os.fsdecode(name) for name in (b"c\xff.png", b"s\xfe.png", b"m\xfd.png", b"o\xfc.png", b"n\xfb", b"a\xfa.gif")
    ]
    for name, source in zip(names[:3], (content, style, content), strict=True):
        Path(name).write_bytes(Path(source).read_bytes())
    options = ["--data.content", names[0], "--data.style", f"[{names[1]}]", "--data.content_guide", names[2]]
    options += ["--output.path", names[3], "--name", names[4], "--animation.path", names[5]]
    assert nst(*options, "--trainer.max_steps", "3") == 0
    run = Path("lightning_logs", names[4], "version_0")
    assert list(run.glob("events*"))
    assert nst(*options, "--ckpt_path", "last") == 0
    assert nst("--config", str(run / "config.yaml"), "--data.content", names[0], "--data.style", names[1]) == 0
    assert Path(names[3]).exists()
    assert Path(names[5]).exists()
    assert TransferData(names[0]).names["content"] == names[0]
