"""Locks that keep processes out of each other's folders: the system releases them however a process ends."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

from nst_lightning.errors import UserError

LOCK = ".lock"
"""The file in a folder that is locked, by `filelock`."""


def lock_file(descriptor: int) -> bool:
    """Lock an open file until it is closed, or its process ends however it does; wait for who has the lock.

    Args:
        descriptor: File descriptor.

    Returns:
        Whether it is locked; not on Windows, nor on a file system without locks.
    """
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:
        return False
    return True


def remove_unlocked(file: Path, locked: Path) -> None:
    """Remove a file unless a process has locked another one by `lock_file`, or may have: where there are no locks.

    It is removed while the lock is held here: a process that has just made both and gets the lock after that finds its
    file gone, and makes another.

    Raises:
        OSError: If the file can't be removed.
    """
    if sys.platform == "win32":
        return
    import fcntl

    with suppress(OSError):
        with locked.open("rb+") as opened:  # some systems lock only what may be written
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.unlink()
        return
    if not locked.exists():
        file.unlink(missing_ok=True)


def is_locked(file: Path) -> bool:
    """Return whether a process has locked a file by `lock_file`, or may have: where there are no locks, it may.

    A file that does not exist is not locked.
    """
    if sys.platform == "win32":
        return file.exists()
    import fcntl

    try:
        with file.open("rb+") as opened:  # some systems lock only what may be written
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def check_locks(folder: Path, option: str = "--trainer.default_root_dir") -> None:
    """Refuse a file system without locks, such as some network and FUSE mounts.

    There `filelock` can't be relied on: by its version and the error it raises, takes the lock to be held by another
    process, for ever, or makes a file that `kill -9` leaves behind.

    Args:
        folder: Folder of the command; it exists.
        option: Option that names the folder, for the message.

    Raises:
        UserError: If a file in it can't be locked.
    """
    if sys.platform == "win32":
        return
    import fcntl

    try:
        # After the file is opened: some systems say "permission denied" of a lock that another process holds.
        with (folder / LOCK).open("a") as file, suppress(BlockingIOError, PermissionError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise UserError(
            f"{folder / LOCK} can't be locked ({error.strerror}), as processes that share a folder must; "
            f"set {option} to a place on a file system with locks."
        ) from error
