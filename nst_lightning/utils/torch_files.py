"""Files of tensors: those that `torch.save` wrote are read only if they are what was written."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from nst_lightning.errors import UserError, one_line
from nst_lightning.utils.storage import fetch

_CHECKPOINT_KEYS = {"state_dict": Mapping, "loops": Mapping, "callbacks": Mapping, "optimizer_states": list}
_MAGIC = b"PK\3\4"
_LONGEST = 160  # characters of a reason


def check_archive(file: Path) -> None:
    """Compare everything in a file of `torch.save` with the digests that it holds.

    Such a file is a zip archive with a CRC-32 of each tensor, which `torch.load` does not look at: a flipped bit would
    be another number, unnoticed. Files older than torch 1.6 are no archives and hold none.

    Args:
        file: File.

    Raises:
        ValueError: If the file is not what was written.
        OSError: If it can't be read.
    """
    if not _is_archive(file):
        return
    try:
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
    except Exception as error:  # of zipfile's own, and of each kind of compression that a flipped bit may claim
        raise ValueError(f"it is damaged: {error}") from error
    if damaged is not None:
        raise ValueError(f"it is damaged: {damaged} does not have its digest")


def _is_archive(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(len(_MAGIC)) == _MAGIC  # by which torch.load tells them apart


def load_tensors(file: Path, *, mmap: bool = False) -> dict[str, Any]:
    """Return the mapping in a file of `torch.save`, tensors on the CPU; no code in it is run.

    Args:
        file: File.
        mmap: Whether tensors stay in the file until they are looked at.

    Raises:
        ValueError: If the file is damaged or holds something else.
        OSError: If it can't be read.
    """
    check_archive(fetch(file))
    try:
        with readable_by_name(file) as name:
            content = torch.load(name, map_location="cpu", weights_only=True, mmap=mmap)
    except Exception as error:  # what a damaged or foreign file trips has no common class
        raise ValueError("torch.load can't read it as tensors and numbers") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"it holds a {type(content).__name__}")
    return dict(content)


def check_checkpoint(file: Path) -> dict[str, Any]:
    """Return what is in a checkpoint of Lightning's Trainer, tensors left in the file.

    Args:
        file: File; it exists.

    Raises:
        UserError: If it is damaged, or another program's.
    """
    try:
        content = load_tensors(file, mmap=_is_archive(fetch(file)))
        for key, kind in _CHECKPOINT_KEYS.items():
            if not isinstance(content.get(key), kind):
                raise ValueError(f"it lacks {key!r}")
    except (OSError, ValueError) as error:
        raise no_checkpoint(file, error) from error
    return content


def no_checkpoint(file: Path, reason: BaseException) -> UserError:
    """Return the line about a file that a run can't go on from."""
    text = f"it lacks {reason}" if isinstance(reason, KeyError) else one_line(reason)
    return UserError(f"{file} is damaged or not a checkpoint of this run ({text[:_LONGEST]}); give another checkpoint.")


@contextmanager
def readable_by_name(file: Path) -> Iterator[Path]:
    """Yield a name in UTF-8 for a file that is read: its own, or that of an open file descriptor.

    Some libraries open files by such names only.

    Args:
        file: Path of the file, whose name may have bytes that are not UTF-8.

    Raises:
        OSError: If it has, and can't be opened.
    """
    try:
        str(file).encode("utf-8")
    except UnicodeEncodeError:
        with file.open("rb") as opened:
            yield Path(f"/dev/fd/{opened.fileno()}")
    else:
        yield file
