"""Pictures that visitors bring: counted while they arrive, and decoded once before anything is done with them."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from torch import Tensor

from nst_lightning.app.limits import Limits, RefusalError
from nst_lightning.errors import UserError
from nst_lightning.images.decode import decode_image
from nst_lightning.images.files import write_image
from nst_lightning.images.resize import fit_long_side, resize

THUMBNAIL = 640
"""Long side of the pictures that the page shows, pixels."""

_PATIENCE = 20.0  # seconds for a picture, and what the least rate adds
_LEAST_RATE = 100_000.0  # bytes per second
_DRAIN = 10.0  # seconds in which what is left of a refused upload is thrown away
_one_at_a_time = threading.Lock()  # decoded, a picture is large


async def receive(request: Request, file: Path, limits: Limits) -> int:
    """Write the body of a request into a file.

    Args:
        request: Whose body is the picture's file as it is.
        file: New; its folder is made.
        limits: Of the page.

    Returns:
        Its size, bytes.

    Raises:
        RefusalError: As soon as the body is known to be too large, by what it declares or by what has come, or if it
            comes too slowly.
    """
    check_length(request, limits)
    file.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    try:
        with file.open("xb") as opened, anyio.fail_after(_PATIENCE) as patience:
            async for part in request.stream():
                size += len(part)
                if size > limits.upload_bytes:
                    raise _too_large(limits)
                opened.write(part)
                patience.deadline += len(part) / _LEAST_RATE
        return size
    except (ClientDisconnect, TimeoutError) as error:
        raise RefusalError(408, "the picture did not arrive in time; try again.") from error


def check_length(request: Request, limits: Limits) -> None:
    """Refuse a body by the length it declares, before any of it is read.

    Raises:
        RefusalError: If it is too large.
    """
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > limits.upload_bytes:
        raise _too_large(limits)


def _too_large(limits: Limits) -> RefusalError:
    return RefusalError(
        413, f"a picture's file may have {limits.upload_bytes / 1e6:g} MB at most; make it smaller or save it as JPEG."
    )


async def examine(file: Path, name: str, limits: Limits) -> tuple[int, int]:
    """Decode a picture and write its thumbnail beside it.

    Args:
        file: As it was received.
        name: For messages.
        limits: Of the page.

    Returns:
        Width and height in pixels, upright.

    Raises:
        RefusalError: If it is no picture, or has too many pixels.
    """
    return await anyio.to_thread.run_sync(_examine, file, name, limits)


def _examine(file: Path, name: str, limits: Limits) -> tuple[int, int]:
    with _one_at_a_time:
        height, width, small = _read(file, name, limits)
    write_image(thumbnail(file), small, quality=85)
    return width, height


def _read(file: Path, name: str, limits: Limits) -> tuple[int, int, Tensor]:
    try:
        with file.open("rb") as opened:
            pixels, alpha = decode_image(opened, name, limits.pixels)
    except UserError as error:
        # What follows is advice for the command line.
        raise RefusalError(415, str(error).split(" or raise max_pixels")[0]) from error
    height, width = pixels.shape[-2:]
    size = fit_long_side(height, width, min(THUMBNAIL, max(height, width)))
    small = resize(pixels, size)
    if alpha is not None:
        small = small + (1 - resize(alpha, size)) * (1 - small)
    return height, width, small


def thumbnail(file: Path) -> Path:
    """Give the place of a picture's thumbnail."""
    return file.with_suffix(".jpg")


def drained(request: Request, answer: Response) -> Response:
    """Send an answer, then throw away what is left of the request.

    A client that is still sending would find the connection reset, and lose the answer.

    Args:
        request: Whose body was not read to its end.
        answer: With a short body.
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
