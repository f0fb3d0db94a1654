"""Weights files from the network: fetched once, checked every time, shared with torchvision's cache."""

import glob
import logging
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import torch
from filelock import FileLock

from nst_lightning._compat import https_stays_https
from nst_lightning.errors import StorageError, UserError, one_line
from nst_lightning.utils.atomic import atomic_path, refuses
from nst_lightning.utils.hashing import file_sha256

log = logging.getLogger(__name__)

_ABANDONED = 86400.0  # seconds without a byte after which nobody can be at a download any more
_DIGITS = 64  # hexadecimal, of a SHA-256
_SILENCE = 30.0  # seconds without a byte after which the connection counts as lost


@dataclass(frozen=True)
class Source:
    """A file on the network.

    Attributes:
        url: Address of the file.
        sha256: Its SHA-256, hexadecimal; of a file of which no more is published, the first digits. The whole digest
            of what is downloaded then is kept beside it, and no other file is taken later.
        megabytes: Size in megabytes, for messages.
    """

    url: str
    sha256: str
    megabytes: int

    @property
    def path(self) -> Path:
        """Where torch hub, and so torchvision, keeps the file; `TORCH_HOME` moves it."""
        return Path(torch.hub.get_dir()) / "checkpoints" / self.url.rsplit("/", 1)[-1]

    @property
    def expected(self) -> str:
        """SHA-256 of the file as far as it is known, hexadecimal: published, or of the first download."""
        pin = self._pin.read_text().strip() if len(self.sha256) < _DIGITS and self._pin.exists() else ""
        return pin if pin.startswith(self.sha256) else self.sha256

    @property
    def is_good(self) -> bool:
        """Whether the cached file is there with the right content."""
        return self.path.exists() and file_sha256(self.path).startswith(self.expected)

    def pin(self) -> None:
        """Keep the whole digest of the cached file, unless it is known."""
        if len(self.expected) < _DIGITS:
            self._pin.write_text(file_sha256(self.path) + "\n")

    @property
    def _pin(self) -> Path:
        return self.path.with_name(f"{self.path.name}.sha256")


def fetch(source: Source) -> Path:
    """Return the local path of a file, downloading it if it is not there or is damaged.

    Nothing but a file with the right digest is ever returned, or put in the place of the file: a download
    goes to a temporary name first. Of several processes that want the same file one downloads and the others
    wait. A damaged file stays until a good one replaces it.

    Args:
        source: File to be fetched.

    Returns:
        Path in the cache, with the right content.

    Raises:
        UserError: If there is no good file and none can be had.
    """
    path = source.path
    try:
        if source.is_good:  # without the lock, because a shared cache may be read-only
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if not source.is_good:  # else another process fetched it meanwhile
                download(source, _SILENCE)
                source.pin()
    except StorageError:
        raise
    # RuntimeError is torch hub's word for a wrong digest, ValueError is urllib's for a bad URL
    except (OSError, HTTPException, RuntimeError, ValueError) as error:
        reason = one_line(error)
        raise UserError(
            f"expected the encoder's weights at {path} or {source.url}, found neither ({reason}); use the "
            "VGG19 that is installed with this program (--model.encoder.weights vgg19), or get that URL by other means "
            "and put the file at that path, or pass its own path to --model.encoder.weights"
        ) from error
    return path


def download(source: Source, silence: float) -> None:
    """Download a file into the cache, whose folder exists.

    Args:
        source: File to be downloaded.
        silence: Seconds without a byte after which the connection counts as lost.

    Raises:
        StorageError: If there is no room for it.
        OSError, HTTPException, RuntimeError, ValueError: If it can't be had; RuntimeError for a wrong digest.
    """
    if source.path.exists():
        log.warning("%s is damaged (not the SHA-256 %s...) and is fetched anew", source.path, source.sha256)
    log.info("Downloading %s (%d MB, once) to %s", source.url, source.megabytes, source.path)
    _remove_old_parts(source.path)
    with https_stays_https(), _connections_time_out(silence), atomic_path(source.path) as temporary:
        try:
            # writes to a further temporary name beside it, compares the digest, renames
            torch.hub.download_url_to_file(
                source.url, str(temporary), hash_prefix=source.expected, progress=sys.stderr.isatty()
            )
        except OSError as error:
            if not refuses(error):
                raise HTTPException(one_line(error)) from error  # the network's error, not the file system's
            free = shutil.disk_usage(temporary.parent).free  # hub has removed what it wrote
            error.missing = source.megabytes * 10**6 - free  # type: ignore[attr-defined]
            raise


def _remove_old_parts(path: Path) -> None:
    """Remove what torch hub left of downloads of a file when it was killed, unless it may still be at work."""
    for part in path.parent.glob(f"{glob.escape(path.name)}.{'[0-9a-f]' * 32}.partial"):
        with suppress(OSError):
            if time.time() - part.stat().st_mtime > _ABANDONED:
                part.unlink()


@contextmanager
def _connections_time_out(silence: float) -> Iterator[None]:
    """Abandon a silent server; torch hub would wait for ever and takes no time limit of its own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(silence)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
