"""Painting in one pass from the page: by the command, and by the process that repaints while a slider is moved."""

from __future__ import annotations

import asyncio
import io
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from nst_lightning.app.instant import InstantNetwork, InstantPainter
from nst_lightning.app.job_request import PREVIEW_FILE, RESULT_FILE, JobRequest, PaintOptions
from nst_lightning.app.limits import RefusalError
from nst_lightning.app.painting_process import predict
from nst_lightning.cli.main import main
from nst_lightning.errors import UserError
from tests.app.conftest import Served


@pytest.fixture
def request_of(tmp_path: Path, content: str) -> JobRequest:
    """A request for an upload, which has no suffix, in two styles."""
    upload = str(shutil.copy(content, tmp_path / "-upload_1"))
    (tmp_path / "job").mkdir()
    names = ("content.png", "sample:starry", "sample:mosaic")
    options = PaintOptions(size=64, strength=0.75, instant=True)
    return JobRequest("id", options, upload, "sample:starry", names, tmp_path / "job", 10**6, ("sample:mosaic",))


def painted_by_command(request: JobRequest, content: str) -> bytes:
    """Run the command that is shown in the working folder; return the file that it writes."""
    if not Path("content.png").exists():
        shutil.copy(content, "content.png")
    shutil.rmtree("painted", ignore_errors=True)
    words = shlex.split(request.command())
    assert main([*words[1:], "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]) == 0
    return Path("painted/content.png").read_bytes()


@pytest.mark.slow
def test_a_job_is_the_command_to_the_byte(
    request_of: JobRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    progress = predict(request_of, ["--trainer.accelerator", "cpu"])
    assert (progress.width, progress.height, progress.fraction) == (64, 48, 1)
    assert Image.open(tmp_path / "job" / PREVIEW_FILE).size == (64, 48)
    assert sorted(file.name for file in (tmp_path / "job").iterdir()) == [RESULT_FILE, PREVIEW_FILE]
    monkeypatch.chdir(tmp_path)
    assert painted_by_command(request_of, content) == (tmp_path / "job" / RESULT_FILE).read_bytes()


@pytest.mark.slow
def test_what_is_repainted_is_the_command_to_the_byte(
    request_of: JobRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    network = InstantNetwork(10**6)
    monkeypatch.chdir(tmp_path)
    one = replace(request_of, further=(), names=request_of.names[:2])
    for request in (  # each with what the ones before have left in the process
        request_of,
        replace(request_of, options=replace(request_of.options, weights=(1, 3), strength=0.5)),
        replace(one, options=replace(one.options, keep_colors=True)),
        replace(one, options=replace(one.options, size=48, brush=0.5, strength=4)),
    ):
        network.paint(request)
        assert painted_by_command(request, content) == (request.folder / RESULT_FILE).read_bytes()


@pytest.mark.slow
@pytest.mark.processes
def test_a_picture_that_is_no_longer_wanted_is_not_painted_and_mistakes_are_told(
    request_of: JobRequest, tmp_path: Path
) -> None:
    network = InstantNetwork(10)
    with pytest.raises(UserError, match="at most 10 pixels"):
        network.paint(request_of)
    painter = InstantPainter(10**6)
    try:
        with pytest.raises(RefusalError, match="meanwhile"):
            asyncio.run(painter.paint(request_of, lambda: False))
        painter.process.kill()  # while it has nothing to do
        painter.process.join()
        painter._busy = asyncio.Lock()  # of another loop
        assert asyncio.run(painter.paint(request_of, lambda: True)).width == 64
        gone = replace(request_of, content=str(tmp_path / "gone"))
        painter._busy = asyncio.Lock()
        with pytest.raises(RefusalError, match=r"content\.png") as refused:
            asyncio.run(painter.paint(gone, lambda: True))
        assert str(tmp_path) not in refused.value.line
    finally:
        painter.close()


def address(tab: str, painted: dict[str, Any], what: str) -> str:
    return f"/api/instant/{tab}/{painted['number']}/{what}"


@pytest.mark.slow
def test_it_is_painted_again_and_kept_on_the_shelf(page: Served) -> None:
    client = page.client()
    assert client.ask("POST", "/api/instant/a/1/keep")[0] == 404
    asked = {"content": "sample:town", "style": ["sample:starry", "sample:mosaic"], "size": 64, "weights": [1, 2]}
    assert client.ask("POST", "/api/instant", asked)[0] == 400  # by which tab?
    asked["tab"] = "a"
    status, first, _ = client.ask("POST", "/api/instant", asked)
    assert (status, first["width"], first["height"]) == (200, 64, 48)
    assert first["command"].startswith("nst predict ")
    _, early, _ = client.ask("GET", address("a", first, "picture"))
    status, second, _ = client.ask("POST", "/api/instant", {**asked, "strength": 0.3})
    assert second["number"] > first["number"]
    for what in ("picture", "preview"):
        assert client.ask("GET", address("a", first, what))[0] == 404  # never another one than that which was seen
    assert client.ask("POST", address("a", first, "keep"))[0] == 404
    _, late, answer = client.ask("GET", address("a", second, "picture"))
    assert early != late
    assert answer.headers["content-disposition"] == 'attachment; filename="town-starry-mosaic.png"'
    _, jpeg, answer = client.ask("GET", address("a", second, "picture?jpeg"))
    assert Image.open(io.BytesIO(jpeg)).format == "JPEG"
    assert answer.headers["content-disposition"] == 'attachment; filename="town-starry-mosaic.jpg"'
    status, job, _ = client.ask("POST", address("a", second, "keep"))
    assert (status, job["status"], job["command"]) == (201, "complete", second["command"])
    assert job["settings"]["strength"] == 0.3
    assert job["sources"]["style"] == asked["style"]
    assert client.ask("GET", f"/api/jobs/{job['id']}/picture")[1] == late
    assert client.ask("POST", f"/api/jobs/{job['id']}/continue")[0] == 409
    other = page.client()
    assert other.ask("GET", address("a", second, "picture"))[0] == 404
    assert other.ask("POST", "/api/instant", {**asked, "content": "nothing"})[0] == 404


@pytest.mark.slow
def test_each_tab_has_its_own_and_four_tabs_have_one(page: Served) -> None:
    client = page.client()
    asked = {"content": "sample:town", "style": "sample:mosaic", "size": 64}
    painted, pictures = {}, {}
    for index, tab in enumerate("abcd"):
        given = {**asked, "tab": tab, "strength": 0.2 * (index + 1)}
        painted[tab] = client.ask("POST", "/api/instant", given)[1]
        pictures[tab] = client.ask("GET", address(tab, painted[tab], "picture"))[1]
    assert len(set(pictures.values())) == 4
    for tab in "abcd":
        assert client.ask("GET", address(tab, painted[tab], "picture"))[1] == pictures[tab]
    painted["a"] = client.ask("POST", "/api/instant", {**asked, "tab": "a"})[1]
    painted["e"] = client.ask("POST", "/api/instant", {**asked, "tab": "e"})[1]
    there = {tab for tab in "abcde" if client.ask("GET", address(tab, painted[tab], "picture"))[0] == 200}
    assert there == set("acde")  # b asked longest ago


@pytest.mark.slow
def test_paintings_that_were_overtaken_are_left_out(page: Served) -> None:
    from concurrent.futures import ThreadPoolExecutor

    client = page.client()
    asked = {"content": "sample:town", "style": "sample:mosaic", "size": 64, "tab": "a"}
    with ThreadPoolExecutor(8) as pool:
        given = [{**asked, "strength": 0.1 + index / 10} for index in range(8)]
        answers = list(pool.map(lambda each: client.ask("POST", "/api/instant", each)[:2], given))
    assert {status for status, _ in answers} == {200, 409}
    painted = [told["number"] for status, told in answers if status == 200]
    assert max(painted) == 8
    assert len(painted) <= 3
