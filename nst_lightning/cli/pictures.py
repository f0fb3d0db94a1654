"""`nst PHOTO PAINTING`: the shortest way to an image, for which `nst fit` has longer words."""

from __future__ import annotations

import logging
import os
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from nst_lightning.cli.options import FIT_OPTION, OptionParser, whole
from nst_lightning.errors import UserError, check_choice, did_you_mean
from nst_lightning.jobs.pictures import QUALITIES, fit_args, instant_args, run_name

_log = logging.getLogger(__name__)

USAGE = f"[-o FILE] [--size PIXELS] [--quality {'|'.join(QUALITIES)} | --instant] [--open] [options of nst fit]"
_NEAR = 0.75  # similarity from which a word is one of our options, not one of nst fit's
_PHOTO = "the photo is the first argument"
_SAID_ALREADY = {"--data.content": _PHOTO, "--data.images": _PHOTO, "--data.style": "the paintings follow the photo"}


def names_picture(arg: str) -> bool:
    """Return whether an argument that is no command names an image, whether the file is there or not.

    A name without a suffix does if there is such a file: any other one is a mistyped command.

    Args:
        arg: First argument after `nst`.
    """
    is_path = os.sep in arg or "/" in arg or arg.startswith(("sample:", ".", "~")) or bool(Path(arg).suffix)
    return is_path or os.path.lexists(arg)


def run(args: Sequence[str]) -> int:
    """Run `nst PHOTO PAINTING …`, which is `nst fit` with the default config, or `nst predict` of one image.

    Args:
        args: Arguments after `nst`.

    Returns:
        The exit code, see `nst_lightning.runs.ranks.exit_code`.

    Raises:
        UserError: If something the user gave can't be used.
    """
    words, is_opened = read_pictures(args)
    from nst_lightning.cli.fit import paint
    from nst_lightning.runs.predict_command import InstantCommand

    if words[0] == "predict":
        code, written = paint(words, InstantCommand)
    else:
        code, written = paint(named_after_pictures(words, args))
    if is_opened and written is not None and not webbrowser.open(written.resolve().as_uri()):
        _log.warning("no program was found that shows %s; open it yourself", written)
    return code


def read_pictures(args: Sequence[str]) -> tuple[list[str], bool]:
    """Read a command line.

    Args:
        args: Arguments after `nst`.

    Returns:
        The command line of `nst fit` or `nst predict` that it stands for, and whether the result is to be opened.

    Raises:
        UserError: If an option makes no sense, or a picture is missing. Options of `nst fit` are not read here.
    """
    own, rest = make_parser().split(args)
    pictures, options = _parted(rest)
    names = _names(options)
    if names[:1] == ["-"]:
        raise UserError("a picture is read from a file, not from standard input; write it to one first.")
    if names[:1] == ["--"]:
        raise UserError("nst has no --; a picture whose name begins with a dash is given as ./-name.jpg.")
    if not pictures:
        first = (names or list(args) or ["--help"])[0]
        raise UserError(
            f"a command comes first, such as nst fit {first} …, or two pictures: nst me.jpg painting.jpg {first}"
        )
    if len(pictures) == 1:
        later = next((arg for arg in options if names_picture(arg) and Path(arg).is_file()), None)
        remedy = (
            f"give both, such as nst {pictures[0]} painting.jpg (sample:starry is a painting that ships)"
            if later is None
            else f"if {later} is one, it stands before the options of nst fit: nst {pictures[0]} {later} …"
        )
        raise UserError(f"expected a photo and a painting, found {pictures[0]} alone; {remedy}.")
    for name in names:
        if name in _SAID_ALREADY:
            raise UserError(f"{name}: {_SAID_ALREADY[name]}; leave one of them out.")
        short = [option.lstrip("-") for option in make_parser().names]
        if name.startswith("--") and (hint := did_you_mean(name[2:], short, shown="--{}".format, cutoff=_NEAR)):
            raise UserError(f"there is no option {name}; {hint}")
    if own.quality is not None:
        check_choice(own.quality, tuple(QUALITIES), "--quality")
        if "--config" in names or "-c" in names:
            raise UserError("--quality and --config both name a config; give one of them.")
    if own.instant:
        if own.quality is not None:
            raise UserError("--quality is for optimizing, which --instant leaves out; give one of them.")
        words = instant_args(pictures[0], pictures[1:], size=own.size, output=own.output)
        return ["predict", *words, *options], own.open
    words = fit_args(pictures[0], pictures[1:], size=own.size, quality=own.quality, output=own.output)
    return ["fit", *words, *options], own.open


def named_after_pictures(words: Sequence[str], args: Sequence[str]) -> list[str]:
    """Return a command line of `nst fit` whose run is named after the images, unless a name or a config names it.

    Args:
        words: Command line of `nst fit`.
        args: Arguments after `nst` that it stands for.
    """
    pictures, options = _parted(make_parser().split(args)[1])
    if {"--name", "--config", "-c"} & set(_names(options)):
        return list(words)
    return [*words, f"--name={run_name(pictures[0], pictures[1:])}"]


def _parted(rest: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the images, and what follows them."""
    count = next((index for index, arg in enumerate(rest) if arg.startswith("-")), len(rest))
    return list(rest[:count]), list(rest[count:])


def _names(options: Sequence[str]) -> list[str]:
    return [option.partition("=")[0].replace(".init_args", "") for option in options]


def make_parser() -> OptionParser:
    """Return the parser of the command's own options."""
    parser = OptionParser(
        "PHOTO PAINTING ...",
        usage=USAGE,
        description="Paint a photo in the manner of a painting, or of several in equal parts.\n"
        f"It is nst fit with the default config. {FIT_OPTION}.",
        epilog="""\
example:
  nst me.jpg painting.jpg
  nst me.jpg painting.jpg -o painted.png --size 768 --quality fine --open
  nst me.jpg painting.jpg --instant
  nst s3://bucket/me.jpg https://example.org/painting.jpg -o s3://bucket/painted.png
  nst me.jpg a.jpg b.jpg --data.style_weights '[2, 1]'
  nst ./fit painting.jpg     a file that is named like a command

The run is named after the images, lightning_logs/me-painting, unless --name or a --config names it.
The image's path is written to standard output, all else to standard error.""",
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="where the image is written, beside the run's folder")
    parser.add_argument("--size", type=whole, metavar="PIXELS", help="long side of the image (512)")
    parser.add_argument(
        "--quality",
        metavar="|".join(QUALITIES),
        help=f"{', '.join(f'{name} is configs/{config}.yaml' for name, config in QUALITIES.items())} (standard)",
    )
    parser.add_argument(
        "--instant",
        action="store_true",
        help="paint in one pass, in a second; further options are then those of nst predict",
    )
    parser.add_argument("--open", action="store_true", help="show the image when it is painted")
    return parser
