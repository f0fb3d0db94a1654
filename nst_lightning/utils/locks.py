"""Locks that keep processes out of each other's folders: the system releases them however a process ends."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

from nst_lightning.errors import UserError

LOCK = ".lock"
"""The file in a folder that is locked, by `filelock`."""


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
