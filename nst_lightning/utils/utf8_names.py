"""Files for libraries that open them by names in UTF-8 only, whatever bytes the names have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def readable_by_name(file: Path) -> Iterator[Path]:
    """Yield a name in UTF-8 for a file that is read: its own, or that of an open file descriptor.

    Args:
        file: Path of the file, whose name may have bytes that are not UTF-8.

    Raises:
        OSError: If it has, and can't be opened.
    """
    try:
        str(file).encode("utf-8")
    except UnicodeEncodeError:
        with file.open("rb") as opened:
            yield Path(f"/dev/fd/{opened.fileno()}")
    else:
        yield file
