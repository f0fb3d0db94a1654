"""Mistakes that the person at the keyboard can put right, and how they are told."""

import os
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path


class UserError(ValueError):
    """A mistake in what the user gave, told in one line: what was expected, what was found, what to do.

    The command line prints the message without a traceback and exits with code 2; from Python it is a
    `ValueError`.

    Args:
        message: Line breaks in it, as file names may have them, become blanks.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.splitlines()))


def check_choice(value: str, choices: Sequence[str], what: str) -> None:
    """Raise a UserError, naming the nearest of *choices*, if *value* (called *what*) is none of them."""
    if value not in choices:
        nearest = get_close_matches(str(value), choices, n=1, cutoff=0.4)
        hint = f"did you mean '{nearest[0]}'?" if nearest else f"choose for example '{choices[0]}'"
        raise UserError(f"{what}: expected one of {', '.join(choices)}, found '{value}'; {hint}")


def user_path(given: str | os.PathLike[str], folder: Path | None = None) -> Path:
    """Read a path as a person types it.

    Afterwards `exists`, `is_file` and `is_dir` can be asked without an `OSError`.

    Args:
        given: There may be something at it or not; `~` and `~NAME` stand for home folders.
        folder: The path is relative to it; to the working folder if `None`.

    Returns:
        The path, `~` replaced.

    Raises:
        UserError: If there is no such home folder, a name is too long for the file system, or a folder on the way
            can't be entered.
    """
    path = Path(given)
    try:
        path = (folder or Path()) / path.expanduser()
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return path
    except RuntimeError as error:  # of expanduser
        raise UserError(f"expected a path, found {given}, but nobody's home is {path.parts[0]}; check it") from error
    except (OSError, ValueError) as error:  # ValueError: a null character
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"expected a path, found {path} ({reason}); check it") from error
    return path
