"""A painting process as the page's process sees it."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from nst_lightning.app.job import Job, Status
from nst_lightning.app.order import Order


class PaintingProcess:
    """A process that paints on one device; another takes its place if it dies.

    Args:
        device: Arguments of the Trainer.
        root: The page's temporary folder.
    """

    def __init__(self, device: Mapping[str, Any], root: Path) -> None:
        self._device = dict(device)
        self._root = root
        self._closed = False
        self._lock = threading.Lock()  # for the process, and for writing to it
        self.job: Job | None = None
        self._start()  # now: the imports take seconds

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, self._device, self._root), daemon=True)
        with _ctrl_c_blocked():
            self._process.start()
        theirs.close()

    def paint(self, job: Job) -> tuple[Status, str]:
        """Do a job and note its progress.

        Returns:
            How it ended, and why it failed.
        """
        if not self._process.is_alive():  # it died while it had nothing to do
            self._replace()
        earlier = job.previews
        try:
            self._send(job.order)
            if job.status == "stopping":  # asked for before the process knew the job
                self._send(job.order.id)
            while True:
                kind, value = self._pipe.recv()
                if kind == "progress":
                    job.progress, job.previews = value, earlier + value.previews
                    job.version += 1
                    continue
                job.previews += 1  # the finished picture
                if kind == "broken":
                    self._replace()
                    return "failed", value
                return kind, value
        except (EOFError, OSError):
            self._replace()
            return "failed", "the process that painted has ended, perhaps for lack of memory; try a smaller size."

    def stop(self, job: Job) -> None:
        """Ask for the end of a job, if it is this process's."""
        if self.job is job:
            self._send(job.order.id)

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._closed = True
            self._end()

    def _send(self, message: Order | str) -> None:
        with self._lock, suppress(OSError):  # `paint` notices a process that is gone
            self._pipe.send(message)

    def _replace(self) -> None:
        with self._lock:
            if not self._closed:
                self._end()
                self._pipe.close()
                self._start()

    def _end(self) -> None:
        self._process.kill()  # there is nothing to keep
        self._process.join()


@contextmanager
def _ctrl_c_blocked() -> Iterator[None]:
    """Let a process that is started meanwhile inherit that Ctrl-C does not reach it.

    It is the page's, which closes the pipe. A process that only began to ignore it by itself would until then, in the
    seconds of its imports, end with a traceback.
    """
    if sys.platform == "win32":
        yield
        return
    resource_tracker.ensure_running()  # part of any start: it unblocks the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(pipe: Connection, device: dict[str, Any], root: Path) -> None:
    from nst_lightning.app.painting import work  # brings Lightning, which the page's process does without

    work(pipe, device, root)
