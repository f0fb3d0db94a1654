"""The frames of a job's time-lapse: what there was of its image, from the first preview to the last."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from nst_lightning.app.decoding import THUMBNAIL
from nst_lightning.images.files import write_image
from nst_lightning.images.resize import resize, shrunk_size

FRAMES_FOLDER = "frames"
"""Name of the folder in a job's."""

_MOST = 60  # of more every other one is deleted


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
