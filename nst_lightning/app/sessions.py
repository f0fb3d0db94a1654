"""The visitors' sessions: what each may have here, and when it is deleted. Nobody sees another's."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from nst_lightning.app.decoding import thumbnail
from nst_lightning.app.instant import InstantPainter
from nst_lightning.app.job_queue import Job, JobQueue, prolong, size_of
from nst_lightning.app.job_request import RESULT_FILE, Beginning, JobRequest, PaintOptions
from nst_lightning.app.limits import Limits, RefusalError
from nst_lightning.app.uploads import shown_name
from nst_lightning.images.samples import SAMPLE, SAMPLES

ROLES = ("content", "style", "mask")


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
        role: One of `ROLES`: what the visitor brought it for.
    """

    id: str
    name: str
    file: Path
    width: int
    height: int
    bytes: int
    used: float
    role: str = "content"

    def describe(self) -> dict[str, Any]:
        """Return what the visitor's page shows."""
        return {
            "id": self.id,
            "name": shown_name(self.name),
            "width": self.width,
            "height": self.height,
            "bytes": self.bytes,
            "role": self.role,
        }


@dataclass(frozen=True)
class InstantPainting:
    """A painting in one pass.

    Attributes:
        number: Its number among those of a tab.
        request: What was painted, and into which folder.
        width: Pixels.
        height: Pixels.
        bytes: Size of its folder.
        sources: The visitor's words for what was painted.
    """

    number: int
    request: JobRequest
    width: int
    height: int
    bytes: int
    sources: Mapping[str, Any]


@dataclass
class Tab:
    """A tab of the page, which shows one painting in one pass.

    Attributes:
        folder: Where its paintings are written, each into a folder of its own.
        used: Time when one was asked for, by `time.monotonic`.
        asked: Number of paintings that were asked for.
        painting: The last one; `None` for nothing.
    """

    folder: Path
    used: float
    asked: int = 0
    painting: InstantPainting | None = None

    @property
    def bytes(self) -> int:
        """Size of its painting."""
        return self.painting.bytes if self.painting else 0


@dataclass
class Session:
    """One browser's.

    Attributes:
        token: Value of its cookie.
        seen: Time when it last asked for something, by `time.monotonic`.
        tabs: Its tabs that show a painting in one pass, by the names that they have given themselves, the one that
            asked least recently first.
        name: What its pages know it by, no secret: whether this is the session that they had.
        uploads: Images that were brought, by id, oldest first.
        jobs: Jobs by id, oldest first.
        arriving: Number of images that are on their way here.
        streams: Number of streams of events that are open.
    """

    token: str
    seen: float
    tabs: dict[str, Tab] = field(default_factory=dict)
    name: str = field(default_factory=partial(secrets.token_urlsafe, 8))
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
        kept: list[Upload | Job | Tab] = [*self.uploads.values(), *self.jobs.values(), *self.tabs.values()]
        return sum(each.bytes for each in kept)

    def job(self, id: str) -> Job:
        """Return a job of this session.

        Raises:
            RefusalError: If there is none.
        """
        if id not in self.jobs:
            raise RefusalError(404, "there is no such picture, or it has been deleted; load the page again.")
        self.jobs[id].used = time.monotonic()
        return self.jobs[id]

    def instant_painting(self, tab: str, number: int) -> InstantPainting:
        """Return a tab's painting in one pass.

        Raises:
            RefusalError: If there is none, or another one is there by now.
        """
        found = self.tabs[tab].painting if tab in self.tabs else None
        if found is None or found.number != number:
            raise RefusalError(404, "that painting is not there any more; choose the two pictures again.")
        return found


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
            self._forget(min(idle, key=lambda session: session.seen))
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

    def add_upload(
        self, session: Session, file: Path, name: str, size: tuple[int, int], bytes: int, role: str = "content"
    ) -> Upload:
        """Remember an image that has come.

        Args:
            session: Session of who brought it.
            file: File from `new_file`.
            name: Name of the visitor's file.
            size: Width and height, pixels.
            bytes: Size of the file.
            role: One of `ROLES`.
        """
        upload = Upload(secrets.token_urlsafe(24), name, file, *size, bytes, time.monotonic(), role)
        session.uploads[upload.id] = upload
        return upload

    def request(self, session: Session, sources: Mapping[str, Any], options: PaintOptions, folder: Path) -> JobRequest:
        """Return what is to be painted.

        Args:
            session: Session of who asks.
            sources: `content`, `sample:NAME` or the id of an upload; `style`, one likewise or a list of them; `masks`,
                if there are any, ids of uploads in a list as long.
            options: How to paint.
            folder: Where everything is written.

        Raises:
            RefusalError: If an image is unknown, or the numbers do not fit together.
        """
        styles, masks = sources.get("style"), sources.get("masks") or []
        styles = styles if isinstance(styles, list) else [styles]
        if not 1 <= len(styles) <= self._limits.styles:
            raise RefusalError(400, f"a picture has one to {self._limits.styles} styles; choose as many.")
        if not isinstance(masks, list) or len(masks) not in (0, len(styles)):
            raise RefusalError(400, "masks is a list with one for each style; send one.")
        if options.weights and len(options.weights) != len(styles):
            raise RefusalError(400, "weights is a list with one number for each style; send one.")
        (content, content_name), (style, style_name), *further = (
            self._source(session, given) for given in (sources.get("content"), *styles)
        )
        return JobRequest(
            folder.name,
            options,
            content,
            style,
            (content_name, style_name, *(name for _, name in further)),
            folder,
            self._limits.pixels,
            tuple(path for path, _ in further),
            tuple(self._source(session, mask)[0] for mask in masks),
        )

    def start(self, session: Session, content: Any, style: Any, options: PaintOptions, masks: Any = None) -> Job:
        """Let a new job wait for its turn.

        Args:
            session: Session that the job belongs to.
            content: As in `request`.
            style: As in `request`.
            options: How to paint.
            masks: As in `request`.

        Raises:
            RefusalError: If an image is unknown, the session has too many jobs, or all of them have too much here.
        """
        self._check_waiting(session)
        self._check_room()
        sources = {"content": content, "style": style, "masks": masks}
        request = self.request(session, sources, options, self._new_folder())
        if options.start == "instant" and not options.instant:
            request = request.begun_with_instant()
        return self._start(session, Job(request, time.monotonic(), sources=sources))

    def enlarge(self, session: Session, job: Job, size: int) -> Job:
        """Let a new job wait that paints what a job has painted once more, larger, going on from that.

        Args:
            session: Session that both belong to.
            job: Job that is complete, or was stopped.
            size: Long side of the result, pixels.

        Raises:
            RefusalError: If there is nothing to go on from, it is no smaller, or there is too much here.
        """
        before = job.request
        if job.is_active or not (before.folder / RESULT_FILE).exists():
            raise RefusalError(409, "there is no picture yet that could be painted larger.")
        if not before.options.size < size <= self._limits.size:
            raise RefusalError(400, f"size is from {before.options.size + 1} to {self._limits.size}; choose another.")
        self._check_waiting(session)
        self._check_room()
        folder = self._new_folder()
        options = replace(before.options, size=size, prolonged=())
        if options.instant:
            request = replace(before, id=folder.name, options=options, folder=folder)
        else:
            name = before.file_name
            beginning = Beginning(folder / "before.png", name, job.command())
            options = replace(options, begins_at=before.options.size + 1)
            request = replace(before, id=folder.name, options=options, folder=folder, beginning=beginning)
            with self._filled(folder):
                shutil.copyfile(before.folder / RESULT_FILE, beginning.file)
        return self._start(session, Job(request, time.monotonic(), sources=job.sources))

    async def paint_instant(
        self, session: Session, tab: str, sources: Mapping[str, Any], options: PaintOptions, painter: InstantPainter
    ) -> InstantPainting:
        """Paint a tab's painting in one pass, which takes the last one's place.

        Args:
            session: Session of who asks.
            tab: The tab's name; of too many the one that asked least recently is forgotten.
            sources: As in `request`.
            options: How to paint; a larger size than the limit is painted at the limit.
            painter: Process that paints.

        Raises:
            RefusalError: If an image is unknown, it was overtaken by another one, or can't be painted.
        """
        self._check_room()
        sources = {**sources, "masks": None}
        options = replace(options, instant=True, size=min(options.size, self._limits.instant_size))
        asking = self._tab(session, tab)
        number = asking.asked + 1
        request = self.request(session, sources, options, asking.folder / str(number))
        asking.asked, asking.used = number, time.monotonic()
        try:
            painted = await painter.paint(request, lambda: asking.asked == number)
            if session.tabs.get(tab) is not asking:  # other tabs have asked meanwhile, and it was forgotten
                raise RefusalError(409, "other paintings were asked for meanwhile.")
        except BaseException:
            shutil.rmtree(request.folder, ignore_errors=True)
            raise
        before = asking.painting
        size = size_of(request.folder)
        asking.painting = InstantPainting(number, request, painted.width, painted.height, size, sources)
        if before is not None:
            shutil.rmtree(before.request.folder, ignore_errors=True)
        return asking.painting

    def keep_instant(self, session: Session, tab: str, number: int) -> Job:
        """Return a complete job that has a tab's painting in one pass.

        Raises:
            RefusalError: If there is none of that number.
        """
        painting = session.instant_painting(tab, number)
        self._check_room()
        folder = self._new_folder()
        with self._filled(folder):
            for file in painting.request.folder.iterdir():
                shutil.copyfile(file, folder / file.name)
        request = replace(painting.request, id=folder.name, folder=folder)
        job = Job(request, time.monotonic(), previews=1, sources=painting.sources)
        job.set_status("complete")
        job.measure()
        self._add(session, job)
        return job

    def delete(self, session: Session, job: Job) -> None:
        """Delete a job and all that it wrote.

        Raises:
            RefusalError: If it waits or is painted.
        """
        if job.is_active:
            raise RefusalError(409, "this picture is being painted; stop it first.")
        self._delete_job(session, job)

    def _new_folder(self) -> Path:
        return self._root / "jobs" / secrets.token_urlsafe(24)

    @staticmethod
    @contextmanager
    def _filled(folder: Path) -> Iterator[None]:
        """Make a folder that is filled meanwhile; it is deleted if that fails."""
        folder.mkdir(parents=True)
        try:
            yield
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def _tab(self, session: Session, name: str) -> Tab:
        """Return a tab, a new one if there is none of that name, as the one that asked most recently."""
        found = session.tabs.pop(name, None)
        if found is None:
            found = Tab(self._root / "instant" / secrets.token_urlsafe(24), time.monotonic())
        session.tabs[name] = found
        while len(session.tabs) > self._limits.tabs:
            self._delete_tab(session, next(iter(session.tabs)))
        return found

    def _start(self, session: Session, job: Job) -> Job:
        job.request.folder.mkdir(parents=True, exist_ok=True)
        session.jobs[job.request.id] = job
        try:
            self._queue.add(job)
        except RefusalError:
            self._delete_job(session, job)
            raise
        self._add(session, job)
        return job

    def _add(self, session: Session, job: Job) -> None:
        session.jobs[job.request.id] = job
        finished = [other for other in session.jobs.values() if not other.is_active and other is not job]
        for other in finished[: max(0, len(session.jobs) - self._limits.kept)]:
            self._delete_job(session, other)

    def resume(self, session: Session, job: Job) -> None:
        """Let a job that has ended go on from its checkpoint; a complete one is given more steps.

        Raises:
            RefusalError: If it has not ended, can't go on, has gone on for long enough, or the session has too many
                jobs.
        """
        if job.is_active:
            raise RefusalError(409, "this picture is being painted already.")
        if job.status == "complete" and job.request.options.instant:
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
            for name, tab in list(session.tabs.items()):
                if tab.used < oldest:
                    self._delete_tab(session, name)
            if session.seen < oldest and session.has_nothing:
                self._forget(session)

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
        needed = {file for job in session.jobs.values() for file in job.request.files}
        return [upload for upload in session.uploads.values() if str(upload.file) not in needed]

    def _delete_job(self, session: Session, job: Job) -> None:
        del session.jobs[job.request.id]
        shutil.rmtree(job.request.folder, ignore_errors=True)

    def _delete_tab(self, session: Session, name: str) -> None:
        shutil.rmtree(session.tabs.pop(name).folder, ignore_errors=True)

    def _forget(self, session: Session) -> None:
        del self._sessions[session.token]
        for name in list(session.tabs):
            self._delete_tab(session, name)

    def _delete_upload(self, session: Session, upload: Upload) -> None:
        del session.uploads[upload.id]
        _delete(upload.file)


def _delete(file: Path) -> None:
    file.unlink(missing_ok=True)
    thumbnail(file).unlink(missing_ok=True)
