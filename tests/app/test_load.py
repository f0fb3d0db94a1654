"""The page under many connections, large images and slow senders: it answers, and its memory comes back.

`python -m tests.app.test_load [ROUNDS]` does the same for longer, and prints what it measures.
"""

from __future__ import annotations

import http.client
import io
import os
import re
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from PIL import Image

from tests.app.conftest import Client

CONNECTIONS = 200
UPLOADS = 16
MEGABYTES_KEPT = 200
LONGEST_WAIT = 5.0
"""Seconds in which the page answers while all of that goes on; the machine may be busy."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.processes,
    pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="reads memory as Linux tells it"),
]


@dataclass
class Load:
    """What was seen.

    Attributes:
        before: Memory of the page and all its processes before, MB.
        peak: Most of it meanwhile.
        after: Memory afterwards.
        waits: Seconds that each request of a visitor took meanwhile.
        statuses: What the uploads were answered with.
    """

    before: float
    peak: float = 0.0
    after: float = 0.0
    waits: list[float] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)


def memory(process: int) -> float:
    """Return the memory of a process and its descendants, shared parts divided, MB."""
    total = 0.0
    try:
        for task in Path(f"/proc/{process}/task").iterdir():
            total += sum(map(memory, map(int, (task / "children").read_text().split())))
        return total + int(re.search(r"Pss:\s+(\d+)", Path(f"/proc/{process}/smaps_rollup").read_text())[1]) / 1000
    except (OSError, TypeError):  # it has ended
        return total


@contextmanager
def page(folder: Path) -> Iterator[tuple[int, int]]:
    """Yield the process and the port of a page with its own temporary folder."""
    command = [sys.executable, "-m", "nst_lightning", "app", "--port", "0"]
    environment = {**os.environ, "TMPDIR": str(folder)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        port = int(re.search(r":(\d+)/", process.stderr.readline())[1])
        try:
            yield process.pid, port
        finally:
            process.terminate()
            process.wait(60)


def wait_until_steady(process: int) -> None:
    """Wait for the imports of its processes, which take long where the machine is busy."""
    time.sleep(10)
    seen = [0.0]
    for _ in range(60):
        seen.append(memory(process))
        if max(seen[-4:]) - min(seen[-4:]) < 2:  # MB, over three seconds
            return
        time.sleep(1)


def large_images() -> list[bytes]:
    """Return 25 megapixels as PNG and JPEG, and what takes Pillow's parsers long: comments, chunks and blocks."""
    image = Image.effect_noise((500, 500), 60).resize((5000, 5000)).convert("RGB")
    bodies = []
    for kind in ("JPEG", "PNG"):
        file = io.BytesIO()
        image.save(file, kind, compress_level=1)
        bodies.append(file.getvalue())
    bodies.append(b"P6\n#" + b"x" * 29_000_000 + b"\n1 1\n255\nabc")
    chunk = b"\0\0\0\0vpAg" + zlib.crc32(b"vpAg").to_bytes(4, "big")
    bodies.append(bodies[1][:33] + 2_000_000 * chunk + bodies[1][33:5_000_000])
    return bodies


def stress(process: int, port: int, bodies: list[bytes]) -> Load:
    """Do everything at once; return what was seen."""
    visitors = [Client(port).enter() for _ in range(UPLOADS)]
    done = threading.Event()
    load = Load(memory(process))

    def watch() -> None:
        visitor = Client(port).enter()
        while not done.wait(0.1):
            load.peak = max(load.peak, memory(process))
            started = time.monotonic()
            assert visitor.ask("GET", "/api/state")[0] == 200
            load.waits.append(time.monotonic() - started)

    def upload(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
        body = bodies[number % len(bodies)]
        headers = {"cookie": visitors[number].cookie, "x-name": "a.png"}
        connection.request("PUT", "/api/pictures", body, headers)
        load.statuses.append(connection.getresponse().status)
        connection.close()

    def connect(number: int) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", port), timeout=60)
        if number % 2:  # a slow sender; the others send nothing at all
            head = f"PUT /api/pictures HTTP/1.1\r\nHost: localhost\r\nCookie: {visitors[number % UPLOADS].cookie}\r\n"
            connection.sendall(f"{head}Content-Length: 20000000\r\n\r\n".encode() + bytes(1000))
        return connection

    threads = [threading.Thread(target=upload, args=(number,)) for number in range(UPLOADS)]
    watcher = threading.Thread(target=watch)
    for thread in (watcher, *threads):
        thread.start()
    connections = [connect(number) for number in range(CONNECTIONS)]
    for thread in threads:
        thread.join(400)
    for connection in connections:
        connection.close()
    time.sleep(2)
    done.set()
    watcher.join()
    load.after = memory(process)
    return load


def test_memory_comes_back_and_the_page_answers(tmp_path: Path) -> None:
    with page(tmp_path) as (process, port):
        wait_until_steady(process)
        load = stress(process, port, large_images())
    assert sorted(set(load.statuses)) in ([200, 415], [200, 415, 503])
    assert max(load.waits) < LONGEST_WAIT
    assert load.after - load.before < MEGABYTES_KEPT, load


def _main() -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder, page(Path(folder)) as (process, port):
        time.sleep(20)
        for _ in range(int((sys.argv[1:] or ["1"])[0])):
            load = stress(process, port, large_images())
            waits = sorted(load.waits)
            sys.stdout.write(
                f"before {load.before:.0f} MB, peak {load.peak:.0f}, after {load.after:.0f}; answers in "
                f"{waits[len(waits) // 2]:.3f} s, at most {waits[-1]:.3f}; uploads {sorted(load.statuses)}\n"
            )


if __name__ == "__main__":
    _main()
