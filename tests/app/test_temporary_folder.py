"""What visitors brought goes with the page, and, where everything was killed at once, when the next one starts."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from nst_lightning.app.temporary_folder import temporary_folder

KILLED = """
import os, signal
from nst_lightning.app.temporary_folder import temporary_folder
with temporary_folder() as folder:
    (folder / "uploads").mkdir()
    (folder / "uploads/me").write_text("a picture")
    print(folder, flush=True)
    input()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def _own_temporary_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_a_folder_goes_with_its_page_and_a_killed_pages_with_the_next(tmp_path: Path) -> None:
    (tmp_path / "nst-app-none").mkdir()  # of no page that we know
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    theirs = Path(process.stdout.readline().decode().strip())
    with temporary_folder() as mine:
        assert mine != theirs
        assert (theirs / "uploads/me").exists()  # its page is there
        process.stdin.write(b"\n")
        process.stdin.close()
        process.wait(30)
        assert (theirs / "uploads/me").exists()
        with temporary_folder() as third:
            assert sorted(tmp_path.iterdir()) == sorted([mine, third, tmp_path / "nst-app-none"])
    assert list(tmp_path.iterdir()) == [tmp_path / "nst-app-none"]
    process.stdout.close()


def test_nothing_behind_a_link_is_deleted(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/.lock").touch()
    (tmp_path / "nst-app-x").symlink_to(tmp_path / "mine")
    with temporary_folder():
        assert (tmp_path / "mine/.lock").exists()
