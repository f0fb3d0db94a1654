"""The visitors' sessions: what each may have here, and when it is deleted. Nobody sees another's."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nst_lightning.app.decoding import thumbnail
from nst_lightning.app.job_queue import Job, JobQueue, prolong
from nst_lightning.app.limits import Limits, RefusalError
from nst_lightning.app.options import JobRequest, PaintOptions
from nst_lightning.images.samples import SAMPLE, SAMPLES


@dataclass
class Upload:
    """An image that a visitor brought.

    Attributes:
        id: Identifier by which the visitor names it.
        name: Name of the visitor's file; it never becomes part of a path.
        file: Where it lies.
        width: Pixels.
        height: Pixels.
        bytes: Size of the file.
        used: Time when it was brought or last painted from, by `time.monotonic`.
    """

    id: str
    name: str
    file: Path
    width: int
    height: int
    bytes: int
    used: float


@dataclass
class Session:
    """One browser's.

    Attributes:
        token: Value of its cookie.
        seen: Time when it last asked for something, by `time.monotonic`.
        uploads: Images that were brought, by id, oldest first.
        jobs: Jobs by id, oldest first.
        arriving: Number of images that are on their way here.
        streams: Number of streams of events that are open.
    """

    token: str
    seen: float
    uploads: dict[str, Upload] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    arriving: int = 0
    streams: int = 0

    @property
    def has_nothing(self) -> bool:
        """Whether nothing would be lost with the session."""
        return not (self.jobs or self.uploads or self.arriving)

    @property
    def bytes(self) -> int:
        """Size of all that the visitor brought and made."""
        return sum(upload.bytes for upload in self.uploads.values()) + sum(job.bytes for job in self.jobs.values())

    def job(self, id: str) -> Job:
        """Return a job of this session.

        Raises:
            RefusalError: If there is none.
        """
        if id not in self.jobs:
            raise RefusalError(404, "there is no such picture, or it has been deleted; load the page again.")
        self.jobs[id].used = time.monotonic()
        return self.jobs[id]


class Sessions:
    """All sessions of a page.

    Args:
        root: The page's temporary folder.
        limits: What visitors may ask for.
        queue: Queue that takes the jobs.
    """

    def __init__(self, root: Path, limits: Limits, queue: JobQueue) -> None:
        self._root = root
        self._limits = limits
        self._queue = queue
        self._sessions: dict[str, Session] = {}
        self._arriving = 0

    def __len__(self) -> int:
        return len(self._sessions)

    def find(self, token: str | None) -> Session | None:
        """Return the session with this cookie; `None` if there is none."""
        session = self._sessions.get(token or "")
        if session is not None:
            session.seen = time.monotonic()
        return session

    def create(self) -> Session:
        """Return a new session; of too many the one that has nothing here and was away longest makes room.

        Raises:
            RefusalError: If all others have something here.
        """
        if len(self._sessions) >= self._limits.sessions:
            idle = [session for session in self._sessions.values() if session.has_nothing]
            if not idle:
                raise RefusalError(503, "too many people are here; try again in some minutes.")
            del self._sessions[min(idle, key=lambda session: session.seen).token]
        session = Session(secrets.token_urlsafe(24), time.monotonic())
        self._sessions[session.token] = session
        return session

    @contextmanager
    def new_file(self, session: Session) -> Iterator[Path]:
        """Yield a new file to write an upload to; it is deleted if that fails.

        Args:
            session: Session of who brings it.

        Raises:
            RefusalError: If the session, or all of them, have too many here or on the way.
        """
        if session.arriving >= self._limits.arriving_each:
            raise RefusalError(429, f"{session.arriving} of your pictures are on their way here; wait for them.")
        if self._arriving >= self._limits.arriving:
            raise RefusalError(503, "many pictures are on their way here; try again in a moment.")
        if len(session.uploads) + session.arriving >= self._limits.uploads:
            unused = self._unused(session)
            if not unused:
                raise RefusalError(429, f"{self._limits.uploads} of your pictures are in use; try again later.")
            self._delete_upload(session, min(unused, key=lambda upload: upload.used))
        self._check_room((self._arriving + 1) * self._limits.upload_bytes)
        file = self._root / "uploads" / secrets.token_urlsafe(24)
        self._arriving += 1
        session.arriving += 1
        try:
            yield file
        except BaseException:
            _delete(file)
            raise
        finally:
            self._arriving -= 1
            session.arriving -= 1

    def add_upload(self, session: Session, file: Path, name: str, size: tuple[int, int], bytes: int) -> Upload:
        """Remember an image that has come.

        Args:
            session: Session of who brought it.
            file: File from `new_file`.
            name: Name of the visitor's file.
            size: Width and height, pixels.
            bytes: Size of the file.
        """
        upload = Upload(secrets.token_urlsafe(24), name, file, *size, bytes, time.monotonic())
        session.uploads[upload.id] = upload
        return upload

    def start(self, session: Session, content: str, style: str, options: PaintOptions) -> Job:
        """Let a new job wait for its turn.

        Args:
            session: Session that the job belongs to.
            content: `sample:NAME` or the id of an upload.
            style: `sample:NAME` or the id of an upload.
            options: How to paint.

        Raises:
            RefusalError: If an image is unknown, the session has too many jobs, or all of them have too much here.
        """
        self._check_waiting(session)
        self._check_room()
        sources = [self._source(session, given) for given in (content, style)]
        id = secrets.token_urlsafe(24)
        folder = self._root / "jobs" / id
        (first, first_name), (second, second_name) = sources
        request = JobRequest(id, options, first, second, (first_name, second_name), folder, self._limits.pixels)
        job = Job(request, time.monotonic())
        folder.mkdir(parents=True)
        session.jobs[id] = job
        try:
            self._queue.add(job)
        except RefusalError:
            self._delete_job(session, job)
            raise
        finished = [other for other in session.jobs.values() if not other.is_active]
        for other in finished[: max(0, len(session.jobs) - self._limits.kept)]:
            self._delete_job(session, other)
        return job

    def resume(self, session: Session, job: Job) -> None:
        """Let a job that has ended go on from its checkpoint; a complete one is given more steps.

        Raises:
            RefusalError: If it has not ended, can't go on, has gone on for long enough, or the session has too many
                jobs.
        """
        if job.is_active:
            raise RefusalError(409, "this picture is being painted already.")
        if job.status == "complete" and job.request.options.network is not None:
            raise RefusalError(409, "a picture that was painted in one pass is finished.")
        self._check_waiting(session)
        request = job.request
        if job.status == "complete":
            job.request = prolong(job.request, job.progress)
        try:
            self._queue.add(job)
        except RefusalError:
            job.request = request
            raise

    def sweep(self, now: float) -> None:
        """Delete what has not been used for too long.

        Args:
            now: Time by `time.monotonic`.
        """
        oldest = now - self._limits.lifetime
        for session in list(self._sessions.values()):
            for job in list(session.jobs.values()):
                if not job.is_active and job.used < oldest:
                    self._delete_job(session, job)
            for upload in self._unused(session):
                if upload.used < oldest:
                    self._delete_upload(session, upload)
            if session.seen < oldest and session.has_nothing:
                del self._sessions[session.token]

    def _check_waiting(self, session: Session) -> None:
        if sum(job.is_active for job in session.jobs.values()) >= self._limits.waiting:
            raise RefusalError(
                429, f"{self._limits.waiting} of your pictures are being painted or waiting; stop one, or wait."
            )

    def _check_room(self, more: int = 0) -> None:
        stored = sum(session.bytes for session in self._sessions.values())
        if stored + more > self._limits.stored_bytes:
            raise RefusalError(503, "there is no room for more pictures at the moment; try again in an hour.")

    def _source(self, session: Session, given: Any) -> tuple[str, str]:
        """Return the path, or `sample:NAME`, and the name."""
        if isinstance(given, str) and given.removeprefix(SAMPLE) in SAMPLES and given.startswith(SAMPLE):
            return given, given
        upload = session.uploads.get(given) if isinstance(given, str) else None
        if upload is None:
            raise RefusalError(404, "a picture is missing, or has been deleted; choose it again.")
        upload.used = time.monotonic()
        return str(upload.file), upload.name

    def _unused(self, session: Session) -> list[Upload]:
        """Return the uploads that no job needs to go on."""
        needed = {file for job in session.jobs.values() for file in (job.request.content, job.request.style)}
        return [upload for upload in session.uploads.values() if str(upload.file) not in needed]

    def _delete_job(self, session: Session, job: Job) -> None:
        del session.jobs[job.request.id]
        shutil.rmtree(job.request.folder, ignore_errors=True)

    def _delete_upload(self, session: Session, upload: Upload) -> None:
        del session.uploads[upload.id]
        _delete(upload.file)


def _delete(file: Path) -> None:
    file.unlink(missing_ok=True)
    thumbnail(file).unlink(missing_ok=True)
