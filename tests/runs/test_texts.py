"""A text option keeps what was typed, whatever YAML would read in it: from arguments, configs, grids and manifests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nst_lightning.cli.sweep import read_sweep_request
from nst_lightning.cli.video import read_video_request
from nst_lightning.errors import UserError
from nst_lightning.jobs.grid import expand, make_axes, option_args
from nst_lightning.runs.fit_command import resolve_settings
from nst_lightning.utils.yaml_texts import to_yaml

NAMES = [
    *("#out.png", "a: b.png", "true", "1e3", "2024-01-01", "~", "[x].png", "{a}.png", "*x", "&x", "!x", "- a", "007"),
    *("0x10", "1_000", "yes", " before.png", "after.png ", "%", "@x", "`x", "it's.png", '"q".png', "a,b.png"),
    *("a\nb.png", "ü.png", "😀.png", "x\udcff.png", "|", "> x", "? x", ": x", "a #b", "...", "---", "=", "<<", ".nan"),
    *("1:30", "-", "--x", "!!x", "'", "{a: b}", "[a", "[a]", "[a, b].png", "null.png", "class_path: x"),
]
OPTIONS = {
    "data.content": ("data", "init_args", "content"),
    "data.init": ("data", "init_args", "init"),
    "data.content_guide": ("data", "init_args", "content_guide"),
    "data.warped": ("data", "init_args", "warped"),
    "output.path": ("output", "path"),
    "animation.path": ("animation", "path"),
    "model.encoder.weights": ("model", "init_args", "encoder", "init_args", "weights"),
}


def found(settings: Any, keys: tuple[str, ...]) -> Any:
    for key in keys:
        settings = settings[key]
    return settings


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, len(NAMES), len(OPTIONS)))
def test_a_text_is_kept_on_the_command_line_in_configs_and_in_saved_ones(first: int) -> None:
    names = dict(zip(OPTIONS, [*NAMES, *NAMES][first:], strict=False))
    typed = resolve_settings(["fit", *(f"--{option}={name}" for option, name in names.items())])
    assert {option: found(typed, keys) for option, keys in OPTIONS.items()} == names
    Path("saved.yaml").write_text(to_yaml(typed), encoding="utf-8")  # in quotes where YAML wants them
    assert resolve_settings(["fit", "--config", "saved.yaml"]) == typed
    in_two_words = resolve_settings(["fit", "--data.init_args", to_yaml({"content": NAMES[first]}, on_one_line=True)])
    assert in_two_words["data"]["init_args"]["content"] == NAMES[first]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("[a.jpg, b.jpg]", ["a.jpg", "b.jpg"]),
        ("[1e3, 007, yes, ~, null, a: b]", ["1e3", "007", "yes", "~", "null", "a: b"]),
        ("['#1.png', \"a, b\"]", ["#1.png", "a, b"]),
        ("[x\udcff.png, 😀.png]", ["x\udcff.png", "😀.png"]),
        ("- a.jpg\n- 1e3", ["a.jpg", "1e3"]),
        ("!!str '[a]'", "[a]"),
        ("!!str null", "null"),
        ("[a].png", "[a].png"),
    ],
)
def test_a_list_of_texts_keeps_them(typed: str, expected: Any) -> None:
    data = resolve_settings(["fit", f"--data.style={typed}"])["data"]["init_args"]
    assert data["style"] == expected


def test_null_alone_is_nothing_where_there_may_be_nothing() -> None:
    options = (
        "--data.content=null",
        "--data.style_guides=['null', null]",
        "--data.init=null",
        "--data.first_steps=null",
    )
    data = resolve_settings(["fit", *options])["data"]["init_args"]
    assert data["content"] is None
    assert data["first_steps"] is None
    assert data["style_guides"] == ["null", None]
    assert data["init"] == "null"  # an initial image there must be


def test_other_types_are_read_as_before() -> None:
    options = {
        "--data.size": "1_024",
        "--data.steps": "[1, 2]",
        "--data.style_scale": "1e0",
        "--trainer.devices": "[0]",
        "--trainer.precision": "32",
        "--model.style.layers": "[relu1_1, relu2_1]",
        "--model.encoder_by_size": "{512: {class_path: VGG19, init_args: {weights: compact}}}",
        "--trainer.callbacks": "[{class_path: EarlyStopping, init_args: {monitor: loss/total}}]",
        "--trainer.default_root_dir": "1e3",
    }
    settings = resolve_settings(["fit", *(f"{key}={value}" for key, value in options.items())])
    data, model = settings["data"]["init_args"], settings["model"]["init_args"]
    assert (data["size"], data["steps"], data["style_scale"]) == (1024, [1, 2], 1.0)
    trainer = settings["trainer"]
    assert (trainer["devices"], str(trainer["precision"]), trainer["default_root_dir"]) == ([0], "32", "1e3")
    assert model["style"]["init_args"]["layers"] == ["relu1_1", "relu2_1"]
    assert model["encoder_by_size"]["512"]["init_args"]["weights"] == "compact"
    assert trainer["callbacks"][0]["init_args"]["monitor"] == "loss/total"


@pytest.mark.slow
def test_a_grid_keeps_texts() -> None:
    names = ["007", "1e3", "yes", "~", "'null'", "'#1.png'", "0x10", "2024-01-01", "x\udcff.png", "'[a]'"]
    request = read_sweep_request(["--grid.content", f"[{', '.join(names)}]"])
    for run, name in zip(expand(make_axes(request.grid)), names, strict=True):
        settings = resolve_settings(["fit", *request.base, *option_args(run.options)])
        assert settings["data"]["init_args"]["content"] == name.strip("'")


@pytest.mark.slow
def test_a_video_keeps_the_names_of_its_styles() -> None:
    names = [name for name in NAMES if name[0] != "-"]
    request = read_video_request(["--video", "v.mp4", "--style", *names])
    assert resolve_settings(["fit", *request.base])["data"]["init_args"]["style"] == names


def test_yaml_of_a_config_is_taken_as_it_is() -> None:
    Path("mine.yaml").write_text(
        "data: {init_args: {content: null, style: ['1e3', 'null']}}\noutput: {path: 'null'}\n", encoding="utf-8"
    )
    settings = resolve_settings(["fit", "--config", "starry", "--config", "mine.yaml"])
    assert settings["data"]["init_args"]["style"] == ["1e3", "null"]
    assert settings["data"]["init_args"]["content"] is None
    assert settings["output"]["path"] == "null"
    Path("mine.yaml").write_text("data: {init_args: {style: [a.jpg, 1e3]}}", encoding="utf-8")
    with pytest.raises(UserError, match=r"data.style: expected str, but 1000.0 was given; put a text that YAML"):
        resolve_settings(["fit", "--config", "starry", "--config", "mine.yaml"])
