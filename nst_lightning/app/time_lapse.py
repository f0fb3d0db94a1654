"""The frames of a job's time-lapse: what there was of its image, from the first preview to the last."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from torch import Tensor

from nst_lightning.app.decoding import THUMBNAIL
from nst_lightning.images.files import write_image
from nst_lightning.images.resize import resize, shrunk_size
from nst_lightning.video.animated_image import write_animation

FRAMES_FOLDER = "frames"
"""Name of the folder in a job's."""

LAPSE_FORMATS = ("webp", "gif", *(("mp4",) if importlib.util.find_spec("av") else ()))
"""Formats that a time-lapse can be saved in: MP4 where PyAV is installed."""

_MOST = 60  # of more every other one is deleted
_SECONDS, _FASTEST, _HOLD = 4, 16, 2.0  # of a time-lapse, as the page plays it; frames a second; seconds of the last


def frame_numbers(folder: Path) -> list[int]:
    """Return the numbers of a job's frames, in order; they have gaps.

    Args:
        folder: The job's folder.
    """
    return sorted(int(file.stem) for file in (folder / FRAMES_FOLDER).glob("*.jpg") if file.stem.isdecimal())


def frame_file(folder: Path, number: int) -> Path:
    """Return the file of a frame."""
    return folder / FRAMES_FOLDER / f"{number:06}.jpg"


def add_frame(folder: Path, image: Tensor) -> None:
    """Add a frame; where there are many, every other one but the last is deleted.

    Args:
        folder: The job's folder.
        image: sRGB in [0, 1], `(1, 3, H, W)`.
    """
    numbers = frame_numbers(folder)
    size = shrunk_size(image.shape[-2], image.shape[-1], THUMBNAIL)
    write_image(frame_file(folder, numbers[-1] + 1 if numbers else 0), resize(image, size), quality=80)
    if len(numbers) >= _MOST:
        for number in numbers[1::2]:
            frame_file(folder, number).unlink(missing_ok=True)


def write_lapse(folder: Path, format: str) -> Path:
    """Return the file of a job's time-lapse, newly written.

    Args:
        folder: The job's folder; nothing is painted in it at the moment.
        format: One of `LAPSE_FORMATS`.

    Raises:
        FileNotFoundError: If there are no frames, or they have been deleted.
    """
    files = [frame_file(folder, number) for number in frame_numbers(folder)]
    if not files:
        raise FileNotFoundError(folder / FRAMES_FOLDER)
    lapse = folder / f"time-lapse.{format}"
    write_animation(lapse, files, fps=min(_FASTEST, max(1, len(files) // _SECONDS)), hold=_HOLD)
    return lapse
