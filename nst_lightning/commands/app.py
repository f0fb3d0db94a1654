"""`nst app`: a page in the browser to play with."""

from __future__ import annotations

import logging
import signal
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from nst_lightning.app.limits import Limits
from nst_lightning.commands.parser import CommandParser
from nst_lightning.errors import UserError

try:
    import starlette  # noqa: F401 - asked for here, where its absence can be explained
    import uvicorn
except ImportError as error:
    raise UserError("nst app needs the extra app; pip install 'nst-lightning[app]'") from error

import torch

from nst_lightning.app.guard import own_names
from nst_lightning.app.jobs import JobQueue
from nst_lightning.app.server import build
from nst_lightning.app.studio import Studio
from nst_lightning.app.visitors import Visitors
from nst_lightning.encoders.weights import SOURCES
from nst_lightning.images.samples import SAMPLES
from nst_lightning.networks.shipped import shipped_networks
from nst_lightning.networks.weights import load_network

_log = logging.getLogger(__name__)

_CONNECTIONS = 500  # at a time; more are told to come back
_RANGES = {
    "port": (0, 65535),
    "max_pixels": (1024, 10**9),
    "max_upload_mb": (0.001, 10_000),
    "max_size": (16, 32_768),
}


@dataclass(frozen=True)
class AppRequest:
    """What the words after `nst app` ask for.

    Attributes:
        host: Address to listen at.
        port: TCP port; 0 for any that is free.
        names: Further host names under which the page may be asked for.
        limits: What visitors may ask for.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    names: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)


def run_app(words: Sequence[str]) -> int:
    """Run `nst app …` until it is interrupted.

    Args:
        words: After `nst app`.

    Returns:
        130, for Ctrl-C. SIGTERM ends the process with 143.

    Raises:
        UserError: If an option makes no sense or the port can't be had.
    """
    # Uvicorn raises the signal that ended it once more; the default would end the process before its folder is deleted.
    signal.signal(signal.SIGTERM, _end)
    with serving(read_app_request(words)) as page:
        _log.info("page: %s (Ctrl-C ends it)", page.address)
        try:
            page.server.run([page.listener])
        except KeyboardInterrupt:
            return 130
    return 0


def _end(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def read_app_request(words: Sequence[str]) -> AppRequest:
    """Read a command line.

    Args:
        words: After `nst app`.

    Raises:
        UserError: If an option makes no sense.
    """
    options = _parser().parse_args(list(words))
    for key, (least, most) in _RANGES.items():
        if not least <= options[key] <= most:
            raise UserError(f"--{key} must be from {least} to {most}, but {options[key]} was given.")
    limits = Limits(upload_bytes=int(options.max_upload_mb * 1e6), pixels=options.max_pixels, size=options.max_size)
    return AppRequest(options.host, options.port, tuple(options.names), limits)


def _parser() -> CommandParser:
    limits = Limits()
    parser = CommandParser(prog="nst app")
    parser.add_argument("--host", type=str, default=AppRequest.host)
    parser.add_argument("--port", type=int, default=AppRequest.port)
    parser.add_argument("--names", type=str, nargs="*", default=[])
    parser.add_argument("--max_pixels", type=int, default=limits.pixels)
    parser.add_argument("--max_upload_mb", type=float, default=limits.upload_bytes / 1e6)
    parser.add_argument("--max_size", type=int, default=limits.size)
    return parser


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
def serving(request: AppRequest) -> Iterator[Page]:
    """Yield a page that is ready to be served.

    When the context ends, all that the visitors brought and made is deleted.

    Args:
        request: What is asked for.

    Raises:
        UserError: If the port can't be had.
    """
    with (
        _listen(request) as listener,
        tempfile.TemporaryDirectory(prefix="nst-app-", ignore_cleanup_errors=True) as folder,
    ):
        root, port = Path(folder), listener.getsockname()[1]
        queue = JobQueue(devices(), root, request.limits.queue)
        studio = Studio(
            root=root,
            limits=request.limits,
            queue=queue,
            visitors=Visitors(root, request.limits, queue),
            encoders=encoders(),
            networks=networks(),
            cookie=f"nst_visitor_{port}",  # cookies are shared by all ports of a host
            names=(*request.names, *own_names()),
        )
        config = uvicorn.Config(
            build(studio),
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


def encoders() -> tuple[str, ...]:
    """Give the encoders that are at hand: the one in the package, and those that were downloaded before."""
    return ("compact", *(name for name, source in SOURCES.items() if source.path.is_file()))


def networks() -> dict[str, list[str]]:
    """Give the networks in the package that can be loaded, and the samples whose styles each has learned."""
    found = {}
    for name, path in shipped_networks().items():
        with suppress(UserError):
            found[name] = [style for style in load_network(path)[1].styles if style in SAMPLES]
    return found
