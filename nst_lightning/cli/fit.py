"""`nst fit`: one image by one command."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nst_lightning.runs.fit_command import NSTCommand, run_to_the_end
from nst_lightning.runs.ranks import exit_code
from nst_lightning.utils.streams import write_path


def run(args: Sequence[str]) -> int:
    """Run `nst fit …`, and write the image's path to standard output.

    Returns:
        The exit code, see `exit_code`.

    Raises:
        UserError: If something the user gave can't be used.
    """
    return paint(args)[0]


def paint(args: Sequence[str], kind: type[NSTCommand] = NSTCommand) -> tuple[int, Path | None]:
    """Run a command that paints one image, and write its path to standard output.

    Args:
        args: The command's name and its options.
        kind: Class of the command.

    Returns:
        The exit code, and the file of the image; `None` if this process has written none.

    Raises:
        UserError: If something the user gave can't be used.
    """
    command = run_to_the_end(kind, args)
    if command.written is not None:
        write_path(command.written)
    return exit_code(command.trainer), command.written
