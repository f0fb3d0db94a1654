"""The settings in which runs differ, in few words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

_SECTIONS = ("model", "data", "seed_everything", "trainer.max_steps", "trainer.precision")  # what shapes a picture
_UNSET = "–"


def differences(runs: Sequence[Path], most: int = 3) -> list[list[str]]:
    """Tell runs apart by their settings.

    Args:
        runs: Their folders. A resumed run has several configs, of which the last one holds.
        most: Largest number of settings told; those of the model come before those of the data.

    Returns:
        For each run the settings that are not the same in all, such as `["style.weight 10", "size 512"]`, the same
        settings in the same order for each; nothing if a run has no config that can be read.
    """
    configs = [_read_config(run) for run in runs]
    settings = [_flatten(config) for config in configs if config is not None]
    if len(settings) < len(runs):
        return [[] for _ in runs]
    keys = list(dict.fromkeys(key for flat in settings for key in flat))
    differing = [key for key in keys if len({flat.get(key, _UNSET) for flat in settings}) > 1]
    shaping = [key for section in _SECTIONS for key in differing if f"{key}.".startswith(f"{section}.")]
    return [[f"{_short(key)} {flat.get(key, _UNSET)}" for key in shaping[:most]] for flat in settings]


def _read_config(run: Path) -> dict[str, Any] | None:
    files = sorted(run.glob("config*.yaml"), key=lambda path: (len(path.name), path.name))
    try:
        config = yaml.safe_load(files[-1].read_text(encoding="utf-8")) if files else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None  # the pictures can be compared without
    return config if isinstance(config, dict) else None


def _flatten(settings: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Give every setting as a dotted key, without `init_args`, and a short text."""
    flat: dict[str, str] = {}
    for name, value in settings.items():
        key = prefix if name == "init_args" else f"{prefix}.{name}".removeprefix(".")
        if isinstance(value, dict):
            flat |= _flatten(value, key)
        else:
            flat[key] = str(value).rsplit(".", 1)[-1] if name == "class_path" else _text(value)
    return flat


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:g}"
    return Path(value).name if isinstance(value, str) and "/" in value else str(value)


def _short(key: str) -> str:
    """Keep what tells a setting from others: `style.weight`, but `size` for `data.size`."""
    parts = key.removesuffix(".class_path").split(".")
    return ".".join(parts[1:][-2:]) or parts[0]
