"""Files appear whole or not at all: written under a temporary name, then renamed."""

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nst_lightning.errors import UserError, one_line


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what the body writes there becomes `path` when the body ends.

    Missing parent folders are created. When the body raises, or the process is interrupted, an earlier file
    at `path` stays as it was and the temporary file is removed. The body opens the file itself, so its mode
    follows the umask (a `tempfile` would be readable by its owner only).

    Args:
        path: Path of the finished file.

    Yields:
        A path in the same folder (a rename is atomic only within one file system) with the same suffix.

    Raises:
        UserError: If the file system refuses: no permission, no space, a folder in the place of the file.
    """
    target = Path(path)
    # a fresh name for each writer, and a short one: the target's own name may be as long as names may be
    temporary = target.parent / f".{target.stem[:32]}-{uuid.uuid4().hex[:12]}.partial{target.suffix}"
    try:
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        _make_folder(target.parent)
        yield temporary
        _flush_to_disk(temporary)
        temporary.replace(target)
    except OSError as error:
        reason = error.strerror or one_line(error)
        raise UserError(f"cannot write {target} ({reason}); choose another place for it") from error
    finally:
        # a parent that is a file, or that cannot be entered, holds no temporary file either
        if os.path.lexists(temporary):
            temporary.unlink()


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:  # which says "File exists" and leaves the reader wondering why not
        raise NotADirectoryError(errno.ENOTDIR, f"{folder} is not a folder") from error


def _flush_to_disk(path: Path) -> None:
    """Wait until the content is on the disk; else a power cut after the rename leaves an empty file."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def check_writable(target: Path) -> None:
    """Refuse a file that could not be written, before anything is computed for it.

    Args:
        target: Path of the file; its folder may still be missing.

    Raises:
        UserError: If it is a folder, its name is too long, or the nearest folder above it that exists can't be
            written to.
    """
    try:
        if target.is_dir():
            raise UserError(f"expected a file name to write to, found the folder {target}; choose another name")
        folder = next(parent for parent in target.absolute().parents if parent.exists())
    except OSError as error:
        raise UserError(f"cannot write {target} ({error.strerror}); choose another place for it") from error
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise UserError(f"expected a folder that can be written to, found {folder} for {target.name}; choose another")
