"""The settings that all frames of a video share: which make sense, and by what one knows them again."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nst_lightning.data.schedule import pyramid_sizes
from nst_lightning.data.transfer_data import TransferData
from nst_lightning.errors import UserError
from nst_lightning.images.files import read_image
from nst_lightning.jobs.video_request import VideoRequest
from nst_lightning.tasks.style_transfer import StyleTransfer
from nst_lightning.utils.hashing import file_sha256

_PICTURES = ("style", "guides", "style_guides", "content_guide", "init")  # options of the data that may name files
_OF_A_RUN = ("name", "ckpt_path", "weights_only")  # they say which run is meant, not what is painted


def check_settings(settings: Mapping[str, Any]) -> None:
    """Refuse what can't hold for the frames of a video.

    Args:
        settings: Of `nst fit`, as `resolve_settings` gives them.

    Raises:
        UserError: If they don't paint pictures, all frames would write the same file, a frame would be painted on
            several devices, what is written is not what was painted, or there is no style that can be read.
    """
    for key, kind in (("model", StyleTransfer), ("data", TransferData)):
        if not issubclass(_class(settings[key]["class_path"]), kind):
            found = settings[key]["class_path"]
            raise UserError(f"nst video paints with a {kind.__name__}, but {key} is {found}; give another --config.")
    data, trainer, output = settings["data"]["init_args"], settings["trainer"], settings["output"]
    styles = _listed(data.get("style"))
    if not styles:
        raise UserError("nst video needs --style: a painting or several, or sample:NAME.")
    for style in styles:
        read_image(style, max_pixels=data["max_pixels"])
    if settings["animation"].get("path") is not None:
        raise UserError("all frames would write the animation.path of the config; leave it out.")
    if set(output["gain"]) != {1.0} or set(output["offset"]) != {0.0}:
        raise UserError("a frame starts from the one before as it was written; leave output.gain and output.offset.")
    if settings["model"]["init_args"].get("lr_scheduler") is not None:
        raise UserError("a frame that starts from the one before has a schedule of its own; leave model.lr_scheduler.")
    devices = trainer["devices"]
    if (devices not in (1, "1") and not (isinstance(devices, list) and len(devices) == 1)) or trainer["num_nodes"] != 1:
        raise UserError("nst video paints on one device; leave trainer.devices and trainer.num_nodes.")


def _class(path: str) -> type:
    module, _, name = path.rpartition(".")
    found: type = getattr(importlib.import_module(module), name)
    return found


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def painted_sizes(settings: Mapping[str, Any]) -> list[int]:
    """Give the long sides of the levels that a picture is painted at, pixels, ascending."""
    data = settings["data"]["init_args"]
    return list(data.get("sizes") or pyramid_sizes(data["size"], data["min_size"]))


def identity(request: VideoRequest, settings: Mapping[str, Any], flow: str) -> dict[str, Any]:
    """Give all that the frames follow from, by which one knows them again.

    Args:
        request: Of the video.
        settings: Of `nst fit`.
        flow: How motion is estimated.

    Returns:
        Settings, nested, and the SHA-256 of each file that is read, its first 16 hexadecimal digits.

    Raises:
        UserError: If a file can't be read.
    """
    data = settings["data"]["init_args"]
    named = [str(request.video), *(name for key in _PICTURES for name in _listed(data.get(key)) if name)]
    files = {name: Path(name).expanduser() for name in named}
    kept = {key: value for key, value in settings.items() if key not in _OF_A_RUN}
    return {
        "frame_steps": request.frame_steps,
        "frame_lr": request.frame_lr,
        "temporal_weight": request.temporal_weight,
        "flow": flow,
        **kept,
        "data": {**kept["data"], "init_args": {**data, "content": str(request.video)}},
        "sha256 of": {name: _digest(file) for name, file in files.items() if file.is_file()},
    }


def _digest(file: Path) -> str:
    try:
        return file_sha256(file)[:16]
    except OSError as error:
        raise UserError(f"{file} can't be read ({error.strerror}); check its permissions.") from error
