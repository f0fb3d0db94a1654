"""`nst predict`: images and videos by a trained network."""

from __future__ import annotations

from collections.abc import Sequence

from nst_lightning.runs.predict_command import run_predict
from nst_lightning.utils.streams import write_path


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
