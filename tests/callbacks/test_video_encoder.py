"""`PredictionWriter` with videos, and the progress bar: what a stub of `VideoWriter` gets, and when it is let go."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from nst_lightning.callbacks import video_encoder as footage
from nst_lightning.callbacks.prediction_writer import PredictionWriter
from nst_lightning.callbacks.progress_bars import PredictProgressBar
from nst_lightning.callbacks.video_encoder import VideoEncoder
from nst_lightning.data.predict_data import FrameInfo, MediaFile, PredictData, PredictLoader, PredictSample
from nst_lightning.errors import UserError
from nst_lightning.video.reading import VideoInfo

MODULE: Any = LightningModule()
INFO = VideoInfo(8, 8, Fraction(10), 3, has_sound=True)


class Writer:
    """Keeps what it is given; its file is there when it is closed without an error."""

    made: list[Writer]
    begun: threading.Event
    gate: threading.Event
    fails_at: int | None

    def __init__(self, path: Path, height: int, width: int, rate: Fraction, *, sound_from: Path) -> None:
        self.path, self.size, self.rate, self.sound_from = path, (height, width), rate, sound_from
        self.frames: list[tuple[float, Fraction]] = []
        self.error: type[BaseException] | None = None
        self.made.append(self)
        self.begun.set()

    def __enter__(self) -> Writer:
        return self

    def write(self, pixels: Tensor, time: Fraction) -> None:
        assert self.gate.wait(10)
        if self.fails_at == len(self.frames):
            raise UserError("expected a video that can be encoded")
        self.frames.append((round(float(pixels.mean()), 3), time))

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: object) -> None:
        self.error = kind
        if kind is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.touch()


@pytest.fixture(autouse=True)
def stub(monkeypatch: pytest.MonkeyPatch) -> type[Writer]:
    Writer.made, Writer.begun, Writer.gate, Writer.fails_at = [], threading.Event(), threading.Event(), None
    Writer.gate.set()
    monkeypatch.setattr(footage, "VideoWriter", Writer)
    return Writer


class Run:
    """A writer between the first frame and the end."""

    def __init__(self, folder: Path, *names: str) -> None:
        self.data = PredictData("sample:town")
        self.data.files = [MediaFile(f"in/{name}", PurePosixPath(name)) for name in names]
        self.trainer: Any = SimpleNamespace(
            datamodule=self.data, strategy=SimpleNamespace(broadcast=lambda files: files)
        )
        self.writer = PredictionWriter(str(folder / "out"))
        self.writer.setup(self.trainer, MODULE, "predict")
        self.writer.on_predict_start(self.trainer, MODULE)

    def paint(self, video: int, index: int, *, is_last: bool = False, problem: str | None = None) -> None:
        pixels = torch.full((1, 3, 8, 8), index / 10) if problem is None else torch.empty(1, 3, 0, 0)
        frame = FrameInfo(index, Fraction(index, 10), INFO, is_last)
        batch = PredictSample(self.data.files[video], pixels, problem=problem, frame=frame)
        self.writer.on_predict_batch_end(self.trainer, MODULE, pixels, batch, 0)

    def end(self) -> None:
        self.writer.on_predict_end(self.trainer, MODULE)
        self.writer.teardown(self.trainer, MODULE, "predict")

    def break_off(self, reason: BaseException) -> None:
        self.writer.on_exception(self.trainer, MODULE, reason)
        self.writer.teardown(self.trainer, MODULE, "predict")


def test_frames_are_written_in_order_each_video_to_its_own_file(tmp_path: Path, stub: type[Writer]) -> None:
    run = Run(tmp_path, "a.mp4", "b.avi")
    for index in range(9):
        run.paint(0, index, is_last=index == 8)
    run.paint(1, 5, is_last=True)
    run.end()
    first, second = stub.made
    assert first.frames == [(i / 10, Fraction(i, 10)) for i in range(9)]
    assert second.frames == [(0.5, Fraction(1, 2))]
    assert (first.path, first.size, first.rate, first.sound_from) == (
        tmp_path / "out/a.mp4",
        (8, 8),
        Fraction(10),
        Path("in/a.mp4"),
    )
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.mp4", "b.avi.mp4"]
    assert (run.writer.painted, run.writer.failed) == (2, [])


def test_painting_is_two_frames_ahead_at_most(tmp_path: Path, stub: type[Writer]) -> None:
    """One in the encoder's hands, two waiting."""
    stub.gate.clear()
    run = Run(tmp_path, "a.mp4")
    for index in range(3):
        run.paint(0, index)
    fourth = threading.Thread(target=run.paint, args=(0, 3), kwargs={"is_last": True})
    fourth.start()
    fourth.join(0.3)
    assert fourth.is_alive()
    stub.gate.set()
    fourth.join(10)
    assert not fourth.is_alive()
    run.end()
    assert len(stub.made[0].frames) == 4


def test_a_video_that_breaks_off_is_reported_and_let_go(
    tmp_path: Path, stub: type[Writer], caplog: pytest.LogCaptureFixture
) -> None:
    run = Run(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    run.paint(0, 0)
    assert stub.begun.wait(10)
    run.paint(0, 1, is_last=True, problem="a.mp4 breaks off")
    run.paint(1, 0, is_last=True, problem="b.mp4 has no frame")
    run.paint(2, 0, is_last=True)
    run.end()
    assert [(writer.path.name, writer.error) for writer in stub.made] == [("a.mp4", UserError), ("c.mp4", None)]
    said = [record.getMessage() for record in caplog.records if "not painted" in record.getMessage()]
    assert said == ["not painted: in/a.mp4: a.mp4 breaks off", "not painted: in/b.mp4: b.mp4 has no frame"]
    assert (run.writer.painted, len(run.writer.failed)) == (1, 2)


def test_a_video_that_cannot_be_written_is_reported_once(
    tmp_path: Path, stub: type[Writer], caplog: pytest.LogCaptureFixture
) -> None:
    """The frames that follow are passed over, and so is the problem that they end with."""
    stub.fails_at = 2
    run = Run(tmp_path, "a.mp4")
    for index in range(9):
        run.paint(0, index)
    run.paint(0, 9, is_last=True, problem="a.mp4 breaks off")
    run.end()
    said = [record.getMessage() for record in caplog.records if "not painted" in record.getMessage()]
    assert said == ["not painted: in/a.mp4: expected a video that can be encoded"]
    assert len(stub.made) == 1
    assert run.writer.painted == 0


@pytest.mark.parametrize("reason", [KeyboardInterrupt(), SystemExit(143), RuntimeError("a bug")])
def test_nothing_is_left_of_a_video_when_the_run_breaks_off(
    tmp_path: Path, stub: type[Writer], reason: BaseException
) -> None:
    """One that has all its frames is finished."""
    stub.gate.clear()
    run = Run(tmp_path, "a.mp4", "b.mp4")
    run.paint(0, 0, is_last=True)
    run.paint(1, 0)
    run.paint(1, 1)
    threading.Timer(0.1, stub.gate.set).start()
    run.break_off(reason)
    # Each has a thread of its own, so either may begin first, and the second not at all.
    assert {writer.path.name: writer.error for writer in stub.made} in (
        {"a.mp4": None, "b.mp4": type(reason)},
        {"a.mp4": None},
    )
    assert run.writer.painted == 1
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("writer")]


def test_a_cut_run_leaves_no_cut_video(tmp_path: Path, stub: type[Writer], caplog: pytest.LogCaptureFixture) -> None:
    run = Run(tmp_path, "a.mp4")
    run.paint(0, 0)
    assert stub.begun.wait(10)
    run.end()
    assert stub.made[0].error is UserError
    assert "leave out trainer.limit_predict_batches" in caplog.text
    assert (run.writer.painted, len(run.writer.failed)) == (0, 1)


def test_a_signal_while_waiting_for_the_encoder(tmp_path: Path, stub: type[Writer]) -> None:
    """What is interrupted between the last frame and its end mark can be given up all the same."""
    stub.gate.clear()
    with ThreadPoolExecutor(1) as pool:
        reel = VideoEncoder(MediaFile("a.mp4", PurePosixPath("a.mp4")), tmp_path / "a.mp4", Fraction(10), (8, 8), pool)
        for index in range(3):
            reel.add(torch.zeros(1, 3, 8, 8), FrameInfo(index, Fraction(index), INFO))
        last = threading.Thread(target=reel.add, args=(torch.zeros(1, 3, 8, 8), FrameInfo(3, Fraction(3), INFO, True)))
        last.start()
        threading.Timer(0.1, stub.gate.set).start()
        assert reel.abandon(KeyboardInterrupt())
        last.join(10)
        assert not last.is_alive()
    assert isinstance(reel.task.exception(), KeyboardInterrupt)
    assert not (tmp_path / "a.mp4").exists()


@pytest.mark.parametrize("promised", [2, 3, 5, None])
def test_the_bar_ends_where_the_frames_end(promised: int | None) -> None:
    """A picture and a video of 3 frames, whatever the header says of them."""

    class Promising(PredictLoader):
        def __init__(self) -> None:
            pass

        def count(self) -> int | None:
            return None if promised is None else 1 + promised

    trainer: Any = SimpleNamespace(num_predict_batches=[float("inf")], predict_dataloaders=Promising())
    info = VideoInfo(8, 8, Fraction(10), promised, has_sound=False)
    picture, clip = (MediaFile(name, PurePosixPath(name)) for name in ("a.png", "b.mp4"))
    pixels = torch.zeros(1, 3, 8, 8)
    batches = [PredictSample(picture, pixels)]
    batches += [PredictSample(clip, pixels, frame=FrameInfo(i, Fraction(i), info, i == 2)) for i in range(3)]
    bar = PredictProgressBar()
    bar.on_predict_start(trainer, MODULE)
    assert bar.bar is not None
    for batch in batches:
        bar.on_predict_batch_end(trainer, MODULE, pixels, batch, 0)
    assert (bar.bar.n, bar.bar.total) == (4, None if promised is None else 4)
    bar.on_predict_end(trainer, MODULE)
