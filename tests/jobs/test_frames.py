"""The folder of a video's frames."""

from __future__ import annotations

from pathlib import Path

import pytest

from nst_lightning.jobs.frames import FramesFolder


@pytest.mark.parametrize("unfinished", [["work/content.png"], ["000002-settled.png", "work/content.png"]])
def test_a_process_killed_while_it_took_the_last_frame_in_leaves_nothing(unfinished: list[str], tmp_path: Path) -> None:
    frames = FramesFolder(tmp_path / "out.mp4.frames")
    for name in ("000001.png", "000002.png", "000003.png", "000003-settled.png", *unfinished):
        (frames.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (frames.folder / name).touch()
    frames.leave_images()
    assert sorted(path.name for path in frames.folder.iterdir()) == ["000001.png", "000002.png", "000003.png"]
