"""Kills a Python process at one of its file events: put this folder into PYTHONPATH, and say in the environment when.

NST_KILL_FOLDER: Events of paths below this folder count: files opened for writing, made, renamed and removed.
NST_KILL_LOG: File that gets a line for each event, of all processes of the command together.
NST_KILL_AT: Number of the event, from 1, before which its process is killed; none if it is not there.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def _is_event(event: str, args: tuple[object, ...]) -> bool:
    if event == "open":
        mode, flags = args[1], args[2]
        return bool(set("wax+") & set(mode)) if isinstance(mode, str) else bool(int(str(flags)) & _WRITES)
    return event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate")


def install() -> None:
    """Begin to count; what comes before is not an event of the command."""
    folder, log, at = os.environ["NST_KILL_FOLDER"], os.environ["NST_KILL_LOG"], os.environ.get("NST_KILL_AT")
    descriptor = os.open(log, os.O_RDWR | os.O_APPEND | os.O_CREAT)

    def hook(event: str, args: tuple[object, ...]) -> None:
        if not _is_event(event, args) or not isinstance(args[0], (str, bytes, os.PathLike)):
            return
        path = os.path.abspath(os.fsdecode(args[0]))  # noqa: PTH100  # without a look at the file system
        if not path.startswith(folder + os.sep) or path == log:
            return
        fcntl.lockf(descriptor, fcntl.LOCK_EX)
        try:
            os.write(descriptor, f"{event} {path[len(folder) + 1 :]}\n".encode())
            number = os.pread(descriptor, 1 << 24, 0).count(b"\n")
        finally:
            fcntl.lockf(descriptor, fcntl.LOCK_UN)
        if str(number) == at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


if "NST_KILL_FOLDER" in os.environ:
    install()
