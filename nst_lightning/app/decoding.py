"""Images that visitors bring are decoded in a process of its own, one at a time.

What an image costs there, in memory and time, the page does not pay for: most of Pillow's parsers are Python, and a
header of megabytes would keep everybody waiting.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import anyio

from nst_lightning.app.child_process import ChildProcess, start_process
from nst_lightning.app.limits import RefusalError
from nst_lightning.errors import StorageError, UserError
from nst_lightning.images.decode import decode_image
from nst_lightning.images.files import write_image
from nst_lightning.images.resize import resize, shrunk_size
from nst_lightning.utils.memory import release_memory

THUMBNAIL = 640
"""Long side of the images that the page shows, pixels."""

DECODE_SECONDS = 12.0
"""Time of the processor that decoding an image may take; 25 megapixels take one or two seconds."""

_PATIENCE = 120.0  # seconds on the clock, where there is no limit for the processor's time


def thumbnail(file: Path) -> Path:
    """Return the place of an image's thumbnail."""
    return file.with_suffix(".jpg")


class Decoder(ChildProcess):
    """A process that decodes images; it is replaced when one takes too long or more memory than there is.

    Args:
        pixels: Largest height times width.
    """

    def __init__(self, pixels: int) -> None:
        super().__init__(partial(start_process, decode_images, pixels))
        self._busy = asyncio.Lock()

    async def examine(self, file: Path, name: str) -> tuple[int, int]:
        """Decode an image, when its turn comes, and write its thumbnail beside it.

        Args:
            file: File as it was received.
            name: Name for messages.

        Returns:
            Width and height in pixels, upright.

        Raises:
            RefusalError: If it is no image, has too many pixels, or takes too long.
            StorageError: If there is no room for the thumbnail.
        """
        async with self._busy:
            ask = partial(self.ask, (file, name), _PATIENCE, is_acknowledged=True)
            answer: tuple[int, int] | str | StorageError | None = await anyio.to_thread.run_sync(ask)
        if answer is None:
            answer = f"{name} takes too long to decode, or too much memory; save it anew as PNG or JPEG."
        if isinstance(answer, StorageError):
            raise answer
        if isinstance(answer, str):
            raise RefusalError(415, answer)
        return answer


def decode_images(pipe: Connection, pixels: int) -> None:
    """Decode what comes through the pipe until it closes; the body of a process.

    Args:
        pipe: Brings a file and its name; gets `None` when it is begun, then width and height or what is wrong with it.
        pixels: Largest height times width.
    """
    with suppress(EOFError, OSError):
        while True:
            file, name = pipe.recv()
            pipe.send(None)
            limit_processor_time(DECODE_SECONDS)
            answer: tuple[int, int] | str | StorageError
            try:
                answer = _examine(file, name, pixels)
            except StorageError as error:
                answer = error
            limit_processor_time(0)
            pipe.send(answer)
            release_memory()


def limit_processor_time(seconds: float) -> None:
    """End this process when it has worked for so long, wherever it is then; 0 for no limit."""
    if sys.platform != "win32":
        signal.setitimer(signal.ITIMER_PROF, seconds)  # the signal's default is to end the process


def _examine(file: Path, name: str, pixels: int) -> tuple[int, int] | str:
    try:
        with file.open("rb") as opened:
            image, alpha = decode_image(opened, name, pixels)
    except UserError as error:
        return str(error).split(" or raise max_pixels")[0]  # what follows is advice for the command line
    height, width = image.shape[-2:]
    size = shrunk_size(height, width, THUMBNAIL)
    small = resize(image, size)
    if alpha is not None:
        small = small + (1 - resize(alpha, size)) * (1 - small)
    write_image(thumbnail(file), small, quality=85)
    return width, height
