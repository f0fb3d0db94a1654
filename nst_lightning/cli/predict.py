"""`nst predict`: images and videos by a trained network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nst_lightning.runs.fit_command import run_to_the_end
from nst_lightning.runs.predict_command import InstantCommand, run_predict
from nst_lightning.utils.standard_output import write_path


def run(args: Sequence[str]) -> int:
    """Run `nst predict …`, and write the path of the one result, or of the folder of several, to standard output.

    Args:
        args: The command's name and its options.

    Returns:
        The exit code, see `run_predict`.

    Raises:
        UserError: If something the user gave can't be used.
        KeyboardInterrupt: If it was interrupted.
    """
    return run_predict(args, write_path)


def paint_one(args: Sequence[str]) -> tuple[int, Path | None]:
    """Run `nst predict …` of one image, and write its path to standard output.

    Args:
        args: The command's name and its options.

    Returns:
        The exit code, and the file of the image; `None` if this process has written none.

    Raises:
        UserError: If something the user gave can't be used.
    """
    command = run_to_the_end(InstantCommand, args)
    if command.written is not None:
        write_path(command.written)
    return 0, command.written
