"""Standard streams: made safe to write to, and what commands write to standard output, the paths of what they made."""

from __future__ import annotations

import io
import os
import sys
from typing import TextIO

from nst_lightning.utils.addresses import shown


class UnfailingStream(io.TextIOWrapper):
    """A text stream that drops what it cannot write: its reader, terminal or disk is gone.

    From then on the file descriptor leads nowhere, so that nothing else fails on it either, such as a library's own
    message.
    """

    def write(self, text: str, /) -> int:
        """Write a text, or drop it; return its length."""
        try:
            return super().write(text)
        except OSError:
            self._give_up()
            return len(text)

    def flush(self) -> None:
        """Write what waits, or drop it."""
        try:
            super().flush()
        except OSError:
            self._give_up()

    def _give_up(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)


def repair_streams() -> None:
    """Make standard output and standard error of this process safe to write to, whatever they are.

    One that is closed (`2>&-`, or a program without a console as by pythonw) leads nowhere, which also keeps a file
    that is opened later from getting its descriptor. A character that a console's code page lacks is shown as its
    number. A stream that somebody has replaced is left alone.
    """
    for descriptor in range(3):
        _open_nowhere(descriptor)
    sys.stdin = sys.stdin or io.TextIOWrapper(io.BytesIO())
    sys.stdout = _unfailing(sys.stdout, sys.__stdout__, 1)
    sys.stderr = _unfailing(sys.stderr, sys.__stderr__, 2)


def _open_nowhere(descriptor: int) -> None:
    """Let a standard descriptor that is closed lead nowhere, in this process and those that it starts."""
    try:
        os.fstat(descriptor)
    except OSError:
        nowhere = os.open(os.devnull, os.O_RDWR)
        if nowhere == descriptor:
            os.set_inheritable(nowhere, True)
        else:
            os.dup2(nowhere, descriptor)
            os.close(nowhere)


def _unfailing(stream: TextIO | None, original: TextIO | None, descriptor: int) -> TextIO:
    if stream is not None and (stream is not original or not isinstance(stream, io.TextIOWrapper)):
        return stream
    if stream is None or stream.closed:
        return UnfailingStream(io.FileIO(descriptor, "w", closefd=False), "utf-8", "backslashreplace")
    stream.flush()
    return UnfailingStream(
        stream.buffer, stream.encoding, "backslashreplace", line_buffering=stream.line_buffering, write_through=True
    )


def write_path(path: str | os.PathLike[str]) -> None:
    """Write the path of a file or folder that was made, alone on a line, so that `p=$(nst …)` takes it.

    A name that is not text is written as the bytes that it has on disk.
    """
    line = f"{shown(path)}\n"
    try:
        line.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        sys.stdout.flush()
        sys.stdout.buffer.write(os.fsencode(line))
    else:
        sys.stdout.write(line)
    sys.stdout.flush()
