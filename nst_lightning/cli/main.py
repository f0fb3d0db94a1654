"""The `nst` command."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from nst_lightning.errors import UserError

HELP = """\
usage: nst fit [--config FILE] [options]
       nst sweep [--config FILE] --grid.OPTION VALUES ... [options]
       nst batch --contents FOLDER --styles FOLDER [--config FILE] [options]
       nst video --video FILE --style PAINTING [--config FILE] [options]
       nst predict [--data.images FOLDER] [--ckpt_path NETWORK] [options]
       nst export NETWORK MODEL.onnx [options]
       nst compare PICTURE_OR_RUN ... [--output FILE] [options]
       nst app [--host ADDRESS] [--port NUMBER] [options]

Neural style transfer: paint a photo in the manner of a painting.

commands:
  fit          paint a picture, or go on with one
  sweep        paint a grid of pictures, and lay them out on a sheet
  batch        paint many pictures: folders of contents and styles, or a list
  video        paint a video: each frame goes on from the one before
  predict      paint pictures in one pass each, by a trained network
  export       turn such a network into an ONNX, torch.export or TorchScript file
  compare      show pictures and runs side by side on a sheet
  app          a page in the browser: drop two pictures, watch them become one

example:
  nst fit --config configs/starry.yaml
  nst fit --config configs/starry.yaml --data.content me.jpg --data.style painting.jpg --output.path me.png
  nst fit --config configs/starry.yaml --ckpt_path last
  nst sweep --config configs/starry.yaml --grid.style_weight '[2, 8, 32]' --data.size 256
  nst sweep --config configs/sweeps/content_layers.yaml
  nst batch --config configs/starry.yaml --contents photos --styles paintings --output painted
  nst video --config configs/starry.yaml --video clip.mp4 --style painting.jpg --output painted.mp4
  nst predict --data.images photos --output.folder painted

options:
  -h, --help   show this; so does nst COMMAND --help; nst fit --print_config shows the settings
  --version    show the version

TensorBoard: tensorboard --logdir lightning_logs
"""
COMMANDS = ("fit", "sweep", "batch", "video", "predict", "export", "compare", "app")


def main(args: Sequence[str] | None = None) -> int:
    """Run `nst`.

    Args:
        args: Words after `nst`; `None` for those of the process.

    Returns:
        The exit code: 0, 1 if one of many runs or pictures failed, 2 for a mistake in what was asked, 130 or 143 after
        Ctrl-C or SIGTERM.
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
        run = {
            "fit": _fit,
            "sweep": _sweep,
            "batch": _batch,
            "video": _video,
            "predict": _predict,
            "export": _export,
            "compare": _compare,
            "app": _app,
        }
        return run[words[0]](words)
    except UserError as error:
        sys.stderr.write(f"nst: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("nst: interrupted\n")
        return 130


def _fit(words: list[str]) -> int:
    from nst_lightning.runs.fit_command import run_command

    return run_command(words)


def _sweep(words: list[str]) -> int:
    from nst_lightning.cli.usage import SWEEP_HELP

    if any(word in ("-h", "--help") for word in words):
        sys.stdout.write(SWEEP_HELP)
        return 0
    from nst_lightning.jobs.processes import worker_context

    worker_context()  # the workers' imports and ours take seconds: they go on at the same time
    from nst_lightning.cli.sweep import run_sweep

    return run_sweep(words[1:])


def _batch(words: list[str]) -> int:
    from nst_lightning.cli.usage import BATCH_HELP

    if any(word in ("-h", "--help") for word in words):
        sys.stdout.write(BATCH_HELP)
        return 0
    from nst_lightning.jobs.batch_launch import take_launch

    launch = take_launch()  # before Lightning is imported, which would see a cluster
    from nst_lightning.cli.batch import run_batch

    return run_batch(words[1:], launch)


def _video(words: list[str]) -> int:
    from nst_lightning.cli.usage import VIDEO_HELP

    if any(word in ("-h", "--help") for word in words):
        sys.stdout.write(VIDEO_HELP)
        return 0
    from nst_lightning.cli.video import run_video

    return run_video(words[1:])


def _predict(words: list[str]) -> int:
    from nst_lightning.runs.predict_command import run_predict

    return run_predict(words)


def _export(words: list[str]) -> int:
    from nst_lightning.cli.export import run_export

    return run_export(words)


def _compare(words: list[str]) -> int:
    from nst_lightning.cli.compare import run_compare

    return run_compare(words)


def _app(words: list[str]) -> int:
    from nst_lightning.cli.usage import APP_HELP

    if any(word in ("-h", "--help") for word in words):
        sys.stdout.write(APP_HELP)
        return 0
    from nst_lightning.cli.app import run_app

    return run_app(words[1:])


def _configure_messages() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    ours = logging.getLogger("nst_lightning")
    ours.handlers = [handler]
    ours.setLevel(logging.INFO)
