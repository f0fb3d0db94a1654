"""Small files in which the program keeps what it will want to know again: read, or refused in a line."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from nst_lightning.errors import UserError, one_line
from nst_lightning.utils.bounded_yaml import load_yaml
from nst_lightning.utils.storage import fetch

_LONGEST = 80  # characters of a reason


def read_yaml(file: Path, keys: Sequence[str] = ()) -> dict[str, Any]:
    """Return the mapping in a YAML file.

    Args:
        file: File; it exists.
        keys: Keys whose values must be mappings.

    Raises:
        UserError: If it can't be read, or holds something else.
    """
    return _read_mapping(file, load_yaml, keys)


def read_json(file: Path, keys: Sequence[str] = ()) -> dict[str, Any]:
    """Return the mapping in a JSON file, as `read_yaml` does."""
    return _read_mapping(file, json.loads, keys)


def read_seconds(file: Path) -> float | None:
    """Return the seconds that a run has noted; `None` if there is no such file, or none that can be read."""
    try:
        return float(fetch(file).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _read_mapping(file: Path, parse: Callable[[str], Any], keys: Sequence[str]) -> dict[str, Any]:
    try:
        content = parse(fetch(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{file} can't be read ({error.strerror}); look what is there.") from error
    except (ValueError, RecursionError, yaml.YAMLError) as error:  # of the encoding and of JSON is a ValueError
        raise damaged(file, one_line(error)[:_LONGEST]) from error
    if not isinstance(content, dict):
        raise damaged(file, "it holds no settings")
    for key in keys:
        if not isinstance(content.get(key), dict):
            raise damaged(file, f"it lacks {key!r}")
    return content


def damaged(file: Path, reason: str) -> UserError:
    """Return the line about a file that is not what the program wrote."""
    return UserError(f"{file} is damaged ({reason}); put it back, or remove it.")
