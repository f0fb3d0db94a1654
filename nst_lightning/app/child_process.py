"""A process that works for the page, at the other end of a pipe; another takes its place when it has died."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any


def start_process(work: Callable[..., None], *args: Any) -> tuple[BaseProcess, Connection]:
    """Start a process.

    Args:
        work: Its body, a function of a module; its first argument is its end of the pipe.
        *args: Further arguments.

    Returns:
        The process, and this end of its pipe.
    """
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe()
    process = context.Process(target=_apart, args=(work, theirs, *args), daemon=True)
    if sys.platform == "win32":
        process.start()
    else:
        # It inherits that Ctrl-C, which is the page's, does not reach it. If it only began to ignore it by itself, it
        # would until then, in the seconds of its imports, end with a traceback.
        resource_tracker.ensure_running()  # part of any start: it unblocks the signal
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    theirs.close()
    return process, pipe


def _apart(work: Callable[..., None], *args: Any) -> None:
    if sys.platform != "win32":
        os.setsid()  # the terminal's signals are the page's, which closes the pipe
    work(*args)


class ChildProcess:
    """A process at the other end of a pipe.

    Args:
        start: Function that starts it.

    Attributes:
        process: The process at the moment.
        pipe: This end of its pipe.
    """

    def __init__(self, start: Callable[[], tuple[BaseProcess, Connection]]) -> None:
        self._start = start
        self._closed = False
        self._lock = threading.Lock()  # for the process, and for writing to it
        self.process, self.pipe = start()  # now: the imports take seconds

    def send(self, message: object) -> None:
        """Send a message; one to a process that is gone is lost."""
        with self._lock, suppress(OSError):
            self.pipe.send(message)

    def ask(self, message: object, patience: float, *, is_acknowledged: bool = False) -> Any:
        """Return the answer to a message; `None` from a process that has ended or takes too long, which is replaced.

        Args:
            message: Message, not `None`.
            patience: Time to wait, seconds.
            is_acknowledged: Whether another message says first that the process has begun, from when on time counts: it
                may still be at its imports.
        """
        self.revive()
        with suppress(EOFError, OSError):
            self.pipe.send(message)
            if is_acknowledged:
                self.pipe.recv()
            if self.pipe.poll(patience):
                return self.pipe.recv()
        self.replace()
        return None

    def revive(self) -> None:
        """Start another process if this one has died while it had nothing to do."""
        if not self.process.is_alive():
            self.replace()

    def replace(self) -> None:
        """End the process and start another, unless all is closed."""
        with self._lock:
            if not self._closed:
                self._end()
                self.pipe.close()
                self.process, self.pipe = self._start()

    def close(self) -> None:
        """End the process for good."""
        with self._lock:
            self._closed = True
            self._end()

    def _end(self) -> None:
        self.process.kill()  # there is nothing to keep
        self.process.join()
