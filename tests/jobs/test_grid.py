"""Axes, their product and the names of runs."""

from __future__ import annotations

import pytest
import yaml
from jsonargparse import ArgumentParser

from nst_lightning.errors import UserError
from nst_lightning.jobs.grid import SHORT_NAMES, as_arg, axis_name, expand, make_axes, option_args


def labels(grid: dict[str, object]) -> list[str]:
    return [run.label for run in expand(make_axes(grid))]


def test_the_product_runs_through_the_last_axis_fastest() -> None:
    runs = expand(make_axes({"style_weight": [1, 10], "data.keep_alpha": [True, False], "seed": [3]}))
    assert [tuple(run.options.values()) for run in runs] == [(1, True, 3), (1, False, 3), (10, True, 3), (10, False, 3)]
    assert list(runs[0].options) == ["style_weight", "data.keep_alpha", "seed"]
    assert runs[1].label == "style_weight=1,keep_alpha=false,seed=3"


@pytest.mark.parametrize(
    ("value", "label", "title"),
    [
        (10, "10", "style layers 10"),
        (2.5e-8, "2.5e-08", "style layers 2.5e-08"),
        (None, "null", "style layers null"),
        (["relu1_1", "relu2_1"], "relu1_1+relu2_1", "relu1_1 + relu2_1"),
        ({"relu1_1": 0.35}, "relu1_1_0.35", "relu1_1 0.35"),
        ("sample:town", "town", "style layers town"),
        ("/home/me/my photo.jpg", "my_photo.jpg", "style layers my photo.jpg"),
        ("../..", "..", "style layers .."),
    ],
)
def test_labels_and_titles(value: object, label: str, title: str) -> None:
    (run,) = expand(make_axes({"style_layers": [value]}))
    assert run.label == f"style_layers={label}"
    assert run.choices[0].title == title


@pytest.mark.parametrize("typed", ["style_weight", "model.style.weight", "model.init_args.style.init_args.weight"])
def test_an_option_has_one_name_however_it_is_typed(typed: str) -> None:
    assert axis_name(typed) == "style_weight"
    assert labels({typed: [1]}) == ["style_weight=1"]


def test_every_short_name_is_the_name_of_its_option() -> None:
    assert {axis_name(option): option for option in SHORT_NAMES.values()} == SHORT_NAMES


def test_titles_of_the_users_own() -> None:
    (axis,) = make_axes({"style_layers": {"shallow": ["relu1_1"], "weighted": {"relu1_1": 0.3, "relu4_1": 0.7}}})
    assert [choice.title for choice in axis.choices] == ["shallow", "weighted"]
    assert axis.choices[1].options == (("style_layers", {"relu1_1": 0.3, "relu4_1": 0.7}),)
    assert labels({"style_layers": {"shallow": ["relu1_1"]}}) == ["style_layers=shallow"]


def test_an_axis_of_any_other_name_sets_several_options() -> None:
    bundle = {
        "Adam": {"model.optimizer": "torch.optim.Adam", "lr": 0.02},
        "SGD": {"model.optimizer": "torch.optim.SGD"},
    }
    runs = expand(make_axes({"optimizer": bundle, "size": [64]}))
    assert [run.label for run in runs] == ["optimizer=Adam,size=64", "optimizer=SGD,size=64"]
    assert option_args(runs[0].options) == [
        "--model.optimizer=torch.optim.Adam",
        "--model.optimizer.lr=0.02",
        "--data.size=64",
    ]


def test_labels_are_unique_stable_and_short() -> None:
    pictures = ["a/me.jpg", "b/me.jpg", "c/me.jpg"]
    all_labels = labels({"content": pictures})
    assert len(set(all_labels)) == 3
    assert labels({"content": pictures[:2]}) == all_labels[:2]
    assert labels({"content": [*pictures[:2], "d.jpg"]})[:2] == all_labels[:2]
    assert labels({"content": pictures[::-1]}) == all_labels[::-1]  # whichever comes first
    layers = [f"relu{block}_{n}" for block in (1, 2, 3, 4, 5) for n in (1, 2)]
    long = labels({"style_layers": [layers, layers[:-1]], "content_layers": [layers]})
    assert len(set(long)) == 2
    assert max(len(label.encode()) for label in long) <= 120
    wide = labels({"content": ["絵" * 80 + ".jpg", "絵" * 81 + ".jpg"]})
    assert max(len(label.encode()) for label in wide) <= 130
    assert len(set(wide)) == 2


@pytest.mark.parametrize(
    "value",
    [
        1,
        0.02,
        2.5e-8,
        1e22,
        True,
        None,
        "1e-3",
        "null",
        "Null",
        "~",
        "",
        "sample:town",
        [0.9, 0.99],
        ["relu1_1"],
        {"relu1_1": 1e-4},
    ],
)
def test_words_are_read_back_as_the_value(value: object) -> None:
    assert "\n" not in as_arg(value)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=dict[str, float] | list[float] | list[str] | float | bool | str | None)
    expected = 0.001 if value == "1e-3" else value
    assert parser.parse_args([f"--value={as_arg(value)}"]).value == expected


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ("{}", "needs an axis"),
        ("{style_wieght: [1]}", "did you mean style_weight"),
        ("{optimizer: [Adam]}", "neither a dotted option of nst fit nor a short name"),
        ("{style_weight: 10}", "wants a list of values.*but 10 was given"),
        ("{style_weight: []}", "wants a list of values"),
        ("{style_weight: [1, 2, 1]}", "has the value 1 twice"),
        ("{style_weight: [1], model.style.weight: [2]}", "two axes of the grid mean 'style_weight'"),
    ],
)
def test_mistakes(grid: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_axes(yaml.safe_load(grid))
