"""Standard streams that are closed, full, read by nobody, or of few characters, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nst_lightning.utils.streams import write_path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="descriptors of POSIX")

BEGIN = "import sys; from nst_lightning.utils.streams import repair_streams; repair_streams(); "
WORK = "print('out √'); print('err √', file=sys.stderr); open('done', 'w').write('x'); "


def shell(command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    variables = {**os.environ, "PY": sys.executable, "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    return subprocess.run(["bash", "-c", command], cwd=folder, env=variables, capture_output=True, timeout=60)


@pytest.mark.parametrize("closed", ["2>&-", ">&-", ">&- 2>&-", "<&- >&- 2>&-", ">/dev/full", "2>/dev/full"])
def test_a_stream_that_is_closed_or_full_is_no_error(closed: str, tmp_path: Path) -> None:
    done = shell(f'"$PY" -c "{BEGIN}{WORK}" {closed}', tmp_path)
    assert done.returncode == 0
    assert b"Error" not in done.stderr + done.stdout
    assert (tmp_path / "done").read_text() == "x"  # and not what was meant for the stream


def test_a_reader_that_has_gone_is_no_error(tmp_path: Path) -> None:
    text = f"{BEGIN}\nfor number in range(99999): print(number)\n{WORK}"
    done = shell(f'"$PY" -c "{text}" | head -1; exit "${{PIPESTATUS[0]}}"', tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"0\n", b"err \xe2\x88\x9a\n")


@pytest.mark.parametrize(("encoding", "shown"), [("ascii", rb"out \u221a"), ("cp1252", rb"out \u221a")])
def test_a_character_that_a_console_lacks_is_shown_as_its_number(encoding: str, shown: bytes, tmp_path: Path) -> None:
    done = shell(f'"$PY" -c "{BEGIN}{WORK}"', tmp_path, PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stdout.strip()) == (0, shown)


def test_a_program_without_a_console_gets_streams(tmp_path: Path) -> None:
    done = shell(f'"$PY" -c "import sys; sys.stdout = sys.stderr = sys.stdin = None; {BEGIN}{WORK}"', tmp_path)
    assert done.returncode == 0
    assert (tmp_path / "done").exists()


def test_a_path_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    write_path(Path("a b/ü.png"))
    write_path("c.png")
    assert capsys.readouterr().out == "a b/ü.png\nc.png\n"


@pytest.mark.processes
def test_a_name_that_is_not_text_keeps_its_bytes() -> None:
    program = r"from nst_lightning.utils.streams import write_path; write_path('\udcff.png')"
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    assert subprocess.check_output([sys.executable, "-c", program], env=environment) == b"\xff.png\n"
