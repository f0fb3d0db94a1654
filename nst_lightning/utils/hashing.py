"""Digests of files."""

import hashlib
from pathlib import Path
from typing import BinaryIO

from nst_lightning.utils.storage import fetch


def file_sha256(file: Path | BinaryIO) -> str:
    """Return the SHA-256 of a file's bytes, hexadecimal; the file is read block by block.

    Args:
        file: Path of the file, or the open file, which is read from its beginning.

    Raises:
        OSError: If it can't be read.
    """
    if isinstance(file, Path):
        with fetch(file).open("rb") as opened:
            return file_sha256(opened)
    digest = hashlib.sha256()
    file.seek(0)
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()
