"""`PredictionWriter`: what is written when, what is counted, and how a signal ends it."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule

from nst_lightning.callbacks import prediction_writer as paintings
from nst_lightning.callbacks.prediction_writer import PredictionWriter
from nst_lightning.data.predict_data import MediaFile, PredictData, PredictSample
from nst_lightning.errors import UserError
from nst_lightning.images.files import read_image

MODULE: Any = LightningModule()


def started(folder: Path, count: int, **settings: Any) -> tuple[PredictionWriter, Any, PredictData]:
    """A writer before the first picture."""
    data = PredictData("sample:town")
    data.files = [MediaFile(f"in/{n}.png", PurePosixPath(f"{n}.png")) for n in range(count)]
    trainer = SimpleNamespace(datamodule=data, strategy=SimpleNamespace(broadcast=lambda files: files))
    writer = PredictionWriter(str(folder / "out"), **settings)
    writer.setup(trainer, MODULE, "predict")  # type: ignore[arg-type]
    writer.on_predict_start(trainer, MODULE)  # type: ignore[arg-type]
    return writer, trainer, data


def paint(writer: PredictionWriter, trainer: Any, file: MediaFile, level: float = 0.5) -> None:
    pixels = torch.full((1, 3, 8, 8), level)
    writer.on_predict_batch_end(trainer, MODULE, pixels, PredictSample(file, pixels), 0)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Nothing is written before it is set."""
    opened = threading.Event()
    write = paintings.write_image

    def waiting(*given: Any, **options: Any) -> None:
        assert opened.wait(10)
        write(*given, **options)

    monkeypatch.setattr(paintings, "write_image", waiting)
    return opened


def test_painting_does_not_wait_for_writing(tmp_path: Path, gate: threading.Event) -> None:
    writer, trainer, data = started(tmp_path, 2)
    for file in data.files:
        paint(writer, trainer, file)
    assert not list((tmp_path / "out").glob("*"))
    gate.set()
    writer.on_predict_end(trainer, MODULE)
    writer.teardown(trainer, MODULE, "predict")
    assert writer.painted == 2
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0.png", "1.png"]


def test_no_more_than_two_pictures_for_each_thread_are_waiting(
    tmp_path: Path, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nst_lightning.callbacks.prediction_writer.usable_cores", lambda: 1)
    writer, trainer, data = started(tmp_path, 3)
    paint(writer, trainer, data.files[0])
    paint(writer, trainer, data.files[1])
    third = threading.Thread(target=paint, args=(writer, trainer, data.files[2]))
    third.start()
    third.join(0.2)
    assert third.is_alive()
    gate.set()
    third.join(10)
    assert not third.is_alive()
    writer.on_predict_end(trainer, MODULE)
    writer.teardown(trainer, MODULE, "predict")
    assert writer.painted == 3


def test_what_is_painted_is_written_when_the_run_breaks_off(tmp_path: Path, gate: threading.Event) -> None:
    writer, trainer, data = started(tmp_path, 1)
    paint(writer, trainer, data.files[0], level=0.2)
    gate.set()
    writer.on_exception(trainer, MODULE, KeyboardInterrupt())
    writer.teardown(trainer, MODULE, "predict")
    assert writer.painted == 1
    torch.testing.assert_close(read_image(tmp_path / "out/0.png").pixels, torch.full((1, 3, 8, 8), 0.2))


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(1)  # Python calls handlers between its own instructions


def test_sigterm_ends_the_run_and_the_handler_is_given_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    writer, trainer, _ = started(tmp_path, 0)
    with pytest.raises(SystemExit) as stop:
        terminate()
    assert stop.value.code == 143
    writer.teardown(trainer, MODULE, "predict")
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_painting_that_is_no_picture_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A network whose numbers overflowed."""
    writer, trainer, data = started(tmp_path, 2)
    paint(writer, trainer, data.files[0], level=float("nan"))
    paint(writer, trainer, data.files[1])
    writer.on_predict_end(trainer, MODULE)
    writer.teardown(trainer, MODULE, "predict")
    assert [file.path for file in writer.failed] == ["in/0.png"]
    assert "not painted: in/0.png: expected finite pixels" in caplog.text
    assert writer.painted == 1


def test_a_quality_out_of_range_is_refused() -> None:
    with pytest.raises(UserError, match="from 1 to 100, but 101"):
        PredictionWriter(quality=101)
