"""The page, ready to be served: its address, its processes and what it offers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import uvicorn

from nst_lightning.app.connections import ImpatientProtocol
from nst_lightning.app.guard import own_names
from nst_lightning.app.jobs import JobQueue
from nst_lightning.app.request import AppRequest
from nst_lightning.app.server import build
from nst_lightning.app.studio import Studio
from nst_lightning.app.visitors import Visitors
from nst_lightning.errors import UserError
from nst_lightning.images.samples import SAMPLES
from nst_lightning.networks.network_file import load_network
from nst_lightning.networks.shipped import shipped_networks

_CONNECTIONS = 500  # at a time; more are told to come back


class _Server(uvicorn.Server):
    """Uvicorn's server, which tells open streams of events to end when it is to end."""

    def __init__(self, config: uvicorn.Config, studio: Studio) -> None:
        super().__init__(config)
        self._studio = studio

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note the signal."""
        self._studio.is_closing = True
        super().handle_exit(sig, frame)


@dataclass(frozen=True)
class Page:
    """A page that is ready to be served.

    Attributes:
        server: `server.run([listener])` serves it until it is interrupted or `server.should_exit` is set.
        listener: Bound to the port.
        studio: What it works with.
        address: For a browser.
    """

    server: uvicorn.Server
    listener: socket.socket
    studio: Studio
    address: str


@contextmanager
def serving(request: AppRequest, root: Path) -> Iterator[Page]:
    """Yield a page that is ready to be served.

    Args:
        request: What is asked for.
        root: The page's temporary folder, for all that the visitors bring and make; its deletion is the caller's.

    Raises:
        UserError: If the port can't be had.
    """
    with _listen(request) as listener:
        port = listener.getsockname()[1]
        queue = JobQueue(devices(), root, request.limits.queue)
        studio = Studio(
            root=root,
            limits=request.limits,
            queue=queue,
            visitors=Visitors(root, request.limits, queue),
            networks=networks(),
            cookie=f"nst_visitor_{port}",  # cookies are shared by all ports of a host
            names=(*request.names, *own_names()),
        )
        config = uvicorn.Config(
            build(studio),
            http=ImpatientProtocol,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_CONNECTIONS,
            timeout_graceful_shutdown=5,
        )
        host = f"[{request.host}]" if ":" in request.host else request.host
        try:
            yield Page(_Server(config, studio), listener, studio, f"http://{host}:{port}/")
        finally:
            studio.is_closing = True
            queue.close()


def _listen(request: AppRequest) -> socket.socket:
    try:
        family = socket.getaddrinfo(request.host, request.port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((request.host, request.port), family=family)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f"the page can't be served at {request.host}, port {request.port} ({reason}); choose another --port or "
            "--host."
        ) from error


def devices() -> list[dict[str, Any]]:
    """Give the Trainer's arguments for each device that paints: every GPU of CUDA, or the one that Lightning finds."""
    count = torch.cuda.device_count()
    return [{"accelerator": "cuda", "devices": [index]} for index in range(count)] or [{}]


def networks() -> dict[str, list[str]]:
    """Give the networks in the package that can be loaded, and the samples whose styles each has learned."""
    found = {}
    for name, path in shipped_networks().items():
        with suppress(UserError):
            found[name] = [style for style in load_network(path)[1].styles if style in SAMPLES]
    return found
