import hashlib
import logging
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from nst_lightning.errors import UserError
from nst_lightning.utils import download
from nst_lightning.utils.download import Source, fetch

CONTENT = bytes(range(256)) * 400


class Server:
    """Answers on the loopback interface with what the test put into `answer`, and counts requests."""

    def __init__(self):
        self.hits = 0
        self.body = CONTENT
        self.promised = len(CONTENT)
        self.status = 200
        self.location = ""
        self.gate = threading.Event()
        self.gate.set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.hits += 1
                self.send_response(200 if self.path == "/elsewhere.pth" else outer.status)
                if outer.location:
                    self.send_header("Location", outer.location)
                if outer.promised is not None:
                    self.send_header("Content-Length", str(outer.promised))
                self.end_headers()
                self.wfile.write(outer.body[:1000])
                outer.gate.wait(10)
                self.wfile.write(outer.body[1000:])

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/models/fake-net.pth"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self):
        self.gate.set()
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def server():
    server = Server()
    yield server
    server.stop()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.delenv("http_proxy", raising=False)
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture
def source(server):
    return Source(server.url, hashlib.sha256(CONTENT).hexdigest()[:8], 1)


def refused(source):
    with pytest.raises(UserError) as caught:
        fetch(source)
    message = str(caught.value)
    assert "\n" not in message
    for remedy in ("--model.encoder.weights vgg19", source.url, str(source.path)):
        assert remedy in message
    return message


def only_the_lock_is_in(folder):
    return [file.name for file in folder.iterdir() if not file.name.endswith(".lock")] == []


def test_first_use_fetches_and_second_use_does_not(server, source, cache, capsys):
    path = fetch(source)
    assert path == cache / "fake-net.pth"
    assert path.read_bytes() == CONTENT
    assert fetch(source) == path
    assert server.hits == 1
    assert capsys.readouterr().out == ""


def test_a_file_that_torchvision_fetched_is_used_without_writing(server, source, cache):
    cache.mkdir(parents=True)
    (cache / "fake-net.pth").write_bytes(CONTENT)
    assert fetch(source).read_bytes() == CONTENT
    assert server.hits == 0
    assert [file.name for file in cache.iterdir()] == ["fake-net.pth"]  # not even a lock


@pytest.mark.parametrize("damaged", [CONTENT[:-1], CONTENT[:-1] + b"x", b""])
def test_a_damaged_file_is_named_and_fetched_anew(server, source, cache, caplog, damaged):
    cache.mkdir(parents=True)
    (cache / "fake-net.pth").write_bytes(damaged)
    with caplog.at_level(logging.WARNING):
        assert fetch(source).read_bytes() == CONTENT
    assert server.hits == 1
    assert [str(cache / "fake-net.pth") in record.getMessage() for record in caplog.records] == [True]


def test_a_cut_transfer_is_no_file(server, source, cache):
    server.body = CONTENT[: len(CONTENT) // 2]
    refused(source)
    assert only_the_lock_is_in(cache)
    server.body = CONTENT
    assert fetch(source).read_bytes() == CONTENT  # and the next try starts clean


def test_a_cut_transfer_of_unknown_length_is_no_file(server, source, cache):
    server.body, server.promised = CONTENT[:-1], None
    assert "hash" in refused(source)
    assert only_the_lock_is_in(cache)


def test_another_file_at_the_url_is_no_file(server, source, cache):
    server.body = CONTENT[::-1]
    assert "hash" in refused(source)
    assert only_the_lock_is_in(cache)


def test_a_failed_fetch_leaves_a_damaged_file_alone(server, source, cache):
    cache.mkdir(parents=True)
    (cache / "fake-net.pth").write_bytes(b"perhaps somebody's own work")
    server.status = 503
    refused(source)
    assert (cache / "fake-net.pth").read_bytes() == b"perhaps somebody's own work"


def test_not_found(server, source, cache):
    server.status = 404
    assert "404" in refused(source)
    assert only_the_lock_is_in(cache)


def test_a_server_that_does_not_speak_http(server, source, cache):
    server.status = 99999
    refused(source)
    assert only_the_lock_is_in(cache)


def test_no_server(server, source, cache):
    server.stop()
    assert "refused" in refused(source)


def test_no_name_server(cache):
    refused(Source("http://no-such-host.invalid/fake-net.pth", "00000000", 1))


def test_a_silent_server(server, source, cache, monkeypatch):
    monkeypatch.setattr(download, "_SILENCE", 0.2)
    server.gate.clear()
    assert "timed out" in refused(source)
    assert only_the_lock_is_in(cache)


def test_a_cache_that_cannot_be_made(source, cache):
    cache.parent.parent.parent.mkdir(parents=True, exist_ok=True)
    cache.parent.parent.write_text("a file in the place of the folder")
    refused(source)


def test_two_at_once_download_once(server, source, cache):
    server.gate.clear()
    with ThreadPoolExecutor(4) as pool:
        fetched = [pool.submit(fetch, source) for _ in range(4)]
        until = time.monotonic() + 60
        while server.hits == 0 and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.2)
        assert not any(each.done() for each in fetched)  # half a file is nobody's file
        server.gate.set()
        assert [each.result(60).read_bytes() for each in fetched] == [CONTENT] * 4
    assert server.hits == 1


def test_the_real_sources_end_in_their_digest():
    from nst_lightning.encoders.encoder_weights import SOURCES

    for source in SOURCES.values():
        assert source.url.endswith(f"-{source.sha256[:8]}.pth")
    assert {name: len(source.sha256) for name, source in SOURCES.items()} == {"imagenet": 64, "caffe": 8}


def test_a_file_that_only_begins_with_the_digits_is_another(server, cache):
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert "hash" in refused(Source(server.url, digest[:-1] + ("0" if digest[-1] != "0" else "1"), 1))
    assert fetch(Source(server.url, digest, 1)).read_bytes() == CONTENT
    assert not list(cache.glob("*.sha256"))  # it is known


def test_of_a_digest_that_is_known_in_part_the_first_download_decides(server, source, cache):
    path = fetch(source)
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert (cache / "fake-net.pth.sha256").read_text() == f"{digest}\n"
    other = next(body for n in range(10**6) if _digest(body := b"other%d" % n).startswith(digest[:2]))
    short = Source(server.url, digest[:2], 1)
    path.write_bytes(other)
    assert fetch(short).read_bytes() == CONTENT
    server.body, server.promised = other, len(other)
    path.unlink()
    assert "hash" in refused(short)
    assert not path.exists()


def _digest(body):
    return hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize("target", ["http://127.0.0.1/x.pth", "HTTP://127.0.0.1/x.pth", "ftp://127.0.0.1/x.pth"])
def test_https_is_not_left(server, cache, monkeypatch, target):
    # A server that is asked by https, but for the test without a certificate.
    monkeypatch.setattr(
        urllib.request.HTTPSHandler, "https_open", lambda self, request: self.do_open(HTTPConnection, request)
    )
    secure = Source(server.url.replace("http:", "https:"), _digest(CONTENT), 1)
    server.status, server.location = 302, target
    message = refused(secure)
    assert f"{secure.url} redirects to {target.lower()}, which is not encrypted" in message
    assert server.hits == 1
    server.status = 200
    assert fetch(secure).read_bytes() == CONTENT


def test_other_redirects_are_followed(server, cache):
    server.status, server.location = 302, "/elsewhere.pth"
    assert fetch(Source(server.url, _digest(CONTENT), 1)).read_bytes() == CONTENT
    assert server.hits == 2
