"""What visitors may have, and for how long; without a server."""

from __future__ import annotations

import asyncio
import errno
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nst_lightning.app.instant import Painted
from nst_lightning.app.job_queue import Job, prolong
from nst_lightning.app.job_request import PREVIEW_FILE, RESULT_FILE, JobRequest, PaintOptions
from nst_lightning.app.limits import Limits, RefusalError
from nst_lightning.app.painting_process import Progress
from nst_lightning.app.sessions import InstantPainting, Session, Sessions, Upload


class Queue:
    """Takes jobs and never begins."""

    is_full = False

    def add(self, job: Job) -> None:
        if self.is_full:
            raise RefusalError(503, "full.")
        job.set_status("waiting")


def place(root: Path, **limits: Any) -> tuple[Sessions, Queue]:
    queue = Queue()
    return Sessions(root, Limits(**limits), queue), queue  # type: ignore[arg-type]


def bring(sessions: Sessions, session: Session, size: int = 10) -> Upload:
    with sessions.new_file(session) as file:
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(bytes(size))
        return sessions.add_upload(session, file, "me.png", (4, 3), size)


def test_the_oldest_picture_that_no_job_needs_makes_room(tmp_path: Path) -> None:
    sessions, _ = place(tmp_path, uploads=3)
    session = sessions.create()
    first, second, _ = (bring(sessions, session) for _ in range(3))
    sessions.start(session, first.id, "sample:starry", PaintOptions())
    bring(sessions, session)
    assert first.id in session.uploads
    assert first.file.exists()
    assert second.id not in session.uploads
    assert not second.file.exists()


def test_pictures_that_are_all_in_use_leave_no_room(tmp_path: Path) -> None:
    sessions, _ = place(tmp_path, uploads=1)
    session = sessions.create()
    sessions.start(session, bring(sessions, session).id, "sample:starry", PaintOptions())
    with pytest.raises(RefusalError, match="in use"):
        bring(sessions, session)


class Painter:
    """Paints at once, or fails."""

    problem: str | None = None
    meanwhile: Callable[[], object] = staticmethod(lambda: None)

    async def paint(self, request: JobRequest, is_wanted: Callable[[], bool]) -> Painted:
        self.meanwhile()
        request.folder.mkdir(parents=True)
        for name in (PREVIEW_FILE, RESULT_FILE):
            (request.folder / name).write_bytes(bytes(100))
        if self.problem is not None or not is_wanted():
            raise RefusalError(422, str(self.problem))
        return Painted(4, 3)


def at_once(sessions: Sessions, session: Session, tab: str, painter: Painter) -> InstantPainting:
    sources = {"content": "sample:town", "style": "sample:starry"}
    painting = sessions.paint_instant(session, tab, sources, PaintOptions(), painter)  # type: ignore[arg-type]
    return asyncio.run(painting)


def test_of_what_is_painted_at_once_each_tab_has_one_folder(tmp_path: Path) -> None:
    sessions, _ = place(tmp_path, tabs=2, lifetime=100)
    session, painter = sessions.create(), Painter()

    def folders() -> set[Path]:
        return {file.parent for file in tmp_path.rglob(RESULT_FILE)}

    at_once(sessions, session, "a", painter)
    second = at_once(sessions, session, "a", painter)
    assert folders() == {second.request.folder}
    painter.problem = "out of memory"
    with pytest.raises(RefusalError, match="memory"):
        at_once(sessions, session, "a", painter)
    assert session.instant_painting("a", second.number) is second  # what is seen stays
    assert folders() == {second.request.folder}
    painter.problem = None
    others = [at_once(sessions, session, tab, painter) for tab in "bc"]
    assert folders() == {each.request.folder for each in others}  # a's made room
    assert session.bytes == 400
    with pytest.raises(RefusalError, match="not there any more"):
        sessions.keep_instant(session, "a", second.number)
    painter.meanwhile = lambda: session.tabs.pop("a")  # as two further tabs would
    with pytest.raises(RefusalError, match="meanwhile"):
        at_once(sessions, session, "a", painter)
    others[0] = at_once(sessions, session, "b", Painter())
    kept = sessions.keep_instant(session, "c", others[1].number)
    assert folders() == {each.request.folder for each in others} | {kept.request.folder}
    sessions.sweep(time.monotonic() + 101)
    assert folders() == set()


def test_a_copy_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions, _ = place(tmp_path)
    session = sessions.create()
    painting = at_once(sessions, session, "a", Painter())

    def full(source: Path, target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(OSError, match="No space"):
        sessions.keep_instant(session, "a", painting.number)
    assert not list((tmp_path / "jobs").iterdir())
    assert not session.jobs


def test_all_visitors_together_get_so_many_bytes(tmp_path: Path) -> None:
    sessions, _ = place(tmp_path, upload_bytes=10, stored_bytes=30)
    one, other = sessions.create(), sessions.create()
    bring(sessions, one)
    with sessions.new_file(other):  # what is on its way counts for all it may become
        bring(sessions, one)
        with pytest.raises(RefusalError, match="no room"):
            bring(sessions, one)
    bring(sessions, one)
    with pytest.raises(RefusalError, match="no room"):
        bring(sessions, other)


def test_so_many_pictures_may_be_on_their_way(tmp_path: Path) -> None:
    sessions, _ = place(tmp_path, arriving=1)
    session = sessions.create()
    with sessions.new_file(session), pytest.raises(RefusalError, match="on their way"):
        bring(sessions, session)
    bring(sessions, session)


def test_one_visitor_does_not_take_all_the_room_on_the_way(tmp_path: Path) -> None:
    sessions, _ = place(tmp_path, arriving=3, arriving_each=2)
    one, other = sessions.create(), sessions.create()
    with sessions.new_file(one), sessions.new_file(one):
        with pytest.raises(RefusalError, match="2 of your pictures are on their way"):
            bring(sessions, one)
        bring(sessions, other)
    bring(sessions, one)


def test_pictures_on_their_way_count(tmp_path: Path) -> None:
    sessions, _ = place(tmp_path, uploads=2)
    session = sessions.create()
    first = bring(sessions, session)
    with sessions.new_file(session):
        bring(sessions, session)
        assert first.id not in session.uploads
        assert len(session.uploads) == 1


def test_what_was_painted_takes_room(tmp_path: Path) -> None:
    sessions, _ = place(tmp_path, upload_bytes=10, stored_bytes=30)
    one, other = sessions.create(), sessions.create()
    job = sessions.start(one, "sample:town", "sample:starry", PaintOptions())
    (job.request.folder / "checkpoints").mkdir()
    (job.request.folder / "checkpoints" / "last.ckpt").write_bytes(bytes(31))
    job.measure()
    with pytest.raises(RefusalError, match="no room"):
        sessions.start(other, "sample:town", "sample:starry", PaintOptions())
    with pytest.raises(RefusalError, match="no room"):
        bring(sessions, other)


def test_what_did_not_arrive_leaves_nothing(tmp_path: Path) -> None:
    sessions, _ = place(tmp_path)
    session = sessions.create()
    on_its_way = sessions.new_file(session)
    file = on_its_way.__enter__()
    file.parent.mkdir()
    file.write_bytes(b"half")
    on_its_way.__exit__(MemoryError, MemoryError(), None)
    assert not file.exists()
    assert list((tmp_path / "uploads").iterdir()) == []
    assert session.uploads == {}


def test_visitors_who_have_nothing_make_room(tmp_path: Path) -> None:
    sessions, _ = place(tmp_path, sessions=2)
    one, other = sessions.create(), sessions.create()
    bring(sessions, one)
    third = sessions.create()
    assert sessions.find(one.token) is one
    assert sessions.find(other.token) is None
    bring(sessions, third)
    with pytest.raises(RefusalError, match="too many people"):
        sessions.create()


def test_a_full_queue_leaves_nothing_behind(tmp_path: Path) -> None:
    sessions, queue = place(tmp_path)
    session = sessions.create()
    job = sessions.start(session, "sample:town", "sample:starry", PaintOptions())
    job.set_status("complete")
    job.progress = Progress(7, (4, 3), 1, 4, 3, 1.0, 0.0, 1)
    request = job.request
    queue.is_full = True
    with pytest.raises(RefusalError, match="full"):
        sessions.start(session, "sample:town", "sample:starry", PaintOptions())
    with pytest.raises(RefusalError, match="full"):
        sessions.resume(session, job)
    assert list(session.jobs.values()) == [job]
    assert [folder.name for folder in (tmp_path / "jobs").iterdir()] == [request.id]
    assert job.request is request


def test_the_oldest_finished_job_makes_room(tmp_path: Path) -> None:
    sessions, _ = place(tmp_path, kept=2)
    session = sessions.create()
    jobs = []
    for _ in range(3):
        jobs.append(sessions.start(session, "sample:town", "sample:starry", PaintOptions()))
        jobs[-1].set_status("complete")
    assert list(session.jobs.values()) == jobs[1:]
    assert not jobs[0].request.folder.exists()


def test_active_jobs_and_their_pictures_outlive_the_hour(tmp_path: Path) -> None:
    sessions, _ = place(tmp_path, lifetime=3600)
    session = sessions.create()
    used, unused = bring(sessions, session), bring(sessions, session)
    job = sessions.start(session, used.id, "sample:starry", PaintOptions())
    sessions.sweep(time.monotonic() + 4000)
    assert session.jobs
    assert used.file.exists()
    assert not unused.file.exists()
    job.set_status("complete")
    sessions.sweep(time.monotonic() + 3500)
    assert session.jobs
    sessions.sweep(time.monotonic() + 3700)
    assert not session.jobs
    assert sessions.find(session.token) is None
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_prolonging_adds_half_of_the_last_level() -> None:
    request = JobRequest("id", PaintOptions(), "a", "b", ("a", "b"), Path(), 1)
    request = prolong(request, Progress(30, (20, 10), 1, 4, 3, 1.0, 0.0, 1))
    assert request.options.prolonged == ((20, 15),)
    request = prolong(request, Progress(35, (20, 15), 1, 4, 3, 1.0, 0.0, 1))
    assert request.options.prolonged == ((20, 15), (20, 22))


def test_prolonging_has_an_end() -> None:
    request = JobRequest(
        "id", PaintOptions(quality="draft"), "a", "b", ("a", "b"), Path(), 1
    )  # 90 steps, then 43 at each level
    request = prolong(request, Progress(600, (90, 827), 1, 4, 3, 1.0, 0.0, 1))
    assert request.options.prolonged == ((90, 1240),)  # 1330 of 1330
    with pytest.raises(RefusalError, match="10 times"):
        prolong(request, Progress(600, (90, 828), 1, 4, 3, 1.0, 0.0, 1))  # 1332


def test_a_stopped_picture_has_the_command_that_stops_there() -> None:
    request = JobRequest("id", PaintOptions(), "sample:town", "/x", ("sample:town", "sample:mosaic"), Path(), 1)
    job = Job(request, 0.0)
    whole = job.describe(0)["command"]
    assert "--data.style ./sample:mosaic" in whole
    job.set_status("stopped")
    assert job.describe(0)["command"] == whole  # it had not begun
    job.progress = Progress(30, (20, 10), 1, 4, 3, 1.0, 0.0, 1)
    assert "--trainer.max_steps 30 " in job.describe(0)["command"]
    job.request = prolong(request, job.progress)
    assert job.describe(0)["command"] == whole  # it was stopped before it was gone on with
    job.progress = Progress(31, (20, 15), 1, 4, 3, 1.0, 0.0, 1)
    first, second = job.describe(0)["command"].split(" && ")
    assert first == whole
    assert "--trainer.max_steps 31 " in second


def test_messages_show_the_visitors_names_instead_of_paths() -> None:
    request = JobRequest(
        "id", PaintOptions(), "/tmp/x/uploads/abc", "sample:starry", ("me.png", "sample:starry"), Path("/tmp/x"), 1
    )
    assert request.without_paths("found /tmp/x/uploads/abc damaged") == "found me.png damaged"
    assert "/tmp" not in request.without_paths("cannot write /tmp/x/picture.png")
