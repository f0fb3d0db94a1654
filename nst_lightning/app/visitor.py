"""One visitor, and what that visitor has here; nobody else sees it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from nst_lightning.app.job import Job
from nst_lightning.app.limits import RefusalError


@dataclass
class Upload:
    """A picture that a visitor brought.

    Attributes:
        id: By which the visitor names it.
        name: That the visitor's file has; it never becomes part of a path.
        file: Where it lies.
        width: Pixels.
        height: Pixels.
        bytes: Of the file.
        used: When it was brought or last painted from, by `time.monotonic`.
    """

    id: str
    name: str
    file: Path
    width: int
    height: int
    bytes: int
    used: float


@dataclass
class Visitor:
    """One browser.

    Attributes:
        token: Of its cookie.
        seen: When it last asked for something, by `time.monotonic`.
        uploads: By id, oldest first.
        jobs: By id, oldest first.
        arriving: Pictures that are on their way here.
        streams: Of events, that are open.
    """

    token: str
    seen: float
    uploads: dict[str, Upload] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    arriving: int = 0
    streams: int = 0

    @property
    def has_nothing(self) -> bool:
        """Whether nothing would be lost with the visitor."""
        return not (self.jobs or self.uploads or self.arriving)

    @property
    def bytes(self) -> int:
        """Of all that the visitor brought and made."""
        return sum(upload.bytes for upload in self.uploads.values()) + sum(job.bytes for job in self.jobs.values())

    def job(self, id: str) -> Job:
        """Find a job of this visitor's.

        Raises:
            RefusalError: If there is none.
        """
        if id not in self.jobs:
            raise RefusalError(404, "there is no such picture, or it has been deleted; load the page again.")
        self.jobs[id].used = time.monotonic()
        return self.jobs[id]
