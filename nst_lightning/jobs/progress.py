"""The progress of a sweep: one bar over all its runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from nst_lightning.callbacks.progress_bars import redraw_interval
from nst_lightning.jobs.worker import Job

_FORMAT = "{desc} {percentage:3.0f}%|{bar:20}| [{elapsed}{postfix}]"


class SweepBar:
    """Listens to a `JobRunner` and draws one bar; mistakes and warnings are written above it.

    The time left is told from the work done since the bar was opened, a step's cost being proportional to its
    pixels.

    Args:
        jobs: What is to be done now.
        total: Runs of the whole sweep, those included that are complete already.
    """

    def __init__(self, jobs: Sequence[Job], total: int) -> None:
        self.total = total
        self._begun = total - len(jobs)
        self._done = dict.fromkeys((job.label for job in jobs), 0.0)
        self._at_start: dict[str, float] = {}
        self._interval = redraw_interval()
        self._drawn_at = 0.0
        self._opened_at = time.monotonic()
        self._bar = tqdm(
            total=sum(job.work for job in jobs),
            bar_format=_FORMAT,
            dynamic_ncols=True,
            file=sys.stderr,
            mininterval=0,
        )

    def __call__(self, job: Job, kind: str, value: Any) -> None:
        """Take a message of the runner's."""
        if kind == "start":
            self._begun += 1
        elif kind == "progress":
            self._done[job.label] = job.work * value
            self._at_start.setdefault(job.label, job.work * value)  # a run that goes on has done that before
        elif kind == "complete":
            self._at_start.setdefault(job.label, self._done[job.label])
            self._done[job.label] = job.work
        elif kind == "failed":
            self._say(f"failed: {job.label}: {value}")
        elif kind == "warning":
            self._say(f"{job.label}: {value}")
        if kind != "progress" or time.monotonic() - self._drawn_at >= self._interval:
            self._draw(job)

    def close(self) -> None:
        """Leave the bar as it is, so that what follows starts on a line of its own."""
        self._bar.close()

    def _say(self, text: str) -> None:
        tqdm.write(text, file=sys.stderr)

    def _draw(self, job: Job) -> None:
        self._drawn_at = time.monotonic()
        done = sum(self._done.values())
        now_done = done - sum(self._at_start.values())
        self._bar.set_description_str(f"run {self._begun}/{self.total} {job.label}", refresh=False)
        if now_done > 0:
            left = (self._bar.total - done) * (self._drawn_at - self._opened_at) / now_done
            self._bar.set_postfix_str(f"{tqdm.format_interval(left)} left", refresh=False)
        self._bar.n = done
        self._bar.refresh()
