"""What the words after `nst video` ask for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

from nst_lightning.errors import UserError, check_choice
from nst_lightning.runs.config_files import find_config
from nst_lightning.video.flow import FlowMethod
from nst_lightning.video.writing import written_suffix

_LISTS = ("--style",)
_VALUES = ("--video", "--output", "--frame_steps", "--frame_lr", "--temporal_weight", "--flow")
_FLAGS = ("--keep_frames", "--overwrite")
_REFUSED = {
    "--data.content": "use --video.",
    "--data.warped": "it is made from the frame before.",
    "--data.warped_guide": "it is made from the frame before.",
    "--output.path": "use --output FILE.",
    "--animation.path": "each frame would write it; give it to nst fit.",
    "--name": "it leaves no runs behind.",
    "--print_config": "give it to nst fit.",
    "--ckpt_path": "a video that is started again goes on by itself.",
}


@dataclass(frozen=True)
class VideoRequest:
    """A video to be painted.

    Attributes:
        configs: Files of settings of `nst fit`.
        base: Further words of `nst fit`.
        video: The file that is read.
        output: The file that is written.
        frame_steps: Optimiser steps of each frame that starts from the one before.
        frame_lr: Their learning rate over the config's.
        temporal_weight: Of their `TemporalLoss`; 0 for none.
        flow: How motion is estimated.
        keep_frames: Whether the painted frames stay as pictures beside the output.
        overwrite: Whether an output that is there already, finished, is painted anew.
    """

    configs: tuple[str, ...]
    base: tuple[str, ...]
    video: Path
    output: Path
    frame_steps: int
    frame_lr: float
    temporal_weight: float
    flow: FlowMethod
    keep_frames: bool
    overwrite: bool


def read_video_request(words: Sequence[str]) -> VideoRequest:
    """Read a command line.

    Args:
        words: After `nst video`.

    Returns:
        The request, with configs that exist.

    Raises:
        UserError: If an option of the video itself makes no sense. Options of `nst fit` are not read here.
    """
    own, rest = _split(words)
    given = {key: own[key][-1] for key in (*_VALUES, *_FLAGS) if own[key]}
    if "--video" not in given:
        raise UserError("nst video needs --video: the file to be painted, such as --video clip.mp4")
    video = Path(given["--video"]).expanduser()
    output = Path(given.get("--output") or f"{video.stem}-painted{written_suffix(video.suffix)}").expanduser()
    flow = given.get("--flow", "auto")
    check_choice(flow, get_args(FlowMethod), "--flow")
    styles = own["--style"]
    if styles and any(word.partition("=")[0].replace(".init_args", "") == "--data.style" for word in rest):
        raise UserError("--style and --data.style both name paintings; give one of them.")
    return VideoRequest(
        configs=tuple(find_config(config) for config in own["--config"] or ["starry.yaml"]),
        base=(*rest, *([f"--data.style=[{', '.join(map(_quoted, styles))}]"] if styles else [])),
        video=video,
        output=output,
        frame_steps=int(_number(given, "--frame_steps", "40", whole=True, lowest=1)),
        frame_lr=_number(given, "--frame_lr", "0.3", highest=1),
        temporal_weight=_number(given, "--temporal_weight", "100", lowest=0),
        flow=cast(FlowMethod, flow),
        keep_frames=given.get("--keep_frames") == "true",
        overwrite=given.get("--overwrite") == "true",
    )


def _quoted(path: str) -> str:
    return "'" + path.replace("'", "''") + "'"  # as YAML wants it


def _number(
    given: dict[str, str],
    key: str,
    default: str,
    *,
    whole: bool = False,
    lowest: float | None = None,
    highest: float = math.inf,
) -> float:
    """Read a number that is not below `lowest`, or above 0 without one."""
    text = given.get(key, default)
    try:
        number = float(int(text) if whole else float(text))
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or number > highest or (number <= 0 if lowest is None else number < lowest):
        bounds = "above 0" if lowest is None else f"from {lowest:g} up"
        limit = f" and at most {highest:g}" if math.isfinite(highest) else ""
        raise UserError(f"{key} wants a {'whole ' if whole else ''}number {bounds}{limit}, but {text} was given.")
    return number


def _split(words: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Separate the video's own options from those of `nst fit`."""
    own: dict[str, list[str]] = {key: [] for key in ("--config", *_LISTS, *_VALUES, *_FLAGS)}
    rest: list[str] = []
    queue = list(words)
    while queue:
        word = queue.pop(0)
        key, has_value, value = word.partition("=")
        key = "--config" if key == "-c" else key.replace(".init_args", "")
        if key in _REFUSED:
            raise UserError(f"{key} can't be given to a video: {_REFUSED[key]}")
        if key not in own:
            rest.append(word)
            continue
        values = [value] if has_value else _values(key, queue)
        if key in _FLAGS:
            check_choice(values[0], ("true", "false"), key)
        own[key] += values
    return own, rest


def _values(key: str, queue: list[str]) -> list[str]:
    """Take the words that belong to an option off the queue."""
    if key in _FLAGS:
        return [queue.pop(0)] if queue and queue[0] in ("true", "false") else ["true"]
    if not queue or queue[0].startswith("--"):
        raise UserError(f"{key} wants a value; see nst video --help.")
    values = [queue.pop(0)]
    while key in _LISTS and queue and not queue[0].startswith("-"):
        values.append(queue.pop(0))
    return values
