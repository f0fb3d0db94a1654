"""Mistakes that the person at the keyboard can put right, and how they are told."""

from collections.abc import Sequence
from difflib import get_close_matches


class UserError(ValueError):
    """A mistake in what the user gave, told in one line: what was expected, what was found, what to do.

    The command line prints the message without a traceback and exits with code 2; from Python it is a
    `ValueError`.
    """


def check_choice(value: str, choices: Sequence[str], what: str) -> None:
    """Raise a UserError, naming the nearest of *choices*, if *value* (called *what*) is none of them."""
    if value not in choices:
        nearest = get_close_matches(str(value), choices, n=1, cutoff=0.4)
        hint = f"did you mean '{nearest[0]}'?" if nearest else f"choose for example '{choices[0]}'"
        raise UserError(f"{what}: expected one of {', '.join(choices)}, found '{value}'; {hint}")
