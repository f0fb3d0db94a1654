"""The grid of a sweep: axes, their product, and what each run is called."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from nst_lightning.errors import UserError, did_you_mean
from nst_lightning.utils.yaml_texts import to_yaml

SHORT_NAMES = {
    "style_weight": "model.style.weight",
    "content_weight": "model.content.weight",
    "tv_weight": "model.variation.weight",
    "style_layers": "model.style.layers",
    "content_layers": "model.content.layers",
    "lr": "model.optimizer.lr",
    "pooling": "model.encoder.pooling",
    "encoder": "model.encoder.weights",
    "size": "data.size",
    "steps": "data.steps",
    "init": "data.init",
    "style_scale": "data.style_scale",
    "content": "data.content",
    "style": "data.style",
    "seed": "seed_everything",
}
"""From the short names of the common axes to the options of `nst fit`."""

_NOTHING = ("null", "~", "")  # in YAML
_LONGEST_LABEL = 120  # bytes; file systems allow 255 for a name


@dataclass(frozen=True)
class Sheet:
    """How the contact sheet looks.

    Attributes:
        title: Text over everything; the sweep's name if empty.
        size: Long side of an image on it, pixels, at least 32; less where all of them would be more than 64 megapixels.
        steps: Steps whose images are the columns, which `--output.every_n_steps` writes; none for one image of each
            run.
    """

    title: str = ""
    size: int = 256
    steps: tuple[int, ...] = ()


@dataclass(frozen=True)
class Choice:
    """One value of an axis.

    Attributes:
        text: Its text in the folder's name and in the table.
        title: Its text over a column or beside a row.
        options: Options of `nst fit` that it sets, without dashes, and their values.
    """

    text: str
    title: str
    options: tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Axis:
    """A setting that is varied.

    Attributes:
        name: Short name, unique within a grid.
        choices: Values, in the order given; at least one.
    """

    name: str
    choices: tuple[Choice, ...]


@dataclass(frozen=True)
class Run:
    """One point of the grid.

    Attributes:
        label: Name of its folder; unique within the sweep.
        choices: One choice of each axis, in the axes' order.
    """

    label: str
    choices: tuple[Choice, ...]

    @property
    def options(self) -> dict[str, Any]:
        """Everything the run sets; where two axes set the same option, the later one holds."""
        return {key: value for choice in self.choices for key, value in choice.options}


def make_axes(grid: Mapping[str, Any]) -> list[Axis]:
    """Read the axes.

    Args:
        grid: Mapping from an option of `nst fit` (dotted, or one of `SHORT_NAMES`) to a list of its values, or to a
            mapping from titles to values; or from any other name to a mapping from titles to mappings, each of which
            sets several options at once.

    Returns:
        The axes, in the order given.

    Raises:
        UserError: If there is no axis, or one has an unknown name, no values, the same value twice, or the name of
            another.
    """
    if not grid:
        raise UserError("a sweep needs an axis; give for example --grid.style_weight '[1, 10, 100]'.")
    axes = [_make_axis(key, values) for key, values in grid.items()]
    names = [axis.name for axis in axes]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"two axes of the grid mean {name!r}; leave one of them out.")
    return axes


def expand(axes: Sequence[Axis]) -> list[Run]:
    """Return the product of the axes, the last one varying fastest.

    A label is made from the names and values, so that it stays the same when the grid grows. One that would be too
    long for a file system, or that another run has, ends in a digest of the run's options.

    Args:
        axes: At least one.

    Returns:
        The runs, each with a label of its own.
    """
    plain: list[Run] = []
    for choices in itertools.product(*(axis.choices for axis in axes)):
        label = ",".join(f"{_slug(axis.name)}={_slug(c.text)}" for axis, c in zip(axes, choices, strict=True))
        plain.append(Run(label, choices))
    counts = Counter(run.label for run in plain)
    # All of those that share a label get a digest: which comes first must not matter.
    return [
        Run(f"{run.label[: _LONGEST_LABEL // 4]}-{_digest(run.options)}", run.choices)
        if counts[run.label] > 1 or len(run.label.encode()) > _LONGEST_LABEL
        else run
        for run in plain
    ]


def option_args(options: Mapping[str, Any]) -> list[str]:
    """Return options as arguments of a command line.

    Args:
        options: Dotted or short names without dashes, and values as YAML gives them.

    Returns:
        One `--name=value` for each.
    """
    return typed_args({key: as_arg(value) for key, value in options.items()})


def typed_args(options: Mapping[str, str]) -> list[str]:
    """Return options as arguments of a command line.

    Args:
        options: Dotted or short names without dashes, and values as one types them.

    Returns:
        One `--name=value` for each.
    """
    return [f"--{SHORT_NAMES.get(key, key)}={value}" for key, value in options.items()]


def as_arg(value: Any) -> str:
    """Return a value as one would type it on a command line: YAML on one line."""
    if isinstance(value, str):  # what would be more than a text, or nothing, is marked as one
        is_marked = value.lower() in _NOTHING or value.startswith(("[", "- ", "!!str "))
        return f"!!str {json.dumps(value)}" if is_marked else value
    return to_yaml(value, on_one_line=True)


def _make_axis(key: Any, values: Any) -> Axis:
    bundles = list(values.values()) if _is_bundle(values) else []
    for name in [key, *(name for bundle in bundles for name in bundle)]:
        if not isinstance(name, str):
            raise UserError(f"the grid has {name!r} where an option of nst fit should stand, such as data.size.")
    is_option = "." in key or key in SHORT_NAMES
    if not is_option and not _is_bundle(values):
        hint = did_you_mean(key, SHORT_NAMES, f"short names are {', '.join(SHORT_NAMES)}.")
        raise UserError(f"grid.{key} is neither a dotted option of nst fit nor a short name; {hint}")
    if not isinstance(values, list | dict) or not values:
        raise UserError(f"grid.{key} wants a list of values, such as '[1, 10]', but {as_arg(values)} was given.")
    name = axis_name(key)
    if not isinstance(values, dict):
        titled = [(short_text(value), _title(name, value), value) for value in values]
    else:
        titled = [(str(title), str(title), value) for title, value in values.items()]
    choices = []
    for text, title, value in titled:
        options = {key: value} if is_option else dict(value)
        choices.append(Choice(text, title, tuple(options.items())))
    seen: set[str] = set()
    for choice in choices:
        digest = _digest(dict(choice.options))
        if digest in seen:
            raise UserError(f"grid.{key} has the value {choice.text} twice; leave one of them out.")
        seen.add(digest)
    return Axis(name, tuple(choices))


def _is_bundle(values: Any) -> bool:
    return isinstance(values, dict) and all(isinstance(value, dict) and value for value in values.values())


def axis_name(key: str) -> str:
    """Return the short name of an option.

    Args:
        key: Option as typed: `model.init_args.style.init_args.weight`, `model.style.weight` or `style_weight`.

    Returns:
        One of `SHORT_NAMES` if it is one of those, else the option without `init_args` and the leading `model` or
        `data`.
    """
    plain = ".".join(part for part in key.split(".") if part != "init_args")
    for short, option in SHORT_NAMES.items():
        if plain == option:
            return short
    return plain.removeprefix("model.").removeprefix("data.")


def short_text(value: Any) -> str:
    """Return a value in few characters: files by their names, lists joined by a plus sign."""
    if isinstance(value, list):
        return " + ".join(map(short_text, value))
    if isinstance(value, dict):
        return " + ".join(f"{key} {short_text(part)}" for key, part in value.items())
    if isinstance(value, str):
        return PurePath(value.removeprefix("sample:")).name or value
    return as_arg(value)


def _title(name: str, value: Any) -> str:
    # A list of layers explains itself, a number does not.
    text = short_text(value)
    return text if isinstance(value, list | dict) else f"{name.replace('_', ' ')} {text}"


def _slug(text: str) -> str:
    return re.sub(r"[^\w.+-]+", "_", text.replace(" + ", "+")).strip("_") or "_"


def _digest(options: Mapping[str, Any]) -> str:
    text = json.dumps({axis_name(key): value for key, value in options.items()}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
