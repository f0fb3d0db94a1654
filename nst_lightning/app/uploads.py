"""Images that visitors bring: named, and counted while they arrive.

What a visitor calls a file is whole in the command and short where it is shown, and never becomes part of a path here.
"""

from __future__ import annotations

import unicodedata
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import unquote

import anyio
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from nst_lightning.app.limits import Limits, RefusalError

UPLOAD_TIMEOUT = 20.0
"""Time that an image's file may take, beside what the least rate allows, seconds."""

LEAST_RATE = 100_000.0
"""Bytes per second."""

_LONGEST_NAME = 3000  # percent-encoded: 255 letters of three bytes each are 2295
_DRAIN = 10.0  # seconds in which what is left of a refused upload is thrown away


def base_name(header: str) -> str:
    """Return a file's name as its owner's shell needs it.

    Args:
        header: The name, percent-encoded.

    Returns:
        Its last part, without line breaks and other control characters. What is invisible otherwise stays: some
        languages and emoji are written with it.
    """
    name = unquote(header[:_LONGEST_NAME]).replace("\\", "/").rsplit("/", 1)[-1]
    name = "".join(letter for letter in name if unicodedata.category(letter) not in ("Cc", "Cs", "Zl", "Zp"))
    return name if name.strip(" .") else "picture"


def shown_name(name: str) -> str:
    """Return a name that is fit to be shown.

    Args:
        name: Name of a file, or `sample:NAME`.

    Returns:
        At most 80 characters, none of them invisible: some turn the direction of writing.
    """
    name = "".join(letter for letter in name if unicodedata.category(letter)[0] != "C").strip()
    stem, dot, suffix = name.rpartition(".")
    name = f"{stem[:70]}{dot}{suffix[:9]}" if stem else suffix[:80]
    return name if name.strip(".") else "picture"


async def receive(request: Request, file: Path, limits: Limits) -> int:
    """Write the body of a request into a file.

    Args:
        request: Request with an image's file, as it is, for its body.
        file: File to write, which does not exist; its folder is made.
        limits: The page's limits.

    Returns:
        Size of the file, bytes.

    Raises:
        RefusalError: As soon as the body is known to be too large, by what it declares or by what has come, or if it
            comes too slowly.
    """
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > limits.upload_bytes:
        raise _too_large(limits)
    file.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    try:
        with file.open("xb") as opened, anyio.fail_after(UPLOAD_TIMEOUT) as timeout:
            async for part in request.stream():
                size += len(part)
                if size > limits.upload_bytes:
                    raise _too_large(limits)
                opened.write(part)
                timeout.deadline += len(part) / LEAST_RATE
        return size
    except (ClientDisconnect, TimeoutError) as error:
        raise RefusalError(408, "the picture did not arrive in time; try again.") from error


def _too_large(limits: Limits) -> RefusalError:
    return RefusalError(
        413, f"a picture's file may have {limits.upload_bytes / 1e6:g} MB at most; make it smaller or save it as JPEG."
    )


def drained(request: Request, answer: Response) -> Response:
    """Send an answer, then throw away what is left of the request.

    A client that is still sending would find the connection reset, and lose the answer.

    Args:
        request: Request whose body was not read to its end.
        answer: Answer with a short body.
    """

    async def send() -> AsyncIterator[bytes]:
        yield bytes(answer.body)
        with anyio.move_on_after(_DRAIN):
            while True:
                message = await request.receive()
                if message["type"] == "http.disconnect" or not message.get("more_body"):
                    return

    headers = {**answer.headers, "connection": "close"}
    return StreamingResponse(send(), answer.status_code, headers)
