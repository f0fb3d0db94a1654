"""Paths on standard output."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nst_lightning.utils.standard_output import write_path


def test_a_path_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    write_path(Path("a b/ü.png"))
    write_path("c.png")
    assert capsys.readouterr().out == "a b/ü.png\nc.png\n"


@pytest.mark.processes
@pytest.mark.skipif(sys.platform == "win32", reason="file names are text there")
def test_a_name_that_is_not_text_keeps_its_bytes() -> None:
    program = r"from nst_lightning.utils.standard_output import write_path; write_path('\udcff.png')"
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    assert subprocess.check_output([sys.executable, "-c", program], env=environment) == b"\xff.png\n"
