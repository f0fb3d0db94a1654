"""One line about a mistake, out of the parser's page about types."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence

import torch.optim

# Importing them also lets configs name their classes without the module.
import nst_lightning.data
import nst_lightning.encoders
import nst_lightning.losses
import nst_lightning.tasks
import nst_lightning.tasks.distillation
from nst_lightning._compat import (
    given_value,
    literal_choices,
    missing_module,
    refused_key,
    type_mismatches,
    unknown_option,
    unknown_setting,
)
from nst_lightning.errors import did_you_mean, one_line

_MODULES = (
    nst_lightning.data,
    nst_lightning.encoders,
    nst_lightning.losses,
    nst_lightning.tasks,
    nst_lightning.tasks.distillation,
)


def explain(message: str, options: Iterable[str]) -> str:
    """Return in one line what was expected, what was found, and the nearest valid name.

    Args:
        message: Message of jsonargparse: a tree of all types that were tried, over many lines.
        options: Names of command line options, without dashes.
    """
    if option := unknown_option(message):
        return f"there is no option --{option}" + _nearest_option(option, list(options))
    key = refused_key(message)
    where = f"{key}: " if key else ""
    if name := unknown_setting(message):
        return f"{where}there is no setting {name!r} here" + _nearest(name, _settings(), "")
    if missing := missing_module(message):
        return (
            f"{where}there is no module {missing}; if the name is right, install the package that it belongs to, often "
            f"by pip install {missing.partition('.')[0]}"
        )
    found = given_value(message)
    mismatches = type_mismatches(message)
    text = where + (" or ".join(mismatches) if mismatches else one_line(message))
    if found and "expected" in text:
        text += f", but {found} was given"
        if "expected str" in text:
            text += "; put a text that YAML takes for something else in quotes"
    return text + (_nearest(found, literal_choices(message) or _classes(), "") if found else "")


_KIN = {
    "style_weight": "model.style.weight",
    "content_weight": "model.content.weight",
    "tv_weight": "model.variation.weight",
    "strength": "model.style.weight",
    "lr": "model.optimizer.lr",
    "learning_rate": "model.optimizer.lr",
    "seed": "seed_everything",
    "output": "output.path",
    "out": "output.path",
    "o": "output.path",
    "epochs": "data.steps",
    "iterations": "data.steps",
    "num_iterations": "data.steps",
    "iters": "data.steps",
    "image_size": "data.size",
    "content_image": "data.content",
    "style_image": "data.style",
    "device": "trainer.accelerator",
    "gpu": "trainer.accelerator",
}
"""From names of other programs' options to ours."""


def _nearest_option(name: str, options: Sequence[str]) -> str:
    """Return the question for the option that was meant, though its name lacks `data.` or is another program's."""
    plain = name.replace("-", "_")
    ends = [option for option in options if option.rpartition(".")[2] == plain]
    ends.sort(key=lambda option: (not option.startswith("data."), option.count(".")))
    kin = _KIN.get(plain)
    if kin is not None and ends and kin not in options:  # it is an option of another command
        kin = None
    if "." not in plain and (ends or kin):
        return f"; did you mean --{kin or ends[0]}?"
    return _nearest(plain, options, "--")


def _nearest(name: str, valid: Iterable[str], prefix: str) -> str:
    """Return the question for the nearest valid name, to be appended to a message; nothing if none is near."""
    valid = list(valid)
    if name in valid:
        return ""
    group, _, last = name.rpartition(".")
    beside = {option.rpartition(".")[2]: option for option in valid if option.rpartition(".")[0] == group}
    if group and beside:  # else the group alone would make two names alike
        hint = did_you_mean(last, beside, shown=lambda part: prefix + beside[part])
    else:
        hint = did_you_mean(name, valid, shown=lambda option: prefix + option)
        hint = hint or did_you_mean(last, valid, shown=lambda option: prefix + option)
    return f"; {hint}" if hint else ""


def _own_classes() -> list[type]:
    things = [getattr(module, name) for module in _MODULES for name in module.__all__]
    # On Python 3.10 an alias such as dict[str, Tensor] passes for a class, too; its module is not ours.
    return [thing for thing in things if inspect.isclass(thing) and thing.__module__.startswith("nst_lightning")]


def _classes() -> list[str]:
    optimizers = [name for name in dir(torch.optim) if name[0].isupper()]
    return [kind.__name__ for kind in _own_classes()] + optimizers


def _settings() -> set[str]:
    return {name for kind in _own_classes() for name in inspect.signature(kind).parameters}
