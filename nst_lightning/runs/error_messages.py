"""Turns the parser's pages about types into one line about the mistake, and knows Lightning's own."""

from __future__ import annotations

import ast
import difflib
import inspect
import re
import traceback
from collections.abc import Iterable

import torch.optim
from lightning.fabric.utilities.exceptions import MisconfigurationException

# Importing them also lets configs name their classes without the module.
import nst_lightning.data
import nst_lightning.encoders
import nst_lightning.losses
import nst_lightning.tasks

_MODULES = (nst_lightning.data, nst_lightning.encoders, nst_lightning.losses, nst_lightning.tasks)
_NOISE = ("Does not validate", "Subtypes:", "Errors:", "Given value", "Problem with given", "Expected a path")
_CHECKED_IN = (
    "lightning/pytorch/trainer",
    "lightning/fabric/accelerators",
    "lightning/fabric/utilities/device_parser",
    "lightning/fabric/plugins/environments",
)
"""Where Lightning refuses settings of the Trainer, with errors of any kind."""


def is_about_settings(error: Exception) -> bool:
    """Tell whether Lightning, when a Trainer was made, refused what the user asked of it."""
    last = traceback.extract_tb(error.__traceback__)[-1].filename
    return isinstance(error, MisconfigurationException) or any(place in last for place in _CHECKED_IN)


def explain(message: str, options: Iterable[str]) -> str:
    """Say in one line what was expected, what was found, and the nearest valid name.

    Args:
        message: As jsonargparse words it: a tree of all types that were tried, over many lines.
        options: Names of command line options, without dashes.

    Returns:
        One line.
    """
    if unknown := re.search(r"[Uu]nrecognized arguments?: --([\w.]+)", message):
        return f"there is no option --{unknown.group(1)}" + _nearest(unknown.group(1), options, "--")
    key = ".".join(dict.fromkeys(re.findall(r'Parser key "([^"]+)"', message)))
    where = f"{key}: " if key else ""
    if unknown := re.search(r"Option '([\w.]+)' is not accepted|Key '([\w.]+)' is not expected", message):
        name = (unknown.group(1) or unknown.group(2)).removeprefix("init_args.")
        return f"{where}there is no setting {name!r} here" + _nearest(name, _settings(), "")
    given = re.search(r"Given value: (.+)|Got value: (.+)", message)
    found = (given.group(1) or given.group(2)).strip() if given else ""
    leaves = list(dict.fromkeys(filter(None, map(_leaf, message.splitlines()))))
    text = f"{where}{' or '.join(leaves)}" if leaves else where + " ".join(message.split())
    if found and "expected" in text:
        text += f", but {found} was given"
    return text + _hint(message, found)


def _leaf(line: str) -> str:
    """Give what a line of the tree says about the mistake, or nothing."""
    text = re.sub(r'^(?:- |Parser key "[^"]+":\s*)+', "", line.strip())
    if not text or text.startswith(_NOISE) or "NoneType" in text:
        return ""
    text = re.sub(r"\. Got value: .*", "", text)
    text = re.sub(r"typing\.Literal\[(.*)\]", lambda m: "one of " + m.group(1).replace("'", ""), text)
    text = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", text)
    return re.sub(r"^Expected (?:a )?", "expected ", text)


def _hint(message: str, found: str) -> str:
    choices: list[str] = []
    for literal in re.findall(r"typing\.Literal(\[[^\]]*\])", message):
        choices += map(str, ast.literal_eval(literal))
    return _nearest(found, choices or _classes(), "") if found else ""


def _nearest(name: str, valid: Iterable[str], prefix: str) -> str:
    valid = list(valid)
    group, _, last = name.rpartition(".")
    beside = {option.rpartition(".")[2]: option for option in valid if option.rpartition(".")[0] == group}
    if group and beside:  # else the group alone would make two names alike
        nearest = [beside[part] for part in difflib.get_close_matches(last, beside, n=1, cutoff=0.6)]
    else:
        nearest = difflib.get_close_matches(name, valid, n=1, cutoff=0.6)
        nearest = nearest or difflib.get_close_matches(last, valid, n=1, cutoff=0.6)
    return f"; did you mean {prefix}{nearest[0]}?" if nearest and nearest[0] != name else ""


def _own_classes() -> list[type]:
    things = [getattr(module, name) for module in _MODULES for name in module.__all__]
    # On Python 3.10 an alias such as dict[str, Tensor] passes for a class, too; its module is not ours.
    return [thing for thing in things if inspect.isclass(thing) and thing.__module__.startswith("nst_lightning")]


def _classes() -> list[str]:
    optimizers = [name for name in dir(torch.optim) if name[0].isupper()]
    return [kind.__name__ for kind in _own_classes()] + optimizers


def _settings() -> set[str]:
    return {name for kind in _own_classes() for name in inspect.signature(kind).parameters}
