"""`nst app`: a page in the browser to play with."""

from __future__ import annotations

import ipaddress
import logging
import os
import signal
import sys
import threading
import webbrowser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from nst_lightning.app.limits import AppRequest, Limits
from nst_lightning.app.temporary_folder import temporary_folder
from nst_lightning.cli.options import OptionParser, real, whole
from nst_lightning.errors import UserError
from nst_lightning.utils.signals import exit_by_signal, stop_signals

_log = logging.getLogger(__name__)

_OPENED_AFTER = 0.5  # seconds: the server has begun by then; the listener waits until it has
_RANGES = {
    "port": (0, 65535),
    "max_pixels": (1024, 10**9),
    "max_upload_mb": (0.001, 1000),
    "max_size": (16, 32_768),
}


def run(args: Sequence[str]) -> int:
    """Run `nst app …` until it is interrupted.

    Returns:
        130, for Ctrl-C. SIGTERM ends the process with 143, SIGHUP with 129.

    Raises:
        UserError: If an option makes no sense, the port can't be had, or a package is missing.
    """
    # Uvicorn raises the signal that ended it once more; the default would end the process before its folder is deleted.
    for number in stop_signals():
        if number != signal.SIGINT:
            signal.signal(number, exit_by_signal)
    request = read_app_request(args[1:])
    for package in ("starlette", "uvicorn"):
        if find_spec(package) is None:
            raise UserError("nst app needs the extra app; pip install 'nst-lightning[app]'")
    with (
        temporary_folder() as folder,
        _torch_kept_within(folder),
    ):
        return _serve(request, folder)


@contextmanager
def _torch_kept_within(root: Path) -> Iterator[None]:
    """Let torch make its cache in the page's folder: importing torchvision makes it, by default beside that folder."""
    name = "TORCHINDUCTOR_CACHE_DIR"
    is_set = name in os.environ
    os.environ.setdefault(name, str(root / "inductor"))  # painting processes inherit it
    try:
        yield
    finally:
        if not is_set:
            del os.environ[name]


def _serve(request: AppRequest, root: Path) -> int:
    from nst_lightning.app.lifecycle import serving  # takes seconds: options are checked before

    with serving(request, root) as page:
        is_own = ipaddress.ip_address(page.listener.getsockname()[0]).is_loopback
        whose = "this machine alone can reach it; " if is_own else ""
        _log.info("page: %s (%sCtrl-C ends it)", page.address, whose)
        if request.is_opened and has_browser():
            threading.Timer(_OPENED_AFTER, webbrowser.open, [page.address]).start()
        if not is_own:
            _log.warning(
                "everybody who can reach this machine at port %d can use the page and its processors; there is no "
                "password and no encryption. For this machine alone leave --host.",
                page.listener.getsockname()[1],
            )
        try:
            page.server.run([page.listener])
        except KeyboardInterrupt:
            return 130
    return 0


def has_browser() -> bool:
    """Return whether a person at a desktop has started the page: elsewhere there is no window to open it in.

    Without a desktop, Python would open a browser of the terminal, in the place of our messages.
    """
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    return sys.stderr.isatty()


def read_app_request(args: Sequence[str]) -> AppRequest:
    """Read a command line.

    Args:
        args: Arguments of `nst app`.

    Raises:
        UserError: If an option makes no sense.
    """
    options = make_parser().parse_own(args)
    for key, (least, most) in _RANGES.items():
        if not least <= vars(options)[key] <= most:
            raise UserError(f"--{key} must be from {least} to {most}, but {vars(options)[key]} was given.")
    upload_bytes = int(options.max_upload_mb * 1e6)
    limits = Limits(
        upload_bytes=upload_bytes,
        pixels=options.max_pixels,
        size=options.max_size,
        stored_bytes=max(Limits.stored_bytes, 2 * Limits.arriving * upload_bytes),
    )
    return AppRequest(options.host, options.port, tuple(options.names), limits, options.open)


def make_parser() -> OptionParser:
    """Return the parser of the command's own options."""
    parser = OptionParser(
        "app",
        usage="[--host ADDRESS] [--port NUMBER] [--max_size PIXELS] [--max_pixels N] [--max_upload_mb MB] [--no-open]",
        description="""\
Serve a page to play with, and open it: drop a photo and a painting, see them painted at once, let it be painted with
care, download. It needs the extra app (pip install 'nst-lightning[app]') and no network.""",
        epilog="""\
Each GPU, or else the CPU, paints one picture at a time; the others wait in a queue. A visitor sees only what is the
visitor's own. Everything is in a temporary folder, deleted an hour after its last use and when the page ends.""",
    )
    parser.add_argument(
        "--host",
        default=AppRequest.host,
        metavar="ADDRESS",
        help="where to listen (%(default)s: this machine only); 0.0.0.0 for the network, where there is no password "
        "and no encryption: for strangers put a server before it that has them, and limits for each address",
    )
    parser.add_argument(
        "--port",
        type=whole,
        default=AppRequest.port,
        metavar="NUMBER",
        help="TCP port (%(default)s); 0 for any that is free",
    )
    parser.add_argument(
        "--names",
        nargs="*",
        default=[],
        metavar="NAME",
        help="host names the page may be asked for by, beside IP addresses and this machine's own names",
    )
    parser.add_argument(
        "--max_size",
        type=whole,
        default=Limits.size,
        metavar="PIXELS",
        help="largest long side that can be painted (%(default)s)",
    )
    parser.add_argument(
        "--max_pixels",
        type=whole,
        default=Limits.pixels,
        metavar="N",
        help="most pixels of a picture that is brought (%(default)s)",
    )
    parser.add_argument(
        "--max_upload_mb",
        type=real,
        default=Limits.upload_bytes / 1e6,
        metavar="MB",
        help=f"largest file that is brought ({Limits.upload_bytes / 1e6:g})",
    )
    parser.add_argument(
        "--no-open", dest="open", action="store_false", help="do not open the page in the browser of this desktop"
    )
    return parser
