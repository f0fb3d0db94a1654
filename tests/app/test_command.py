"""`nst app` on the command line."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import uvicorn

from nst_lightning.app import lifecycle
from nst_lightning.app.limits import AppRequest, Limits
from nst_lightning.cli import app
from nst_lightning.cli.app import read_app_request
from nst_lightning.cli.main import main


def test_it_listens_on_this_machine_only_unless_told_otherwise() -> None:
    assert read_app_request([]) == AppRequest("127.0.0.1", 7860, (), Limits())
    words = "--host 0.0.0.0 --port 80 --names a.example b.example --max_pixels 5000 --max_upload_mb 1.5 --max_size 64"
    limits = Limits(upload_bytes=1_500_000, pixels=5000, size=64)
    assert read_app_request(words.split()) == AppRequest("0.0.0.0", 80, ("a.example", "b.example"), limits)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--port", "70000"], "--port must be from 0 to 65535"),
        (["--max_upload_mb", ".inf"], "--max_upload_mb must be from 0.001 to"),
        (["--max_upload_mb", "1001"], "--max_upload_mb must be from 0.001 to 1000"),
        (["--max_size", "0"], "--max_size must be from 16 to"),
        (["--prot", "80"], "--port"),
        (["--host", "256.256.256.256", "--port", "0"], "choose another --port or --host"),
    ],
)
def test_mistakes_are_told_in_one_line(words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["app", *words]) == 2
    told = capsys.readouterr().err
    assert line in told
    assert told.count("\n") == 1


def test_a_port_that_is_taken_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["app", "--port", str(taken.getsockname()[1])]) == 2
    assert "in use" in capsys.readouterr().err


@pytest.mark.parametrize(("host", "is_told"), [("0.0.0.0", True), ("::", True), ("127.0.0.2", False), ("::1", False)])
def test_who_else_can_reach_it_is_told(
    host: str, is_told: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lifecycle, "JobQueue", lambda *args: SimpleNamespace(close=lambda: None))
    monkeypatch.setattr(lifecycle, "Decoder", lambda *args: SimpleNamespace(close=lambda: None))
    monkeypatch.setattr(lifecycle, "InstantPainter", lambda *args: SimpleNamespace(close=lambda: None))
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: None)
    assert main(["app", "--host", host, "--port", "0"]) == 0
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith(f"page: http://{f'[{host}]' if ':' in host else host}:")
    assert len(said) == 1 + is_told
    assert ("this machine alone" in said[0]) is not is_told
    assert not is_told or re.match(r"everybody who can reach this machine at port \d+ .* no password", said[1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "display", "terminal", "is_opened"),
    [
        ([], ":0", True, True),
        (["--no-open"], ":0", True, False),
        ([], "", True, False),
        ([], ":0", False, False),
    ],
)
def test_it_opens_the_browser_of_a_desktop_alone(
    words: list[str], display: str, terminal: bool, is_opened: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "JobQueue", lambda *args: SimpleNamespace(close=lambda: None))
    monkeypatch.setattr(lifecycle, "Decoder", lambda *args: SimpleNamespace(close=lambda: None))
    monkeypatch.setattr(lifecycle, "InstantPainter", lambda *args: SimpleNamespace(close=lambda: None))
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("DISPLAY", display)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    opened: list[str] = []
    monkeypatch.setattr(app, "_OPENED_AFTER", 0)
    monkeypatch.setattr(app.webbrowser, "open", opened.append)
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: time.sleep(0.2))
    assert app.run(["app", "--port", "0", *words]) == 0
    assert [address.startswith("http://127.0.0.1:") for address in opened] == [True] * is_opened


def test_there_is_room_for_pictures_of_the_largest_file_that_is_allowed() -> None:
    limits = read_app_request(["--max_upload_mb", "1000"]).limits
    assert limits.arriving * limits.upload_bytes < limits.stored_bytes


def is_prepared_for_ctrl_c(process: int) -> bool:
    """Whether Python has begun to handle the signal there."""
    status = Path(f"/proc/{process}/status").read_text()
    masks = (status.partition(f"Sig{kind}:")[2].split()[0] for kind in ("Cgt", "Ign"))
    return any(int(mask, 16) >> (signal.SIGINT - 1) & 1 for mask in masks)


@pytest.mark.slow
@pytest.mark.processes
def test_sigterm_deletes_everything(tmp_path: Path) -> None:
    own = {name: value for name, value in os.environ.items() if name != "TORCHINDUCTOR_CACHE_DIR"}  # torch sets it
    process = subprocess.Popen(
        [sys.executable, "-m", "nst_lightning", "app", "--port", "0"],
        stderr=subprocess.PIPE,
        text=True,
        env={**own, "TMPDIR": str(tmp_path)},
    )
    assert process.stderr is not None
    line = process.stderr.readline()
    assert line.startswith("page: http://127.0.0.1:")
    started = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    for child in started.read_text().split() if started.exists() else ():
        while not is_prepared_for_ctrl_c(int(child)):
            time.sleep(0.01)
        os.kill(int(child), signal.SIGINT)  # as a terminal does; it is still importing, and says nothing
    connection = http.client.HTTPConnection(line.split("//")[1].split("/")[0], timeout=60)
    connection.request("GET", "/")
    assert connection.getresponse().status == 200
    assert len(list(tmp_path.glob("nst-app-*"))) == 1
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143
    assert list(tmp_path.iterdir()) == []
    assert process.stderr.read() == ""
