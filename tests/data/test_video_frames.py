"""`VideoFrames` and `PredictLoader`: which frames come, in what order, and what is said of those that don't."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path, PurePosixPath
from types import SimpleNamespace

import pytest
import torch

from nst_lightning.data.predict_data import (
    MediaFile,
    PredictData,
    PredictLoader,
    PredictSample,
    VideoFrames,
    find_media,
)
from tests.helpers.clips import make_clip, moving_frames
from tests.helpers.inputs import make_image

pytest.importorskip("av")


def video(path: Path) -> MediaFile:
    return MediaFile(str(path), PurePosixPath(path.name))


def cut_short(path: Path) -> None:
    """Leave out the end, as a broken transfer does."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])


def places(frames: list[PredictSample]) -> list[tuple[str, int, bool, bool]]:
    return [(f.file.path[-5], f.frame.index, f.frame.is_last, f.problem is not None) for f in frames if f.frame]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Videos of 3 and 2 frames and two pictures."""
    make_clip(tmp_path / "in/a.mkv", moving_frames(3))
    make_clip(tmp_path / "in/b.mkv", moving_frames(2))
    make_image(tmp_path / "in/c.png", 9, 7, seed=1)
    make_image(tmp_path / "in/d.png", 9, 7, seed=2)
    return tmp_path / "in"


def test_every_frame_comes_once_and_the_last_says_so(folder: Path) -> None:
    frames = list(VideoFrames([video(folder / "a.mkv"), video(folder / "b.mkv")], None, 10**9))
    assert places(frames) == [(n, i, i == last, False) for n, last in (("a", 2), ("b", 1)) for i in range(last + 1)]
    assert [f.frame.time for f in frames if f.frame] == [Fraction(i, 10) for i in (0, 1, 2, 0, 1)]
    assert {f.frame.info.rate for f in frames if f.frame} == {10}
    for frame, expected in zip(frames, [*moving_frames(3), *moving_frames(2)], strict=True):
        torch.testing.assert_close(frame.pixels, expected, rtol=0, atol=1e-6)


def test_the_long_side(folder: Path) -> None:
    assert {frame.pixels.shape for frame in VideoFrames([video(folder / "a.mkv")], 16, 10**9)} == {(1, 3, 12, 16)}


def test_a_video_that_breaks_off_ends_with_its_problem(folder: Path) -> None:
    frames = moving_frames(12)
    make_clip(folder / "a.mkv", frames)
    cut_short(folder / "a.mkv")
    *whole, broken, first, second = VideoFrames([video(folder / "a.mkv"), video(folder / "b.mkv")], None, 10**9)
    count = len(whole)
    assert 0 < count < 12
    assert places([*whole, broken]) == [("a", i, i == count, i == count) for i in range(count + 1)]
    assert "a.mkv damaged or cut short" in str(broken.problem)
    assert broken.pixels.shape == (1, 3, 0, 0)
    torch.testing.assert_close(whole[-1].pixels, frames[count - 1], rtol=0, atol=1e-6)
    assert places([first, second]) == [("b", 0, False, False), ("b", 1, True, False)]


def test_what_is_no_video_or_too_large_is_handed_on_with_its_problem(folder: Path) -> None:
    (folder / "a.mkv").write_text("no video")
    footage = VideoFrames([video(folder / "a.mkv"), video(folder / "b.mkv")], None, 24 * 32 - 1)
    assert [frame.frame for frame in footage] == [None, None]
    first, second = (str(frame.problem) for frame in footage)
    assert "expected a video" in first
    assert "at most 767 pixels a frame, found 32×24" in second
    assert footage.count_frames() == 2  # the problems


def shares(folder: Path, processes: int, num_workers: int = 0) -> list[PredictLoader]:
    data = PredictData(str(folder), num_workers=num_workers)
    loaders = []
    for rank in range(processes):
        data.trainer = SimpleNamespace(global_rank=rank, world_size=processes)  # type: ignore[assignment]
        loaders.append(data.predict_dataloader())
    assert all(isinstance(loader, PredictLoader) for loader in loaders)
    return loaders  # type: ignore[return-value]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_pictures_come_first(folder: Path, num_workers: int) -> None:
    (share,) = shares(folder, 1, num_workers)
    names = [batch.file.name.name for batch in share]
    assert names[-5:] == ["a.mkv"] * 3 + ["b.mkv"] * 2
    assert names[:-5] == ["c.png", "d.png"]
    assert share.count() == 7


def test_videos_are_shared_out_whole(folder: Path) -> None:
    """The third process has nothing to do, and a loader of the same kind: Lightning adds up the others' lengths."""
    assert [[batch.file.name.name for batch in share] for share in shares(folder, 3)] == [
        ["c.png", *["a.mkv"] * 3],
        ["d.png", *["b.mkv"] * 2],
        [],
    ]


def test_a_folder_is_searched_for_videos_too(folder: Path) -> None:
    make_clip(folder / "deep/E.MP4", moving_frames(1))
    found = find_media(str(folder))
    assert [str(file.name) for file in found] == ["a.mkv", "b.mkv", "c.png", "d.png", "deep/E.MP4"]
    assert [file.is_video for file in found] == [True, True, False, False, True]
