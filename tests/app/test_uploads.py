"""What visitors call their files, and how long these may be on their way; without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest
from starlette.requests import Request

from nst_lightning.app import uploads
from nst_lightning.app.limits import Limits, RefusalError
from nst_lightning.app.uploads import base_name, shown_name


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("me.png", "me.png"),
        ("..%2F..%2Fetc%2Fpasswd", "passwd"),
        ("C%3A%5Cpictures%5Cme.png", "me.png"),
        ("%E7%8C%AB.jpg", "猫.jpg"),
        ("%E2%80%AEgpj.exe", "gpj.exe"),  # a mark that turns the direction of writing
        ("a%0A%00b.png", "ab.png"),
        ("", "picture"),
        ("..", "picture"),
        ("x" * 300 + ".jpeg", "x" * 70 + ".jpeg"),
        ("%ff%fe.png", "\ufffd\ufffd.png"),
    ],
)
def test_names_are_fit_to_be_shown(header: str, name: str) -> None:
    assert shown_name(base_name(header)) == name


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("x" * 240 + ".jpeg", "x" * 240 + ".jpeg"),
        ("%E8%AA%9E" * 80 + ".png", "語" * 80 + ".png"),
        ("%F0%9F%91%A9%E2%80%8D%F0%9F%8E%A8.png", "👩\u200d🎨.png"),  # a painter: two letters and a joiner
        ("a%0A%00%1B%E2%80%A8b.png", "ab.png"),
    ],
)
def test_a_command_has_the_whole_name_without_control_characters(header: str, name: str) -> None:
    assert base_name(header) == name


def arrive(file: Path, parts: int, bytes_each: int, seconds_each: float) -> int:
    """Receive a body that comes at a steady rate."""
    left = [parts]

    async def receive() -> dict[str, Any]:
        await anyio.sleep(seconds_each)
        left[0] -= 1
        return {"type": "http.request", "body": bytes(bytes_each), "more_body": left[0] > 0}

    request = Request({"type": "http", "method": "PUT", "headers": []}, receive)
    return anyio.run(uploads.receive, request, file, Limits())


@pytest.mark.slow
def test_a_picture_may_take_as_long_as_the_least_rate_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "UPLOAD_TIMEOUT", 0.3)
    monkeypatch.setattr(uploads, "LEAST_RATE", 1000.0)
    assert arrive(tmp_path / "fast", parts=10, bytes_each=1000, seconds_each=0.05) == 10_000
    with pytest.raises(RefusalError, match="in time") as refused:
        arrive(tmp_path / "slow", parts=1000, bytes_each=1, seconds_each=0.05)
    assert refused.value.status == 408
    assert (tmp_path / "slow").stat().st_size < 20
