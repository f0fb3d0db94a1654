import os
import shutil
import subprocess
import sys
import threading
from datetime import datetime, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import fsspec
import numpy as np
import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image

from nst_lightning.errors import StorageError, UserError, user_path
from nst_lightning.images.files import check_output, read_image, visible_files, write_image
from nst_lightning.utils import storage
from nst_lightning.utils.addresses import path_of
from nst_lightning.utils.atomic import atomic_file, write_text
from nst_lightning.utils.overwriting import ReadFile, WrittenFile, check_overwriting, named_files

PIXELS = torch.linspace(0, 1, 3 * 8 * 8).view(1, 3, 8, 8)


class Lossy(MemoryFileSystem):
    """A store in memory whose connection is lost as often as `losses` says."""

    protocol = "lossy"
    store: ClassVar = {}
    pseudo_dirs: ClassVar = [""]
    losses = 0
    calls: ClassVar = []

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.replace("lossy://", "memory://"))

    def _call(self, name, path):
        Lossy.calls.append((name, path))
        if Lossy.losses:
            Lossy.losses -= 1
            raise ConnectionResetError("connection reset by peer")

    def info(self, path, **settings):
        self._call("info", path)
        return super().info(path, **settings)

    def get_file(self, path, local, **settings):
        self._call("get", path)
        super().get_file(path, local, **settings)
        if Lossy.losses:
            Lossy.losses -= 1
            os.truncate(local, 3)

    def put_file(self, local, path, **settings):
        self._call("put", path)
        super().put_file(local, path, **settings)

    def pipe_file(self, path, value, mode="overwrite", **settings):
        super().pipe_file(path, value, mode, **settings)
        self._call("pipe", path)  # the answer is lost


@pytest.fixture(autouse=True)
def memory(monkeypatch):
    monkeypatch.setattr(storage, "_PAUSES", (0.0,) * 5)
    monkeypatch.setattr(storage, "_listed", set())
    monkeypatch.setattr(storage, "_writable", set())
    fsspec.register_implementation("lossy", Lossy, clobber=True)
    Lossy.losses, Lossy.calls = 0, []
    yield fsspec.filesystem("memory")
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]
    Lossy.store.clear()
    Lossy.pseudo_dirs[:] = [""]


def png(tmp_path, value=0.5):
    write_image(tmp_path / "picture.png", torch.full((1, 3, 8, 8), value))
    return (tmp_path / "picture.png").read_bytes()


def test_an_image_is_read_and_written_as_on_a_disk(tmp_path, memory):
    write_image("memory://b/new/folder/a.png", PIXELS)
    write_image(tmp_path / "a.png", PIXELS)
    assert memory.cat("/b/new/folder/a.png") == (tmp_path / "a.png").read_bytes()
    there, here = read_image("memory://b/new/folder/a.png"), read_image(tmp_path / "a.png")
    assert torch.equal(there.pixels, here.pixels)
    assert there.digest == here.digest
    assert memory.find("/b") == ["/b/new/folder/a.png"]
    assert user_path(f"file://{tmp_path}/a.png") == tmp_path / "a.png"


def test_a_changed_object_is_read_anew(tmp_path, memory):
    for value in (0.2, 0.8):  # files of the same size
        memory.pipe("/b/a.png", png(tmp_path, value))
        assert read_image("memory://b/a.png").pixels.mean() == pytest.approx(value, abs=0.01)
    memory.rm("/b/a.png")
    with pytest.raises(UserError, match=r"found nothing at memory://b/a.png"):
        read_image("memory://b/a.png")


@pytest.mark.parametrize("change", [{"ETag": '"2"'}, {"size": 5}, {"LastModified": datetime(2026, 1, 2)}])
def test_states_of_an_object_are_told_apart(change):
    info = {"size": 4, "ETag": '"1"', "LastModified": datetime(2026, 1, 1)}
    assert storage._stamp(info) == storage._stamp(dict(info))
    assert storage._stamp({**info, **change}) != storage._stamp(info)
    assert storage._stamp({"size": 4}) != storage._stamp({"size": 4})  # who knows
    web = {"size": 4, "ETag": '"1"', "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
    assert storage._stamp(web)[1] // 10**9 == datetime.fromisoformat("2026-01-01T00:00:00+00:00").timestamp()


def test_a_folder_is_listed_and_its_images_downloaded_when_they_are_read(tmp_path):
    store = fsspec.filesystem("lossy")
    for name in ("a.png", "deep/er/b.png", ".hidden/c.png", "notes.txt"):
        MemoryFileSystem.pipe_file(store, f"/b/{name}", png(tmp_path))
    folder = user_path("lossy://b")
    found = visible_files(folder)
    assert [str(path.relative_to(folder)) for path in found] == ["a.png", "deep/er/b.png", "notes.txt"]
    size = len(png(tmp_path))
    assert [path.stat().st_size for path in found] == [size] * 3
    assert "get" not in dict(Lossy.calls)
    assert read_image(found[1]).pixels.shape == (1, 3, 8, 8)
    assert [path for name, path in Lossy.calls if name == "get"] == ["/b/deep/er/b.png"]
    MemoryFileSystem.rm(store, "/b/a.png")
    assert [path.name for path in visible_files(folder)] == ["b.png", "notes.txt"]


def test_no_object_leads_out_of_its_folder(memory, monkeypatch):
    memory.pipe("/b/photos/a.txt", b"a")
    names = ["/b/photos/a.txt", "/b/photos/../../../../x.txt", "/b/photos//y.txt", f"/b/photos/{'n' * 256}.txt"]
    infos = {name: {"name": name, "type": "file", "size": 1, "created": None, "ETag": "1"} for name in names}
    monkeypatch.setattr(MemoryFileSystem, "find", lambda *_, **__: infos)
    assert [path.name for path in visible_files(user_path("memory://b/photos"))] == ["a.txt"]


def test_what_is_kept_of_what_is_read_is_bounded(tmp_path, memory, monkeypatch):
    content = [bytes([number]) * 4096 for number in range(8)]
    for number, each in enumerate(content):
        memory.pipe(f"/b/{number}.bin", each)
    monkeypatch.setenv("NST_LIGHTNING_CACHE_GB", "20e-6")
    storage._used.clear()
    paths = [user_path(f"memory://b/{number}.bin") for number in range(8)]

    def room():
        return sum(path.stat().st_blocks * 512 for path in paths)

    for number in (*range(8), 4, 0, 0):
        assert storage.fetch(paths[number]).read_bytes() == content[number]
        assert room() <= 20_000
    assert {path.stat().st_size for path in paths} == {4096}
    assert paths[4].stat().st_blocks  # used lately
    memory.pipe("/b/large.bin", bytes(30_000))
    with pytest.raises(UserError, match=r"memory://b/large.bin has 0.0 GB, more than .* set NST_LIGHTNING_CACHE_GB"):
        storage.fetch(user_path("memory://b/large.bin"))


def test_what_fails_while_it_is_written_leaves_the_object_as_it_was(memory):
    write_text("memory://b/a.txt", "before")
    with pytest.raises(ZeroDivisionError), atomic_file("memory://b/a.txt") as file:
        file.write(b"half" * (1 // 0))
    assert memory.cat("/b/a.txt") == b"before"
    assert path_of("memory://b/a.txt").read_text() == "before"
    assert memory.find("/b") == ["/b/a.txt"]


def test_what_is_removed_or_pushed_is_so_in_the_store(memory):
    for name in ("a.txt", "run/b.txt", "run/deep/c.txt"):
        write_text(f"memory://b/{name}", name)
    folder = path_of("memory://b/run")
    (folder / "log.txt").write_text("grows")
    (folder / ".lock").touch()
    storage.push(folder)
    assert memory.cat("/b/run/log.txt") == b"grows"
    with (folder / "log.txt").open("a") as file:
        file.write(" more")
    storage.push(folder)
    assert memory.cat("/b/run/log.txt") == b"grows more"
    storage.remove(folder / "deep")
    storage.remove(folder / "deep")
    assert memory.find("/b") == ["/b/a.txt", "/b/run/b.txt", "/b/run/log.txt"]
    storage.remove(folder)
    assert memory.find("/b") == ["/b/a.txt"]
    assert not folder.exists()


@pytest.mark.parametrize("name", ["q[1]", "x*", "e?f", "[!a]b", "a#b", "100%"])
def test_a_name_is_no_pattern_of_others(name, memory):
    others = ("q1", "xmas", "eXf", "bb", "a")
    for each in (name, *others):
        write_text(f"memory://b/{each}/notes.json", each)
        write_text(f"memory://b/{each}/deep/large.bin", each)
    shutil.rmtree(path_of("memory://b"))  # as it is on another machine
    folder = path_of("memory://b")
    storage.look(folder)
    path = path_of(f"memory://b/{name}/notes.json")
    assert path == folder / name / "notes.json"
    assert path.read_text() == name
    assert storage.fetch(folder / name / "deep/large.bin").read_text() == name
    storage.remove(folder / name)
    assert sorted(memory.find("/b")) == sorted(
        f"/b/{each}/{file}" for each in others for file in ("deep/large.bin", "notes.json")
    )
    assert not (folder / name).exists()


def test_a_file_that_grows_is_left_alone(memory, monkeypatch):
    write_text("memory://b/run/log.txt", "before, ")
    folder = path_of("memory://b/run")
    shutil.rmtree(folder)  # as it is on another machine
    log = folder / "log.txt"
    storage.look(folder)
    with storage.growing(log), log.open("a") as file:
        file.write("now")
        file.flush()
        storage.push(folder)
        storage.look(folder)  # the object is younger than the file
        monkeypatch.setenv("NST_LIGHTNING_CACHE_GB", "0.000001")
        write_text("memory://b/large.txt", 2000 * "x")
        write_text("memory://b/larger.txt", 3000 * "x")
        file.write(", and more")
        file.flush()
        storage.push(folder)
        memory.rm("/b/run/log.txt")
        storage.look(folder)
        assert log.read_text() == "before, now, and more"
        storage.push(folder)
    storage.look(folder)
    assert not log.exists()


def test_one_alone_claims_a_folder(memory):
    folder = path_of("memory://b/runs/version_0")
    folder.parent.mkdir(parents=True, exist_ok=True)
    storage.claim(folder)
    folder.rmdir()  # as it is on another machine
    with pytest.raises(FileExistsError):
        storage.claim(folder)
    other = path_of("lossy://b/runs/version_0")
    other.parent.mkdir(parents=True, exist_ok=True)
    Lossy.losses = 1
    storage.claim(other)  # the object was put, but the answer was lost


@pytest.mark.parametrize("losses", [1, 3, 5])
def test_a_lost_connection_is_tried_again(losses, tmp_path):
    Lossy.losses = losses
    write_image("lossy://b/a.png", PIXELS)
    assert Lossy.losses == 0
    Lossy.losses = losses
    assert read_image("lossy://b/a.png").pixels.shape == (1, 3, 8, 8)  # or half a file has arrived
    assert Lossy.losses == 0


def test_then_it_is_one_line():
    Lossy.losses = 1000
    with pytest.raises(StorageError, match=r"cannot read lossy://b/a.png .connection reset by peer., after 6 attempts"):
        read_image("lossy://b/a.png")
    with pytest.raises(StorageError, match=r"cannot write lossy://b/a.png .connection reset by peer., after 6"):
        write_image("lossy://b/a.png", PIXELS)


def test_what_is_written_is_compared_with_what_is_read(tmp_path, memory):
    memory.pipe("/b/a.png", png(tmp_path))
    (read,) = named_files({"data": {"content": "memory://b/x/../a.png", "init": "sample:town"}})
    for given in ("memory://b/a.png", "memory://b/./a.png", "memory:///b/c/../a.png"):
        with pytest.raises(UserError, match=r"--output.path is one of the pictures read"):
            check_overwriting([WrittenFile(user_path(given), "--output.path")], [read])
    check_overwriting([WrittenFile(user_path("memory://b/c.png"), "--output.path")], [read])
    with pytest.raises(UserError, match=r"holds one of"):
        check_overwriting([WrittenFile(user_path("memory://b"), "it", "holds", is_folder=True)], [read])
    with pytest.raises(UserError):
        check_overwriting([WrittenFile(tmp_path / "x.png", "x")], [ReadFile(user_path(f"file://{tmp_path}/x.png"))])


REFUSED = {
    "nosuch://b/a.png": "found nosuch://b/a.png .Protocol not known: nosuch.; ",
    "htps://b/a.png": "did you mean https",
    "hdfs://b/a.png": "hdfs://b/a.png needs a package that is not installed or is too old; run pip install 'pyarrow'",
}


@pytest.mark.parametrize("given", REFUSED)
def test_an_address_that_nothing_can_read_is_one_line(given, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=REFUSED[given]):
        read_image(given)


@pytest.mark.parametrize("protocol", ["s3", "gs"])
def test_a_missing_package_is_named_with_its_extra(protocol, monkeypatch):
    module, extra = {"s3": ("s3fs", "s3"), "gs": ("gcsfs", "gcs")}[protocol]
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, protocol, raising=False)
    with pytest.raises(UserError, match=rf"run pip install 'nst-lightning\[{extra}\]'"):
        user_path(f"{protocol}://b/a.png")


class Server(SimpleHTTPRequestHandler):
    """Files of a folder; one path is forbidden, one leads to itself, another fails twice."""

    failures = 0
    requests = 0

    def send_head(self):
        Server.requests += 1
        if "circle" in self.path:
            self.send_response(302)
            self.send_header("Location", self.path)
            self.end_headers()
            return None
        if "forbidden" in self.path:
            self.send_error(403)
            return None
        if Server.failures:
            Server.failures -= 1
            self.send_error(503)
            return None
        return super().send_head()

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path):
    (tmp_path / "site").mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Server, directory=str(tmp_path / "site"))) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}", tmp_path / "site"
        running.shutdown()


@pytest.mark.slow
def test_a_redirection_to_itself_is_followed_once(server):
    Server.requests = 0
    with pytest.raises(
        UserError, match=r"circle\.png, its server sends from one address to the next; check the address"
    ):
        read_image(f"{server[0]}/circle.png")
    assert Server.requests < 50


@pytest.mark.slow
def test_a_web_server_is_read(server):
    address, site = server
    write_image(site / "a.png", PIXELS)
    for given in (f"{address}/a.png", f"{address}/a.png?size=8"):
        assert torch.equal(read_image(given).pixels, read_image(site / "a.png").pixels)
    Server.failures = 4
    assert read_image(f"{address}/a.png").pixels.shape == (1, 3, 8, 8)
    later = datetime.now() + timedelta(seconds=5)
    Image.fromarray(np.full((8, 8, 3), 9, np.uint8)).save(site / "a.png")
    os.utime(site / "a.png", (later.timestamp(),) * 2)
    assert read_image(f"{address}/a.png").pixels.mean() == pytest.approx(9 / 255)
    with pytest.raises(UserError, match=r"found nothing at http://127.0.0.1:[0-9]+/b.png"):
        read_image(f"{address}/b.png")
    with pytest.raises(UserError, match=r"permission is denied"):
        read_image(f"{address}/forbidden.png")
    with pytest.raises(UserError, match=r"expected a place that can be written to, found http://"):
        check_output(f"{address}/b.png")


def test_a_web_server_that_is_gone_is_one_line():
    with pytest.raises(StorageError, match=r"cannot read http://127.0.0.1:9/a.png .*after 6 attempts"):
        read_image("http://127.0.0.1:9/a.png")


_LOADED = """
import sys
from nst_lightning.cli.main import main
assert main(["fit", "--data.content=sample:town", "--data.style=sample:starry", "--data.sizes=[32]", "--data.steps=[1]",
             "--model.encoder.weights=random", "--trainer.accelerator=cpu"]) == 0
print([name for name in ("s3fs", "aiobotocore", "botocore", "boto3", "gcsfs", "ray") if name in sys.modules])
"""


@pytest.mark.slow
@pytest.mark.processes
def test_without_an_address_no_package_for_stores_is_imported(tmp_path):
    done = subprocess.run([sys.executable, "-c", _LOADED], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_every_function_leaves_local_paths_alone(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("a")
    file.chmod(0o200)  # as what stands for an object
    assert storage.fetch(file) == file
    assert storage.find("a.txt", tmp_path) is None
    storage.look(tmp_path)
    storage.push(tmp_path)
    storage.put(file, file)
    storage.check_writable(file)
    file.chmod(0o600)
    assert file.read_text() == "a"
    with pytest.raises(FileExistsError):
        storage.claim(tmp_path)
    storage.remove(file)
    assert list(Path(tmp_path).iterdir()) == []


def test_no_redirect_leads_away_from_https():
    import asyncio
    from types import SimpleNamespace

    (watching,) = storage._https_alone()["client_kwargs"]["trace_configs"]
    watching.freeze()
    for location, is_refused in {"http://x.org/a.png": True, "https://x.org/a.png": False, "/b.png": False}.items():
        redirect = SimpleNamespace(url="https://y.org/a.png", response=SimpleNamespace(headers={"Location": location}))
        asked = watching.on_request_redirect.send(None, None, redirect)
        if is_refused:
            with pytest.raises(UserError, match=r"https://y.org/a.png leads to http://x.org/a.png, away from https"):
                asyncio.run(asked)
        else:
            asyncio.run(asked)
    assert storage._store("https://x.org/a.png")[0].client_kwargs["trace_configs"] == [watching]
    assert "trace_configs" not in storage._store("http://x.org/a.png")[0].client_kwargs
