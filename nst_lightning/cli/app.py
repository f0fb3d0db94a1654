"""`nst app`: a page in the browser to play with."""

from __future__ import annotations

import logging
import os
import signal
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from nst_lightning.app.limits import AppRequest, Limits
from nst_lightning.cli.options import CommandParser
from nst_lightning.errors import UserError

try:
    import starlette  # noqa: F401 - asked for here, where its absence can be explained
    import uvicorn  # noqa: F401
except ImportError as error:
    raise UserError("nst app needs the extra app; pip install 'nst-lightning[app]'") from error

_log = logging.getLogger(__name__)

_RANGES = {
    "port": (0, 65535),
    "max_pixels": (1024, 10**9),
    "max_upload_mb": (0.001, 1000),
    "max_size": (16, 32_768),
}


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
    request = read_app_request(words)
    with (
        tempfile.TemporaryDirectory(prefix="nst-app-", ignore_cleanup_errors=True) as folder,
        _torch_kept_within(Path(folder)),
    ):
        return _serve(request, Path(folder))


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
    upload_bytes = int(options.max_upload_mb * 1e6)
    limits = Limits(
        upload_bytes=upload_bytes,
        pixels=options.max_pixels,
        size=options.max_size,
        stored_bytes=max(Limits.stored_bytes, 2 * Limits.arriving * upload_bytes),
    )
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
