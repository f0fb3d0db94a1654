"""Paths as people type them, and messages of one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nst_lightning.errors import UserError, did_you_mean, missing_packages_named, one_line, user_path
from nst_lightning.images.files import check_output, read_image
from nst_lightning.utils.atomic import check_writable

MISTAKES = {
    "~nobody-here/x.png": "nobody's home is ~nobody-here",
    f"{'x' * 300}.png": r"\(File name too long\)",
    "loop/x.png": r"loop/x.png \(Too many levels of symbolic links\)",
    "a\0b.png": r"\(.*null (byte|character).*\)",
}


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_message_is_one_line() -> None:
    assert str(UserError("found nothing at a\nb\r\nc.jpg;  check it")) == "found nothing at a b c.jpg;  check it"


def test_an_error_in_one_line_has_single_blanks() -> None:
    assert one_line(ValueError("no such\n\tthing  here\n")) == "no such thing here"
    assert one_line("a\n b") == "a b"


def test_an_error_without_a_message_is_its_class() -> None:
    assert one_line(TimeoutError()) == "TimeoutError"


def test_the_nearest_known_name_is_asked_for() -> None:
    assert did_you_mean("starri", ["mosaic", "starry"]) == "did you mean starry?"
    assert did_you_mean("starri", ["mosaic", "starry"], shown=repr) == "did you mean 'starry'?"
    assert did_you_mean("x", ["mosaic", "starry"], "choose one.") == "choose one."
    assert did_you_mean("x", ["mosaic", "starry"]) == ""
    assert did_you_mean("x", ["mosaic"], cutoff=0) == "did you mean mosaic?"


def test_a_path_is_taken_from_home_and_from_the_folder_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", os.fspath(Path.cwd()))
    Path("file").touch()
    assert user_path("~/x.png") == Path.cwd() / "x.png"
    assert user_path("~/x.png", Path("folder")) == Path.cwd() / "x.png"
    assert user_path("x.png", Path("folder")) == Path("folder/x.png")
    assert user_path("file/x.png") == Path("file/x.png")  # those who write there say that it is no folder


@pytest.mark.parametrize("given", MISTAKES)
def test_a_path_that_can_be_none_is_refused_in_one_line(given: str) -> None:
    Path("loop").symlink_to("loop")
    for read in (user_path, read_image, check_output):
        with pytest.raises(UserError, match=MISTAKES[given]):
            read(given)


def test_a_name_that_is_too_long_is_told_before_anything_is_computed() -> None:
    with pytest.raises(UserError, match=r"cannot write x+ \(File name too long\)"):
        check_writable(Path("x" * 300))


def test_a_long_value_does_not_make_a_long_line() -> None:
    line = str(UserError("expected a number, found " + "9" * 10_000 + "; give less"))
    assert len(line) < 2100
    assert line.startswith("expected a number, found 9")
    assert line.endswith("9; give less")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ModuleNotFoundError("No module named 'wandb'", name="wandb"), "pip install 'wandb'"),
        (ModuleNotFoundError("Requirement 'x>=1' not met. HINT: Try running `pip install -U 'x>=1'`"), "'x>=1'"),
        (ValueError("Problem with given class_path 'a.b.Bar':\n `Bar`: pip install -U rich."), "Bar needs .* 'rich'"),
    ],
)
def test_a_missing_package_is_a_line_with_the_command_that_helps(error: Exception, line: str) -> None:
    wrapped = ValueError("of a program around it")
    wrapped.__cause__ = error
    with pytest.raises(UserError, match=line), missing_packages_named():
        raise wrapped


@pytest.mark.parametrize("error", [ModuleNotFoundError("x", name="nst_lightning.gone"), ValueError("other")])
def test_errors_that_are_not_about_packages_pass(error: Exception) -> None:
    with pytest.raises(type(error)), missing_packages_named():
        raise error


def test_a_file_whose_name_begins_with_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("~me.jpg").touch()
    assert user_path("~me.jpg") == user_path("./~me.jpg") == Path("~me.jpg")
    assert user_path("~me.jpg", tmp_path) == tmp_path / "~me.jpg"
    with pytest.raises(UserError, match=r"nobody's home is ~you\.jpg"):
        user_path("~you.jpg")


def test_home_and_variables_are_replaced_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NAME", "a$OTHER")
    monkeypatch.setenv("OTHER", "b")
    assert user_path("~/x.png") == tmp_path / "home/x.png"
    assert user_path("$HOME/${OTHER}.png") == tmp_path / "home/b.png"
    assert user_path("$NAME/x.png") == Path("a$OTHER/x.png")  # what is put in is not looked through again
    assert user_path("$UNSET/x.png") == Path("$UNSET/x.png")
    (tmp_path / "$OTHER").mkdir()
    assert user_path("$OTHER/x.png") == Path("$OTHER/x.png")  # it is there under this name
    assert user_path("$OTHER", Path("elsewhere")) == Path("elsewhere/b")
