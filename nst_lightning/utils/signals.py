"""The signals that ask a command to stop: Ctrl-C, SIGTERM, and SIGHUP, which a terminal sends when it is closed."""

from __future__ import annotations

import errno
import os
import signal
import sys
from types import FrameType
from typing import NoReturn


def stop_signals() -> tuple[signal.Signals, ...]:
    """Return the signals that ask this process to stop.

    Windows has no SIGHUP. A process that was told to ignore it, as by nohup, goes on when the terminal is closed.
    """
    signals = [signal.SIGINT, signal.SIGTERM]
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signals.append(signal.SIGHUP)
    return tuple(signals)


def exit_by_signal(number: int, frame: FrameType | None) -> NoReturn:
    """End the process with the exit code of a signal, 128 and its number; a handler for `signal.signal`."""
    del frame
    leave_closed_terminal(number)
    raise SystemExit(128 + number)


def leave_closed_terminal(number: int) -> None:
    """Let what is still said go nowhere if a signal came because the terminal was closed: writing to that is an error.

    Args:
        number: The signal.
    """
    if sys.platform == "win32" or number != signal.SIGHUP:
        return
    import termios

    for descriptor in (1, 2):
        try:
            termios.tcgetattr(descriptor)
        except termios.error as error:
            if error.args[0] != errno.EIO:  # a file or a pipe
                continue
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)
