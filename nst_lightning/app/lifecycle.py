"""The page's life: it is served, and everything it has started ends with it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import uvicorn

from nst_lightning._compat import http_protocol_with_deadline
from nst_lightning.app.decoding import Decoder
from nst_lightning.app.instant import InstantPainter
from nst_lightning.app.job_queue import JobQueue
from nst_lightning.app.limits import AppRequest
from nst_lightning.app.security import own_names
from nst_lightning.app.server import AppState, build
from nst_lightning.app.sessions import Sessions
from nst_lightning.errors import UserError

_PATIENCE = 10.0  # seconds for the head of a request
_CONNECTIONS = 500  # at a time; more get 503


@dataclass(frozen=True)
class Page:
    """A page that is ready to be served.

    Attributes:
        server: `server.run([listener])` serves it until it is interrupted or `server.should_exit` is set.
        listener: Bound to the port.
        state: What it works with.
        address: URL for a browser.
    """

    server: uvicorn.Server
    listener: socket.socket
    state: AppState
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
        queue, decoder = JobQueue(devices(), root, request.limits.queue), Decoder(request.limits.pixels)
        instant = InstantPainter(request.limits.pixels)
        state = AppState(
            root=root,
            limits=request.limits,
            queue=queue,
            decoder=decoder,
            sessions=Sessions(root, request.limits, queue),
            instant=instant,
            cookie=f"nst_visitor_{port}",  # cookies are shared by all ports of a host
            names=(*request.names, *own_names()),
        )
        config = uvicorn.Config(
            build(state),
            http=http_protocol_with_deadline(lambda: _PATIENCE),
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_CONNECTIONS,
            timeout_graceful_shutdown=5,
        )
        host = f"[{request.host}]" if ":" in request.host else request.host
        state.server = uvicorn.Server(config)
        try:
            yield Page(state.server, listener, state, f"http://{host}:{port}/")
        finally:
            state.server.should_exit = True
            queue.close()
            decoder.close()
            instant.close()


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


def devices() -> list[list[str]]:
    """Return the trainer's options for each device that paints: every GPU of CUDA, or the one that Lightning finds."""
    count = torch.cuda.device_count()
    return [["--trainer.accelerator", "cuda", "--trainer.devices", f"[{index}]"] for index in range(count)] or [[]]
