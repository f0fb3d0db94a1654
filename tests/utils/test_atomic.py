import errno
import os
import resource
import subprocess
import sys
from contextlib import contextmanager
from fractions import Fraction

import pytest
import torch

from nst_lightning.callbacks.checkpoint import AtomicCheckpointIO
from nst_lightning.errors import StorageError, UserError
from nst_lightning.images.files import write_image
from nst_lightning.networks.network_file import load_network, save_network
from nst_lightning.utils import atomic
from nst_lightning.utils.atomic import atomic_path, write_text
from nst_lightning.utils.locks import is_locked
from nst_lightning.video.animated_image import write_animation
from nst_lightning.video.writing import VideoWriter


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


@contextmanager
def largest_file(size):
    """Let no file of this process grow beyond a size, bytes: the system refuses as if the disk were full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def noisy_image(size=200):
    return torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))


def write_video(path):
    with VideoWriter(path, 200, 200, Fraction(10)) as writer:
        for number in range(10):
            writer.write(noisy_image(), Fraction(number, 10))


def write_frames(path):
    image = path.parent.parent / "frame.png"
    write_animation(path, [image, image], fps=10, hold=0.1)


WRITERS = {
    "x.png": lambda path: write_image(path, noisy_image()),
    "deep.png": lambda path: write_image(path, noisy_image(), bits=16),
    "x.jpg": lambda path: write_image(path, noisy_image()),
    "x.webp": lambda path: write_image(path, noisy_image()),
    "x.tif": lambda path: write_image(path, noisy_image()),
    "x.ckpt": lambda path: AtomicCheckpointIO().save_checkpoint({"image": noisy_image()}, path),
    "x.txt": lambda path: write_text(path, "x" * 200_000),
    "x.safetensors": lambda path: save_network(load_network("starry")[0], path, ["starry"], ""),
    "moving.png": write_frames,
    "moving.webp": write_frames,
    "moving.gif": write_frames,
    "x.mp4": write_video,
    "x.mkv": write_video,
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_for_which_there_is_no_room_is_one_line_and_the_old_one_stays(name, tmp_path, capfd):
    write_image(tmp_path / "frame.png", noisy_image())
    target = tmp_path / "out" / name
    write_text(target, "old")
    with largest_file(12_345), pytest.raises(StorageError) as caught:
        WRITERS[name](target)
    message = str(caught.value)
    assert message.startswith(f"cannot write {target} (File too large); ")
    assert message.endswith("make room, or choose another place, and start again")
    assert capfd.readouterr().err == ""  # libtiff would add lines of its own
    assert target.read_text() == "old"
    assert list(target.parent.iterdir()) == [target]
    WRITERS[name](target)  # with room again
    size = target.stat().st_size
    if name not in ("x.mp4", "x.mkv"):  # their encoders can't know
        assert f"; {-(-(size - 12_345) // 1000)} kB more are needed" in message or size > 10**6


def test_the_missing_part_is_what_the_file_has_beyond_the_room(tmp_path):
    with largest_file(1000), pytest.raises(StorageError, match="; 3 kB more are needed"):
        write_text(tmp_path / "x.txt", "x" * 3500)
    with largest_file(1000), pytest.raises(StorageError, match=r"; 2\.4 MB more are needed"):
        write_text(tmp_path / "x.txt", "x" * 2_301_001)


def test_a_read_only_file_system_takes_nothing_more(tmp_path, monkeypatch):
    def refuse(*args):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(atomic.os, "open", refuse)
    with pytest.raises(StorageError, match="Read-only file system"):
        write_text(tmp_path / "x.txt", "x")


def killed_writer(folder):
    """Return a process that writes into a folder, and waits."""
    code = f"""if True:
        import sys, time
        from nst_lightning.utils.atomic import atomic_path
        with atomic_path({str(folder / "x.png")!r}) as temporary:
            temporary.write_bytes(b"half")
            print("begun", flush=True)
            time.sleep(100)
    """
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "begun\n"
    return process


def files(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.processes
@pytest.mark.slow
def test_the_file_of_a_killed_writer_is_swept_and_that_of_a_live_one_is_not(tmp_path, monkeypatch):
    strangers = ["me.partial.png", ".x-0123.partial.png", ".x-0123456789abc.partial", "x-0123456789ab.partial.png"]
    for name in strangers:
        (tmp_path / name).touch()
    folder = tmp_path / ".x-0123456789ab.partial"
    folder.mkdir()
    process = killed_writer(tmp_path)
    (left,) = set(files(tmp_path)) - {*strangers, folder.name}
    hub = tmp_path / f"{left}.{'0' * 32}.partial"  # as torch hub downloads to it
    hub.touch()
    for is_alive in (True, False):
        monkeypatch.setattr(atomic, "_swept", set())  # as in a new process
        write_text(tmp_path / "y.txt", "y")
        kept = {left, hub.name} if is_alive else set()
        assert set(files(tmp_path)) == {*strangers, folder.name, "y.txt", *kept}
        process.kill()
        process.wait()


def test_a_file_that_the_body_replaced_is_locked_too(tmp_path, monkeypatch):
    seen = []
    flush = os.fsync
    monkeypatch.setattr(atomic.os, "fsync", lambda file: (seen.append(is_locked(temporary)), flush(file)))
    with atomic_path(tmp_path / "x.bin") as temporary:
        assert is_locked(temporary)
        other = tmp_path / "other"
        other.write_bytes(b"new")
        other.replace(temporary)
        assert not is_locked(temporary)
    assert seen == [True]
    assert files(tmp_path) == ["x.bin"]
    assert not is_locked(tmp_path / "x.bin")


def test_what_earlier_runs_left_is_swept_by_the_next_one(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic, "_swept", set())
    left = ["version_0/.hparams-0123456789ab.partial.yaml", "version_0/checkpoints/.last-0123456789ab.partial.ckpt"]
    for name in [*left, "version_0/hparams.yaml"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    atomic.sweep_below(tmp_path)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["hparams.yaml"]
