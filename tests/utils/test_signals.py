"""The signals that stop a command, and a terminal that is closed under it."""

from __future__ import annotations

import os
import pty
import signal
import sys
from pathlib import Path

import pytest

from nst_lightning.utils.signals import stop_signals

PROGRAM = """
import os, signal, sys
from pathlib import Path
from nst_lightning.utils.signals import leave_closed_terminal

def stop(number, frame):
    leave_closed_terminal(number)
    sys.stderr.write("a last word\\n")
    sys.stderr.flush()
    Path(sys.argv[1]).write_text("the last word was no error")
    sys.exit()  # the signal may come before the pause

signal.signal(signal.SIGHUP, stop)
print("begun", flush=True)
signal.pause()
"""


def test_a_hangup_is_a_signal_to_stop_unless_it_is_ignored_as_by_nohup() -> None:
    assert set(stop_signals()) == {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert set(stop_signals()) == {signal.SIGINT, signal.SIGTERM}
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.processes
def test_what_is_said_to_a_closed_terminal_is_no_error(tmp_path: Path) -> None:
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-c", PROGRAM, str(tmp_path / "end.txt")])
    assert b"begun" in os.read(terminal, 100)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (tmp_path / "end.txt").read_text() == "the last word was no error"
