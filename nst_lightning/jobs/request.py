"""What the words after `nst sweep` and a sweep file ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from nst_lightning.errors import UserError, did_you_mean, one_line
from nst_lightning.jobs.grid import option_words
from nst_lightning.runs.config_files import find_config, is_sweep
from nst_lightning.runs.run_folder import check_name

_FILE_KEYS = ("config", "options", "grid", "sheet")
_REFUSED = {
    "--output.path": "each run writes stylized.png into its own folder.",
    "--animation.path": "all runs would write the same file; give it to nst fit.",
    "--print_config": "it has many; give it to nst fit.",
    "--ckpt_path": "a sweep that is started again goes on by itself.",
}


@dataclass(frozen=True)
class Sheet:
    """How the contact sheet looks.

    Attributes:
        title: Over everything; the sweep's name if empty.
        size: Long side of a picture on it, pixels.
        steps: Columns are the pictures at these steps, which `--output.every_n_steps` writes; none for one picture
            of each run.
    """

    title: str = ""
    size: int = 256
    steps: tuple[int, ...] = ()


@dataclass(frozen=True)
class Request:
    """A sweep.

    Attributes:
        name: Of its folder.
        base: Words of `nst fit` that all runs share, configs first.
        grid: As `make_axes` reads it.
        sheet: How the contact sheet looks.
        jobs: Runs at a time.
    """

    name: str
    base: tuple[str, ...]
    grid: Mapping[str, Any]
    sheet: Sheet = field(default_factory=Sheet)
    jobs: int = 1


def read_request(words: Sequence[str]) -> Request:
    """Read a command line, and the sweep file it names if it names one.

    Options on the command line win over those of the file; its axes are added to the file's, and replace those of
    the same key.

    Args:
        words: After `nst sweep`.

    Returns:
        The request; `base` starts with configs that exist.

    Raises:
        UserError: If an option of the sweep itself, or the file, makes no sense. Options of `nst fit` are not read
            here.
    """
    own, rest = _split(words)
    files = [find_config(given) for given in own.pop("config") or ["starry.yaml"]]
    sweeps = [path for path in files if is_sweep(path)]
    if len(sweeps) > 1:
        raise UserError(f"--config names two sweeps, {sweeps[0]} and {sweeps[1]}; give one.")
    asked = _read_file(sweeps[0]) if sweeps else {}
    bases = asked.get("config") or []
    bases = [find_config(str(base)) for base in ([bases] if isinstance(bases, str) else bases)]
    check_name(own["name"])
    configs = [*bases, *(path for path in files if path not in sweeps)]
    grid = {**asked.get("grid", {}), **own["grid"]}
    return Request(
        name=own["name"] or (Path(sweeps[0]).stem if sweeps else f"{Path(files[0]).stem}-sweep"),
        base=(*(f"--config={path}" for path in configs), *option_words(asked.get("options", {})), *rest),
        grid=grid,
        sheet=_read_sheet({**asked.get("sheet", {}), **own["sheet"]}),
        jobs=_whole_number("--jobs", own["jobs"]),
    )


def _split(words: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Separate the sweep's own options from those of `nst fit`."""
    own: dict[str, Any] = {"config": [], "grid": {}, "sheet": {}, "name": None, "jobs": 1}
    rest: list[str] = []
    queue = list(words)
    while queue:
        word = queue.pop(0)
        key, has_value, value = word.partition("=")
        section, _, setting = key.removeprefix("--").partition(".")
        if key not in ("--config", "-c", "--name", "--jobs") and not (section in ("grid", "sheet") and setting):
            if key in _REFUSED:
                raise UserError(f"{key} can't be given to a sweep: {_REFUSED[key]}")
            rest.append(word)
            continue
        if not has_value:
            if not queue:
                raise UserError(f"{key} wants a value; see nst sweep --help.")
            value = queue.pop(0)
        if key in ("--config", "-c"):
            own["config"].append(value)
        elif setting:
            own[section][setting] = _read_yaml(key, value)
        else:
            own[section] = value
    return own, rest


def _read_yaml(key: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{key} is not valid YAML: {one_line(error)}.") from error


def _read_file(path: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    for key, value in content.items():
        if key not in _FILE_KEYS:
            raise UserError(f"{path} has the key {key!r}; a sweep has {', '.join(_FILE_KEYS)}." + _nearest(key))
        if key != "config" and not isinstance(value, dict):
            raise UserError(f"{key} in {path} wants a mapping, but {value!r} was given.")
    for key in content.get("options", {}):
        if f"--{key}" in _REFUSED:
            raise UserError(f"{key} can't be an option of {path}: {_REFUSED[f'--{key}']}")
    return content


def _nearest(key: str) -> str:
    hint = did_you_mean(key, _FILE_KEYS, "Settings of nst fit belong under options.")
    return f" {hint[0].upper()}{hint[1:]}"


def _read_sheet(settings: Mapping[str, Any]) -> Sheet:
    known = Sheet.__dataclass_fields__
    for key in settings:
        if key not in known:
            raise UserError(f"there is no setting sheet.{key}; there are {', '.join(f'sheet.{k}' for k in known)}.")
    steps = settings.get("steps") or ()
    if not isinstance(steps, list | tuple) or not all(isinstance(step, int) and step > 0 for step in steps):
        raise UserError(f"sheet.steps wants a list of steps, such as '[100, 200]', but {steps!r} was given.")
    size = _whole_number("sheet.size", settings.get("size", Sheet.size), lowest=32)
    return Sheet(str(settings.get("title") or ""), size, tuple(steps))


def _whole_number(key: str, value: Any, lowest: int = 1) -> int:
    try:
        number = int(str(value))
    except ValueError:
        number = 0
    if number < lowest:
        raise UserError(f"{key} wants a whole number from {lowest} up, but {value} was given.")
    return number
