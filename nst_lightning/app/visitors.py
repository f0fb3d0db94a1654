"""All visitors: what they may have here, and when it is deleted."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nst_lightning.app.job import Job, prolonged
from nst_lightning.app.jobs import JobQueue
from nst_lightning.app.limits import Limits, RefusalError
from nst_lightning.app.order import Order
from nst_lightning.app.recipe import Recipe
from nst_lightning.app.uploads import thumbnail
from nst_lightning.app.visitor import Upload, Visitor
from nst_lightning.images.samples import SAMPLE, SAMPLES


class Visitors:
    """All visitors of a page.

    Args:
        root: The page's temporary folder.
        limits: What they may ask for.
        queue: Where jobs go.
    """

    def __init__(self, root: Path, limits: Limits, queue: JobQueue) -> None:
        self._root = root
        self._limits = limits
        self._queue = queue
        self._visitors: dict[str, Visitor] = {}
        self._arriving = 0

    def find(self, token: str | None) -> Visitor | None:
        """Give the visitor whose cookie this is."""
        visitor = self._visitors.get(token or "")
        if visitor is not None:
            visitor.seen = time.monotonic()
        return visitor

    def welcome(self) -> Visitor:
        """Give a new visitor; of too many the one that has nothing here and was away longest makes room.

        Raises:
            RefusalError: If all others have something here.
        """
        if len(self._visitors) >= self._limits.visitors:
            idle = [visitor for visitor in self._visitors.values() if visitor.has_nothing]
            if not idle:
                raise RefusalError(503, "too many people are here; try again in some minutes.")
            del self._visitors[min(idle, key=lambda visitor: visitor.seen).token]
        visitor = Visitor(secrets.token_urlsafe(24), time.monotonic())
        self._visitors[visitor.token] = visitor
        return visitor

    @contextmanager
    def place_for_upload(self, visitor: Visitor) -> Iterator[Path]:
        """Yield a new file to write a picture to; it is deleted if that fails.

        Args:
            visitor: Who brings it.

        Raises:
            RefusalError: If the visitor, or all of them, have too many here or on the way.
        """
        if visitor.arriving >= self._limits.arriving_each:
            raise RefusalError(429, f"{visitor.arriving} of your pictures are on their way here; wait for them.")
        if self._arriving >= self._limits.arriving:
            raise RefusalError(503, "many pictures are on their way here; try again in a moment.")
        if len(visitor.uploads) + visitor.arriving >= self._limits.pictures:
            unused = self._unused(visitor)
            if not unused:
                raise RefusalError(429, f"{self._limits.pictures} of your pictures are in use; try again later.")
            self._forget(visitor, min(unused, key=lambda upload: upload.used))
        self._check_room((self._arriving + 1) * self._limits.upload_bytes)
        file = self._root / "uploads" / secrets.token_urlsafe(24)
        self._arriving += 1
        visitor.arriving += 1
        try:
            yield file
        except BaseException:
            _delete(file)
            raise
        finally:
            self._arriving -= 1
            visitor.arriving -= 1

    def keep(self, visitor: Visitor, file: Path, name: str, size: tuple[int, int], bytes: int) -> Upload:
        """Remember a picture that has come.

        Args:
            visitor: Who brought it.
            file: From `place_for_upload`.
            name: That it has with the visitor.
            size: Width and height, pixels.
            bytes: Of the file.
        """
        upload = Upload(secrets.token_urlsafe(24), name, file, *size, bytes, time.monotonic())
        visitor.uploads[upload.id] = upload
        return upload

    def start(self, visitor: Visitor, content: str, style: str, recipe: Recipe) -> Job:
        """Let a new job wait for its turn.

        Args:
            visitor: Whose it is.
            content: `sample:NAME` or the id of an upload.
            style: The same.
            recipe: How to paint.

        Raises:
            RefusalError: If a picture is unknown, the visitor has too many jobs, or all of them have too much here.
        """
        self._check_waiting(visitor)
        self._check_room()
        sources = [self._source(visitor, given) for given in (content, style)]
        id = secrets.token_urlsafe(24)
        folder = self._root / "jobs" / id
        (first, first_name), (second, second_name) = sources
        order = Order(id, recipe, first, second, (first_name, second_name), folder, self._limits.pixels)
        job = Job(order, time.monotonic())
        folder.mkdir(parents=True)
        visitor.jobs[id] = job
        try:
            self._queue.add(job)
        except RefusalError:
            self._drop(visitor, job)
            raise
        finished = [other for other in visitor.jobs.values() if not other.is_active]
        for other in finished[: max(0, len(visitor.jobs) - self._limits.kept)]:
            self._drop(visitor, other)
        return job

    def go_on(self, visitor: Visitor, job: Job) -> None:
        """Let a job that has ended go on from its checkpoint; a complete one is given more steps.

        Raises:
            RefusalError: If it has not ended, can't go on, has gone on for long enough, or the visitor has too many
                jobs.
        """
        if job.is_active:
            raise RefusalError(409, "this picture is being painted already.")
        if job.status == "complete" and job.order.recipe.network is not None:
            raise RefusalError(409, "a picture that was painted in one pass is finished.")
        self._check_waiting(visitor)
        order = job.order
        if job.status == "complete":
            job.order = prolonged(job.order, job.progress)
        try:
            self._queue.add(job)
        except RefusalError:
            job.order = order
            raise

    def sweep(self, now: float) -> None:
        """Delete what has not been used for too long.

        Args:
            now: By `time.monotonic`.
        """
        oldest = now - self._limits.lifetime
        for visitor in list(self._visitors.values()):
            for job in list(visitor.jobs.values()):
                if not job.is_active and job.used < oldest:
                    self._drop(visitor, job)
            for upload in self._unused(visitor):
                if upload.used < oldest:
                    self._forget(visitor, upload)
            if visitor.seen < oldest and visitor.has_nothing:
                del self._visitors[visitor.token]

    def _check_waiting(self, visitor: Visitor) -> None:
        if sum(job.is_active for job in visitor.jobs.values()) >= self._limits.waiting:
            raise RefusalError(
                429, f"{self._limits.waiting} of your pictures are being painted or waiting; stop one, or wait."
            )

    def _check_room(self, more: int = 0) -> None:
        stored = sum(visitor.bytes for visitor in self._visitors.values())
        if stored + more > self._limits.stored_bytes:
            raise RefusalError(503, "there is no room for more pictures at the moment; try again in an hour.")

    def _source(self, visitor: Visitor, given: Any) -> tuple[str, str]:
        """Give the path, or `sample:NAME`, and the name."""
        if isinstance(given, str) and given.removeprefix(SAMPLE) in SAMPLES and given.startswith(SAMPLE):
            return given, given
        upload = visitor.uploads.get(given) if isinstance(given, str) else None
        if upload is None:
            raise RefusalError(404, "a picture is missing, or has been deleted; choose it again.")
        upload.used = time.monotonic()
        return str(upload.file), upload.name

    def _unused(self, visitor: Visitor) -> list[Upload]:
        """Give the uploads that no job needs to go on."""
        needed = {file for job in visitor.jobs.values() for file in (job.order.content, job.order.style)}
        return [upload for upload in visitor.uploads.values() if str(upload.file) not in needed]

    def _drop(self, visitor: Visitor, job: Job) -> None:
        del visitor.jobs[job.order.id]
        shutil.rmtree(job.order.folder, ignore_errors=True)

    def _forget(self, visitor: Visitor, upload: Upload) -> None:
        del visitor.uploads[upload.id]
        _delete(upload.file)


def _delete(file: Path) -> None:
    file.unlink(missing_ok=True)
    thumbnail(file).unlink(missing_ok=True)
