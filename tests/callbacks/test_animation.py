"""The animation of a run, interrupted or not, of the command line on tiny pictures."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule
from PIL import Image, ImageSequence

from nst_lightning.callbacks.animation import Animation
from nst_lightning.callbacks.run_folder import RunFolder
from nst_lightning.cli.main import main
from nst_lightning.errors import UserError
from nst_lightning.images.files import read_image
from nst_lightning.images.resize import resize
from nst_lightning.losses import TotalVariationLoss
from nst_lightning.runs.trainer import build_trainer
from nst_lightning.tasks import StyleTransfer
from tests.runs.conftest import fit_words

RUNS = Path("lightning_logs")
EVERY_2 = ("--animation.every_n_steps", "2")


@pytest.fixture
def fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder_file: str, content: str, style: str
) -> Callable[..., int]:
    """Run 7 steps, 4 of them at 24×18 and 3 at 34×26 pixels, in an empty folder."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return lambda *options, config="starry": main([*fit_words(config, encoder_file, content, style), *options])


def frames(name: str = "starry") -> dict[str, np.ndarray]:
    files = sorted((RUNS / name / "version_0" / "frames").iterdir())
    return {file.name: pixels(file) for file in files}


def pixels(path: Path | str) -> np.ndarray:
    with Image.open(path) as image:
        assert image.mode == "RGB"
        return np.asarray(image)


@pytest.mark.slow
@pytest.mark.parametrize("config", ["starry", "lbfgs"])
def test_frames_go_from_the_initial_picture_to_the_result(
    config: str, fit: Callable[..., int], content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--output.path", "picture.png", "--data.init", "content", *EVERY_2)
    assert fit("--animation.path", "run.apng", *options, config=config) == 0
    before, last = capsys.readouterr().err.splitlines()[-2:]
    assert before == "animation: run.apng"
    assert last.startswith("picture: picture.png (")
    kept = frames(config)
    assert list(kept) == ["000000.png", "000002.png", "000004.png", "000006.png", "000007.png"]
    initial = resize(resize(read_image(content).pixels, (18, 24)), (26, 34))
    assert np.array_equal(kept["000000.png"], initial[0].permute(1, 2, 0).mul(255).add(0.5).byte().numpy())
    assert np.array_equal(kept["000007.png"], pixels("picture.png"))
    for before, after in zip(list(kept.values()), list(kept.values())[1:], strict=False):
        assert not np.array_equal(before, after)
    with Image.open("run.apng") as animation:
        shown = [(np.asarray(frame), frame.info["duration"]) for frame in ImageSequence.Iterator(animation)]
    assert [duration for _, duration in shown] == pytest.approx([67, 66, 67, 67, 2000])
    for (seen, _), frame in zip(shown, kept.values(), strict=True):
        assert np.array_equal(seen, frame)


@pytest.mark.slow
def test_frames_fit_the_size_and_rate_and_hold_are_those_asked_for(fit: Callable[..., int]) -> None:
    options = ("--animation.size", "20", "--animation.fps", "4", "--animation.hold", "0.75", *EVERY_2)
    assert fit("--animation.path", "run.gif", *options) == 0
    assert {frame.shape for frame in frames().values()} == {(15, 20, 3)}
    result = read_image(RUNS / "starry/version_0/stylized.png").pixels
    expected = resize(result, (15, 20))[0].permute(1, 2, 0).mul(255).numpy()
    assert np.abs(frames()["000007.png"] - expected).max() < 1.5  # the result was rounded once more
    with Image.open("run.gif") as animation:
        durations = [frame.info["duration"] for frame in ImageSequence.Iterator(animation)]
    assert durations[:3] == [250, 250, 250]
    assert sum(durations) == 1750  # Pillow joins frames that come out the same


@pytest.mark.slow
def test_an_interrupted_run_gives_the_same_animation(fit: Callable[..., int]) -> None:
    """The frame of step 5 is there only where the run ends with it.

    Frames from beyond the checkpoint, which a killed run leaves, are painted again: were they kept, those of
    another schedule or another style weight would show in the animation.
    """
    assert fit("--name", "whole", "--animation.path", "whole.webp", *EVERY_2) == 0
    cut = ("--name", "cut", "--animation.path", "cut.webp", *EVERY_2)
    assert fit(*cut, "--trainer.max_steps", "5") == 0
    assert max(frames("cut")) == "000005.png"
    assert Path("cut.webp").read_bytes() != Path("whole.webp").read_bytes()
    folder = RUNS / "cut/version_0/frames"
    for name in ("000006.png", "000100.png"):
        Image.new("RGB", (34, 26)).save(folder / name)
    assert fit(*cut, "--ckpt_path", "last") == 0
    assert Path("cut.webp").read_bytes() == Path("whole.webp").read_bytes()
    assert list(frames("cut")) == list(frames("whole"))


@pytest.mark.slow
def test_a_finished_run_resumed_writes_its_animation_where_asked(fit: Callable[..., int]) -> None:
    assert fit("--animation.path", "run.webp", *EVERY_2) == 0
    note = RUNS / "starry/version_0/frames/notes.txt"
    note.write_text("not ours to delete")
    assert fit("--animation.path", "again.webp", *EVERY_2, "--ckpt_path", "last") == 0
    assert Path("again.webp").read_bytes() == Path("run.webp").read_bytes()
    assert note.exists()


def test_ctrl_c_leaves_an_animation_up_to_there(fit: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> None:
    plain = StyleTransfer.training_step

    def interrupted(self: StyleTransfer, batch: object, batch_idx: int) -> torch.Tensor:
        if batch_idx == 2:
            signal.raise_signal(signal.SIGINT)
        return plain(self, batch, batch_idx)  # type: ignore[arg-type]

    monkeypatch.setattr(StyleTransfer, "training_step", interrupted)
    assert fit("--animation.path", "run.apng", *EVERY_2) == 128 + signal.SIGINT
    assert list(frames()) == ["000000.png", "000002.png", "000003.png"]
    with Image.open("run.apng") as animation:
        assert animation.n_frames == 3


def test_nothing_is_kept_unless_asked(fit: Callable[..., int]) -> None:
    assert fit() == 0
    assert not (RUNS / "starry/version_0/frames").exists()


@pytest.mark.slow
def test_an_animation_that_cannot_be_written_does_not_end_the_run(
    fit: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = StyleTransfer.on_train_start

    def obstructed(self: StyleTransfer) -> None:
        Path("run.webp").mkdir()
        plain(self)

    monkeypatch.setattr(StyleTransfer, "on_train_start", obstructed)
    assert fit("--animation.path", "run.webp", "--output.path", "picture.png", *EVERY_2) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "animation" in line]
    assert len(lines) == 1
    assert "the animation was not written, its frames are in lightning_logs/starry/version_0/frames" in lines[0]
    assert len(frames()) == 5
    assert np.array_equal(pixels("picture.png"), frames()["000007.png"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"path": "run.avi"}, "ending in .webp, .gif, .png, .apng, .mp4, found 'run.avi'"),
        ({"path": "run.gif", "fps": 60}, "at most 50 frames per second in a GIF, found 60"),
        ({"every_n_steps": 0}, "animation.every_n_steps must be from 1 to 1000000, but 0 was given"),
        ({"fps": 0}, "animation.fps must be from 1 to 60, but 0 was given"),
        ({"size": 8}, "animation.size must be from 16 to 4096, but 8 was given"),
        ({"hold": -1.0}, "animation.hold must be from 0 to 60, but -1.0 was given"),
        ({"hold": float("nan")}, "animation.hold must be from 0 to 60, but nan was given"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        Animation(**settings)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--animation.path", "x.png", "--output.path", "x.png"], "--animation.path and --output.path are both x.png"),
        (["--animation.path", "../content.png"], "--animation.path ../content.png is one of the pictures read"),
    ],
)
def test_other_pictures_are_not_written_over(
    options: list[str], message: str, fit: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(*options) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("nst: ")]
    assert len(lines) == 1
    assert message in lines[0]


def test_a_model_without_a_picture_has_no_animation(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "run")
    plain = build_trainer(LightningModule(), folder, callbacks=[Animation()], accelerator="cpu")
    painting = build_trainer(
        StyleTransfer(variation=TotalVariationLoss()), folder, callbacks=[Animation()], accelerator="cpu"
    )
    assert [any(isinstance(c, Animation) for c in trainer.callbacks) for trainer in (plain, painting)] == [False, True]
