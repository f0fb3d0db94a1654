"""The parser of all options that are not those of `nst fit`; imported without torch, so that help is there at once."""

from __future__ import annotations

import argparse
import math
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

import yaml

from nst_lightning.errors import UserError, check_choice, did_you_mean
from nst_lightning.jobs.cluster import ClusterRequest, import_ray
from nst_lightning.jobs.grid import SHORT_NAMES
from nst_lightning.utils.bounded_yaml import load_yaml

FIT_OPTION = "Any other option is one of nst fit"

_BLANK = "\0"  # no argument of a process holds it
_Number = TypeVar("_Number", int, float)

_SMALLEST_SHARE = 0.0001  # of a core or a GPU that Ray can give


class OptionParser(argparse.ArgumentParser):
    """Parser of a command's own options, with mistakes in one line.

    Args:
        command: Name of the command, such as `batch`.
        usage: Arguments of the command, a line for each way of calling it.
        description: What the command does.
        epilog: Explanations and examples below the options.
        refused: Options of `nst fit` that this command does not take, with the reason; `.init_args` in them is left
            out.

    Attributes:
        names: Names of the options, and whether a value must follow.
    """

    def __init__(
        self, command: str, usage: str, description: str, epilog: str = "", refused: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(
            prog=f"nst {command}",
            usage="\n       ".join(f"nst {command} {line}" for line in usage.splitlines()),
            description=description,
            epilog=epilog,
            formatter_class=_HelpFormatter,
            allow_abbrev=False,
            add_help=False,
        )
        self.names: dict[str, bool] = {}
        self._command = command
        self._refused = refused or {}
        self.add_argument("-h", "--help", action="help", help="show this")

    def add_argument(self, *names: Any, **settings: Any) -> argparse.Action:
        """Declare an option as `argparse` does."""
        action = super().add_argument(*names, **settings)
        self.names |= dict.fromkeys(action.option_strings, action.nargs not in (0, "?"))
        return action

    def split(self, args: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
        """Separate the command's own options from those of `nst fit`.

        Args:
            args: Arguments of the command.

        Returns:
            Values of the command's own options, and all other arguments in their order.

        Raises:
            UserError: If an option is refused or has no value.
            SystemExit: After `--help`, wherever it stands.
        """
        if {"-h", "--help"} & set(args):
            self.print_help()
            self.exit()
        for arg in args:
            key = arg.partition("=")[0].replace(".init_args", "")
            if key in self._refused:
                raise UserError(f"{key} can't be given to a {self._command}: {self._refused[key]}")
        options, rest = self.parse_known_args(self._unambiguous(args))
        return options, [arg.replace(_BLANK, " ") for arg in rest]

    def parse_own(self, args: Sequence[str]) -> argparse.Namespace:
        """Parse the arguments of a command that takes none of `nst fit`'s.

        Args:
            args: Arguments of the command.

        Returns:
            Values of the options.

        Raises:
            UserError: If there is another option, or one has no value.
            SystemExit: After `--help`, wherever it stands.
        """
        options, rest = self.split(args)
        if rest:
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        return options

    def _unambiguous(self, args: Sequence[str]) -> list[str]:
        """Write arguments so that argparse takes them for what they are.

        Where it meets `--x -v` it takes `-v` for another option, unless that is a number; an option that it does not
        know is taken for a value if it has a blank, as in `--data.sizes=[24, 32]`.
        """
        plain: list[str] = []
        for arg in args:
            is_value = bool(plain) and self.names.get(plain[-1], False) and not arg.startswith("--")
            if not arg.startswith("-") or arg.partition("=")[0] in self.names or (is_value and " " in arg):
                plain.append(arg)
            elif is_value:
                plain[-1] += f"={arg}"
            else:
                plain.append(arg.replace(" ", _BLANK))
        return plain

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong as a `UserError`."""
        if unknown := re.match(r"unrecognized arguments: --([\w.]+)", message):
            name = unknown[1]
            hint = did_you_mean(name, [option.lstrip("-") for option in self.names], shown="--{}".format)
            raise UserError("; ".join(filter(None, [f"there is no option --{name}", hint])))
        if about := re.match(r"argument ([^\s/:]+)\S*: (.*)", message, re.DOTALL):
            if re.match(r"expected (at least )?one argument", about[2]):
                raise UserError(f"{about[1]} wants a value; see {self.prog} --help.")
            raise UserError(f"{about[1].lstrip('-')}: {about[2]}")
        raise UserError(f"{message}; see {self.prog} --help.")


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the line breaks of examples, and has room for the longest option."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=26, width=120)


def whole(text: str) -> int:
    """Return a whole number, read as `nst fit` reads one; a type for `add_argument`."""
    return _read(text, int)


def real(text: str) -> float:
    """Return a number, read as `nst fit` reads one; a type for `add_argument`."""
    return _read(text, float)


def _read(text: str, kind: Callable[[Any], _Number]) -> _Number:
    try:
        value = load_yaml(text)
        number = kind(value)
        if isinstance(value, bool) or (kind is int and number != value):
            raise ValueError
    except (TypeError, ValueError, OverflowError, yaml.YAMLError) as error:
        name = "int" if kind is int else "float"
        raise argparse.ArgumentTypeError(f"expected {name}, but {text} was given") from error
    return number


def number_from(
    text: str, option: str, *, is_whole: bool = False, lowest: float | None = None, highest: float = math.inf
) -> float:
    """Return the number that an option has.

    Args:
        text: What was given.
        option: Name of the option, for the message.
        is_whole: Whether only whole numbers are accepted.
        lowest: Smallest number that is accepted; `None` for all above 0.
        highest: Largest number that is accepted.

    Raises:
        UserError: If it is another number, or none.
    """
    try:
        number = float(int(text) if is_whole else float(text))
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number) or number > highest or (number <= 0 if lowest is None else number < lowest):
        bounds = "above 0" if lowest is None else f"from {lowest:g} up"
        limit = f" and at most {highest:g}" if math.isfinite(highest) else ""
        raise UserError(f"{option} wants a {'whole ' if is_whole else ''}number {bounds}{limit}, but {text} was given.")
    return number


def short_names() -> str:
    """Return the short names of options of `nst fit`, for a help text."""
    names = ", ".join(f"{short} ({option})" for short, option in SHORT_NAMES.items())
    return textwrap.fill(names, width=108, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)


def add_config(parser: OptionParser, explanation: str) -> None:
    """Declare `--config`, which may be given several times."""
    parser.add_argument("--config", "-c", action="append", default=[], metavar="FILE", help=explanation)


def add_flag(parser: OptionParser, name: str, explanation: str) -> None:
    """Declare an option that is given alone or with `true` or `false`; its value is the list of those."""
    parser.add_argument(
        name, nargs="?", const="true", action="append", default=[], metavar="true|false", help=explanation
    )


def check_flag(values: Sequence[str], option: str) -> None:
    """Raise a UserError if a flag was given another value than true or false."""
    for value in values:
        check_choice(value, ("true", "false"), option)


def add_cluster(parser: OptionParser) -> None:
    """Declare the options of a Ray cluster."""
    parser.add_argument(
        "--cluster",
        metavar="ADDRESS",
        help="do the jobs on a Ray cluster: local starts one on this machine, auto is the one that this machine is in, "
        "HOST:PORT its head, ray://HOST:10001 another machine's",
    )
    parser.add_argument(
        "--per_job.cpus", metavar="N", help="cores of a job on the cluster, such as 4 or 0.5 (1 beside a GPU)"
    )
    parser.add_argument(
        "--per_job.gpus", metavar="N", help="GPUs of a job on the cluster, such as 1, 0.25 or 0 (1 if there are any)"
    )


def cluster_request(options: argparse.Namespace) -> ClusterRequest | None:
    """Return the cluster that was asked for; `None` for none.

    Args:
        options: Values of the command's own options.

    Raises:
        UserError: If an option makes no sense, or Ray is missing.
    """
    per_job = {name: getattr(options, f"per_job.{name}") for name in ("cpus", "gpus")}
    if options.cluster is None:
        for name in (name for name, value in per_job.items() if value is not None):
            raise UserError(f"--per_job.{name} is of a job on a cluster; give --cluster as well, or leave it out.")
        return None
    if not re.fullmatch(r"auto|local|(ray://)?([\w.-]+|\[[\da-fA-F:.]+\]):\d+", options.cluster):
        hint = did_you_mean(options.cluster, ("auto", "local"), "give one of these", shown="--cluster {}".format)
        raise UserError(
            f"--cluster: expected auto, local, HOST:PORT or ray://HOST:PORT, found {options.cluster!r}; {hint}"
        )
    cpus = None if per_job["cpus"] is None else number_from(per_job["cpus"], "--per_job.cpus")
    gpus = None if per_job["gpus"] is None else number_from(per_job["gpus"], "--per_job.gpus", lowest=0, highest=1)
    for name, value in (("cpus", cpus), ("gpus", gpus)):
        if value and value < _SMALLEST_SHARE:
            raise UserError(f"--per_job.{name} wants {_SMALLEST_SHARE:g} or more, but {value:g} was given.")
    import_ray()
    return ClusterRequest(options.cluster, cpus, gpus)
