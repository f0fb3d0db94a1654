"""`nst video` from the words to the video."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from torch import Tensor

from nst_lightning.callbacks.checkpoint import CheckpointWriter
from nst_lightning.cli.main import main
from nst_lightning.data.transfer_batch import TransferBatch
from nst_lightning.images.files import read_image, write_image
from nst_lightning.jobs.frames import FrameWarper
from nst_lightning.tasks import StyleTransfer
from tests.helpers.inputs import make_encoder, make_image
from tests.jobs.test_batch import contents_of

pytest.importorskip("av")
pytest.importorskip("cv2")

FRAMES = Path("out.mkv.frames")
RATE = Fraction(10)


def write_clip(path: str, pictures: list[Tensor]) -> None:
    from nst_lightning.video.writing import VideoWriter

    with VideoWriter(Path(path), 24, 32, RATE, crf=0) as writer:
        for number, picture in enumerate(pictures):
            writer.write(picture, number / RATE)


def read_clip(path: str) -> list[Tensor]:
    from nst_lightning.video.reading import read_frames

    return [frame.pixels for frame in read_frames(Path(path))]


@pytest.fixture
def clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Make an empty folder the working folder, with a video of three frames of 32×24 that pans two pixels a frame."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    make_image(folder / "painting.png", 36, 30, seed=4)
    wide = read_image(make_image(tmp_path / "wide.png", 44, 24, seed=1)).pixels
    write_clip("clip.mkv", [wide[..., 2 * number : 2 * number + 32] for number in range(3)])
    return read_clip("clip.mkv")


@pytest.fixture
def words(encoder_file: str) -> list[str]:
    """Give the settings of a run of 5 steps over two levels."""
    return [
        *("--config", "starry", "--trainer.accelerator", "cpu", "--model.encoder.weights", encoder_file),
        *("--data.sizes", "[24, 32]", "--data.steps", "[3, 2]", "--data.first_steps", "null"),
        *("--model.content.layers", "[relu2_2]", "--model.style.layers", "[relu1_1, relu2_1]"),
    ]


@pytest.fixture
def video(clip: list[Tensor], words: list[str]) -> Callable[..., int]:
    """Run `nst video` in the folder of the clip; options given come last and win."""
    own = ("--video", "clip.mkv", "--style", "painting.png", "--output", "out.mkv", "--flow", "dis")
    return lambda *options: main(["video", *words, *own, "--frame_steps", "4", *options])


def painted(number: int) -> Tensor:
    return read_image(FRAMES / f"{number:06d}.png").pixels


@pytest.mark.slow
def test_the_first_frame_is_what_nst_fit_paints_and_all_are_in_the_video(
    video: Callable[..., int], clip: list[Tensor], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mine.png").write_bytes(b"a finished picture")
    Path("kept.yaml").write_text("output: {path: mine.png}")  # as in a run's config.yaml
    assert video("--keep_frames", "true", "--config", "kept.yaml") == 0
    assert Path("mine.png").read_bytes() == b"a finished picture"
    written, told = capsys.readouterr()
    assert written == "out.mkv\n"
    said = told.splitlines()
    assert said[0] == "0 of 3 frames painted; flow by dis"
    assert said[1].startswith("[1/3] ")
    assert said[2].startswith("[2/3] ")
    assert said[2].endswith(" left")
    assert said[4:] == ["video: out.mkv"]
    assert sorted(path.name for path in FRAMES.iterdir() if path.name[0] != ".") == [
        *(f"{number:06d}.png" for number in range(1, 4)),
        "video.yaml",
    ]

    write_image("content.png", clip[0])
    fit = ["fit", *words, "--data.content", "content.png", "--data.style", "painting.png"]
    assert main([*fit, "--output.path", "alone.png"]) == 0
    torch.testing.assert_close(painted(1), read_image("alone.png").pixels, rtol=0, atol=0)

    from nst_lightning.video.reading import read_info

    info = read_info(Path("out.mkv"))
    assert (info.width, info.height, info.rate) == (32, 24, RATE)
    shown = read_clip("out.mkv")
    assert len(shown) == 3
    for number, picture in enumerate(shown, 1):  # colours at half the resolution
        assert float((picture - painted(number)).abs().mean()) < 0.05
        if number > 1:
            assert float((picture - painted(number)).abs().mean()) < float((picture - painted(number - 1)).abs().mean())


@pytest.mark.slow
def test_a_later_frame_starts_from_the_one_before_and_is_held_to_it(
    video: Callable[..., int], clip: list[Tensor]
) -> None:
    write_clip("clip.mkv", clip[:2])
    clip = read_clip("clip.mkv")
    options = ("--keep_frames", "--frame_lr", "0.2", "--frame_steps", "20")
    differences = {}
    for weight in ("0", "1e6"):
        assert video(*options, "--temporal_weight", weight) == 0
        warped = FrameWarper("dis", "cpu").warp(painted(1), torch.ones(1, 1, 24, 32), clip[0], clip[1])
        assert 0.5 < float(warped.mask.mean()) < 1
        off = (painted(2) - warped.image).abs() * warped.mask
        differences[weight] = float(off.sum() / warped.mask.sum() / 3)
        # Twenty steps of at most 0.03 · 0.2 lead away from the start; two roundings to 8 bits.
        assert float(off.max()) < 20 * 0.006 + 1 / 255
        shutil.rmtree(FRAMES)
        Path("out.mkv").unlink()
    assert differences["1e6"] < 0.003
    assert differences["0"] > 0.01


@pytest.mark.slow
def test_a_later_frame_which_may_have_no_small_size_is_compared_by_all_layers(
    video: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[list[str]] = []

    def step(self: StyleTransfer, batch: TransferBatch, batch_idx: int) -> Tensor:
        compared.append(self.objective.taps("style"))
        return training_step(self, batch, batch_idx)

    training_step = StyleTransfer.training_step
    monkeypatch.setattr(StyleTransfer, "training_step", step)
    assert video("--model.style.init_args.up_to", "{relu2_1: 24}") == 0
    both, first = ["relu1_1", "relu2_1"], ["relu1_1"]
    # Of the first frame three steps at 24 pixels and two at 32; then at least four of each of the others.
    assert compared[:5] == [*[both] * 3, *[first] * 2]
    assert len(compared) >= 13
    assert all(layers == both for layers in compared[5:])


@pytest.mark.slow
def test_killed_and_stopped_it_goes_on_to_the_same_bytes(
    video: Callable[..., int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--keep_frames", "--checkpoint.every_n_steps", "2")
    save = CheckpointWriter.save
    pending: list[signal.Signals] = []

    def save_and_look(self: CheckpointWriter, trainer: object) -> None:
        save(self, trainer)  # type: ignore[arg-type]
        if pending and (FRAMES / "000002.png").exists():
            signal.raise_signal(pending.pop())
        if (FRAMES / "work/warped.png").exists() and not Path("killed").exists():
            shutil.copytree(FRAMES, "killed")  # what kill -9 at this moment would leave

    monkeypatch.setattr(CheckpointWriter, "save", save_and_look)
    assert video(*options) == 0
    whole = contents_of(str(FRAMES), "out.mkv") | {"out.mkv": Path("out.mkv").read_bytes()}
    shutil.rmtree(FRAMES)
    Path("killed").rename(FRAMES)
    checkpoint = FRAMES / "work/lightning_logs/000002/version_0/checkpoints/last.ckpt"
    assert torch.load(checkpoint, weights_only=True)["global_step"] == 2
    capsys.readouterr()

    pending.append(signal.SIGTERM)
    assert video(*options) == 143
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "1 of 3 frames painted; flow by dis"
    assert said[-1] == "stopped; the same command goes on where this one was"
    assert not (FRAMES / "000003.png").exists()
    assert video(*options) == 0
    assert contents_of(str(FRAMES), "out.mkv") | {"out.mkv": Path("out.mkv").read_bytes()} == whole


@pytest.mark.slow
def test_other_settings_and_files_are_refused(video: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    (FRAMES / "work").mkdir(parents=True)
    assert video() == 2
    assert "out.mkv.frames is not of nst video; give another --output" in capsys.readouterr().err
    shutil.rmtree(FRAMES)
    options = ("--model.style.weight", "1e39", "--data.steps", "[9, 2]")  # infinite in float32
    assert video(*options) == 1
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith("frame 1 could not be painted: the loss or its gradient was not finite")
    assert video(*options, "--frame_steps", "6") == 1  # there is no frame yet to be of other settings
    assert "not finite" in capsys.readouterr().err
    FRAMES.joinpath("000001.png").touch()
    assert video(*options, "--frame_steps", "5", "--data.size", "64") == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert "out.mkv.frames holds frames of other settings: data.size 512 → 64; frame_steps 6 → 5; " in message
    make_image(Path("painting.png"), 36, 30, seed=5)
    assert video(*options, "--frame_steps", "6") == 2
    assert "of other settings: sha256 of.painting.png " in capsys.readouterr().err
    encoder = make_encoder(Path("own.safetensors"), seed=5)
    shutil.rmtree(FRAMES)
    assert video(*options, "--model.encoder.weights", encoder) == 1
    FRAMES.joinpath("000001.png").touch()
    make_encoder(Path("own.safetensors"), seed=6)
    capsys.readouterr()
    assert video(*options, "--model.encoder.weights", encoder) == 2
    assert "of other settings: sha256 of.own.safetensors " in capsys.readouterr().err


@pytest.mark.slow
def test_a_finished_video_is_left_alone_unless_it_is_to_be_overwritten(
    video: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("out.mkv").write_bytes(b"finished")
    assert video() == 0
    assert Path("out.mkv").read_bytes() == b"finished"
    said = capsys.readouterr().err
    assert "out.mkv is there already; whether it was painted from this is not known (--overwrite" in said
    assert not FRAMES.exists()
    assert video("--overwrite", "true") == 0
    assert Path("out.mkv").read_bytes() != b"finished"


@pytest.mark.slow
def test_after_a_cut_it_begins_anew(video: Callable[..., int], words: list[str], tmp_path: Path) -> None:
    pictures = [read_image(make_image(tmp_path / f"{seed}.png", 32, 24, seed=seed)).pixels for seed in (11, 12)]
    write_clip("clip.mkv", [pictures[0], pictures[1]])
    assert video("--keep_frames") == 0
    write_image("content.png", read_clip("clip.mkv")[1])
    fit = ["fit", *words, "--data.content", "content.png", "--data.style", "painting.png"]
    assert main([*fit, "--output.path", "alone.png"]) == 0
    torch.testing.assert_close(painted(2), read_image("alone.png").pixels, rtol=0, atol=0)


MISTAKES = {
    "no video": (["--video", "gone.mp4"], "gone.mp4"),
    "style": (["--style", "gone.png"], "expected a picture file, found nothing at gone.png"),
    "suffix": (["--output", "out.gif"], "expected a video file ending in"),
    "itself": (["--output", "clip.mkv"], "--output clip.mkv is the video that is read"),
    "devices": (["--trainer.devices", "2"], "nst video paints on one device"),
    "gain": (["--output.gain", "[1, 1, 0.9]"], "leave output.gain and output.offset"),
    "animation": (["--animation.path", "a.gif"], "--animation.path can't be given to a video"),
    "two styles": (["--data.style", "sample:mosaic"], "--style and --data.style both name paintings"),
    "schedule": (
        ["--model.lr_scheduler", "ConstantLR"],
        "a frame that starts from the one before has a schedule of its own",
    ),
    "steps": (["--frame_steps", "0"], "--frame_steps wants a whole number from 1 up, but 0 was given."),
}


@pytest.mark.slow
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_before_anything_is_written(
    mistake: str, video: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    options, message = MISTAKES[mistake]
    assert video(*options) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert sorted(path.name for path in Path().iterdir()) == ["clip.mkv", "painting.png"]


def test_a_network_that_learns_is_no_painter_of_videos(clip: list[Tensor], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["video", "--config", "fast_starry", "--video", "clip.mkv"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "nst video paints with a StyleTransfer, but model is nst_lightning.tasks.FastStyleTransfer; give" in said
