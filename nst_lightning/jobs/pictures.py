"""A photo, paintings and a few words, made into the command line that they stand for."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from nst_lightning.jobs.grid import as_arg
from nst_lightning.utils.yaml_texts import to_yaml

QUALITIES = {"draft": "quick", "standard": "starry", "fine": "quality"}
"""The shipped configs, by what the page, the command line and Python call them."""

DEFAULT_SIZE = 512
"""Long side of a result where none is asked for, pixels: that of configs/starry.yaml."""

_LONGEST = 60  # bytes of an image's name in a run's: a file's name has at most 255
_NAMED = 3  # images in a run's name


def fit_args(
    content: str,
    styles: Sequence[str],
    *,
    size: int | None = None,
    quality: str | None = None,
    output: str | os.PathLike[str] | None = None,
) -> list[str]:
    """Return the arguments of `nst fit`, after its name, for a photo and paintings.

    Args:
        content: File of the photo, or `sample:NAME`.
        styles: Files of the paintings, which are blended in equal parts; at least one.
        size: Long side of the result, pixels; `None` for the config's.
        quality: One of `QUALITIES`; `None` for the default config.
        output: File that the image is written to, beside the one in the run's folder.
    """
    args = [] if quality is None else [f"--config=configs/{QUALITIES[quality]}.yaml"]
    return [*args, f"--data.content={as_arg(content)}", *_common_args(styles, size, output)]


def instant_args(
    content: str,
    styles: Sequence[str],
    *,
    size: int | None = None,
    output: str | os.PathLike[str] | None = None,
) -> list[str]:
    """Return the arguments of `nst predict`, after its name, for a photo that is painted in one pass.

    Args:
        content: File of the photo, or `sample:NAME`.
        styles: Files of the paintings, which are blended in equal parts; at least one.
        size: Long side of the result, pixels; `None` for that of the default config of `nst fit`.
        output: File that the image is written to; `None` for one in a run's folder.
    """
    return [
        f"--data.images={path_list([content])}",
        "--data.keep_alpha=false",  # as in nst fit
        "--data.num_workers=0",
        *_common_args(styles, DEFAULT_SIZE if size is None else size, output),
    ]


def _common_args(styles: Sequence[str], size: int | None, output: str | os.PathLike[str] | None) -> list[str]:
    args = [f"--data.style={as_arg(styles[0]) if len(styles) == 1 else path_list(styles)}"]
    if size is not None:
        args.append(f"--data.size={size}")
    if output is not None:
        args.append(f"--output.path={os.fspath(output)}")
    return args


def run_name(content: str, styles: Sequence[str]) -> str:
    """Return the name of a run after its images, such as `golden_gate-great_wave`, which is a folder's name anywhere.

    Args:
        content: File of the photo, or `sample:NAME`.
        styles: Files of the paintings, likewise.
    """
    stems = [Path(name.removeprefix("sample:")).stem for name in (content, *styles)]
    stems = [_shortened(re.sub(r"[^\w.+-]", "_", stem).strip(".-")) or "_" for stem in stems]
    more = [f"{len(stems) - _NAMED}_more"] if len(stems) > _NAMED else []
    return "-".join([*stems[:_NAMED], *more])


def _shortened(name: str) -> str:
    """Return as many characters of a name as fit into `_LONGEST` bytes, 30 at most."""
    return name[: _LONGEST // 2].encode("utf-8", "ignore")[:_LONGEST].decode("utf-8", "ignore")


def path_list(paths: Sequence[str]) -> str:
    """Return paths as a list in YAML, on one line."""
    return f"[{', '.join(map(_quoted, paths))}]"


def _quoted(path: str) -> str:
    return "'" + path.replace("'", "''") + "'" if path.isprintable() else to_yaml(path, on_one_line=True)
