"""What visitors may ask for, and the command that does the same."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from nst_lightning.app.limits import Limits, RefusalError
from nst_lightning.app.recipe import (
    QUALITIES,
    Recipe,
    command,
    read_recipe,
    result_name,
)
from nst_lightning.data.schedule import steps_per_level
from nst_lightning.runs.config_files import find_config
from nst_lightning.runs.resolved_settings import resolve_settings

LIMITS = Limits(size=1024)


@pytest.mark.parametrize("name", QUALITIES.values())
def test_defaults_are_those_of_the_shipped_configs(name: str) -> None:
    config = yaml.safe_load(Path(find_config(f"configs/{name}.yaml")).read_text())
    assert config["data"]["init_args"]["size"] == Recipe().size
    assert Recipe().model_options() == {}
    assert config["seed_everything"] == Recipe().seed


def test_the_command_says_what_the_recipe_says() -> None:
    recipe = Recipe(320, 2.5, True, "fine", "noise", 0.5, 3.25, 7)
    words = shlex.split(command(recipe, "sample:town", "sample:mosaic"))
    settings = resolve_settings(words[1:])
    model, data = settings["model"]["init_args"], settings["data"]["init_args"]
    assert words[0] == "nst"
    assert settings["seed_everything"] == 7
    assert settings["output"]["path"] == "town-mosaic.png"
    shipped = yaml.safe_load(Path(find_config("configs/quality.yaml")).read_text())["model"]["init_args"]
    assert model["style"]["init_args"]["weight"] == 2.5 * shipped["style"]["init_args"]["weight"]
    assert model["encoder"]["init_args"]["weights"] == shipped["encoder"]["init_args"]["weights"]
    assert model["variation"]["init_args"]["weight"] == 3.25 / 2 * shipped["variation"]["init_args"]["weight"]
    assert (
        data
        | {
            "content": "sample:town",
            "style": "sample:mosaic",
            "size": 320,
            "preserve_color": "luminance",
            "init": "noise",
            "style_scale": 0.5,
        }
        == data
    )


def test_a_picture_that_was_painted_on_is_a_command_for_each_time() -> None:
    line = command(Recipe(prolonged=((20, 10, 15), (20, 10, 22))), "sample:town", "sample:starry")
    first, *further = [shlex.split(part) for part in line.split(" && ")]
    assert further == [
        [*first[:-2], "--data.steps", steps, "--ckpt_path", "last", *first[-2:]]
        for steps in ("[20, 10, 15]", "[20, 10, 22]")
    ]
    settings = resolve_settings(further[0][1:-4])
    assert settings["data"]["init_args"]["steps"] == [20, 10, 15]


def test_a_picture_that_was_stopped_is_a_command_that_stops_there() -> None:
    line = command(Recipe(prolonged=((20, 10, 15),)), "sample:town", "sample:starry", stopped_after=33)
    first, second = [shlex.split(part) for part in line.split(" && ")]
    assert "--trainer.max_steps" not in first
    assert second[second.index("--trainer.max_steps") + 1] == "33"


@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize("levels", [1, 4])
def test_the_steps_are_those_that_the_command_has(quality: str, levels: int) -> None:
    words = shlex.split(command(Recipe(quality=quality), "sample:town", "sample:starry"))
    data = resolve_settings(words[1:])["data"]["init_args"]
    assert Recipe(quality=quality).total_steps(levels) == sum(
        steps_per_level(data["steps"], data["first_steps"], levels)
    )


@pytest.mark.parametrize(
    "name",
    [
        "me.jpg",
        "my cat's.jpg",
        "$(rm -rf ~).png",
        "--config.png",
        "[a].jpg",
        "null",
        "~.png",
        "1.5",
        'a"b.png',
        "./sample:town",
    ],
)
def test_any_file_name_comes_through_shell_and_parser_as_that_file(name: str) -> None:
    words = shlex.split(command(Recipe(), name, name))
    data = resolve_settings(words[1:])["data"]["init_args"]
    assert data["content"] in (name, f"./{name}")
    assert data["style"] == data["content"]


def test_result_names_are_plain() -> None:
    assert result_name("sample:town", "sample:starry") == "town-starry.png"
    assert result_name("Mein Häuschen (1).jpeg", "../../etc/passwd") == "Mein-H-uschen-1-etc-passwd.png"
    assert result_name("語.png", "b.c.jpg") == "picture-b-c.png"


@pytest.mark.parametrize(
    ("asked", "word"),
    [
        ({"size": 1025}, "1024"),
        ({"size": 15}, "16"),
        ({"size": 512.0}, "whole"),
        ({"size": "512"}, "whole"),
        ({"size": True}, "whole"),
        ({"strength": float("nan")}, "0.01"),
        ({"strength": 1e9}, "100"),
        ({"smoothness": -1}, "0"),
        ({"seed": 2**32}, "whole"),
        ({"quality": "best"}, "draft"),
        ({"quality": ["draft"]}, "draft"),
        ({"start": "/etc/passwd"}, "content"),
        ({"encoder": "/tmp/evil.pth"}, "encoder"),
        ({"keep_colors": "yes"}, "true"),
        ({"prolonged": [[10**9]]}, "prolonged"),
        ({"__class__": 1}, "__class__"),
    ],
)
def test_what_is_out_of_range_is_refused_with_the_range(asked: dict[str, Any], word: str) -> None:
    with pytest.raises(RefusalError) as refused:
        read_recipe(asked, LIMITS)
    assert refused.value.status == 400
    assert word in refused.value.line


def test_all_fields_are_taken_over() -> None:
    asked = {
        "size": 256,
        "strength": 0.5,
        "keep_colors": True,
        "quality": "draft",
        "start": "style",
        "brush": 2,
        "smoothness": 0,
        "seed": 3,
    }
    assert read_recipe(asked, LIMITS) == Recipe(256, 0.5, True, "draft", "style", 2.0, 0.0, 3)
