"""`nst predict` with videos: what is painted, heard, left out and reported."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from torch import Tensor

from nst_lightning.callbacks import video_encoder as footage
from nst_lightning.cli.main import main
from nst_lightning.networks.network_file import load_network, save_network
from nst_lightning.networks.transformer import TransformerNet
from nst_lightning.video.reading import read_frames, read_info
from tests.helpers.clips import make_clip, moving_frames, sound_packets
from tests.helpers.inputs import make_image
from tests.helpers.processes import together

pytest.importorskip("av")


@pytest.fixture
def predict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run `nst predict` in a folder with a video in `in/`; options given come last and win."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    save_network(TransformerNet(styles=1, width=4, blocks=1), "tiny.safetensors", ["dawn"], "none")
    make_clip(Path("in/clip.mp4"), moving_frames(5))
    return lambda *options: main(["predict", *words(), *options])


def words() -> list[str]:
    return [
        *("--config", "fast_predict", "--ckpt_path", "tiny.safetensors", "--data.images", "in"),
        *("--trainer.accelerator", "cpu", "--data.num_workers", "0"),
    ]


def written() -> list[str]:
    return sorted(path.relative_to("painted").as_posix() for path in Path("painted").rglob("*") if path.is_file())


@torch.no_grad()
def painted_by_hand(frames: list[Tensor], strength: float = 1.0) -> list[Tensor]:
    network = load_network("tiny.safetensors")[0]
    return [network(frame, torch.tensor([strength])) for frame in frames]


def test_a_video_is_painted_and_keeps_its_sound_and_rate(predict: Callable[..., int]) -> None:
    assert predict("--data.images", "in/clip.mp4") == 0
    assert written() == ["clip.mp4"]
    source, made = read_info(Path("in/clip.mp4")), read_info(Path("painted/clip.mp4"))
    assert (made.width, made.height, made.frames) == (32, 24, 5)
    assert made.rate == source.rate == 10
    assert sound_packets(Path("painted/clip.mp4")) == sound_packets(Path("in/clip.mp4")) != []
    frames = list(read_frames(Path("painted/clip.mp4")))
    assert [frame.time for frame in frames] == [Fraction(index, 10) for index in range(5)]
    # colour is stored for four pixels at once, brightness for each
    grey = torch.tensor([0.2126, 0.7152, 0.0722]).view(1, 3, 1, 1)
    expected = painted_by_hand([frame.pixels for frame in read_frames(Path("in/clip.mp4"))])
    error = [float(((f.pixels - e) * grey).sum(1).abs().mean()) for f, e in zip(frames, expected, strict=True)]
    assert max(error) < 0.02


class Kept:
    """In the place of `VideoWriter`."""

    frames: list[Tensor]

    def __init__(self, path: Path, height: int, width: int, rate: Fraction, *, sound_from: Path) -> None:
        self.path = path

    def __enter__(self) -> Kept:
        return self

    def write(self, pixels: Tensor, time: Fraction) -> None:
        self.frames.append(pixels)

    def __exit__(self, *error: object) -> None:
        self.path.parent.mkdir(exist_ok=True)
        self.path.touch()


@pytest.mark.parametrize("num_workers", ["0", "2"])
def test_frames_are_painted_one_by_one(
    predict: Callable[..., int], monkeypatch: pytest.MonkeyPatch, num_workers: str
) -> None:
    Kept.frames = []
    monkeypatch.setattr(footage, "VideoWriter", Kept)
    make_clip(Path("exact/clip.mkv"), moving_frames(5))
    assert predict("--data.images", "exact", "--model.strength", "0.7", "--data.num_workers", num_workers) == 0
    assert len(Kept.frames) == 5
    for frame, expected in zip(Kept.frames, painted_by_hand(moving_frames(5), strength=0.7), strict=True):
        torch.testing.assert_close(frame, expected, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_a_mixture_is_painted_once(predict: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    make_image(Path("in/a.jpg"), 31, 20, seed=1)
    make_clip(Path("in/deep/other.avi"), moving_frames(2), with_sound=False)
    assert predict("--output.format", "png", "--data.size", "16") == 0
    assert written() == ["a.png", "clip.mp4", "deep/other.avi.mp4"]
    said = capsys.readouterr().err
    assert "painting 1 of 1 picture and 2 of 2 videos" in said
    assert said.splitlines()[-1] == "pictures and videos painted: 3, in painted"
    small = read_info(Path("painted/deep/other.avi.mp4"))
    assert (small.width, small.height, small.frames, small.has_sound) == (16, 12, 2, False)
    Path("painted/a.png").unlink()
    Path("painted/clip.mp4").write_bytes(b"mine")
    assert predict() == 0
    assert written() == ["a.jpg", "clip.mp4", "deep/other.avi.mp4"]
    assert Path("painted/clip.mp4").read_bytes() == b"mine"
    assert "painting 1 of 1 picture and 0 of 2 videos; 2 are in painted already" in capsys.readouterr().err


@pytest.mark.slow
def test_broken_videos_are_reported_and_the_rest_is_painted(
    predict: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    make_image(Path("in/a.png"), 31, 20, seed=1)
    Path("in/b.mp4").write_text("no video")
    make_clip(Path("in/c.mkv"), moving_frames(12))
    Path("in/c.mkv").write_bytes(Path("in/c.mkv").read_bytes()[: Path("in/c.mkv").stat().st_size * 2 // 3])
    assert predict() == 1
    assert written() == ["a.png", "clip.mp4"]
    said = capsys.readouterr().err
    assert said.count("not painted: ") == 2
    assert "not painted: in/b.mp4: expected a video" in said
    assert "not painted: in/c.mkv: expected a whole video" in said
    assert said.splitlines()[-2:] == [
        "pictures and videos painted: 2, in painted",
        "pictures and videos that could not be painted: 2, for the reasons above",
    ]


@pytest.mark.slow
@pytest.mark.processes
def test_two_processes_share_the_videos(predict: Callable[..., int]) -> None:
    """The first has a picture and a video, the second a video that breaks off."""
    make_image(Path("in/a.png"), 31, 20, seed=1)
    make_clip(Path("in/z.mkv"), moving_frames(12))
    Path("in/z.mkv").write_bytes(Path("in/z.mkv").read_bytes()[: Path("in/z.mkv").stat().st_size * 2 // 3])
    codes, said = together(2, ["predict", *words(), "--trainer.devices", "2"])
    assert codes[0] == 1, said
    assert written() == ["a.png", "clip.mp4"]
    assert "not painted: in/z.mkv" in said
    assert "pictures and videos painted: 2, in painted" in said
    assert "could not be painted: 1," in said


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_a_signal_leaves_no_half_video(
    predict: Callable[..., int], capsys: pytest.CaptureFixture[str], sent: signal.Signals, code: int
) -> None:
    make_clip(Path("in/clip.mp4"), moving_frames(300))
    ended = threading.Event()

    def interrupt() -> None:
        while not ended.wait(0.01):
            if list(Path("painted").glob(".*.partial.mp4")):
                os.kill(os.getpid(), sent)
                return

    sender = threading.Thread(target=interrupt)
    sender.start()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin with it ignored
    try:
        assert predict("--data.num_workers", "1") == code
    finally:
        ended.set()
        sender.join()
        signal.signal(signal.SIGINT, before[signal.SIGINT])  # Lightning ignores it from the first one on
    assert signal.getsignal(signal.SIGTERM) == before[signal.SIGTERM]
    assert "Traceback" not in capsys.readouterr().err
    assert list(Path("painted").iterdir()) == []
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("writer", "reader"))]
