"""The `nst` command."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from nst_lightning.errors import UserError

HELP = """\
usage: nst fit [--config FILE] [options]

Neural style transfer: paint a photo in the manner of a painting.

commands:
  fit          paint a picture, or go on with one

example:
  nst fit --config configs/starry.yaml
  nst fit --config configs/starry.yaml --data.content me.jpg --data.style painting.jpg --output.path me.png
  nst fit --config configs/starry.yaml --ckpt_path last

options:
  -h, --help   show this; nst fit --help shows every option, nst fit --print_config the settings
  --version    show the version

TensorBoard: tensorboard --logdir lightning_logs
"""
COMMANDS = ("fit",)


def main(args: Sequence[str] | None = None) -> int:
    """Run `nst`.

    Args:
        args: Words after `nst`; `None` for those of the process.

    Returns:
        The exit code: 0, 2 for a mistake in what was asked, 130 or 143 after Ctrl-C or SIGTERM.
    """
    words = list(sys.argv[1:] if args is None else args)
    _configure_messages()
    # Answered before torch and Lightning are imported: that takes seconds.
    if not words or words[0] in ("-h", "--help"):
        sys.stdout.write(HELP)
        return 0
    if words[0] == "--version":
        from importlib.metadata import version

        sys.stdout.write(f"nst-lightning {version('nst-lightning')}\n")
        return 0
    try:
        if words[0] not in COMMANDS:
            raise UserError(
                f"there is no command {words[0]!r}; the commands are {', '.join(COMMANDS)} (see nst --help)."
            )
        return _fit(words)
    except UserError as error:
        sys.stderr.write(f"nst: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("nst: interrupted\n")
        return 130


def _fit(words: list[str]) -> int:
    from nst_lightning.run.command import run_command

    return run_command(words)


def _configure_messages() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    ours = logging.getLogger("nst_lightning")
    ours.handlers = [handler]
    ours.setLevel(logging.INFO)
