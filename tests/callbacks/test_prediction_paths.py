"""Where paintings go: names, clashes, and what must not be written over."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from nst_lightning.callbacks.prediction_writer import find_targets, leave_out_folder
from nst_lightning.data.predict_data import MediaFile
from nst_lightning.errors import UserError


def files(*names: str, root: str = "in") -> list[MediaFile]:
    return [MediaFile(f"{root}/{name}", PurePosixPath(name)) for name in names]


def named(names: list[str], suffix: str | None = None) -> list[str]:
    folder = Path("out")
    return [str(path.relative_to(folder)) for path in find_targets(files(*names), folder, suffix).values()]


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_names_are_kept_and_suffixes_where_they_can_be_written() -> None:
    names = ["a.png", "b.JPG", "c/d.webp", "e.tiff", "f.gif", "g.h.bmp"]
    assert named(names) == ["a.png", "b.JPG", "c/d.webp", "e.tiff", "f.gif.png", "g.h.bmp.png"]
    assert named(names, ".jpg") == ["a.jpg", "b.jpg", "c/d.jpg", "e.jpg", "f.jpg", "g.h.jpg"]


def test_a_name_does_not_depend_on_what_else_is_there() -> None:
    """Else a picture that is put beside others later would be taken for painted already."""
    assert named(["a.gif", "a.png"]) == [*named(["a.gif"]), *named(["a.png"])] == ["a.gif.png", "a.png"]
    assert named(["a.avi", "a.mp4"]) == [*named(["a.avi"]), *named(["a.mp4"])] == ["a.avi.mp4", "a.mp4"]


def test_names_that_a_format_makes_equal_keep_the_old_suffix_too() -> None:
    assert named(["a.jpg"], ".png") == ["a.png"]
    # a.png may be there, from a time when a.jpg was alone
    assert named(["a.jpg", "a.png", "b.png"], ".png") == ["a.jpg.png", "a.png.png", "b.png"]


def test_a_name_that_would_be_too_long_is_refused_before_anything_is_painted() -> None:
    assert named([f"{'写' * 77}.gif"]) == [f"{'写' * 77}.gif.png"]  # 239 bytes
    with pytest.raises(
        UserError, match=r"expected a name of at most 240 bytes .* found '写+\.gif\.png'; give the file a sho"
    ):
        named(["a.png", f"{'写' * 83}.gif"])


def test_two_pictures_of_one_name_are_refused() -> None:
    with pytest.raises(UserError, match=r"x/a\.png and y/a\.png would both be painted to out/a\.png"):
        find_targets(files("a.png", root="x") + files("a.png", root="y"), Path("out"), None)


@pytest.mark.parametrize("folder", ["in", "other/../in"])
def test_nothing_is_painted_over_what_is_read(folder: str) -> None:
    Path("other").mkdir()
    with pytest.raises(UserError, match="painted over a picture that is read"):
        find_targets(files("a.png"), Path(folder), None)


def test_a_folder_that_is_a_file_is_refused() -> None:
    Path("out").touch()
    with pytest.raises(UserError, match="can be written to"):
        find_targets(files("a.png"), Path("out"), None)


def test_paintings_inside_the_searched_folder_are_not_painted_again() -> None:
    Path("in/painted").mkdir(parents=True)
    found = files("a.png", "painted/a.png", "painted_more/a.png")
    assert leave_out_folder(found, Path("in/painted"), ["in"]) == [found[0], found[2]]
    assert leave_out_folder(found, Path(), ["in"]) == found  # not those that lie beside what is written
    assert leave_out_folder(found, Path("in"), ["in"]) == found  # refused afterwards


def test_videos_keep_a_suffix_that_can_be_written_whatever_that_of_pictures() -> None:
    assert named(["a.mp4", "b.MKV", "c.avi", "d.png"], ".jpg") == ["a.mp4", "b.MKV", "c.avi.mp4", "d.jpg"]


def test_no_video_is_painted_over() -> None:
    with pytest.raises(UserError, match="painted over a video that is read"):
        find_targets(files("a.mp4"), Path("in"), None)
