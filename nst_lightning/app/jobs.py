"""The queue: one job at a time on each device, first come, first served."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nst_lightning.app.job import Job
from nst_lightning.app.limits import RefusalError
from nst_lightning.app.process import PaintingProcess


class JobQueue:
    """Gives each device one job after another.

    Args:
        devices: Arguments of the Trainer, for each device.
        root: The page's temporary folder.
        longest: Jobs that may wait.
    """

    def __init__(self, devices: Sequence[Mapping[str, Any]], root: Path, longest: int) -> None:
        self._longest = longest
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._painters = [PaintingProcess(device, root) for device in devices]
        for painter in self._painters:
            threading.Thread(target=self._serve, args=(painter,), daemon=True).start()

    def add(self, job: Job) -> None:
        """Let a job wait for its turn.

        Raises:
            RefusalError: If too many wait.
        """
        with self._changed:
            if len(self._waiting) >= self._longest:
                raise RefusalError(503, f"{self._longest} pictures are waiting already; try again in some minutes.")
            job.set("waiting")
            self._waiting.append(job)
            self._changed.notify()

    def stop(self, job: Job) -> None:
        """End a job; what there is of it stays."""
        with self._changed:
            if job in self._waiting:
                self._waiting.remove(job)
                job.set("stopped")
                self._tell_waiting()
            elif job.status == "painting":
                job.set("stopping")
                for painter in self._painters:
                    painter.stop(job)

    def position(self, job: Job) -> int:
        """Give a job's place, 1 for the next; 0 if it does not wait."""
        with self._changed:
            return self._waiting.index(job) + 1 if job in self._waiting else 0

    def close(self) -> None:
        """End all processes."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()
        for painter in self._painters:
            painter.close()

    def _serve(self, painter: PaintingProcess) -> None:
        while (job := self._take(painter)) is not None:
            status, message = painter.paint(job)
            job.measure()
            with self._changed:
                job.set(status, message)
                painter.job = None

    def _take(self, painter: PaintingProcess) -> Job | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if self._closed:
                return None
            job = self._waiting.popleft()
            job.set("painting")
            painter.job = job
            self._tell_waiting()
            return job

    def _tell_waiting(self) -> None:
        for job in self._waiting:
            job.version += 1  # its place has changed
