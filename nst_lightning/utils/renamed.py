"""Class paths that have changed. In configs and on command lines the old ones go on working, for a release."""

from __future__ import annotations

import functools
import logging
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Any

_log = logging.getLogger(__name__)

RENAMED = {
    f"nst_lightning.{old}": f"nst_lightning.{new}"
    for old, new in {
        "callbacks.image_writer.PictureWriter": "callbacks.image_writer.ImageWriter",
        "callbacks.painting_progress": "callbacks.progress_bars",
        "callbacks.paintings": "callbacks.prediction_writer",
        "callbacks.pictures": "callbacks.image_writer",
        "callbacks.prediction_writer.PaintingWriter": "callbacks.prediction_writer.PredictionWriter",
        "callbacks.progress": "callbacks.progress_bars",
        "callbacks.progress_bars.PaintingProgressBar": "callbacks.progress_bars.PredictProgressBar",
        "callbacks.stylized": "callbacks.tensorboard",
        "callbacks.tensorboard.StylizedPictures": "callbacks.tensorboard.StylizedImages",
        "callbacks.tensorboard.TensorBoardPictures": "callbacks.tensorboard.TensorBoardImages",
        "callbacks.training_progress": "callbacks.progress_bars",
        "data.PicturesToPaint": "data.PredictData",
        "data.fast": "data.fast_transfer_data",
        "data.folder": "data.folder_images",
        "data.paintings": "data.predict_data",
        "data.predict_data.PicturesToPaint": "data.predict_data.PredictData",
        "data.pyramid": "data.transfer_data",
        "encoders.Teacher": "tasks.distillation.Teacher",
        "encoders.teacher": "tasks.distillation",
        "losses.variation": "losses.total_variation",
        "run.strategy.SharedPictureStrategy": "runs.ranks.SharedImageStrategy",
        "tasks.FastPainter": "tasks.FastStylizer",
        "tasks.fast": "tasks.fast_style_transfer",
        "tasks.fast_stylizer.FastPainter": "tasks.fast_stylizer.FastStylizer",
        "tasks.painter": "tasks.fast_stylizer",
        "tasks.transfer": "tasks.style_transfer",
    }.items()
}
"""Old dotted path of a class, or of a module all of whose classes have moved, and the new one.

Entries are followed one after the other, so an old module and a class renamed in the new one need one entry each. A
class that has changed its name is also found by its old name alone, as in `--model NAME`.
"""

_NAME_CLASSES = ("class_path", "model", "data", "callbacks", "help")
"""Settings whose value may be the name of a class without its module."""


def current_path(path: str) -> str:
    """Return the dotted path by which a class is found today; the path itself if it has not changed."""
    new = _follow(path)
    if new != path:
        _warn_once(path, new)
    return new


def _follow(path: str) -> str:
    while path in RENAMED or path.rpartition(".")[0] in RENAMED:
        module, _, name = path.rpartition(".")
        path = RENAMED.get(path) or f"{RENAMED[module]}.{name}"
    return path


@functools.cache
def _warn_once(old: str, new: str) -> None:
    _log.warning("%s is now called %s; the old name goes with the next release.", old, new)


def _current(key: str, value: Any) -> Any:
    """Return a setting's value with the class that it may name by its present path."""
    if not isinstance(value, str):
        return with_current_paths(value, key)
    if key in _NAME_CLASSES and "." not in value:
        for old in RENAMED:
            if old.rpartition(".")[2] == value and value[:1].isupper() and not _follow(old).endswith(f".{value}"):
                _warn_once(value, _follow(old))
                return _follow(old)
    return current_path(value)


def with_current_paths(settings: Any, key: str = "") -> Any:
    """Return settings with every class in them by its present path.

    Args:
        settings: Nested mappings and lists, as a YAML file holds them.
        key: Name of the setting that they are the value of.
    """
    if isinstance(settings, dict):
        return {name: _current(str(name), value) for name, value in settings.items()}
    if isinstance(settings, list):
        return [_current(key, value) for value in settings]
    return settings


def with_current_arguments(args: Sequence[str]) -> list[str]:
    """Return a command line with every class that an option names alone, as in `--model CLASS`, by its present path.

    Args:
        args: Options and their values, `--key=value` or `--key value`.
    """
    current: list[str] = []
    key = ""
    for arg in args:
        if arg.startswith("--"):
            option, equals, value = arg.partition("=")
            key = option.lstrip("-").removesuffix("+").rpartition(".")[2]
            current.append(f"{option}={_current(key, value)}" if equals else arg)
        else:
            current.append(_current(key, arg))
    return current


def moved_attribute(module: str, name: str) -> object:
    """Return what a module had under a name before it moved; for the module's `__getattr__`.

    Raises:
        AttributeError: If the module never had it.
    """
    old = f"{module}.{name}"
    if old not in RENAMED:
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    home, _, new = _follow(old).rpartition(".")
    warnings.warn(f"{old} is now {home}.{new}", DeprecationWarning, stacklevel=3)
    return getattr(import_module(home), new)
