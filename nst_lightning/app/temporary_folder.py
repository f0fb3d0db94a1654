"""The page's temporary folder, which nothing that visitors brought outlives."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from nst_lightning.utils.locks import LOCK

_PREFIX = "nst-app-"


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a new folder, locked, that is deleted in the end; those of pages that were killed are deleted first."""
    _delete_left_behind()
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        lock = FileLock(folder / LOCK)
        with suppress(OSError, NotImplementedError):  # a file system without locks
            lock.acquire()
        if folder.is_dir():  # else a page that starts as well found it while it was not locked yet
            break
    try:
        yield folder
    finally:
        lock.release()
        shutil.rmtree(folder, ignore_errors=True)


def _delete_left_behind() -> None:
    """Delete the folders of pages that were killed together with all their processes: nobody holds their locks."""
    for lock in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{LOCK}"):
        with suppress(OSError, NotImplementedError, Timeout):
            if hasattr(os, "getuid") and lock.parent.lstat().st_uid != os.getuid():
                continue  # somebody else's, in a folder that is everybody's
            with FileLock(lock, timeout=0):
                shutil.rmtree(lock.parent, ignore_errors=True)
