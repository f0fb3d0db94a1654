"""Weights files from the network: fetched once, checked every time, shared with torchvision's cache."""

import logging
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import torch
from filelock import FileLock

from nst_lightning.errors import UserError, one_line
from nst_lightning.utils.hashing import file_sha256

log = logging.getLogger(__name__)

_SILENCE = 30.0  # seconds without a byte after which the connection counts as lost


@dataclass(frozen=True)
class Source:
    """A file on the network.

    Attributes:
        url: Address of the file.
        sha256: First hexadecimal digits of its SHA-256; torchvision puts them into the file's name.
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
    def is_good(self) -> bool:
        """Whether the cached file is there with the right content."""
        return self.path.exists() and file_sha256(self.path).startswith(self.sha256)


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
        OSError, HTTPException, RuntimeError, ValueError: If it can't be had; RuntimeError for a wrong digest.
    """
    if source.path.exists():
        log.warning("%s is damaged (not the SHA-256 %s...) and is fetched anew", source.path, source.sha256)
    log.info("Downloading %s (%d MB, once) to %s", source.url, source.megabytes, source.path)
    with _connections_time_out(silence):
        # writes to a temporary name, compares the digest, renames; removes the temporary file on any failure
        torch.hub.download_url_to_file(
            source.url, str(source.path), hash_prefix=source.sha256, progress=sys.stderr.isatty()
        )


@contextmanager
def _connections_time_out(silence: float) -> Iterator[None]:
    """Abandon a silent server; torch hub would wait for ever and takes no time limit of its own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(silence)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
