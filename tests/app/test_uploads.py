"""How long a picture may be on its way; without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest
from starlette.requests import Request

from nst_lightning.app import uploads
from nst_lightning.app.limits import Limits, RefusalError


def arrive(file: Path, parts: int, bytes_each: int, seconds_each: float) -> int:
    """Receive a body that comes at a steady rate."""
    left = [parts]

    async def receive() -> dict[str, Any]:
        await anyio.sleep(seconds_each)
        left[0] -= 1
        return {"type": "http.request", "body": bytes(bytes_each), "more_body": left[0] > 0}

    request = Request({"type": "http", "method": "PUT", "headers": []}, receive)
    return anyio.run(uploads.receive, request, file, Limits())


def test_a_picture_may_take_as_long_as_the_least_rate_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "_PATIENCE", 0.3)
    monkeypatch.setattr(uploads, "_LEAST_RATE", 1000.0)
    assert arrive(tmp_path / "fast", parts=10, bytes_each=1000, seconds_each=0.05) == 10_000
    with pytest.raises(RefusalError, match="in time") as refused:
        arrive(tmp_path / "slow", parts=1000, bytes_each=1, seconds_each=0.05)
    assert refused.value.status == 408
    assert (tmp_path / "slow").stat().st_size < 20
