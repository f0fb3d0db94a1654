"""The queue: one job at a time on each device, first come, first served."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

from nst_lightning.app.limits import RefusalError
from nst_lightning.app.order import PICTURE, PREVIEW, Order, Progress
from nst_lightning.app.recipe import command, result_name

Status = Literal["waiting", "painting", "stopping", "complete", "stopped", "failed"]
ACTIVE = ("waiting", "painting", "stopping")


@dataclass
class Job:
    """A picture that is, or was, or will be painted.

    Attributes:
        order: What to do.
        used: When the job was last asked for or ended, by `time.monotonic`.
        status: How it stands.
        message: Why it failed.
        progress: Of the run in progress or the last one.
        previews: That were written, over all its runs.
        version: Grows with each change.
    """

    order: Order
    used: float
    status: Status = "waiting"
    message: str = ""
    progress: Progress | None = None
    previews: int = 0
    version: int = 0

    @property
    def is_active(self) -> bool:
        """Whether it waits or is painted."""
        return self.status in ACTIVE

    def set(self, status: Status, message: str = "") -> None:
        """Say how it stands now."""
        self.status, self.message = status, message
        self.used = time.monotonic()
        self.version += 1

    def describe(self, position: int) -> dict[str, Any]:
        """Give what the visitor's page shows.

        Args:
            position: In the queue, 1 for the next; 0 if it does not wait.
        """
        order, progress = self.order, self.progress
        return {
            "id": order.id,
            "status": self.status,
            "position": position,
            "message": self.message,
            "names": order.names,
            "is_instant": order.recipe.network is not None,
            "file": result_name(*order.names),
            "command": command(order.recipe, *order.names),
            "preview": self.previews if (order.folder / PREVIEW).exists() else 0,
            "picture": (order.folder / PICTURE).exists() and not self.is_active,
            "progress": None
            if progress is None
            else {
                "step": progress.step,
                "steps": sum(progress.steps),
                "level": progress.level + 1,
                "levels": len(progress.steps),
                "width": progress.width,
                "height": progress.height,
                "fraction": round(progress.fraction, 4),
                "seconds_left": None if progress.seconds_left is None else round(progress.seconds_left, 1),
            },
        }


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
        self._sending = threading.Lock()
        self.job: Job | None = None
        self._start()  # now: the imports take seconds

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, self._device, self._root), daemon=True)
        self._process.start()
        theirs.close()

    def paint(self, job: Job) -> tuple[Status, str]:
        """Do a job and note its progress.

        Returns:
            How it ended, and why it failed.
        """
        earlier = job.previews
        try:
            self._send(job.order)
            if job.status == "stopping":  # asked for before the process knew the job
                self._send(job.order.id)
            while True:
                kind, value = self._pipe.recv()
                if kind != "progress":
                    job.previews += 1  # the finished picture
                    return kind, value
                job.progress, job.previews = value, earlier + value.previews
                job.version += 1
        except (EOFError, OSError):
            self._process.join()
            if not self._closed:
                self._start()
            return "failed", "the process that painted has ended, perhaps for lack of memory; try a smaller size."

    def stop(self, job: Job) -> None:
        """Ask for the end of a job, if it is this process's."""
        if self.job is job:
            self._send(job.order.id)

    def _send(self, message: Order | str) -> None:
        with self._sending, suppress(OSError):  # `paint` notices a process that is gone
            self._pipe.send(message)

    def close(self) -> None:
        """End the process."""
        self._closed = True
        self._process.kill()  # there is nothing to keep
        self._process.join()


def _work(pipe: Connection, device: dict[str, Any], root: Path) -> None:
    from nst_lightning.app.painting import work  # brings Lightning, which the page's process does without

    work(pipe, device, root)


def prolonged(order: Order, progress: Progress | None) -> Order:
    """Give a complete job's order with more to do at the last level: half as much again."""
    if progress is None:
        return order
    steps = (*progress.steps[:-1], progress.steps[-1] + max(1, progress.steps[-1] // 2))
    return replace(order, recipe=replace(order.recipe, prolonged=(*order.recipe.prolonged, steps)))
