"""The `nst` command: the table of its commands, of which the help is made."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from nst_lightning.cli import pictures
from nst_lightning.errors import UserError, did_you_mean, missing_packages_named
from nst_lightning.utils.streams import repair_streams


@dataclass(frozen=True)
class Command:
    """A command of `nst`.

    Attributes:
        name: Its first argument.
        usage: Its other arguments, in short.
        summary: What it does, in a line.
        home: Dotted path of the function that runs it: from the arguments, the command's name first, to the exit code.
            It is imported when the command runs, so that `nst --help` need not wait for torch and Lightning.
    """

    name: str
    usage: str
    summary: str
    home: str

    def run(self, args: Sequence[str]) -> int:
        """Run the command with its arguments, the name first, and return the exit code."""
        module, _, function = self.home.rpartition(".")
        run: Callable[[Sequence[str]], int] = getattr(import_module(module), function)
        return run(args)


_TABLE = (
    Command(
        "fit",
        "[--config FILE] [options]",
        "paint a picture, or go on with one",
        "nst_lightning.cli.fit.run",
    ),
    Command(
        "sweep",
        "[--config FILE] --grid.OPTION VALUES ... [options]",
        "paint a grid of pictures, and lay them out on a sheet",
        "nst_lightning.cli.sweep.run",
    ),
    Command(
        "batch",
        "--contents FOLDER --styles FOLDER [--config FILE] [options]",
        "paint many pictures: folders of contents and styles, or a list",
        "nst_lightning.cli.batch.run",
    ),
    Command(
        "video",
        "--video FILE --style PAINTING [--config FILE] [options]",
        "paint a video: each frame goes on from the one before",
        "nst_lightning.cli.video.run",
    ),
    Command(
        "predict",
        "[--data.images FOLDER] [--ckpt_path NETWORK] [options]",
        "paint pictures in one pass each, by a trained network",
        "nst_lightning.cli.predict.run",
    ),
    Command(
        "export",
        "NETWORK MODEL.onnx [options]",
        "turn such a network into an ONNX, torch.export or TorchScript file",
        "nst_lightning.cli.export.run",
    ),
    Command(
        "compare",
        "PICTURE_OR_RUN ... [--output FILE] [options]",
        "show pictures and runs side by side on a sheet",
        "nst_lightning.cli.compare.run",
    ),
    Command(
        "app",
        "[--host ADDRESS] [--port NUMBER] [options]",
        "a page in the browser: drop two pictures, watch them become one",
        "nst_lightning.cli.app.run",
    ),
)
COMMANDS = {command.name: command for command in _TABLE}

_USAGE = "\n       ".join(f"nst {command.name} {command.usage}" for command in _TABLE)
_SUMMARIES = "\n".join(f"  {command.name:<12} {command.summary}" for command in _TABLE)
HELP = f"""\
usage: {_USAGE}
       nst PHOTO PAINTING ... {pictures.USAGE}

Neural style transfer: paint a photo in the manner of a painting.

commands:
{_SUMMARIES}

example:
  nst me.jpg painting.jpg -o me-painted.png
  nst fit --config configs/starry.yaml
  nst fit --config configs/starry.yaml --data.content me.jpg --data.style painting.jpg --output.path me.png
  nst fit --config configs/starry.yaml --ckpt_path last
  nst sweep --config configs/starry.yaml --grid.style_weight '[2, 8, 32]' --data.size 256
  nst sweep --config configs/sweeps/content_layers.yaml
  nst batch --config configs/starry.yaml --contents photos --styles paintings --output painted
  nst video --config configs/starry.yaml --video clip.mp4 --style painting.jpg --output painted.mp4
  nst predict --data.images photos --output.folder painted
  nst predict --data.images photos --output.folder painted --cluster auto

options:
  -h, --help   show this; so does nst COMMAND --help; nst fit --print_config shows the settings
  --version    show the version (-v)
  --print_completion SHELL
               show a script that completes commands and options in bash, zsh, fish, tcsh or powershell, such as
               eval "$(nst --print_completion bash)"

TensorBoard: tensorboard --logdir lightning_logs
"""


def main(args: Sequence[str] | None = None) -> int:
    """Run `nst`.

    Args:
        args: Arguments after `nst`; `None` for those of the process.

    Returns:
        The exit code: 0, 1 if one of many runs or pictures failed, 2 for a mistake in what was asked, 130, 143 or
        129 after Ctrl-C, SIGTERM or SIGHUP.
    """
    if args is None:
        repair_streams()
    args = list(sys.argv[1:] if args is None else args)
    _let_threads_sleep()
    _configure_messages()
    if args[:1] == ["help"] and args[1:2] and args[1] in COMMANDS:
        args = [args[1], "--help"]
    args = ["--help" if word == "--help=all" else word for word in args]  # all that there is is shown anyway
    if not args or args[0] in ("-h", "--help", "help"):
        sys.stdout.write(HELP)
        return 0
    if args[0] in ("--version", "-v", "-V", "version") or args[1:] == ["--version"]:
        from nst_lightning import __version__

        sys.stdout.write(f"nst-lightning {__version__}\n")
        return 0
    try:
        _check_folder()
        _let_classes_of_the_folder_be_imported()
        with missing_packages_named():
            if args[0].partition("=")[0] == "--print_completion":
                return _print_completion(args)
            if args[0] in COMMANDS:
                return COMMANDS[args[0]].run(args)
            if args[0].startswith("-") or pictures.names_picture(args[0]):
                return pictures.run(args)
        raise UserError(_no_command(args[0]))
    except UserError as error:
        sys.stderr.write(f"nst: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("nst: interrupted\n")
        return 130


def _let_threads_sleep() -> None:
    """Let OpenMP's threads wait asleep, as long as nobody chose otherwise: spinning ones halt a busy machine.

    OpenMP reads it when torch is loaded. A program that has done that before it calls `main` keeps its own way.
    """
    if "torch" not in sys.modules:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _print_completion(args: Sequence[str]) -> int:
    from nst_lightning.cli.completion import completion_script

    shell = ([*args[0].split("=", 1)[1:], *args[1:]] or ["none"])[0]
    sys.stdout.write(completion_script(shell, {name: command.summary for name, command in COMMANDS.items()}))
    return 0


def _no_command(word: str) -> str:
    commands = f"the commands are {', '.join(COMMANDS)} (see nst --help)."
    return "; ".join(filter(None, [f"there is no command {word!r}", did_you_mean(word.lower(), COMMANDS), commands]))


def _check_folder() -> None:
    try:
        Path.cwd()
    except OSError as error:
        raise UserError(f"the current folder can't be found ({error.strerror}); change to one that exists.") from error


def _let_classes_of_the_folder_be_imported() -> None:
    # As by python -m, but last: a file here that is called random.py takes no module's place.
    is_safe = getattr(sys.flags, "safe_path", False)  # python -P, since Python 3.11
    if not is_safe and not {"", str(Path.cwd())} & set(sys.path):
        sys.path.append(str(Path.cwd()))


if TYPE_CHECKING:
    _StreamHandler = logging.StreamHandler[TextIO]
else:
    _StreamHandler = logging.StreamHandler


class _MessageHandler(_StreamHandler):
    """Writes messages above a progress bar that is open, not onto it."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm = sys.modules.get("tqdm")  # not yet imported, there is no bar
        with nullcontext() if tqdm is None else tqdm.tqdm.external_write_mode(file=self.stream):
            super().emit(record)


def _configure_messages() -> None:
    handler = _MessageHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    ours = logging.getLogger("nst_lightning")
    ours.handlers = [handler]
    ours.setLevel(logging.INFO)
