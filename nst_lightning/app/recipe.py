"""What a visitor asks for: checked, and told as a command line."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from nst_lightning.app.limits import Limits, RefusalError
from nst_lightning.data.schedule import steps_per_level
from nst_lightning.runs.config_files import find_config

QUALITIES = {"draft": "quick", "standard": "starry", "fine": "quality"}
"""The shipped configs, by what the page calls them."""

SMOOTHNESS = 2.0
"""What stands for the total variation's weight in these configs; twice as much is twice the weight."""

_CHOICES = {
    "quality": tuple(QUALITIES),
    "start": ("content", "noise", "style"),
}
_RANGES = {
    "strength": (0.01, 100.0),
    "brush": (0.25, 4.0),
    "smoothness": (0.0, 100.0),
    "seed": (0, 2**32 - 1),
}


@dataclass(frozen=True)
class Recipe:
    """How a picture is painted.

    Attributes:
        size: Long side of the result, pixels.
        strength: Factor of the style's weight.
        keep_colors: Whether the photo keeps its colours.
        quality: One of `QUALITIES`.
        start: What the picture starts from: `content`, `noise` or `style`.
        brush: Long side of the style over that of the result.
        smoothness: Weight of the total variation, in units of half the config's.
        seed: Of the noise.
        network: A shipped one that paints in one pass; `None` for painting by optimisation.
        prolonged: The steps of each level that the run went on with, for each time that it was painted on.
    """

    size: int = 512
    strength: float = 1.0
    keep_colors: bool = False
    quality: str = "standard"
    start: str = "content"
    brush: float = 1.0
    smoothness: float = SMOOTHNESS
    seed: int = 0
    network: str | None = None
    prolonged: tuple[tuple[int, ...], ...] = ()

    def total_steps(self, levels: int) -> int:
        """Return the steps of all levels together, before it was prolonged."""
        data = settings_of(self.quality, "data")
        return sum(steps_per_level(data["steps"], data["first_steps"], levels))

    def data_options(self) -> dict[str, Any]:
        """Return the arguments of `TransferData` in which this differs from its quality's config."""
        options: dict[str, Any] = {"size": self.size}
        if self.prolonged:
            options["steps"] = list(self.prolonged[-1])
        if self.keep_colors:
            options["preserve_color"] = "luminance"
        if self.start != "content":
            options["init"] = self.start
        if self.brush != 1:
            options["style_scale"] = self.brush
        return options

    def model_options(self) -> dict[str, Any]:
        """Return the arguments of the parts of `StyleTransfer` in which this differs from its quality's config."""
        options: dict[str, Any] = {}
        if self.strength != 1:
            weight = settings_of(self.quality, "model")["style"]["init_args"]["weight"]
            options["style.weight"] = round(weight * self.strength, 3)
        if self.smoothness != SMOOTHNESS:
            weight = settings_of(self.quality, "model")["variation"]["init_args"]["weight"]
            options["variation.weight"] = round(weight * self.smoothness / SMOOTHNESS, 3)
        return options


@cache
def settings_of(quality: str, part: str) -> dict[str, Any]:
    """Return what a quality's config says; not to be changed.

    Args:
        quality: One of `QUALITIES`.
        part: `model` or `data`.

    Returns:
        The `init_args`.
    """
    config = yaml.safe_load(Path(find_config(f"configs/{QUALITIES[quality]}.yaml")).read_text(encoding="utf-8"))
    settings: dict[str, Any] = config[part]["init_args"]
    return settings


def read_recipe(asked: Mapping[str, Any], limits: Limits, networks: Collection[str] = ()) -> Recipe:
    """Check what came from a visitor.

    Args:
        asked: Decoded JSON: fields of `Recipe` other than `prolonged`; what is missing has its default.
        limits: Of the page.
        networks: Names of those at hand that paint in one pass.

    Returns:
        The recipe.

    Raises:
        RefusalError: If a field is unknown, of another type or out of range.
    """
    fields: dict[str, Any] = {}
    ranges = {**_RANGES, "size": (16, limits.size)}
    choices = {**_CHOICES, "network": networks}
    for key, value in asked.items():
        if key == "network" and value is None:
            continue
        if key in ranges:
            fields[key] = _number(key, value, *ranges[key])
        elif key in choices:
            if not isinstance(value, str) or value not in choices[key]:
                raise RefusalError(400, f"{key} is one of {', '.join(choices[key])}; choose one of them.")
            fields[key] = value
        elif key == "keep_colors":
            if not isinstance(value, bool):
                raise RefusalError(400, "keep_colors is true or false; send one of them.")
            fields[key] = value
        else:
            raise RefusalError(400, f"there is no setting {str(key)[:40]!r}; load the page again.")
    return Recipe(**fields)


def _number(key: str, value: Any, low: float, high: float) -> float:
    whole = isinstance(low, int)
    kind = int if whole else (int, float)
    # `bool` is an `int` to Python, and NaN is in no range.
    if not isinstance(value, kind) or isinstance(value, bool) or not low <= value <= high:
        raise RefusalError(400, f"{key} is a {'whole ' if whole else ''}number from {low:g} to {high:g}; change it.")
    return value if whole else round(float(value), 6)  # as many digits as the command shows


def command(recipe: Recipe, content: str, style: str, stopped_after: int | None = None) -> str:
    """Give the command that paints the same picture: `nst fit`, or `nst predict` for a network.

    Args:
        recipe: How.
        content: `sample:NAME`, or the name of the visitor's file, as `Order.arguments` has it.
        style: The same.
        stopped_after: Steps, if it was stopped.

    Returns:
        One line, quoted for a POSIX shell; a command for each time that the picture was painted on, too.
    """
    if recipe.network is not None:
        options: dict[str, Any] = {"data.images": _argument(content), "data.size": recipe.size}
        options |= {"data.keep_alpha": "false", "model.network": recipe.network}
        options |= {"model.style": style.removeprefix("sample:"), "model.strength": min(1.0, recipe.strength)}
        options |= {"output.folder": "painted", "output.format": "png"}
        return _line("predict", "configs/fast_predict.yaml", options)
    # The learning rate follows the steps, so a prolonged run is not one that had as many from the start.
    runs = [replace(recipe, prolonged=recipe.prolonged[:count]) for count in range(len(recipe.prolonged) + 1)]
    lines = [_fit(run, content, style) for run in runs[:-1]]
    return " && ".join([*lines, _fit(runs[-1], content, style, stopped_after)])


def _fit(recipe: Recipe, content: str, style: str, stopped_after: int | None = None) -> str:
    options: dict[str, Any] = {"data.content": _argument(content), "data.style": _argument(style)}
    options |= {f"data.{key}": value for key, value in recipe.data_options().items()}
    options |= {f"model.{key}": value for key, value in recipe.model_options().items()}
    if recipe.seed:
        options["seed_everything"] = recipe.seed
    if recipe.prolonged:
        options["ckpt_path"] = "last"
    if stopped_after is not None:
        options["trainer.max_steps"] = stopped_after
    options["output.path"] = result_name(content, style)
    return _line("fit", f"configs/{QUALITIES[recipe.quality]}.yaml", options)


def _line(word: str, config: str, options: Mapping[str, Any]) -> str:
    words = ["nst", word, "--config", config]
    for key, value in options.items():
        words += [f"--{key}", f"{value:.12g}" if isinstance(value, float) else str(value)]
    return shlex.join(words)


def _argument(name: str) -> str:
    """Keep a file name from being read as an option, as YAML or as a home folder."""
    plain = re.fullmatch(r"sample:\w+|\./.*|\w[\w .()+-]*\.[A-Za-z]\w*", name)
    return name if plain else f"./{name}"


def result_name(content: str, style: str) -> str:
    """Give the result's file name: those of the two pictures, letters, digits and hyphens only."""
    stems = (re.sub(r"[^A-Za-z0-9]+", "-", re.sub(r"^sample:|\.\w+$", "", name)) for name in (content, style))
    return "-".join(stem.strip("-")[:40] or "picture" for stem in stems) + ".png"
