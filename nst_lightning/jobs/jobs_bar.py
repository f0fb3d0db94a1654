"""One bar over many jobs, wherever they are done."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from tqdm import tqdm

from nst_lightning.callbacks.progress_bars import FittedBar, redraw_interval
from nst_lightning.jobs.job import Job

_BAR = """\
{desc} {percentage:3.0f}%|{bar:20}| [{elapsed}{speed}{left}]
{desc} {percentage:3.0f}%|{bar:10}| [{elapsed}{speed}{left}]
{desc} {percentage:3.0f}% [{elapsed}{left}]
{count} {percentage:3.0f}%|{bar:10}| [{elapsed}{left}]
{count} {percentage:3.0f}%{left}
{count}"""


class JobsBar:
    """Listens to a `JobRunner` or a `ClusterRunner` and draws one bar; mistakes and warnings are written above it.

    The time left is estimated from the work done since the bar was opened, a step's cost being proportional to its
    pixels.

    Args:
        jobs: Jobs to be done now.
        total: Number of all jobs, those included that are complete already.
        noun: Word for a job.
        is_rated: Whether to show jobs that have ended and how many end in a second, in place of those that have begun
            and the last one's name: for many at a time.
        count: Function of a job that returns how many of the total it is.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        total: int,
        noun: str,
        *,
        is_rated: bool = False,
        count: Callable[[Job], int] = lambda job: 1,
    ) -> None:
        self.total = total
        self._noun = noun
        self._is_rated = is_rated
        self._count = count
        self._before = total - sum(map(count, jobs))
        self._begun: dict[str, int] = {}
        self._ended: dict[str, int] = {}
        self._done = dict.fromkeys((job.label for job in jobs), 0.0)
        self._at_start: dict[str, float] = {}
        self._interval = redraw_interval()
        self._drawn_at = 0.0
        self._opened_at = time.monotonic()
        self._bar = FittedBar(
            total=sum(job.work for job in jobs),
            bar_format=_BAR,
            dynamic_ncols=True,
            file=sys.stderr,
            mininterval=0,
        )

    def __call__(self, job: Job, kind: str, value: Any) -> None:
        """Take a message of the runner's."""
        if kind == "start":
            self._begun[job.label] = self._count(job)  # again where its worker was lost
        elif kind == "progress":
            self._done[job.label] = job.work * value
            self._at_start.setdefault(job.label, job.work * value)  # a run that goes on has done that before
        elif kind in ("complete", "failed", "stopped"):
            self._ended[job.label] = self._count(job)
        if kind == "complete":
            self._at_start.setdefault(job.label, self._done[job.label])
            self._done[job.label] = job.work
        elif kind == "failed":
            tqdm.write(f"failed: {job.label}: {value}", file=sys.stderr)
        elif kind == "warning":
            tqdm.write(f"{job.label}: {value}", file=sys.stderr)
        if not (kind == "progress" or (self._is_rated and kind != "warning")) or self._is_due():
            self._draw(job)

    def close(self) -> None:
        """Leave the bar as it is, so that what follows starts on a line of its own."""
        self._bar.close()

    def _is_due(self) -> bool:
        is_last = len(self._ended) == len(self._done)
        return is_last or time.monotonic() - self._drawn_at >= self._interval

    def _draw(self, job: Job) -> None:
        self._drawn_at = time.monotonic()
        done = sum(self._done.values())
        now_done = done - sum(self._at_start.values())
        seconds = self._drawn_at - self._opened_at
        left = speed = ""
        if self._is_rated:
            ended = sum(self._ended.values())
            count = f"{self._noun} {self._before + ended}/{self.total}"
            speed = f", {ended / seconds:.2g}/s" if ended else ""
        else:
            count = f"{self._noun} {self._before + sum(self._begun.values())}/{self.total}"
        if now_done > 0:
            left = f", {tqdm.format_interval((self._bar.total - done) * seconds / now_done)} left"
        self._bar.set_description_str(count if self._is_rated else f"{count} {job.label}", refresh=False)
        parts = {"count": count, "speed": speed, "left": left or self._bar.parts["left"]}
        self._bar.parts = {**self._bar.parts, **parts}
        self._bar.n = done
        self._bar.refresh()
