"""Animations are read back by Pillow and FFmpeg and compared with the frames they were made of."""

from __future__ import annotations

import shutil
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from nst_lightning.errors import UserError
from nst_lightning.images.files import write_image
from nst_lightning.images.resize import resize
from nst_lightning.video.animated_image import check_animation, write_animation

HEIGHT, WIDTH, COUNT = 31, 45, 7


def smooth_frame(index: int, height: int = HEIGHT, width: int = WIDTH) -> torch.Tensor:
    """An image that turns from one smooth pattern into another."""
    generator = torch.Generator().manual_seed(5)
    first, last = (torch.rand(1, 3, 3, 4, generator=generator) for _ in range(2))
    mixed = first.lerp(last, index / (COUNT - 1)) * 0.7 + 0.15
    return resize(mixed, (height, width))


@pytest.fixture
def frames(tmp_path: Path) -> list[Path]:
    files = [tmp_path / "frames" / f"{index:06d}.png" for index in range(COUNT)]
    for index, file in enumerate(files):
        write_image(file, smooth_frame(index))
    return files


def pixels(image: Image.Image | Path) -> np.ndarray:
    if isinstance(image, Path):
        with Image.open(image) as opened:
            return pixels(opened)
    return np.asarray(image.convert("RGB")).astype(int)


def read_back(path: Path) -> tuple[list[np.ndarray], list[float]]:
    """Return the frames and how long each is shown, in milliseconds."""
    shown, durations = [], []
    with Image.open(path) as image:
        assert image.info["loop"] == 0  # forever
        for frame in ImageSequence.Iterator(image):
            shown.append(pixels(frame))
            durations.append(frame.info["duration"])
    return shown, durations


@pytest.mark.parametrize(
    ("suffix", "fps", "expected"),
    [
        (".webp", 15, [67, 66, 67, 67, 66, 67, 1500]),  # ends at 66.7, 133.3, 200 …, rounded
        (".apng", 15, [67, 66, 67, 67, 66, 67, 1500]),
        (".png", 8, [125] * 6 + [1500]),
        (".gif", 15, [70, 60, 70, 70, 60, 70, 1500]),
        (".gif", 50, [20] * 6 + [1500]),
    ],
)
def test_frames_and_durations(suffix: str, fps: int, expected: list[int], frames: list[Path], tmp_path: Path) -> None:
    write_animation(tmp_path / f"run{suffix}", frames, fps=fps, hold=1.5)
    shown, durations = read_back(tmp_path / f"run{suffix}")
    assert durations == pytest.approx(expected)
    assert sum(durations[:-1]) == pytest.approx(6000 / fps, abs=10 if suffix == ".gif" else 1)
    assert len(shown) == COUNT
    for seen, file in zip(shown, frames, strict=True):
        error = np.abs(seen - pixels(file))
        if "png" in suffix:
            assert error.max() == 0
        else:  # 80 of 100 in quality; 255 colors
            assert error.mean() < 6
            others = [np.abs(seen - pixels(other)).mean() for other in frames]
            assert frames[int(np.argmin(others))] == file


@pytest.mark.parametrize("suffix", [".webp", ".apng", ".gif"])
def test_colours_are_declared_to_be_srgb(suffix: str, frames: list[Path], tmp_path: Path) -> None:
    write_animation(tmp_path / f"run{suffix}", frames, fps=15, hold=1)
    with Image.open(frames[0]) as frame, Image.open(tmp_path / f"run{suffix}") as image:
        assert frame.info["icc_profile"]
        # a GIF holds no profile, and is taken for sRGB by the CSS and PNG families of standards
        assert image.info.get("icc_profile") == (None if suffix == ".gif" else frame.info["icc_profile"])


def test_the_last_frame_stays_at_least_as_long_as_the_others(frames: list[Path], tmp_path: Path) -> None:
    write_animation(tmp_path / "run.webp", frames, fps=10, hold=0)
    assert read_back(tmp_path / "run.webp")[1] == [100] * COUNT


@pytest.mark.parametrize("suffix", [".webp", ".apng", ".gif", ".mp4"])
def test_the_same_frames_give_the_same_bytes(suffix: str, frames: list[Path], tmp_path: Path) -> None:
    if suffix == ".mp4":
        pytest.importorskip("av")
    write_animation(tmp_path / f"one{suffix}", frames, fps=15, hold=1)
    write_animation(tmp_path / "new" / f"two{suffix}", frames, fps=15, hold=1)
    assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / "new" / f"two{suffix}").read_bytes()


@pytest.mark.parametrize("suffix", [".webp", ".apng", ".gif", ".mp4"])
def test_frames_of_another_size_take_that_of_the_last(suffix: str, frames: list[Path], tmp_path: Path) -> None:
    if suffix == ".mp4":
        pytest.importorskip("av")
    write_image(frames[2], smooth_frame(2, 2 * HEIGHT, 2 * WIDTH))
    write_animation(tmp_path / f"run{suffix}", frames, fps=15, hold=0)
    shown = decode(tmp_path / "run.mp4")[0] if suffix == ".mp4" else read_back(tmp_path / f"run{suffix}")[0]
    assert len(shown) == COUNT
    expected = pixels(Image.fromarray((smooth_frame(2)[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)))
    height, width = shown[2].shape[:2]
    assert np.abs(shown[2] - expected[:height, :width]).mean() < 6


@pytest.mark.parametrize("suffix", [".webp", ".apng", ".gif", ".mp4"])
def test_one_frame_is_an_animation_too(suffix: str, frames: list[Path], tmp_path: Path) -> None:
    if suffix == ".mp4":
        pytest.importorskip("av")
    path = tmp_path / f"run{suffix}"
    write_animation(path, frames[:1], fps=15, hold=1)
    shown = decode(path)[0][0] if suffix == ".mp4" else pixels(path)
    height, width = shown.shape[:2]
    assert np.abs(shown - pixels(frames[0])[:height, :width]).mean() < 5


def decode(path: Path) -> tuple[list[np.ndarray], object]:
    av = pytest.importorskip("av")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        shown = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(stream)]
        return shown, (stream.average_rate, stream.codec_context.name, stream.codec_context.pix_fmt, container.metadata)


@pytest.mark.parametrize("codec", ["h264", "mpeg4"])
def test_mp4(codec: str, frames: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    av = pytest.importorskip("av")
    if codec == "mpeg4":
        monkeypatch.setattr(av, "codecs_available", {"mpeg4"})
    write_animation(tmp_path / "run.mp4", frames, fps=12, hold=0.5)
    shown, (rate, name, layout, metadata) = decode(tmp_path / "run.mp4")
    assert (rate, name, layout) == (12, codec, "yuv420p")
    assert "creation_time" not in metadata
    assert len(shown) == COUNT - 1 + 6  # half a second of the last one
    for index, seen in enumerate(shown):
        assert seen.shape == (HEIGHT - 1, WIDTH - 1, 3)  # even, cut off
        wanted = pixels(frames[min(index, COUNT - 1)])[: HEIGHT - 1, : WIDTH - 1]
        assert np.abs(seen - wanted).mean() < 5
        assert np.abs((seen - wanted).mean(axis=(0, 1))).max() < 2  # BT.601 read as BT.709 shifts saturated colors


def test_mp4_says_how_its_colours_are_meant(tmp_path: Path) -> None:
    """Pure red in BT.709 with limited range is Y = 16 + 219 · 0.2126, Cb = 128 - 224 · 0.2126 / 1.8556, Cr = 240."""
    av = pytest.importorskip("av")
    write_image(tmp_path / "red.png", torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1).expand(1, 3, 32, 32))
    write_animation(tmp_path / "red.mp4", [tmp_path / "red.png"], fps=5, hold=0)
    with av.open(str(tmp_path / "red.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.color_range, context.colorspace, context.color_primaries, context.color_trc) == (1, 1, 1, 1)
        frame = next(container.decode(video=0))
    luma, blue, red = (np.frombuffer(plane, np.uint8)[0] for plane in frame.planes)
    assert (luma, blue, red) == (pytest.approx(63, abs=1), pytest.approx(102, abs=1), pytest.approx(240, abs=1))


@pytest.mark.parametrize("suffix", [".webp", ".apng", ".mp4"])
def test_memory_does_not_grow_with_the_number_of_frames(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if suffix == ".mp4":
        pytest.importorskip("av")
    write_image(tmp_path / "000000.png", smooth_frame(0, 120, 160))
    many = [tmp_path / f"{index:06d}.png" for index in range(40)]
    for file in many[1:]:
        shutil.copy(many[0], file)
    alive: weakref.WeakValueDictionary[int, Image.Image] = weakref.WeakValueDictionary()
    counts: list[int] = []
    plain = Image.Image.__init__

    def counted(self: Image.Image) -> None:
        plain(self)
        alive[len(counts)] = self
        counts.append(len(alive))

    monkeypatch.setattr(Image.Image, "__init__", counted)
    write_animation(tmp_path / f"run{suffix}", many, fps=15, hold=0)
    assert len(counts) >= 40
    assert max(counts) < 8


@pytest.mark.parametrize(
    ("name", "fps", "message"),
    [
        ("run.avi", 15, "expected an animation file ending in .webp, .gif, .png, .apng, .mp4, found 'run.avi'"),
        ("run", 15, "expected an animation file ending in"),
        ("run.gif", 51, "at most 50 frames per second in a GIF, found 51"),
        ("folder.webp", 15, "found the folder .*folder.webp"),
        ("file.txt/run.webp", 15, "expected a folder that can be written to, found .*file.txt for run.webp"),
    ],
)
def test_what_cannot_be_written_is_refused_before(name: str, fps: int, message: str, tmp_path: Path) -> None:
    (tmp_path / "folder.webp").mkdir()
    (tmp_path / "file.txt").write_text("")
    with pytest.raises(UserError, match=message):
        check_animation(tmp_path / name, fps)
    check_animation(tmp_path / "new" / "RUN.WEBP", 60)
    check_animation(tmp_path / "run.gif", 50)


def test_mp4_without_pyav_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'nst-lightning\[video\]'"):
        check_animation(tmp_path / "run.mp4", 15)


@pytest.mark.parametrize("suffix", [".webp", ".apng", ".gif", ".mp4"])
def test_an_earlier_animation_survives_a_frame_that_cannot_be_read(
    suffix: str, frames: list[Path], tmp_path: Path
) -> None:
    if suffix == ".mp4":
        pytest.importorskip("av")
    target = tmp_path / "out" / f"run{suffix}"
    write_animation(target, frames, fps=15, hold=0)
    before = target.read_bytes()
    frames[3].write_bytes(b"not a picture")
    with pytest.raises(UserError, match=r"cannot write .*run\."):
        write_animation(target, frames, fps=15, hold=0)
    assert target.read_bytes() == before
    assert [file.name for file in target.parent.iterdir()] == [target.name]
