import hashlib
import logging
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
import torch.nn.functional as F
from torchvision.models.optical_flow import raft_large

from nst_lightning.errors import UserError
from nst_lightning.images.files import read_image
from nst_lightning.images.resize import cover
from nst_lightning.video import flow as flow_module
from nst_lightning.video.flow import make_flow


@pytest.fixture(scope="module")
def town():
    """The sample at four times the size of the frames, so that a quarter of a frame's pixel is a whole step."""
    return cover(read_image("sample:town").pixels, (4 * 120, 4 * 160))


def frame(town, x, y, size=(96, 128)):
    """What a camera sees whose upper left corner is at (x, y) quarters of a pixel: the mean of 4×4 samples."""
    return F.avg_pool2d(town[..., y : y + 4 * size[0], x : x + 4 * size[1]], 4)


def error(flow, x, y, margin=8):
    """Mean endpoint error against a motion of (x, y) pixels, away from what comes into view."""
    distance = (flow - torch.tensor([x, y])[:, None, None]).norm(dim=1)
    return distance[:, margin:-margin, margin:-margin].mean().item()


@pytest.mark.parametrize(("x", "y"), [(7, 0), (0, -5), (-11, 6), (1, 1), (0, 0)])
def test_dis_follows_a_pan_to_a_fraction_of_a_pixel(town, x, y):
    first, second = frame(town, 40, 30), frame(town, 40 + x, 30 + y)
    estimator = make_flow("dis")
    flow = estimator.estimate(first, second)
    assert estimator.name == "dis"
    assert flow.shape == (1, 2, 96, 128)
    assert flow.dtype == torch.float32
    assert error(flow, -x / 4, -y / 4) < 0.1  # the camera's motion is opposite to the picture's


def test_dis_tells_forward_from_backward(town):
    first, second = frame(town, 40, 30), frame(town, 50, 24)
    estimator = make_flow("dis")
    assert error(estimator.estimate(second, first), 2.5, -1.5) < 0.1
    assert error(estimator.estimate(first, second), -2.5, 1.5) < 0.1


def test_dis_follows_the_motion_of_a_small_picture(town):
    first, second = frame(town, 40, 30, (20, 24)), frame(town, 44, 30, (20, 24))
    assert error(make_flow("dis").estimate(first, second), -1, 0, margin=4) < 0.3


@pytest.mark.parametrize("size", [(1, 1), (7, 9), (5, 100), (100, 11)])
def test_dis_takes_pictures_below_its_patch_size(town, size):
    picture = frame(town, 40, 30, size)
    flow = make_flow("dis").estimate(picture, picture)
    assert flow.shape == (1, 2, *size)
    assert flow.abs().max() < 0.05  # nothing moves


def test_without_opencv_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(UserError, match=r"pip install 'nst-lightning\[video\]'"):
        make_flow("dis")


@pytest.mark.parametrize("second", [torch.rand(1, 3, 32, 33), torch.rand(1, 1, 32, 32), torch.rand(3, 32, 32)])
def test_two_sizes_are_refused(second):
    with pytest.raises(ValueError, match="of one size"):
        make_flow("dis").estimate(torch.rand(1, 3, 32, 32), second)


class Server:
    """Hands out one file on the loopback interface."""

    def __init__(self, body):
        self.body, self.hits, self.answers = body, 0, threading.Event()
        self.answers.set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.hits += 1
                outer.answers.wait(10)
                self.send_response(200)
                self.end_headers()
                self.wfile.write(outer.body)

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.root = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self):
        self.answers.set()
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture(scope="module")
def network():
    generator_state = torch.get_rng_state()
    torch.manual_seed(0)
    network = raft_large().eval()
    torch.set_rng_state(generator_state)
    return network


@pytest.fixture(scope="module")
def weights(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("raft") / "weights.pth"
    torch.save(network.state_dict(), path)
    return path.read_bytes()


@pytest.fixture
def server(weights, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.delenv("http_proxy", raising=False)
    server = Server(weights)
    monkeypatch.setattr(flow_module, "_URL", f"{server.root}/raft-{hashlib.sha256(weights).hexdigest()[:8]}.pth")
    yield server
    server.stop()


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.mark.slow
@pytest.mark.parametrize("method", ["raft", "auto"])
def test_the_weights_are_fetched_once(server, cache, weights, method, capsys):
    before = torch.get_rng_state()
    for _ in range(2):
        assert make_flow(method).name == "raft"
    assert server.hits == 1
    assert [file.read_bytes() == weights for file in cache.iterdir()] == [True]
    assert capsys.readouterr().out == ""
    assert torch.equal(torch.get_rng_state(), before)
    assert socket.getdefaulttimeout() is None


def test_a_damaged_file_is_fetched_anew(server, cache, weights):
    cache.mkdir(parents=True)
    (cache / flow_module._URL.rsplit("/", 1)[-1]).write_bytes(weights[:-1])
    assert make_flow("raft").name == "raft"
    assert server.hits == 1


def test_a_corrupt_download_is_refused_and_not_kept(server, cache):
    server.body = server.body[:-1] + b"x"
    with pytest.raises(UserError, match="hash") as caught:
        make_flow("raft")
    assert "\n" not in str(caught.value)
    assert flow_module._URL in str(caught.value)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("trouble", ["corrupt", "gone", "silent"])
def test_auto_turns_to_dis_and_says_why(server, cache, monkeypatch, caplog, trouble):
    monkeypatch.setattr(flow_module, "_SILENCE", 0.2)
    if trouble == "corrupt":
        server.body = b"no weights"
    elif trouble == "gone":
        server.stop()
    else:
        server.answers.clear()
    with caplog.at_level(logging.INFO, logger=flow_module.__name__):
        assert make_flow("auto").name == "dis"
    said = [record.getMessage() for record in caplog.records if "DIS" in record.getMessage()]
    assert len(said) == 1
    assert {"corrupt": "hash", "gone": "refused", "silent": "timed out"}[trouble] in said[0]
    assert flow_module._URL in said[0]
    assert list(cache.iterdir()) == []


@pytest.mark.slow
def test_raft_gets_what_it_was_trained_on(server, network):
    first, second = torch.rand(1, 3, 131, 40), torch.rand(1, 3, 131, 40)
    with torch.autocast(
        "cpu", dtype=torch.bfloat16
    ):  # as in a run of mixed precision; the flow is float32 all the same
        flow = make_flow("raft").estimate(first, second)
    wide = [torch.cat([x, x[..., -1:].expand(-1, -1, -1, 88)], 3) for x in (first, second)]  # to 128
    tall = [torch.cat([x, x[..., -1:, :].expand(-1, -1, 5, -1)], 2) for x in wide]  # to 136
    with torch.no_grad():
        expected = network(2 * tall[0] - 1, 2 * tall[1] - 1, num_flow_updates=12)[-1]
    torch.testing.assert_close(flow, expected[..., :131, :40], atol=1e-4, rtol=1e-4)
    assert not flow.requires_grad


def test_raft_sees_a_large_picture_reduced(server, monkeypatch):
    monkeypatch.setattr(flow_module, "_RAFT_PIXELS", 128 * 256)
    estimator = make_flow("raft")
    seen = []

    def network(first, second):
        seen.append(first)
        return [torch.tensor([1.5, -2.0])[None, :, None, None].expand(1, 2, *first.shape[-2:])]

    monkeypatch.setattr(estimator, "_network", network)
    picture = torch.full((1, 3, 256, 512), 0.25)
    flow = estimator.estimate(picture, picture)
    assert seen[0].shape == (1, 3, 128, 256)
    torch.testing.assert_close(seen[0], torch.full((1, 3, 128, 256), -0.5))
    torch.testing.assert_close(flow, torch.tensor([3.0, -4.0])[None, :, None, None].expand(1, 2, 256, 512))


def test_the_whole_digest_of_torchvisions_file_is_known():
    assert len(flow_module._weights_source().sha256) == 64
