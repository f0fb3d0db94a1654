import logging
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from nst_lightning.errors import UserError
from nst_lightning.jobs.job import Job
from nst_lightning.utils.addresses import address, is_address, path_of, shown

SPELLINGS = {
    "s3://b/a.png": "s3://b/a.png",
    "s3a://b/a.png": "s3://b/a.png",
    "S3://b/x/../a.png": "s3://b/a.png",
    "s3://b//a.png": "s3://b/a.png",
    "s3://b/../../a.png": "s3://a.png",  # nothing leads out of the mirror
    "gs://b/a b/ü.png": "gs://b/a b/ü.png",
    "memory:///b/a.png": "memory://b/a.png",
    "https://x.org:8000/a.png": "https://x.org:8000/a.png",
    "https://x.org/a.png?b=../c&d=//e": "https://x.org/a.png?b=../c&d=//e",
    "https://x.org/a/../b.png": "https://x.org/a/../b.png",  # a server may take it for anything
    f"s3://b/{'n' * 300}.png": f"s3://b/{'n' * 300}.png",
}


@pytest.mark.parametrize("given", SPELLINGS)
def test_an_address_has_one_path(given):
    path = path_of(given)
    assert is_address(given)
    assert address(path) == SPELLINGS[given]
    assert shown(f"found {path}; check it") == f"found {SPELLINGS[given]}; check it"
    assert path.suffix == ".png"
    assert path_of(str(path)) == path
    assert ".." not in path.parts
    assert all(len(os.fsencode(part)) <= 255 for part in path.parts)


@pytest.mark.parametrize("given", ["https://x.org/a.png?b=../c", f"s3://b/{'n' * 300}.png"])
def test_a_process_that_is_not_forked_knows_the_address_too(given):
    path = path_of(given)
    code = "import pathlib, sys; from nst_lightning.utils.addresses import *; print(address(pathlib.Path(sys.argv[1])))"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == f"{given}\n"
    assert address(path.with_name("other.png")) != given


def test_a_path_stands_for_itself(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for given in ("a.png", "/x/y.png", "sample:town", "memory:0123", "c:/x.png"):
        assert not is_address(given)
        assert path_of(given) == Path(given)
        assert address(Path(given)) is None
    assert path_of("file:///x/y.png") == Path("/x/y.png")
    (tmp_path / "s3:/b").mkdir(parents=True)
    assert not is_address("s3://b")  # a folder of that name


@pytest.mark.parametrize("given", ["s3://", "s3:///", "zip://a.png::s3://b/c.zip", "s3://b/\0.png"])
def test_what_names_no_object_is_refused(given):
    with pytest.raises(UserError, match="expected an address such as s3://"):
        path_of(given)


def test_messages_and_logs_show_addresses(caplog):
    path = path_of("s3://b/photos") / "100%.png"
    assert str(UserError(f"cannot read {path}.")) == "cannot read s3://b/photos/100%.png."
    with caplog.at_level(logging.INFO, "nst_lightning"):
        logging.getLogger("nst_lightning.x").info("picture: %s", path)
    assert caplog.messages == ["picture: s3://b/photos/100%.png"]


def test_a_job_finds_its_folder_in_another_process():
    job = Job("a", ("fit",), path_of("s3://b/runs") / "a")
    assert b"nst-mirror" not in pickle.dumps(job)
    assert pickle.loads(pickle.dumps(job)) == job
    local = Job("a", ("fit",), Path("runs/a"))
    assert pickle.loads(pickle.dumps(local)) == local


_MAKE = "from nst_lightning.utils.addresses import path_of; print(path_of('s3://b/a').parents[2], flush=True); "


@pytest.mark.processes
def test_the_mirror_goes_with_its_command_also_if_that_was_killed(tmp_path):
    environment = {key: value for key, value in os.environ.items() if key != "NST_LIGHTNING_MIRROR"}
    environment["TMPDIR"] = str(tmp_path)

    def run(then):
        command = [sys.executable, "-c", _MAKE + then]
        return subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True).stdout.split()

    (left,) = run("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert Path(left).is_dir()
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {_MAKE!r}])"
    first, second = run(child)
    assert first == second != left
    assert list(tmp_path.iterdir()) == []
