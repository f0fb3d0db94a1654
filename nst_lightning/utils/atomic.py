"""Files appear whole or not at all: written under a temporary name, then renamed."""

import errno
import io
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO, cast

from nst_lightning.errors import StorageError, UserError, one_line
from nst_lightning.utils import storage
from nst_lightning.utils.addresses import path_of
from nst_lightning.utils.locks import lock_file, remove_unlocked

_LEFTOVER = re.compile(r"(\..{0,32}-[0-9a-f]{12}\.partial(?:\.[^.]*)?)(?:\.[0-9a-f]{32}\.partial)?", re.DOTALL)
"""Names of temporary files, and of those that `torch.hub` puts beside one while it downloads to it."""

LONGEST_NAME = 240  # bytes, of a file whose name is made of others'; file systems allow 255

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # no space, none for this user, none for a file of this size
_PROBE = bytes(1 << 16)

_swept: set[Path] = set()


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary file beside `path`, empty; what the body writes there becomes `path` when the body ends.

    Missing parent folders are created. When the body raises, or the process is interrupted, an earlier file
    at `path` stays as it was and the temporary file is removed. Those of writers that were killed are removed
    when this process first writes into the folder: each writer holds a lock on its file for as long as it lives.
    The body opens the file itself; its mode follows the umask (a `tempfile` would be readable by its owner only).

    Args:
        path: Path of the finished file, or its address: then it appears there, whole as well.

    Yields:
        A path in the same folder (a rename is atomic only within one file system) with the same suffix.

    Raises:
        UserError: If the file system refuses: no permission, a folder in the place of the file.
        StorageError: If it is full, read-only or broken, whatever the body's own error is.
    """
    target = path_of(path)
    temporary = lock = None
    try:
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        _make_folder(target.parent)
        _sweep(target.parent)
        temporary, lock = _create(target)
        yield temporary
        lock = _flush_to_disk(temporary, lock)
        storage.put(temporary, target)
        temporary.replace(target)
    except StorageError:
        raise
    except Exception as error:
        refused = error if isinstance(error, OSError) and error.errno is not None else None
        if refused is None and temporary is not None:  # many libraries have words of their own for a full disk
            refused = _probe(temporary)
        refused = refused or (error if isinstance(error, OSError) else None)
        if refused is None:
            raise
        raise _refusal(target, refused, temporary) from refused
    finally:
        if lock is not None:
            os.close(lock)
        if temporary is not None:
            with suppress(OSError):  # renamed, or the file system refuses this too
                temporary.unlink()


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Yield a file to write to, in order, which becomes `path` when the body ends; see `atomic_path`."""
    with atomic_path(path) as temporary, counting_file(temporary) as file:
        yield file


@contextmanager
def counting_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a file to write to, in order.

    Where the disk is full, what the body goes on to write is counted: the error, which is raised when the body ends,
    says how much is missing.
    """
    with path.open("wb", buffering=0) as file:
        counted = CountingFile(file)
        yield cast(BinaryIO, counted)  # as much of one as writers need
        counted.check()


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a small text file in UTF-8; see `atomic_path`."""
    with atomic_file(path) as file:
        file.write(text.encode())


class CountingFile(io.RawIOBase):
    """File that is written in order; after an error it drops what comes, and counts it.

    Args:
        file: Unbuffered file that is open for writing.

    Attributes:
        error: First error; `None` as long as there is none.
    """

    def __init__(self, file: io.RawIOBase) -> None:
        self._file = file
        self._dropped = 0
        self.error: OSError | None = None

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: Any, /) -> int:
        """Write all of it, and return its length in bytes."""
        view = memoryview(data).cast("B")
        length = len(view)
        try:
            while view and self.error is None:
                view = view[self._file.write(view) :]
        except OSError as error:
            self.error = error
        self._dropped += len(view)
        return length

    def check(self) -> None:
        """Raise the first error, if there was one, with the number of bytes that are missing as `missing`."""
        if self.error is not None:
            self.error.missing = self._dropped  # type: ignore[attr-defined]
            raise self.error


def storage_error(target: str | os.PathLike[str], error: OSError, written: int = 0) -> UserError:
    """Return the line about a file that can't be written: which, why, and what to do.

    Args:
        target: Path of the file.
        error: What the system says; with an attribute `missing`, the number of bytes that there is no room for.
        written: Number of bytes that were written, for a file whose size is not known.

    Returns:
        A `StorageError` if nothing else could be written there either.
    """
    line = f"cannot write {target} ({error.strerror or one_line(error)}); "
    if error.errno not in _FULL:
        kind = StorageError if refuses(error) else UserError
        return kind(f"{line}choose another place for it")
    missing = max(0, getattr(error, "missing", 0))
    amount = f"{_amount(missing)} more are needed" if missing else f"{_amount(written)} are there, and more is needed"
    return StorageError(f"{line}{amount}: make room, or choose another place, and start again")


def refuses(error: OSError) -> bool:
    """Return whether an error means that the file system takes nothing more."""
    return error.errno in (*_FULL, errno.EROFS, errno.EIO, errno.ENODEV, errno.ESTALE)


def _amount(count: int) -> str:
    """Return a number of bytes, rounded up."""
    return f"{-(-count // 10**5) / 10:.1f} MB" if count > 10**6 else f"{-(-count // 1000)} kB"


def _refusal(target: Path, error: OSError, temporary: Path | None) -> UserError:
    written = 0
    if temporary is not None:
        with suppress(OSError):
            written = temporary.stat().st_size
    return storage_error(target, error, written)


def _probe(file: Path) -> OSError | None:
    """Return the error with which the file system refuses a little more."""
    try:
        with file.open("ab", buffering=0) as opened:
            opened.write(_PROBE)
            os.fsync(opened.fileno())
    except OSError as error:
        return error
    return None


def _create(target: Path) -> tuple[Path, int | None]:
    """Make the temporary file of a target; return its path, and a descriptor that locks it, where there are locks."""
    while True:
        # a fresh name for each writer, and a short one: the target's own name may be as long as names may be
        temporary = target.parent / f".{target.stem[:32]}-{uuid.uuid4().hex[:12]}.partial{target.suffix}"
        lock = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        if not lock_file(lock):
            os.close(lock)
            return temporary, None
        if os.fstat(lock).st_nlink:  # nobody has swept it before it was locked
            return temporary, lock
        os.close(lock)


def sweep_below(folder: Path) -> None:
    """Remove the temporary files of killed writers from the folders in a folder, and from those in them."""
    for pattern in ("*/", "*/*/"):
        for path in folder.glob(pattern):
            _sweep(path)


def _sweep(folder: Path) -> None:
    """Remove the temporary files of killed writers from a folder, once in a process."""
    folder = folder.absolute()
    if folder in _swept:
        return
    _swept.add(folder)
    with suppress(OSError):
        for file in list(folder.iterdir()):
            if name := _LEFTOVER.fullmatch(file.name):
                remove_unlocked(file, file.with_name(name[1]))


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:  # which says "File exists" and leaves the reader wondering why not
        raise NotADirectoryError(errno.ENOTDIR, f"{folder} is not a folder") from error


def _flush_to_disk(path: Path, lock: int | None) -> int | None:
    """Wait until the content is on the disk; else a power cut after the rename leaves an empty file.

    Returns:
        The descriptor that locks the file, which the body may have replaced by another.
    """
    with path.open("rb+") as file:
        if lock is not None and not os.path.samestat(os.fstat(lock), os.fstat(file.fileno())):
            os.close(lock)
            lock = os.dup(file.fileno())
            lock_file(lock)
        os.fsync(file.fileno())
    return lock


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
        if folder.is_dir() and os.access(folder, os.W_OK):
            with TemporaryFile(dir=folder):  # what a superuser may do says nothing of a file system such as /sys
                return storage.check_writable(target)
    except OSError as error:
        raise UserError(f"cannot write {target} ({error.strerror}); choose another place for it") from error
    raise UserError(f"expected a folder that can be written to, found {folder} for {target.name}; choose another")
