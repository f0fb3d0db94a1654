"""What visitors may have, and for how long; without a server."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from nst_lightning.app.job import Job, prolonged
from nst_lightning.app.limits import Limits, RefusalError
from nst_lightning.app.order import Order, Progress
from nst_lightning.app.recipe import Recipe
from nst_lightning.app.visitor import Upload, Visitor
from nst_lightning.app.visitors import Visitors


class Queue:
    """Takes jobs and never begins."""

    is_full = False

    def add(self, job: Job) -> None:
        if self.is_full:
            raise RefusalError(503, "full.")
        job.set("waiting")


def place(root: Path, **limits: Any) -> tuple[Visitors, Queue]:
    queue = Queue()
    return Visitors(root, Limits(**limits), queue), queue  # type: ignore[arg-type]


def bring(visitors: Visitors, visitor: Visitor, size: int = 10) -> Upload:
    with visitors.place_for_upload(visitor) as file:
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(bytes(size))
        return visitors.keep(visitor, file, "me.png", (4, 3), size)


def test_the_oldest_picture_that_no_job_needs_makes_room(tmp_path: Path) -> None:
    visitors, _ = place(tmp_path, pictures=3)
    visitor = visitors.welcome()
    first, second, _ = (bring(visitors, visitor) for _ in range(3))
    visitors.start(visitor, first.id, "sample:starry", Recipe())
    bring(visitors, visitor)
    assert first.id in visitor.uploads
    assert first.file.exists()
    assert second.id not in visitor.uploads
    assert not second.file.exists()


def test_pictures_that_are_all_in_use_leave_no_room(tmp_path: Path) -> None:
    visitors, _ = place(tmp_path, pictures=1)
    visitor = visitors.welcome()
    visitors.start(visitor, bring(visitors, visitor).id, "sample:starry", Recipe())
    with pytest.raises(RefusalError, match="in use"):
        bring(visitors, visitor)


def test_all_visitors_together_get_so_many_bytes(tmp_path: Path) -> None:
    visitors, _ = place(tmp_path, upload_bytes=10, stored_bytes=30)
    one, other = visitors.welcome(), visitors.welcome()
    bring(visitors, one)
    with visitors.place_for_upload(other):  # what is on its way counts for all it may become
        bring(visitors, one)
        with pytest.raises(RefusalError, match="no room"):
            bring(visitors, one)
    bring(visitors, one)
    with pytest.raises(RefusalError, match="no room"):
        bring(visitors, other)


def test_so_many_pictures_may_be_on_their_way(tmp_path: Path) -> None:
    visitors, _ = place(tmp_path, arriving=1)
    visitor = visitors.welcome()
    with visitors.place_for_upload(visitor), pytest.raises(RefusalError, match="on their way"):
        bring(visitors, visitor)
    bring(visitors, visitor)


def test_one_visitor_does_not_take_all_the_room_on_the_way(tmp_path: Path) -> None:
    visitors, _ = place(tmp_path, arriving=3, arriving_each=2)
    one, other = visitors.welcome(), visitors.welcome()
    with visitors.place_for_upload(one), visitors.place_for_upload(one):
        with pytest.raises(RefusalError, match="2 of your pictures are on their way"):
            bring(visitors, one)
        bring(visitors, other)
    bring(visitors, one)


def test_pictures_on_their_way_count(tmp_path: Path) -> None:
    visitors, _ = place(tmp_path, pictures=2)
    visitor = visitors.welcome()
    first = bring(visitors, visitor)
    with visitors.place_for_upload(visitor):
        bring(visitors, visitor)
        assert first.id not in visitor.uploads
        assert len(visitor.uploads) == 1


def test_what_was_painted_takes_room(tmp_path: Path) -> None:
    visitors, _ = place(tmp_path, upload_bytes=10, stored_bytes=30)
    one, other = visitors.welcome(), visitors.welcome()
    job = visitors.start(one, "sample:town", "sample:starry", Recipe())
    (job.order.folder / "checkpoints").mkdir()
    (job.order.folder / "checkpoints" / "last.ckpt").write_bytes(bytes(31))
    job.measure()
    with pytest.raises(RefusalError, match="no room"):
        visitors.start(other, "sample:town", "sample:starry", Recipe())
    with pytest.raises(RefusalError, match="no room"):
        bring(visitors, other)


def test_what_did_not_arrive_leaves_nothing(tmp_path: Path) -> None:
    visitors, _ = place(tmp_path)
    visitor = visitors.welcome()
    on_its_way = visitors.place_for_upload(visitor)
    file = on_its_way.__enter__()
    file.parent.mkdir()
    file.write_bytes(b"half")
    on_its_way.__exit__(MemoryError, MemoryError(), None)
    assert not file.exists()
    assert list((tmp_path / "uploads").iterdir()) == []
    assert visitor.uploads == {}


def test_visitors_who_have_nothing_make_room(tmp_path: Path) -> None:
    visitors, _ = place(tmp_path, visitors=2)
    one, other = visitors.welcome(), visitors.welcome()
    bring(visitors, one)
    third = visitors.welcome()
    assert visitors.find(one.token) is one
    assert visitors.find(other.token) is None
    bring(visitors, third)
    with pytest.raises(RefusalError, match="too many people"):
        visitors.welcome()


def test_a_full_queue_leaves_nothing_behind(tmp_path: Path) -> None:
    visitors, queue = place(tmp_path)
    visitor = visitors.welcome()
    job = visitors.start(visitor, "sample:town", "sample:starry", Recipe())
    job.set("complete")
    job.progress = Progress(7, (4, 3), 1, 4, 3, 1.0, 0.0, 1)
    order = job.order
    queue.is_full = True
    with pytest.raises(RefusalError, match="full"):
        visitors.start(visitor, "sample:town", "sample:starry", Recipe())
    with pytest.raises(RefusalError, match="full"):
        visitors.go_on(visitor, job)
    assert list(visitor.jobs.values()) == [job]
    assert [folder.name for folder in (tmp_path / "jobs").iterdir()] == [order.id]
    assert job.order is order


def test_the_oldest_finished_job_makes_room(tmp_path: Path) -> None:
    visitors, _ = place(tmp_path, kept=2)
    visitor = visitors.welcome()
    jobs = []
    for _ in range(3):
        jobs.append(visitors.start(visitor, "sample:town", "sample:starry", Recipe()))
        jobs[-1].set("complete")
    assert list(visitor.jobs.values()) == jobs[1:]
    assert not jobs[0].order.folder.exists()


def test_active_jobs_and_their_pictures_outlive_the_hour(tmp_path: Path) -> None:
    visitors, _ = place(tmp_path, lifetime=3600)
    visitor = visitors.welcome()
    used, unused = bring(visitors, visitor), bring(visitors, visitor)
    job = visitors.start(visitor, used.id, "sample:starry", Recipe())
    visitors.sweep(time.monotonic() + 4000)
    assert visitor.jobs
    assert used.file.exists()
    assert not unused.file.exists()
    job.set("complete")
    visitors.sweep(time.monotonic() + 3500)
    assert visitor.jobs
    visitors.sweep(time.monotonic() + 3700)
    assert not visitor.jobs
    assert visitors.find(visitor.token) is None
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_prolonging_adds_half_of_the_last_level() -> None:
    order = Order("id", Recipe(), "a", "b", ("a", "b"), Path(), 1)
    order = prolonged(order, Progress(30, (20, 10), 1, 4, 3, 1.0, 0.0, 1))
    assert order.recipe.prolonged == ((20, 15),)
    order = prolonged(order, Progress(35, (20, 15), 1, 4, 3, 1.0, 0.0, 1))
    assert order.recipe.prolonged == ((20, 15), (20, 22))


def test_prolonging_has_an_end() -> None:
    order = Order("id", Recipe(quality="draft"), "a", "b", ("a", "b"), Path(), 1)  # 120 steps, then 60 at each level
    order = prolonged(order, Progress(600, (120, 1120), 1, 4, 3, 1.0, 0.0, 1))
    assert order.recipe.prolonged == ((120, 1680),)  # 1800 of 1800
    with pytest.raises(RefusalError, match="10 times"):
        prolonged(order, Progress(600, (120, 1121), 1, 4, 3, 1.0, 0.0, 1))  # 1801


def test_a_stopped_picture_has_the_command_that_stops_there() -> None:
    order = Order("id", Recipe(), "sample:town", "/x", ("sample:town", "sample:mosaic"), Path(), 1)
    job = Job(order, 0.0)
    whole = job.describe(0)["command"]
    assert "--data.style ./sample:mosaic" in whole
    job.set("stopped")
    assert job.describe(0)["command"] == whole  # it had not begun
    job.progress = Progress(30, (20, 10), 1, 4, 3, 1.0, 0.0, 1)
    assert "--trainer.max_steps 30 " in job.describe(0)["command"]
    job.order = prolonged(order, job.progress)
    assert job.describe(0)["command"] == whole  # it was stopped before it was gone on with
    job.progress = Progress(31, (20, 15), 1, 4, 3, 1.0, 0.0, 1)
    first, second = job.describe(0)["command"].split(" && ")
    assert first == whole
    assert "--trainer.max_steps 31 " in second


def test_messages_show_the_visitors_names_instead_of_paths() -> None:
    order = Order("id", Recipe(), "/tmp/x/uploads/abc", "sample:starry", ("me.png", "sample:starry"), Path("/tmp/x"), 1)
    assert order.without_paths("found /tmp/x/uploads/abc damaged") == "found me.png damaged"
    assert "/tmp" not in order.without_paths("cannot write /tmp/x/picture.png")
