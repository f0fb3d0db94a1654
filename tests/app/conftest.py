"""A page that is served for a test file, and a client that behaves like a browser's."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from nst_lightning.app.lifecycle import serving
from nst_lightning.app.limits import AppRequest, Limits
from nst_lightning.app.server import AppState


@pytest.fixture(autouse=True)
def _float32_by_default() -> None:
    """Take the machine's own default: painters are processes of their own, and are compared with commands that run
    here."""


TINY = {"content": "sample:town", "style": "sample:starry", "size": 32, "quality": "draft"}


@dataclass
class Client:
    """One visitor."""

    port: int
    cookie: str = ""
    host: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any, http.client.HTTPResponse]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        given = {**self.headers, **({"cookie": self.cookie} if self.cookie else {}), **(headers or {})}
        if isinstance(body, dict):
            body = json.dumps(body)
        connection.request(method, path, body, given)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        is_json = answer.headers.get("content-type", "").startswith("application/json")
        return answer.status, json.loads(content) if is_json else content, answer

    def enter(self) -> Client:
        _, _, answer = self.ask("GET", "/")
        self.cookie = answer.headers["set-cookie"].partition(";")[0]
        return self

    def ended(self, id: str, seconds: float = 120) -> dict[str, Any]:
        """Wait until a job has ended."""
        return self.wait(id, lambda job: job["status"] in ("complete", "stopped", "failed"), seconds)

    def wait(self, id: str, holds: Callable[[dict[str, Any]], bool], seconds: float = 120) -> dict[str, Any]:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            _, job, _ = self.ask("GET", f"/api/jobs/{id}")
            if holds(job):
                return job
            time.sleep(0.03)
        raise AssertionError(f"waited in vain: {job}")


@dataclass
class Served:
    """A page that is served."""

    state: AppState
    address: str

    @property
    def port(self) -> int:
        return int(self.address.rstrip("/").rpartition(":")[2])

    def client(self) -> Client:
        return Client(self.port).enter()


@contextmanager
def served(limits: Limits, root: Path, port: int = 0) -> Iterator[Served]:
    with serving(AppRequest(port=port, limits=limits), root) as page:
        thread = threading.Thread(target=page.server.run, args=([page.listener],), daemon=True)
        thread.start()
        yield Served(page.state, page.address)
        page.server.should_exit = True
        thread.join(20)


@pytest.fixture(scope="package")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One page for all tests: its painting process takes seconds to start."""
    limits = Limits(upload_bytes=2_000_000, pixels=4_000_000, size=64, queue=30)
    with served(limits, tmp_path_factory.mktemp("page")) as page:
        yield page
