"""What a config may name, and what it may not: each of these leaves a file behind when it is called."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer

MARK = Path("called")
"""File in the working folder that says that something was called."""


def anything(text: str = "") -> Any:
    """Do something that is not what was asked for."""
    MARK.write_text(text)
    return anything


def unannotated(parameters):  # type: ignore[no-untyped-def]
    """Return an optimizer, which nobody can know beforehand."""
    MARK.touch()
    return torch.optim.SGD(parameters, lr=0.1)


def some_optimizer(parameters: Iterable[Any]) -> Optimizer:
    """Return an optimizer."""
    return torch.optim.SGD(parameters, lr=0.1)


def make_maker() -> Callable[[Iterable[Any]], Optimizer]:
    """Return a function, and not what that returns."""
    MARK.touch()
    return some_optimizer


def half(step: int) -> float:
    """Return a factor of the learning rate."""
    del step
    return 0.5


class Caller:
    """A class that does something when it is made, and can be called."""

    def __init__(self, text: str = "") -> None:
        MARK.write_text(text)

    def __call__(self, *args: Any) -> Any:
        """Do something as well."""
        MARK.touch()
