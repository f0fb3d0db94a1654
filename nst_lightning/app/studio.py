"""What the page works with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.requests import Request

from nst_lightning.app.job import Job
from nst_lightning.app.jobs import JobQueue
from nst_lightning.app.limits import Limits, RefusalError
from nst_lightning.app.visitor import Visitor
from nst_lightning.app.visitors import Visitors


@dataclass
class Studio:
    """Everything behind the page's addresses.

    Attributes:
        root: Its temporary folder.
        limits: What visitors may ask for.
        queue: Of jobs.
        visitors: Who is here.
        networks: Names of those that paint in one pass, and the samples whose styles each has learned.
        cookie: Name of the cookie.
        names: Host names under which the page may be asked for.
        is_closing: Whether the page is about to end.
    """

    root: Path
    limits: Limits
    queue: JobQueue
    visitors: Visitors
    networks: Mapping[str, Sequence[str]]
    cookie: str
    names: Sequence[str]
    is_closing: bool = False

    def visitor(self, request: Request) -> Visitor:
        """Find who asks.

        Raises:
            RefusalError: If there is no such visitor, or no longer.
        """
        visitor = self.visitors.find(request.cookies.get(self.cookie))
        if visitor is None:
            raise RefusalError(401, "this page has been open for too long; load it again.")
        return visitor

    def describe(self, job: Job) -> dict[str, Any]:
        """Give what the page shows of a job."""
        return job.describe(self.queue.position(job))
