"""The queue: one job at a time for each device's painting process, first come, first served."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Literal

import torch

from nst_lightning.app.child_process import ChildProcess, start_process
from nst_lightning.app.job_request import PREVIEW_FILE, RESULT_FILE, JobRequest
from nst_lightning.app.limits import RefusalError
from nst_lightning.app.painting_process import PAINTER_ENDED, Progress, work
from nst_lightning.app.time_lapse import frame_numbers
from nst_lightning.app.uploads import shown_name
from nst_lightning.utils.cores import usable_cores

Status = Literal["waiting", "painting", "stopping", "complete", "stopped", "failed"]
ACTIVE = ("waiting", "painting", "stopping")

_USUAL_PACES = {"draft": 1.6, "standard": 9.0, "fine": 9.0}  # of a core that multiplies bfloat16
_GPU_PACE = 0.05
_LONGEST = 10  # times the steps of its options, up to which a run may be prolonged


@dataclass
class Job:
    """An image that is, or was, or will be painted.

    Attributes:
        request: What to do.
        used: Time when the job was last asked for or ended, by `time.monotonic`.
        status: How it stands.
        message: Why it failed.
        progress: Progress of the run that is under way, or of the last one.
        previews: Number of previews that were written, over all its runs.
        version: Number of changes.
        bytes: Size of its folder when its last run ended.
        sources: The visitor's words for what is painted: `content`, `styles` and `masks`.
    """

    request: JobRequest
    used: float
    status: Status = "waiting"
    message: str = ""
    progress: Progress | None = None
    previews: int = 0
    version: int = 0
    bytes: int = 0
    sources: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_active(self) -> bool:
        """Whether it waits or is painted."""
        return self.status in ACTIVE

    def set_status(self, status: Status, message: str = "") -> None:
        """Note how it stands now."""
        self.status, self.message = status, message
        self.used = time.monotonic()
        self.version += 1

    def measure(self) -> None:
        """Note what its folder holds."""
        self.bytes = size_of(self.request.folder)

    def describe(self, position: int) -> dict[str, Any]:
        """Return what the visitor's page shows.

        Args:
            position: Place in the queue, 1 for the next; 0 if it does not wait.
        """
        request = self.request
        return {
            "id": request.id,
            "status": self.status,
            "position": position,
            "message": self.message,
            "names": [shown_name(name) for name in request.names],
            "is_instant": request.options.instant,
            "settings": request.options.described(),
            "sources": dict(self.sources),
            "frames": frame_numbers(request.folder),
            "file": request.file_name,
            "command": self.command(),
            "preview": self.previews if (request.folder / PREVIEW_FILE).exists() else 0,
            "picture": (request.folder / RESULT_FILE).exists() and not self.is_active,
            "progress": None if self.progress is None else self.progress.describe(),
        }

    def command(self) -> str:
        """Return the command that paints what there is of the image, or what there is going to be."""
        request, progress, prolonged = self.request, self.progress, self.request.options.prolonged
        if self.status != "stopped" or progress is None:
            return request.command()
        if prolonged and prolonged[-1] != progress.steps:  # stopped before it was gone on with
            return replace(request, options=replace(request.options, prolonged=prolonged[:-1])).command()
        return request.command(stopped_after=progress.step)


def size_of(folder: Path) -> int:
    """Return the size of all files below a folder, bytes; 0 if they are deleted meanwhile, when the page ends."""
    with suppress(OSError):
        return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return 0


def prolong(request: JobRequest, progress: Progress | None) -> JobRequest:
    """Return a complete job's request with more to do at the last level: half as much again.

    Raises:
        RefusalError: If it would be more than ten times the steps of its options.
    """
    if progress is None:
        return request
    options = request.options
    steps = (*progress.steps[:-1], progress.steps[-1] + max(1, progress.steps[-1] // 2))
    if sum(steps) > _LONGEST * options.total_steps(len(steps)):
        raise RefusalError(
            409,
            f"this picture has had {sum(progress.steps)} steps; {_LONGEST} times those of its recipe is the most. "
            "Start a new one.",
        )
    return replace(request, options=replace(options, prolonged=(*options.prolonged, steps)))


class PaintingProcess(ChildProcess):
    """A process that paints on one device; another takes its place if it dies.

    Args:
        device: Options of the trainer that choose the device.
        root: The page's temporary folder.
        start: Function that starts the process, as `start_process`.

    Attributes:
        job: The job that it has got; `None` for none.
        paces: Time of a step for each megapixel, seconds, by quality, as it was last.
    """

    def __init__(
        self,
        device: Sequence[str],
        root: Path,
        start: Callable[..., tuple[BaseProcess, Connection]] = start_process,
    ) -> None:
        super().__init__(partial(start, work, tuple(device), root))
        self.job: Job | None = None
        self.paces: dict[str, float] = {}

    def paint(self, job: Job) -> tuple[Status, str]:
        """Do a job and note its progress.

        Returns:
            How it ended, and why it failed.
        """
        self.revive()
        earlier = job.previews
        try:
            self.send(job.request)
            if job.status == "stopping":  # asked for before the process knew the job
                self.send(job.request.id)
            while True:
                kind, value = self.pipe.recv()
                if kind == "progress":
                    job.progress, job.previews = value, earlier + value.previews
                    job.version += 1
                    if (pace := value.seconds_per_megapixel) is not None:
                        self.paces[job.request.options.quality] = pace
                    continue
                job.previews += 1  # the finished image
                if kind == "broken":
                    self.replace()
                    return "failed", value
                return kind, value
        except (EOFError, OSError):
            self.replace()
            return "failed", PAINTER_ENDED

    def stop(self, job: Job) -> None:
        """Ask for the end of a job, if it is this process's."""
        if self.job is job:
            self.send(job.request.id)


class JobQueue:
    """Hand one job after another to each device's process.

    Args:
        devices: Options of the trainer that choose a device, for each device.
        root: The page's temporary folder.
        longest: Number of jobs that may wait.

    Attributes:
        painters: One process for each device.
    """

    def __init__(self, devices: Sequence[Sequence[str]], root: Path, longest: int) -> None:
        self._longest = longest
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self.painters = [PaintingProcess(device, root) for device in devices]
        for painter in self.painters:
            threading.Thread(target=self._serve, args=(painter,), daemon=True).start()

    def add(self, job: Job) -> None:
        """Let a job wait for its turn.

        Raises:
            RefusalError: If too many wait.
        """
        with self._changed:
            if len(self._waiting) >= self._longest:
                raise RefusalError(503, f"{self._longest} pictures are waiting already; try again in some minutes.")
            job.set_status("waiting")
            self._waiting.append(job)
            self._changed.notify()

    def stop(self, job: Job) -> None:
        """End a job; what there is of it stays."""
        with self._changed:
            if job in self._waiting:
                self._waiting.remove(job)
                job.set_status("stopped")
                self._note_positions()
            elif job.status == "painting":
                job.set_status("stopping")
                for painter in self.painters:
                    painter.stop(job)

    def position(self, job: Job) -> int:
        """Return a job's place, 1 for the next; 0 if it does not wait."""
        with self._changed:
            return self._waiting.index(job) + 1 if job in self._waiting else 0

    @property
    def paces(self) -> dict[str, float]:
        """Time of a step for each megapixel, seconds, by quality: measured, or else what usual machines take."""
        usual = {quality: seconds / usable_cores() for quality, seconds in _USUAL_PACES.items()}
        if torch.cuda.is_available():
            usual = dict.fromkeys(usual, _GPU_PACE)
        for painter in self.painters:
            usual |= painter.paces
        return usual

    def close(self) -> None:
        """End all processes."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()
        for painter in self.painters:
            painter.close()

    def _serve(self, painter: PaintingProcess) -> None:
        while (job := self._take(painter)) is not None:
            status, message = painter.paint(job)
            job.measure()
            with self._changed:
                job.set_status(status, message)
                painter.job = None

    def _take(self, painter: PaintingProcess) -> Job | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if self._closed:
                return None
            job = self._waiting.popleft()
            job.set_status("painting")
            painter.job = job
            self._note_positions()
            return job

    def _note_positions(self) -> None:
        for job in self._waiting:
            job.version += 1  # its place has changed
