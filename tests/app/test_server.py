"""What the page's addresses answer: runs, strangers, limits."""

from __future__ import annotations

import http.client
import io
import json
import os
import re
import shlex
import signal
import socket
import struct
import threading
import time
import zlib
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio
import pytest
from PIL import Image

from nst_lightning.app import decoding, server
from nst_lightning.app import lifecycle as connections
from nst_lightning.app.child_process import start_process
from nst_lightning.app.decoding import Decoder, limit_processor_time
from nst_lightning.app.limits import RefusalError
from nst_lightning.app.server import PAGE
from nst_lightning.cli.main import main
from tests.app.conftest import TINY, Client, Served


def png(width: int, height: int, color: tuple[int, ...] = (200, 30, 90)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), color).save(file, "PNG")
    return file.getvalue()


def jpeg(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.effect_noise((width, height), 80).save(file, "JPEG")
    return file.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG file of a few bytes that claims to be large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


def upload(client: Client, body: Any, name: str = "me.png") -> tuple[int, Any]:
    status, told, _ = client.ask("PUT", "/api/pictures", body, {"x-name": quote(name)})
    return status, told


@pytest.mark.slow
def test_a_run_is_the_command_to_the_byte(page: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = page.client()
    picture = png(40, 30)
    status, told = upload(client, picture, "my cat.png")
    assert (status, told["name"], told["width"], told["height"]) == (200, "my cat.png", 40, 30)
    status, job, _ = client.ask("POST", "/api/jobs", {**TINY, "content": told["id"], "strength": 2, "seed": 5})
    assert status == 201
    assert job["status"] in ("waiting", "painting")
    job = client.ended(job["id"])
    assert job["status"] == "complete"
    assert job["progress"]["fraction"] == 1
    assert (job["progress"]["width"], job["progress"]["height"]) == (32, 24)
    status, painted, answer = client.ask("GET", f"/api/jobs/{job['id']}/picture")
    assert answer.headers["content-disposition"] == 'attachment; filename="my-cat-starry.png"'
    assert Image.open(io.BytesIO(painted)).size == (32, 24)
    _, preview, answer = client.ask("GET", f"/api/jobs/{job['id']}/preview")
    assert answer.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(preview)).size == (32, 24)

    status, _, _ = client.ask("POST", f"/api/jobs/{job['id']}/continue")
    assert status == 200
    job = client.ended(job["id"])
    assert job["status"] == "complete"
    assert job["progress"]["steps"] == 90 + 45  # half as many again
    _, painted, _ = client.ask("GET", f"/api/jobs/{job['id']}/picture")
    monkeypatch.chdir(tmp_path)
    Path("my cat.png").write_bytes(picture)
    for line in job["command"].split(" && "):
        words = shlex.split(line)
        assert words[0] == "nst"
        assert main([*words[1:], "--trainer.enable_progress_bar=false"]) == 0
    assert Path("my-cat-starry.png").read_bytes() == painted


@pytest.mark.slow
def test_every_option_is_the_command_to_the_byte(page: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = page.client()
    options = {"strength": 0.3, "brush": 1.5, "smoothness": 5.5, "start": "noise", "seed": 11, "keep_colors": True}
    _, told = upload(client, png(40, 30), "-[me] x.png")
    _, job, _ = client.ask("POST", "/api/jobs", {**TINY, **options, "content": "sample:town", "style": told["id"]})
    job = client.ended(job["id"])
    assert job["status"] == "complete", job["message"]
    monkeypatch.chdir(tmp_path)
    Path("-[me] x.png").write_bytes(png(40, 30))
    assert main([*shlex.split(job["command"])[1:], "--trainer.enable_progress_bar=false"]) == 0
    painted = client.ask("GET", f"/api/jobs/{job['id']}/picture")[1]
    assert Path("town-me-x.png").read_bytes() == painted


@pytest.mark.slow
def test_stop_keeps_the_picture_and_continue_ends_as_if_never_stopped(
    page: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = page.client()
    asked = {**TINY, "size": 48, "quality": "standard"}  # 110 steps
    _, job, _ = client.ask("POST", "/api/jobs", asked)
    client.wait(job["id"], lambda job: job["preview"] > 0)
    status, _, _ = client.ask("POST", f"/api/jobs/{job['id']}/stop")
    assert status == 200
    job = client.ended(job["id"])
    assert job["status"] == "stopped"
    assert job["picture"]
    assert 0 < job["progress"]["step"] < 110
    stopped_at = job["progress"]["step"]
    _, early, _ = client.ask("GET", f"/api/jobs/{job['id']}/picture")
    assert Image.open(io.BytesIO(early)).size == (48, 36)
    monkeypatch.chdir(tmp_path)
    assert main([*shlex.split(job["command"])[1:], "--trainer.enable_progress_bar=false"]) == 0
    assert Path("town-starry.png").read_bytes() == early
    client.ask("POST", f"/api/jobs/{job['id']}/continue")
    steps = []
    job = client.wait(job["id"], lambda job: steps.append(job["progress"]["step"]) or job["status"] == "complete")
    assert min(steps) >= stopped_at
    _, late, _ = client.ask("GET", f"/api/jobs/{job['id']}/picture")
    assert late != early
    _, whole, _ = client.ask("POST", "/api/jobs", asked)
    client.ended(whole["id"])
    _, never_stopped, _ = client.ask("GET", f"/api/jobs/{whole['id']}/picture")
    assert late == never_stopped


@pytest.mark.slow
def test_a_picture_is_painted_larger_from_what_there_is_by_the_commands_to_the_byte(
    page: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = page.client()
    job = client.ended(client.ask("POST", "/api/jobs", {**TINY, "start": "instant"})[1]["id"])
    assert job["status"] == "complete", job["message"]
    assert client.ask("POST", f"/api/jobs/{job['id']}/larger", {"size": 32})[0] == 400
    status, larger, _ = client.ask("POST", f"/api/jobs/{job['id']}/larger", {"size": 64})
    assert (status, larger["settings"]["size"]) == (201, 64)
    assert client.ask("POST", f"/api/jobs/{job['id']}/delete")[0] == 200  # which the larger one does not need
    assert client.ask("GET", f"/api/jobs/{job['id']}")[0] == 404
    larger = client.ended(larger["id"])
    assert larger["status"] == "complete", larger["message"]
    assert [word.split(" ")[1] for word in larger["command"].split(" && ")] == ["predict", "fit", "fit"]
    frame = client.ask("GET", f"/api/jobs/{larger['id']}/frames/{larger['frames'][-1]}")[1]
    assert Image.open(io.BytesIO(frame)).size == (64, 48)
    monkeypatch.chdir(tmp_path)
    for line in larger["command"].split(" && "):
        assert main([*shlex.split(line)[1:], "--trainer.enable_progress_bar=false"]) == 0
    painted = client.ask("GET", f"/api/jobs/{larger['id']}/picture")[1]
    assert Path("town-starry-64.png").read_bytes() == painted
    status, jpeg, answer = client.ask("GET", f"/api/jobs/{larger['id']}/picture?jpeg")
    assert answer.headers["content-disposition"] == 'attachment; filename="town-starry-64.jpg"'
    assert Image.open(io.BytesIO(jpeg)).size == (64, 48)


@pytest.mark.slow
def test_masks_say_where_styles_are_by_the_command_to_the_byte(
    page: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = page.client()
    left, right = Image.new("L", (40, 30)), Image.new("L", (40, 30), 255)
    left.paste(255, (0, 0, 20, 30))
    right.paste(0, (0, 0, 20, 30))
    files = []
    for mask in (left, right):
        file = io.BytesIO()
        mask.save(file, "PNG")
        files.append(file.getvalue())
    told = [client.ask("PUT", "/api/pictures", file, {"x-name": "m.png", "x-role": "mask"})[1] for file in files]
    assert [each["role"] for each in told] == ["mask", "mask"]
    asked = {**TINY, "style": ["sample:starry", "sample:mosaic"], "masks": [each["id"] for each in told]}
    assert client.ask("POST", "/api/jobs", {**asked, "masks": asked["masks"][:1]})[0] == 400
    assert client.ask("POST", "/api/jobs", {**asked, "weights": [1]})[0] == 400
    assert client.ask("PUT", "/api/pictures", files[0], {"x-role": "evil"})[0] == 400
    job = client.ended(client.ask("POST", "/api/jobs", asked)[1]["id"])
    assert job["status"] == "complete", job["message"]
    monkeypatch.chdir(tmp_path)
    for number, each in enumerate(told, start=1):
        status, mask, answer = client.ask("GET", f"/api/pictures/{each['id']}/file")
        assert (status, mask) == (200, files[number - 1])
        assert answer.headers["content-disposition"].startswith("attachment")
        Path(f"mask-{number}.png").write_bytes(mask)
    assert main([*shlex.split(job["command"])[1:], "--trainer.enable_progress_bar=false"]) == 0
    painted = client.ask("GET", f"/api/jobs/{job['id']}/picture")[1]
    assert Path("town-starry-mosaic.png").read_bytes() == painted


def test_a_page_that_was_open_gets_in_again_and_foreign_ones_do_not(page: Served) -> None:
    stranger = Client(page.client().port)
    assert stranger.ask("GET", "/api/alive")[1] == {"is_known": False}
    before = len(page.state.sessions)
    assert stranger.ask("POST", "/api/session", headers={"origin": "http://evil.example"})[0] == 403
    assert len(page.state.sessions) == before
    stranger.cookie = stranger.ask("POST", "/api/session")[2].headers["set-cookie"].partition(";")[0]
    assert stranger.ask("GET", "/api/alive")[1] == {"is_known": True}
    assert "set-cookie" not in stranger.ask("POST", "/api/session")[2].headers
    session = stranger.ask("GET", "/api/state")[1]["session"]  # by which its pages know that it is the same
    assert (
        session
        == stranger.ask("GET", "/api/state")[1]["session"]
        != page.client().ask("GET", "/api/state")[1]["session"]
    )
    assert session not in stranger.cookie
    assert b"MIT" in stranger.ask("GET", "/license")[1]


@pytest.mark.slow
def test_events_tell_each_change_until_the_end(page: Served) -> None:
    client = page.client()
    client.ask("POST", "/api/jobs", TINY)
    connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=120)
    connection.request("GET", "/api/events", headers={"cookie": client.cookie})
    answer = connection.getresponse()
    assert answer.headers["content-type"].startswith("text/event-stream")
    told = [json.loads(line[6:]) for line in answer.read().splitlines() if line.startswith(b"data: ")]
    connection.close()
    assert told[-1]["status"] == "complete"
    fractions = [event["progress"]["fraction"] for event in told if event["progress"]]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1


@pytest.mark.slow
def test_a_visitor_has_so_many_streams_of_events(page: Served) -> None:
    client = page.client()
    session = page.state.sessions.find(client.cookie.partition("=")[2])
    assert session is not None
    client.ask("POST", "/api/jobs", {**TINY, "size": 64, "quality": "fine"})
    streams = [socket.create_connection(("127.0.0.1", client.port), timeout=20) for _ in range(4)]
    for stream in streams:
        stream.sendall(f"GET /api/events HTTP/1.1\r\nHost: localhost\r\nCookie: {client.cookie}\r\n\r\n".encode())
        assert stream.recv(100).startswith(b"HTTP/1.1 200 ")
    status, told, _ = client.ask("GET", "/api/events")
    assert status == 429
    assert "open 4 times" in told["error"]
    for stream in streams:
        stream.close()
    until = time.monotonic() + 20
    while session.streams and time.monotonic() < until:
        time.sleep(0.02)
    assert session.streams == 0
    for id, job in session.jobs.items():
        page.state.queue.stop(job)
        client.ended(id)  # tests after this one look at what is in the page's folder


@pytest.mark.slow
def test_visitors_see_only_their_own(page: Served) -> None:
    mine, other = page.client(), page.client()
    assert mine.cookie != other.cookie
    _, picture = upload(mine, png(20, 20))
    _, job, _ = mine.ask("POST", "/api/jobs", TINY)
    for method, path in [
        ("GET", f"/api/pictures/{picture['id']}"),
        ("GET", f"/api/pictures/{picture['id']}/file"),
        ("GET", f"/api/jobs/{job['id']}"),
        ("GET", f"/api/jobs/{job['id']}/photo"),
        ("GET", f"/api/jobs/{job['id']}/preview"),
        ("GET", f"/api/jobs/{job['id']}/picture"),
        ("POST", f"/api/jobs/{job['id']}/stop"),
        ("POST", f"/api/jobs/{job['id']}/continue"),
        ("POST", f"/api/jobs/{job['id']}/larger"),
        ("POST", f"/api/jobs/{job['id']}/delete"),
        ("GET", f"/api/jobs/{job['id']}/frames/0"),
        ("GET", f"/api/jobs/{job['id']}/time-lapse.webp"),
    ]:
        assert other.ask(method, path)[0] == 404, path
        assert Client(mine.port).ask(method, path)[0] == 401, path
    assert other.ask("POST", "/api/jobs", {**TINY, "content": picture["id"]})[0] == 404
    assert [job["id"] for job in mine.ask("GET", "/api/state")[1]["jobs"]] == [job["id"]]
    assert other.ask("GET", "/api/state")[1]["jobs"] == []
    assert mine.ended(job["id"])["status"] == "complete"


def test_foreign_names_and_foreign_pages_are_refused(page: Served) -> None:
    client = page.client()
    own = f"127.0.0.1:{client.port}"
    for headers, expected in [
        ({"host": "evil.example"}, 403),
        ({"host": f"evil.example:{client.port}"}, 403),
        ({"host": f"localhost.evil.example:{client.port}"}, 403),
        ({"host": f"localhost:{client.port}"}, 200),
        ({"host": f"[::1]:{client.port}"}, 200),
    ]:
        assert client.ask("GET", "/api/state", headers=headers)[0] == expected, headers
    for headers, expected in [
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": f"http://127.0.0.1:{client.port + 1}"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"origin": f"http://{own}", "sec-fetch-site": "same-origin"}, 404),  # let through; there is no such job
    ]:
        assert client.ask("POST", "/api/jobs/x/stop", headers=headers)[0] == expected, headers


VISITS = {
    "no browser": ({}, True),
    "curl": ({"accept": "*/*"}, True),
    "the address line": ({"sec-fetch-dest": "document", "sec-fetch-site": "none", "sec-fetch-user": "?1"}, True),
    "loaded again": ({"sec-fetch-dest": "document", "sec-fetch-site": "same-origin"}, True),
    "a link": ({"sec-fetch-dest": "document", "sec-fetch-site": "cross-site", "sec-fetch-user": "?1"}, True),
    "an old browser": ({"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}, True),
    "a foreign image": ({"sec-fetch-dest": "image", "sec-fetch-site": "cross-site"}, False),
    "a foreign port's image": ({"sec-fetch-dest": "image", "sec-fetch-site": "same-site"}, False),
    "a foreign frame": ({"sec-fetch-dest": "iframe", "sec-fetch-site": "cross-site"}, False),
    "a foreign script": ({"sec-fetch-dest": "empty", "sec-fetch-site": "cross-site"}, False),
    "a foreign window": ({"sec-fetch-dest": "document", "sec-fetch-site": "cross-site"}, False),
    "looked up ahead": (
        {"sec-fetch-dest": "document", "sec-fetch-site": "none", "sec-purpose": "prefetch;prerender"},
        False,
    ),
    "an old browser's image": ({"accept": "image/webp,image/png,*/*;q=0.5"}, False),
}


@pytest.mark.parametrize(("headers", "is_visit"), VISITS.values(), ids=VISITS)
def test_only_who_wants_to_see_the_page_is_a_visitor(page: Served, headers: dict[str, str], is_visit: bool) -> None:
    before = len(page.state.sessions)
    stranger = Client(page.client().port)
    status, _, answer = stranger.ask("GET", "/?1", headers=headers)
    is_foreign = headers.get("sec-fetch-site") in ("cross-site", "same-site")
    assert status == (403 if is_foreign and headers["sec-fetch-dest"] != "document" else 200)
    assert ("set-cookie" in answer.headers) == is_visit
    assert len(page.state.sessions) == before + 1 + is_visit
    assert page.client().ask("GET", "/api/state", headers=headers)[0] == (403 if status == 403 else 200)


def test_who_only_looks_whether_the_page_is_there_is_no_visitor(page: Served) -> None:
    assert "set-cookie" not in Client(page.client().port).ask("HEAD", "/")[2].headers


def test_every_answer_tells_the_browser_to_stay_here(page: Served) -> None:
    client = page.client()
    for path in ("/", "/app.js", "/style.css", "/api/state", "/nothing", "/samples/town.jpg"):
        _, _, answer = client.ask("GET", path)
        assert answer.headers["content-security-policy"].startswith("default-src 'self';"), path
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "server" not in answer.headers
    _, _, answer = Client(client.port).ask("GET", "/")
    assert "HttpOnly" in answer.headers["set-cookie"]
    assert "SameSite=lax" in answer.headers["set-cookie"]


def test_the_page_asks_for_nothing_from_elsewhere(page: Served) -> None:
    client = page.client()
    for path in ("/", *(f"/{file.name}" for file in PAGE.glob("*.*") if file.suffix not in (".html", ".jpg"))):
        text = client.ask("GET", path)[1].decode()
        elsewhere = re.findall(r"""(?:https?:|["'(])//[\w.]+[^\s"')]*""", text)
        assert [address for address in elsewhere if "www.w3.org/2000/svg" not in address] == [], path


def test_scripts_find_what_the_page_and_the_other_scripts_have() -> None:
    page, scripts = (PAGE / "index.html").read_text(), {file.name: file.read_text() for file in PAGE.glob("*.js")}
    ids = set(re.findall(r'\bid="([\w-]+)"', page))
    for name, script in scripts.items():
        assert set(re.findall(r'\bfind\("([\w-]+)"\)', script)) <= ids, name
        for words, other in re.findall(r'import \{([^}]*)\} from "./([\w.]+)"', script):
            exported = re.findall(r"^export (?:async )?(?:function|const) (\w+)", scripts[other], re.MULTILINE)
            assert set(words.replace(",", " ").split()) <= set(exported), (name, other)
    assert set(re.findall(r'(?:src|href)="([\w.]+)"', page)) <= {file.name for file in PAGE.iterdir()}


@pytest.mark.parametrize(
    "path",
    [
        "/../../../../etc/passwd",
        "/..%2f..%2f..%2fetc%2fpasswd",
        "/samples/..%2f..%2f__init__.py",
        "/samples/../../__init__.py.jpg",
        "/samples/%2e%2e%2f%2e%2e%2fdecode.jpg",
        "/api/pictures/..%2f..%2fetc%2fpasswd",
        "/api/jobs/..%2f../picture",
        "/api/jobs/%00/preview",
        "/api/jobs/x/frames/..%2f..%2fpicture.png",
        "/server.py",
        "//etc/passwd",
    ],
)
def test_no_path_leads_to_the_file_system(page: Served, path: str) -> None:
    status, told, _ = page.client().ask("GET", path)
    assert status == 404
    assert set(told) == {"error"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["../../../tmp/evil.png", "..\\..\\evil.png", "/etc/passwd", "\0\n.png", "a" * 900])
def test_names_are_shown_and_never_used(page: Served, name: str) -> None:
    client = page.client()
    before = {file for file in page.state.root.rglob("*") if file.is_file()}
    status, told = upload(client, png(8, 8), name)
    assert status == 200
    assert not set("/\\\0\n") & set(told["name"])
    assert len(told["name"]) <= 80
    new = {file for file in page.state.root.rglob("*") if file.is_file()} - before
    assert {file.parent for file in new} == {page.state.root / "uploads"}
    assert all(len(file.stem) == 32 for file in new)


@pytest.mark.slow
def test_what_is_no_picture_is_refused_and_deleted(page: Served) -> None:
    client = page.client()
    before = set(page.state.root.rglob("*"))
    script = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    for body, name, word in [
        (script, "evil.svg", "expected a picture"),
        (b"hello", "notes.txt", "notes.txt"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "evil.eps", "expected a picture"),
        (b"", "empty.png", "expected a picture"),
        (jpeg(64, 64)[:-200], "cut.jpg", "cut short"),
        (bomb(30_000, 30_000), "bomb.png", "30000x30000 = 900,000,000"),
    ]:
        status, told = upload(client, body, name)
        assert status == 415, name
        assert word in told["error"]
        assert str(page.state.root) not in told["error"]
        assert "--data" not in told["error"]
    assert set(page.state.root.rglob("*")) <= before | {page.state.root / "uploads"}


def test_200_mb_are_refused_by_what_is_declared(page: Served) -> None:
    client = page.client()
    with socket.create_connection(("127.0.0.1", client.port), timeout=20) as connection:
        head = f"PUT /api/pictures HTTP/1.1\r\nHost: localhost\r\nCookie: {client.cookie}\r\nContent-Length: 200000000"
        connection.sendall(head.encode() + b"\r\n\r\n")  # and not a byte of the picture
        answer = b""
        while not answer.endswith(b"}"):
            answer += connection.recv(10_000)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"2 MB at most" in answer


def test_200_mb_are_refused_while_they_come(page: Served) -> None:
    client = page.client()
    zeros, sent = bytes(100_000), []

    def endless() -> Any:
        for _ in range(2000):
            sent.append(len(zeros))
            yield zeros

    largest = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            largest.append(sum(file.stat().st_size for file in (page.state.root / "uploads").glob("*")))
            time.sleep(0.005)

    before = sum(file.stat().st_size for file in (page.state.root / "uploads").glob("*"))
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        status, told = upload(client, endless())  # chunked: no length is declared
    finally:
        ended.set()
        watcher.join()
    assert status == 413
    assert "2 MB at most" in told["error"]
    assert max(largest) <= before + 2_000_000


@pytest.mark.slow
def test_20_starts_at_once_get_a_clear_answer(page: Served) -> None:
    client = page.client()
    answers: list[tuple[int, Any]] = []

    def start() -> None:
        answers.append(client.ask("POST", "/api/jobs", TINY)[:2])

    threads = [threading.Thread(target=start) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(status for status, _ in answers) == [201] * 3 + [429] * 17
    assert all("3 of your pictures" in told["error"] for status, told in answers if status == 429)
    started = [told["id"] for status, told in answers if status == 201]
    assert all(client.ended(id)["status"] == "complete" for id in started)


@pytest.mark.slow
def test_the_queue_has_an_end_and_a_place_in_it_is_told(page: Served) -> None:
    others = [page.client() for _ in range(12)]
    started = [(other, *other.ask("POST", "/api/jobs", TINY)[:2]) for other in others for _ in range(3)]
    full = [told for _, status, told in started if status == 503]
    assert all("30 pictures are waiting" in told["error"] for told in full)
    assert 1 <= len(full) < 6  # 30 wait; meanwhile some have begun
    jobs = [(other, told) for other, status, told in started if status == 201]
    other, last = jobs[-1]
    assert last["status"] == "waiting"
    assert 20 <= last["position"] <= 30
    for other, job in reversed(jobs):
        other.ask("POST", f"/api/jobs/{job['id']}/stop")
    ended = [other.ended(job["id"]) for other, job in jobs]
    assert {job["status"] for job in ended} <= {"stopped", "complete"}
    assert ended[-1]["status"] == "stopped"
    assert not ended[-1]["picture"]


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff\xfe", b'{"size": 1e999}', b"[" * 5000, b" " * 20_000])
def test_what_is_no_recipe_is_refused(page: Served, body: bytes) -> None:
    status, told, _ = page.client().ask("POST", "/api/jobs", body)
    assert status in (400, 413)
    assert told["error"].endswith(".")


@pytest.mark.parametrize("head", ["", "GET / HTTP/1.1\r\nHost: loc"])
def test_a_connection_without_a_request_is_closed(page: Served, head: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_PATIENCE", 0.2)
    with socket.create_connection(("127.0.0.1", page.client().port), timeout=20) as connection:
        connection.sendall(head.encode())
        assert connection.recv(1) == b""


def test_a_body_that_does_not_come_is_not_waited_for(page: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "REQUEST_TIMEOUT", 0.2)
    client = page.client()
    with socket.create_connection(("127.0.0.1", client.port), timeout=20) as connection:
        head = f"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nCookie: {client.cookie}\r\nContent-Length: 100\r\n\r\n{{"
        connection.sendall(head.encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 408 ")


@pytest.mark.slow
def test_an_image_that_takes_too_long_is_refused_and_the_next_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = Decoder(1000)
    try:
        slow = tmp_path / "slow"
        os.mkfifo(slow)  # nothing ever comes
        monkeypatch.setattr(decoding, "_PATIENCE", 0.2)
        with pytest.raises(RefusalError, match=r"me\.png takes too long") as said:
            anyio.run(decoder.examine, slow, "me.png")
        assert said.value.status == 415
        monkeypatch.setattr(decoding, "_PATIENCE", 60.0)
        good = tmp_path / "good"
        good.write_bytes(png(20, 30))
        assert anyio.run(decoder.examine, good, "me.png") == (20, 30)
        decoder.process.kill()
        decoder.process.join()
        assert anyio.run(decoder.examine, good, "me.png") == (20, 30)
    finally:
        decoder.close()
    assert not decoder.process.is_alive()


@pytest.mark.slow
@pytest.mark.processes
def test_a_decoder_ends_when_it_has_worked_for_too_long() -> None:
    process, pipe = start_process(work_for_ever)
    process.join(60)
    pipe.close()
    assert process.exitcode == -signal.SIGPROF


def work_for_ever(pipe: Connection) -> None:
    limit_processor_time(0.2)
    while True:
        pass


@pytest.mark.slow
@pytest.mark.processes
def test_a_painting_process_that_dies_is_replaced(page: Served) -> None:
    client = page.client()
    _, job, _ = client.ask("POST", "/api/jobs", {**TINY, "size": 64, "quality": "fine"})
    client.wait(job["id"], lambda job: job["preview"] > 0)
    page.state.queue.painters[0].process.kill()
    job = client.ended(job["id"])
    assert job["status"] == "failed"
    assert "smaller size" in job["message"]
    _, job, _ = client.ask("POST", "/api/jobs", TINY)
    assert client.ended(job["id"])["status"] == "complete"


@pytest.mark.slow
def test_what_is_not_used_for_an_hour_is_deleted(page: Served) -> None:
    client = page.client()
    _, picture = upload(client, png(20, 20))
    _, job, _ = client.ask("POST", "/api/jobs", {**TINY, "content": picture["id"]})
    client.ended(job["id"])
    page.state.sessions.sweep(time.monotonic() + 3500)
    assert client.ask("GET", f"/api/jobs/{job['id']}/picture")[0] == 200
    page.state.sessions.sweep(time.monotonic() + 3700)
    assert client.ask("GET", "/api/state")[0] == 401
    assert not [file for file in page.state.root.rglob("*") if file.is_file()]


@pytest.mark.parametrize(("path", "host", "status"), [("/nothing", "", 404), ("/", "elsewhere.example", 403)])
def test_what_is_refused_to_who_opens_it_is_text(page: Served, path: str, host: str, status: int) -> None:
    headers = {"host": host or f"127.0.0.1:{page.port}"}
    for opened in (True, False):
        asked = {**headers, **({"sec-fetch-dest": "document"} if opened else {})}
        found, told, answer = Client(page.port).ask("GET", path, headers=asked)
        assert found == status
        assert answer.headers["content-type"].startswith("text/plain" if opened else "application/json")
        line = told.decode() if opened else told["error"]
        assert line.startswith(("There is nothing", "This page") if opened else ("there is nothing", "this page"))
