import errno
import os

import pytest

from nst_lightning.errors import UserError
from nst_lightning.utils.atomic import atomic_path


def test_the_file_appears_when_the_body_ends(tmp_path):
    target = tmp_path / "new" / "folder" / "result.png"
    with atomic_path(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.suffix == ".png"
        temporary.write_bytes(b"new")
        assert not target.exists()
    assert target.read_bytes() == b"new"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_failing_body_leaves_the_old_file(tmp_path, error):
    target = tmp_path / "result.ckpt"
    target.write_bytes(b"old")

    def fail():
        with atomic_path(str(target)) as temporary:
            temporary.write_bytes(b"half")
            raise error

    with pytest.raises(error):
        fail()
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk_is_one_line(tmp_path):
    target = tmp_path / "result.png"

    def fill_the_disk():
        with atomic_path(target) as temporary:
            temporary.write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(UserError, match=r"cannot write .*result\.png \(No space left on device\)") as caught:
        fill_the_disk()
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(UserError, match="out is not a folder"), atomic_path(tmp_path / "out" / "x.png"):
        pytest.fail("the body must not run")


def test_a_folder_in_the_place_of_the_file(tmp_path):
    (tmp_path / "x.png").mkdir()
    with pytest.raises(UserError, match="it is a folder"), atomic_path(tmp_path / "x.png"):
        pytest.fail("the body must not run")


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)  # the tests may run as root, who may write anywhere
    with pytest.raises(UserError, match="Permission denied"), atomic_path(tmp_path / "x.png"):
        pytest.fail("the body must not run")


def test_names_as_long_as_the_file_system_allows(tmp_path):
    target = tmp_path / ("n" * 251 + ".png")
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"new")
    assert target.read_bytes() == b"new"


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_the_mode_obeys_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        with atomic_path(tmp_path / "x.png") as temporary:
            temporary.write_bytes(b"new")
    finally:
        os.umask(before)
    assert (tmp_path / "x.png").stat().st_mode & 0o777 == 0o666 & ~umask
