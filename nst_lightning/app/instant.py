"""Paintings in one pass while the visitor chooses, by a process that keeps the network and what it has read.

What it paints is what `nst predict` paints, by the same classes; only reading, measuring and parsing are done once.
"""

from __future__ import annotations

import asyncio
import traceback
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from typing import TypeVar

import anyio
import torch

from nst_lightning.app.child_process import ChildProcess, start_process
from nst_lightning.app.job_request import PREVIEW_FILE, RESULT_FILE, JobRequest
from nst_lightning.app.limits import RefusalError
from nst_lightning.app.painting_process import PAINTER_ENDED, PREVIEW_QUALITY
from nst_lightning.data.colors import ColorPreservation
from nst_lightning.data.predict_data import ImageFiles, PredictSample, find_media
from nst_lightning.data.style_images import StyleImages, style_shares
from nst_lightning.errors import UserError
from nst_lightning.images.files import write_image
from nst_lightning.networks.network_file import ANY_STYLE
from nst_lightning.tasks.fast_stylizer import FastStylizer
from nst_lightning.utils.memory import release_memory

_PATIENCE = 120.0  # seconds for a painting, the start of the process included
_KEPT = 4  # contents, and combinations of styles
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Painted:
    """A painting in one pass.

    Attributes:
        width: Pixels.
        height: Pixels.
    """

    width: int
    height: int


class InstantPainter(ChildProcess):
    """A process that paints in one pass, one painting at a time; it is replaced when it dies.

    Args:
        pixels: Largest height times width of an image that is read.
    """

    def __init__(self, pixels: int) -> None:
        super().__init__(partial(start_process, paint_instantly, pixels))
        self._busy = asyncio.Lock()

    async def paint(self, request: JobRequest, is_wanted: Callable[[], bool]) -> Painted:
        """Paint, when its turn comes, into the request's folder.

        Args:
            request: What to paint; its options are those of a painting in one pass.
            is_wanted: Function that returns whether the painting is still wanted, asked when its turn has come.

        Raises:
            RefusalError: If it was overtaken by another one, or can't be painted.
        """
        async with self._busy:
            if not is_wanted():
                raise RefusalError(409, "another painting was asked for meanwhile.")
            answer: Painted | str | None = await anyio.to_thread.run_sync(self.ask, request, _PATIENCE)
        if answer is None:
            answer = PAINTER_ENDED
        if isinstance(answer, str):
            raise RefusalError(422, request.without_paths(answer))
        return answer


def paint_instantly(pipe: Connection, pixels: int) -> None:
    """Paint what comes through the pipe until it closes; the body of a process.

    Args:
        pipe: Brings a request; gets `Painted` or what is wrong.
        pixels: Largest height times width of an image that is read.
    """
    network = InstantNetwork(pixels)
    with suppress(EOFError, OSError):
        while True:
            request = pipe.recv()
            try:
                answer: Painted | str = network.paint(request)
            except (UserError, MemoryError) as error:
                answer = str(error) or "memory ran out; try a smaller size."
            except Exception:  # the process may be damaged: another one takes its place
                traceback.print_exc()
                return
            pipe.send(answer)


class InstantNetwork:
    """A network of any style, the images that it read last, and what it measured of styles; see `InstantPainter`."""

    def __init__(self, pixels: int) -> None:
        self._pixels = pixels
        self._stylizer = FastStylizer(ANY_STYLE).eval()
        if torch.cuda.is_available():
            self._stylizer.cuda()
        self._contents: OrderedDict[Hashable, PredictSample] = OrderedDict()
        self._styles: OrderedDict[Hashable, StyleImages] = OrderedDict()

    @torch.inference_mode()
    def paint(self, request: JobRequest) -> Painted:
        """Paint into the request's folder.

        Raises:
            UserError: If an image can't be read, or memory does not suffice.
        """
        options, styles = request.options, (request.style, *request.further)
        content = _kept(self._contents, (request.content, options.size), partial(self._read_content, request))
        if content.problem is not None:
            raise UserError(content.problem)
        method: ColorPreservation | None = "luminance" if options.keep_colors else None
        read = partial(StyleImages.read, styles, None, options.brush, method, 1.0, self._pixels)
        images = _kept(self._styles, (styles, options.brush, method), read)
        images.weights = style_shares(list(options.weights) or None, len(styles))
        self._stylizer.strength = min(1.0, options.strength)
        content.pixels, content.styles = content.pixels.to(self._stylizer.device), images
        painted = self._stylizer.predict_step(content, 0).cpu()
        if not painted.numel():
            raise UserError("memory ran out; try a smaller size.")
        write_image(request.folder / PREVIEW_FILE, painted, quality=PREVIEW_QUALITY)
        write_image(request.folder / RESULT_FILE, painted)
        return Painted(painted.shape[-1], painted.shape[-2])

    def _read_content(self, request: JobRequest) -> PredictSample:
        release_memory()  # of what was decoded before
        return ImageFiles(find_media(request.content), request.options.size, False, self._pixels)[0]


def _kept(kept: OrderedDict[Hashable, _Value], key: Hashable, make: Callable[[], _Value]) -> _Value:
    """Return what was made last for a key, or make it; of many the one that was not used longest is forgotten."""
    if key not in kept:
        kept[key] = make()
    kept.move_to_end(key)
    while len(kept) > _KEPT:
        kept.popitem(last=False)
    return kept[key]
