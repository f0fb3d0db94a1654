"""Mistakes that the person at the keyboard can put right, and the parts that their messages are made of."""

import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path

_LONGEST = 2000  # characters of a message

_spellings: list[Callable[[str], str]] = []
_finders: list[Callable[[str | os.PathLike[str], Path | None], Path | None]] = []


def spell_by(spelling: Callable[[str], str]) -> None:
    """Let a function rewrite messages: paths that stand for addresses are shown as those."""
    _spellings.append(spelling)


def spelled(text: str) -> str:
    """Return a message as a person is to read it."""
    for spelling in _spellings:
        text = spelling(text)
    return text


class UserError(ValueError):
    """A mistake in what the user gave, in one line: what was expected, what was found, what to do.

    The command line prints the message without a traceback and exits with code 2; from Python it is a
    `ValueError`.

    Args:
        message: The line; line breaks in it, as file names may have them, become blanks, bytes that are not UTF-8
            are shown as `encodable` does, and the middle of a line that is longer than a screen, as the value that
            is found may be, is left out.
    """

    def __init__(self, message: str) -> None:
        # A loader's worker process hands on its whole traceback, and an error of the same class is made of that.
        message = re.sub(r"(?s)^Caught \w+ in DataLoader worker process.*\n[\w.]+: ", "", message)
        line = " ".join(encodable(spelled(message)).splitlines())
        half = _LONGEST // 2
        super().__init__(line if len(line) <= _LONGEST else f"{line[:half]} … {line[-half:]}")


class StorageError(UserError):
    """The file system takes nothing more: it is full, read-only or broken; what comes next would not fare better."""


def one_line(error: BaseException | str) -> str:
    """Return a message as one line, line breaks and runs of blanks as single blanks.

    Args:
        error: Message, or error whose message is wanted; an error without one is represented by its class's name.
    """
    return " ".join(str(error).split()) or type(error).__name__


def encodable(text: str) -> str:
    r"""Return a text that UTF-8 can hold: bytes of a file name that isn't UTF-8 are shown as `\udcff`."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def find_by(finder: Callable[[str | os.PathLike[str], Path | None], Path | None]) -> None:
    """Let a function find what has an address: given the arguments of `user_path`, it returns a path or `None`."""
    _finders.append(finder)


def did_you_mean(
    name: object,
    known: Iterable[str],
    otherwise: str = "",
    *,
    shown: Callable[[str], str] = str,
    cutoff: float = 0.6,
) -> str:
    """Return the question whether the nearest of the known names was meant.

    Args:
        name: Name that is not known.
        known: Names that are.
        otherwise: Return value if no known name is near.
        shown: Function that makes the text in the question out of the nearest name.
        cutoff: Similarity from which a name is near, in [0, 1], as in `difflib.get_close_matches`.
    """
    nearest = get_close_matches(str(name), list(known), n=1, cutoff=cutoff)
    return f"did you mean {shown(nearest[0])}?" if nearest else otherwise


@contextmanager
def named_in_errors(subject: str) -> Iterator[None]:
    """Begin the message of a `UserError` with what it is about: an option, or a line of a file."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{subject}: {error}") from error


@contextmanager
def missing_packages_named() -> Iterator[None]:
    """Raise a `UserError` with the `pip install` that helps where a package is missing, our own modules apart.

    The error may be the cause of another one, or told in its text: programs that try several types swallow it.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if (message := _missing_package(error)) is None:
            raise
        # Half-made objects die with the traceback, some with a complaint of their own, which would hide the line.
        hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
        traceback.clear_frames(error.__traceback__)
        sys.unraisablehook = hook
        raise UserError(message) from None


def _missing_package(error: BaseException | None) -> str | None:
    texts: list[str] = []
    name = None
    while error is not None:
        texts.append(str(error))
        if isinstance(error, ImportError):
            name = name or error.name or ""
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    text = "\n".join(texts)
    told = re.search(r"pip install (?:-U |--upgrade )*['\"`]?([\w.\[\],<>=!~-]*\w\]?)", text)
    if (name is None and told is None) or (name or "").partition(".")[0] == "nst_lightning":
        return None
    package = told.group(1) if told else (name or "").partition(".")[0]
    if not package:
        return None
    asked = re.search(r"Problem with given class_path '(?:\w+\.)*(\w+)'", text)
    return (
        f"{asked.group(1) if asked else 'what was asked for'} needs a package that is not installed or is too old; run "
        f"pip install '{package}'."
    )


def check_choice(value: str, choices: Sequence[str], what: str) -> None:
    """Refuse a value that is not one of the choices.

    Args:
        value: Value that the user gave.
        choices: Values that are allowed.
        what: Name of the setting, for the message.

    Raises:
        UserError: If it is none of them; the message gives the nearest one.
    """
    if value not in choices:
        hint = did_you_mean(value, choices, f"choose for example '{choices[0]}'", shown=repr, cutoff=0.4)
        raise UserError(f"{what}: expected one of {', '.join(choices)}, found '{value}'; {hint}")


def user_path(given: str | os.PathLike[str], folder: Path | None = None) -> Path:
    """Return a path as a person types it, `~` and `$VARIABLE` replaced.

    Afterwards `exists`, `is_file` and `is_dir` can be asked without an `OSError`.

    Args:
        given: Path, whether anything exists there or not; `~` and `~NAME` stand for home folders, `$VARIABLE` and
            `${VARIABLE}` for what the environment says. What exists under the name as it is written, and a variable
            that is not set, are left as they are. Or an address such as `s3://bucket/photo.jpg`, for which a local
            path stands (`nst_lightning.utils.storage`); before its content is read, it is fetched.
        folder: Folder that the path is relative to; `None` for the working folder.

    Returns:
        The path, with a leading `~` and variables replaced.

    Raises:
        UserError: If there is no such home folder, a name is too long for the file system, or a folder on the way
            can't be entered.
    """
    if not _finders:
        import_module("nst_lightning.utils.storage")  # which adds its own
    for find in _finders:
        if (found := find(given, folder)) is not None:
            return found
    path = Path(given)
    try:
        if not os.path.lexists((folder or Path()) / path):  # ~me.jpg may be a file's name; Path drops the ./ before it
            path = path.expanduser()
        path = (folder or Path()) / _expand_variables(path, folder or Path())
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return path
    except RuntimeError as error:  # of expanduser
        raise UserError(f"expected a path, found {given}, but nobody's home is {path.parts[0]}; check it") from error
    except (OSError, ValueError) as error:  # ValueError: a null character
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"expected a path, found {path} ({reason}); check it") from error
    return path


def _expand_variables(path: Path, folder: Path) -> Path:
    # Twice replaced is as once: a folder that is there under a name with a dollar sign stays.
    there = next((part for part in (path, *path.parents) if os.path.lexists(folder / part)), Path())
    return there / os.path.expandvars(path.relative_to(there)) if "$" in str(path) else path
