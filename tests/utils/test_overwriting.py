"""Files are the same whatever the way they are named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nst_lightning import UserError
from nst_lightning.utils import overwriting
from nst_lightning.utils.overwriting import ReadFile, WrittenFile, check_overwriting, find_same, named_files


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("me.png").write_bytes(b"original")
    Path("sub").mkdir()


def link(make: Callable[[Path, str], None], name: str, to: str = "me.png") -> str:
    make(Path(name), to)
    return name


NAMES: dict[str, Callable[[], str]] = {
    "itself": lambda: "me.png",
    "absolute": lambda: str(Path("me.png").absolute()),
    "through a folder that is there": lambda: "sub/../me.png",
    "through folders that are yet to be made": lambda: "nope/deeper/../../me.png",
    "symbolic link": lambda: link(Path.symlink_to, "l.png"),
    "symbolic link to a folder": lambda: link(Path.symlink_to, "here", to=".") + "/me.png",
    "hard link": lambda: link(Path.hardlink_to, "l.png"),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_is_read_is_not_written(name: str) -> None:
    written = Path(NAMES[name]())
    with pytest.raises(UserError, match=r"^the output is one of the pictures read; choose another name\.$"):
        check_overwriting([WrittenFile(written, "the output")], [ReadFile(Path("me.png"))])
    with pytest.raises(UserError):  # the link is what is read
        check_overwriting([WrittenFile(Path("me.png"), "the output")], [ReadFile(written)])


@pytest.mark.parametrize("name", ["other.png", "nope/me.png", "sub/me.png", "me.jpg", "ME.PNG"])
def test_another_file_may_be_written(name: str) -> None:
    check_overwriting([WrittenFile(Path(name), "the output")], [ReadFile(Path("me.png")), ReadFile(Path("lost.png"))])


def test_a_folder_that_is_written_holds_nothing_that_is_read() -> None:
    folder = WrittenFile(Path("nope/../sub"), "the folder", "holds", is_folder=True)
    check_overwriting([folder], [ReadFile(Path("me.png")), ReadFile(Path("sub/lost.png"))])
    Path("sub/in.png").touch()
    with pytest.raises(UserError, match="the folder holds a mask; "):
        check_overwriting([folder], [ReadFile(Path("sub/in.png"), "a mask")])


@pytest.mark.parametrize(("ignores", "expected"), [(False, None), (True, (1, 2))])
def test_two_outputs_that_differ_in_case(
    ignores: bool, expected: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second is written in another Unicode form, as macOS does."""
    monkeypatch.setattr(overwriting, "_ignores_case", lambda folder: ignores)
    assert find_same([Path("a.png"), Path("\u00e4.png"), Path("A\u0308.PNG")]) == expected


def test_outputs_that_are_hard_links_are_two_places() -> None:
    assert find_same([Path("me.png"), Path(link(Path.hardlink_to, "l.png"))]) is None
    assert find_same([Path("me.png"), Path("x.png"), Path("nope/../x.png")]) == (1, 2)


def test_the_file_system_of_the_tests_tells_cases_apart() -> None:
    assert overwriting._ignores_case(Path.cwd()) is Path("ME.PNG").exists()


def test_a_variable_in_a_name_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKS", "sub")
    Path("sub/in.png").touch()
    assert [str(file.path) for file in named_files({"data": {"guides": ["$MASKS/in.png"]}})] == ["sub/in.png"]


def test_all_files_that_settings_name() -> None:
    """Wherever they stand; nothing else, and nothing breaks on what is no path."""
    settings = {
        "data": {"init_args": {"init": "me.png", "guides": ["rest", "sub/in.png"], "size": 3, "content": "content"}},
        "model": {"weights": "~nobody/x", "other": "x\0y", "long": "x" * 5000, "none": None},
        "output": {"path": "me.png"},
        "config": [Path("me.png")],
    }
    Path("sub/in.png").touch()
    found = [(str(file.path), file.what) for file in named_files(settings, ["output.path"])]
    assert found == [
        ("me.png", "one of the pictures read"),
        ("sub/in.png", "one of the pictures read"),
        ("me.png", "one of the files read"),
    ]
