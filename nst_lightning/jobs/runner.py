"""Runs jobs, some at a time, each in a process of its own."""

from __future__ import annotations

import signal
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

from nst_lightning.jobs.processes import worker_context
from nst_lightning.jobs.worker import FAILED, Job, Status, work
from nst_lightning.utils.atomic import atomic_path

Listener = Callable[[Job, str, Any], None]
"""Called with `"start"`, `"progress"` (part done, 0 to 1), `"warning"` (text), and how the job ended: `"complete"`,
`"failed"` (message) or `"stopped"`."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_POLL = 0.2  # seconds


@dataclass
class _Running:
    job: Job
    process: BaseProcess
    end: Status | None = None
    message: str = ""


class JobRunner:
    """Runs jobs until all are done or a signal comes.

    Ctrl-C and SIGTERM stop the workers after the step in progress, with checkpoints; a second one kills them.

    Args:
        at_once: Workers at a time.
        threads: Of torch, in each worker.
        listener: Hears of everything, in this thread.
    """

    def __init__(self, at_once: int, threads: int, listener: Listener) -> None:
        self.at_once = at_once
        self.threads = threads
        self.listener = listener
        self.stopped_by: signal.Signals | None = None
        self._running: dict[Connection, _Running] = {}
        self._context = worker_context()

    def run(self, jobs: Sequence[Job]) -> None:
        """Do the jobs, in their order; `stopped_by` tells afterwards whether that came to an end."""
        waiting = deque(jobs)
        handlers: dict[signal.Signals, Any] = {}
        if threading.current_thread() is threading.main_thread():
            handlers = {number: signal.signal(number, self._ask_to_stop) for number in _SIGNALS}
        try:
            while self._running or (waiting and self.stopped_by is None):
                while waiting and len(self._running) < self.at_once and self.stopped_by is None:
                    self._start(waiting.popleft())
                for pipe in wait(list(self._running), _POLL):
                    assert isinstance(pipe, Connection)  # wait takes and gives other things as well
                    self._hear(pipe)
        finally:
            for running in self._running.values():
                running.process.kill()
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.stopped_by is not None:
            raise KeyboardInterrupt
        self.stopped_by = signal.Signals(number)
        for running in self._running.values():
            running.process.terminate()

    def _start(self, job: Job) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=work, args=(job, self.threads, theirs), name=job.label)
        process.start()
        theirs.close()
        self._running[ours] = _Running(job, process)
        if self.stopped_by is not None:  # the signal came in between
            process.terminate()
        self.listener(job, "start", None)

    def _hear(self, pipe: Connection) -> None:
        running = self._running[pipe]
        try:
            kind, value = pipe.recv()
        except (EOFError, OSError):
            self._end(pipe, running)
            return
        if kind in ("complete", "failed", "stopped"):
            running.end, running.message = kind, value
        else:
            self.listener(running.job, kind, value)

    def _end(self, pipe: Connection, running: _Running) -> None:
        running.process.join()
        pipe.close()
        del self._running[pipe]
        end, message = running.end, running.message
        if end is None:  # it did not get as far as saying so
            end = "failed" if self.stopped_by is None else "stopped"
            message = f"the process ended with {_describe(running.process.exitcode)}"
        if end == "stopped" and self.stopped_by is None:
            end, message = "failed", "the process was told to stop by someone else"
        if end == "failed":
            with atomic_path(running.job.folder / FAILED) as temporary:
                temporary.write_text(message + "\n", encoding="utf-8")
        self.listener(running.job, end, message)


def _describe(code: int | None) -> str:
    if code is None or code >= 0:
        return f"code {code}"
    name = signal.Signals(-code).name
    return f"{name} (out of memory?)" if name == "SIGKILL" else name
