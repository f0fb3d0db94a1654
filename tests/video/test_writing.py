"""Videos are read back, and their packets compared with those of the video that the sound comes from."""

from __future__ import annotations

import importlib.util
import itertools
import math
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nst_lightning.errors import UserError
from nst_lightning.video.reading import read_frames, read_info
from nst_lightning.video.writing import VideoWriter, check_video_target, written_suffix

av = pytest.importorskip("av")

HEIGHT, WIDTH, COUNT, RATE = 32, 48, 25, Fraction(25)
SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm")


@pytest.fixture
def pictures(clips: Any) -> list[Tensor]:
    return [to_tensor(clips.picture(index)) for index in range(COUNT)]


def to_tensor(picture: np.ndarray) -> Tensor:
    return torch.from_numpy(picture).float().permute(2, 0, 1).unsqueeze(0) / 255


def write(path: Path, pictures: list[Tensor], *, times: list[Fraction] | None = None, **options: Any) -> Path:
    height, width = pictures[0].shape[2:]
    with VideoWriter(path, height, width, RATE, **options) as writer:
        for index, pixels in enumerate(pictures):
            writer.write(pixels, times[index] if times else index / RATE)
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_frames_come_back(suffix: str, pictures: list[Tensor], tmp_path: Path) -> None:
    path = write(tmp_path / "new" / f"a{suffix}", pictures)
    assert read_info(path).rate == RATE
    frames = list(read_frames(path))
    assert [frame.time for frame in frames] == [Fraction(index, 25) for index in range(COUNT)]
    for frame, pixels in zip(frames, pictures, strict=True):
        error = (frame.pixels - pixels)[..., 2:-2, 2:-2].abs() * 255
        # rounding makes 0.7 on average, crf 17 twice as much; the reader takes VP9's color half a pixel off: 3.3 · 2/π
        # in red, less in blue
        assert error.mean() < (2.6 if suffix == ".webm" else 2.2)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_a_flat_picture_keeps_its_colour(suffix: str, tmp_path: Path) -> None:
    colour = torch.tensor([0.8, 0.2, 0.1]).view(1, 3, 1, 1)
    path = write(tmp_path / f"a{suffix}", [colour.expand(1, 3, HEIGHT, WIDTH)])
    # half a step of 8-bit BT.709: 0.5 · (255/219 + 1.5748 · 255/224) in red, 1.8556 for 1.5748 in blue
    torch.testing.assert_close(
        next(read_frames(path)).pixels, colour.expand(1, 3, HEIGHT, WIDTH), rtol=0, atol=1.64 / 255
    )


def test_planes_are_bt709_sampled_above_the_left_column(tmp_path: Path) -> None:
    """What the decoder gives before anything converts it, against ITU-R BT.709 in float64."""
    picture = np.zeros((HEIGHT, WIDTH, 3))
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    picture[..., 0], picture[..., 1], picture[..., 2] = x * 5, 60 + y * 3, 250 - x * 4
    path = write(tmp_path / "a.mp4", [to_tensor(picture)], crf=0)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert (context.color_range, context.colorspace, context.color_primaries, context.color_trc) == (1, 1, 1, 1)
        planes = next(container.decode(stream)).to_ndarray()
    rgb = picture / 255
    luma = rgb @ [0.2126, 0.7152, 0.0722]
    assert np.abs(planes[:HEIGHT] - (16 + 219 * luma)).max() < 0.51
    for part, channel, divisor in (
        (planes[HEIGHT : HEIGHT * 5 // 4], 2, 1.8556),
        (planes[HEIGHT * 5 // 4 :], 0, 1.5748),
    ):
        chroma = 128 + 224 * (rgb[..., channel] - luma) / divisor
        wanted = (chroma[::2, ::2] + chroma[1::2, ::2]) / 2  # linear, so 1-2-1 over the columns changes nothing
        assert np.abs(part.reshape(wanted.shape) - wanted)[:, 1:].max() < 0.51


@pytest.mark.parametrize(("suffix", "tick"), [(".mp4", 60_000), (".mov", 60_000), (".mkv", 1000), (".webm", 1000)])
def test_times_of_a_varying_rate_are_kept(suffix: str, tick: int, pictures: list[Tensor], tmp_path: Path) -> None:
    times = [Fraction(time) for time in ("0", "1/30", "1/29", "1/3", "0.9", "2", "5")]
    path = write(tmp_path / f"a{suffix}", pictures[:7], times=times)
    frames = list(read_frames(path))
    for frame, time, pixels in zip(frames, times, pictures[:7], strict=True):
        assert abs(frame.time - time) <= Fraction(1, 2 * tick)
        assert (frame.pixels - pixels).abs().mean() < 0.02
    with av.open(str(path)) as container:  # the last one is shown for 1/25 s
        assert container.duration / 1e6 == pytest.approx(5.04, abs=0.002)


def test_a_rate_of_30000_over_1001_is_exact(pictures: list[Tensor], tmp_path: Path) -> None:
    rate = Fraction(30_000, 1001)
    with VideoWriter(tmp_path / "a.mp4", HEIGHT, WIDTH, rate) as writer:
        for index, pixels in enumerate(pictures):
            writer.write(pixels, index / rate)
    assert read_info(tmp_path / "a.mp4").rate == rate
    assert [frame.time for frame in read_frames(tmp_path / "a.mp4")] == [index / rate for index in range(COUNT)]


@pytest.mark.parametrize("size", [(31, 47), (32, 47), (1, 48)])
def test_an_odd_row_or_column_is_cut_off(size: tuple[int, int], clips: Any, tmp_path: Path) -> None:
    pixels = to_tensor(clips.picture(0, *size))
    path = write(tmp_path / "a.mp4", [pixels], crf=1)
    seen = next(read_frames(path)).pixels
    even = tuple(max(2, side // 2 * 2) for side in size)
    assert seen.shape == (1, 3, *even)
    assert (seen - pixels[..., : even[0], : even[1]]).abs().mean() < 2 / 255


def packets(path: Path) -> list[tuple[bytes, Fraction]]:
    """The sound's packets with their times after the first frame."""
    with av.open(str(path)) as container:
        first = next(container.decode(video=0))
    with av.open(str(path)) as container:
        found = [packet for packet in container.demux(audio=0) if packet.size]
        return [(bytes(packet), packet.pts * packet.time_base - first.pts * first.time_base) for packet in found]


LATER = [Fraction(0), Fraction(7, 10), Fraction(-7, 10)]


@pytest.mark.slow
@pytest.mark.parametrize("later", LATER)
@pytest.mark.parametrize(
    ("source", "target", "sound"),
    [
        ("a.mp4", "b.mp4", "aac"),
        ("a.mp4", "b.mkv", "aac"),
        ("a.mkv", "b.mp4", "libopus"),
        ("a.mkv", "b.webm", "libopus"),
        ("a.mov", "b.mov", "pcm_s16le"),
    ],
)
def test_sound_is_copied_and_stays_in_time(
    source: str, target: str, sound: str, later: Fraction, clips: Any, pictures: list[Tensor], tmp_path: Path
) -> None:
    original = clips.write(source, sound=sound, sound_later=later)
    copy = write(tmp_path / target, pictures, sound_from=original)
    before, after = packets(original), packets(copy)
    if sound == "pcm_s16le":  # which has no packets of its own: the reader makes them as long as it likes
        before, after = ([(b"".join(data for data, _ in found), found[0][1])] for found in (before, after))
    assert [data for data, _ in after] == [data for data, _ in before]
    rounding = 2 * 0.0006 if ".mkv" in source + target or ".webm" in target else 0.00002  # s; MKV counts milliseconds
    for (_, time), (_, wanted) in zip(after, before, strict=True):
        assert float(time) == pytest.approx(float(wanted), abs=rounding)
    assert len(list(read_frames(copy))) == COUNT


def heard(path: Path) -> tuple[np.ndarray, float]:
    """The samples, one channel, and the seconds from the first frame to the first of them."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    begin = frame.pts * frame.time_base
    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=48_000)
        frames = list(container.decode(audio=0))
        parts = [part.to_ndarray()[0] for given in [*frames, None] for part in resampler.resample(given)]
        return np.concatenate(parts), float(frames[0].pts * frames[0].time_base - begin)


@pytest.mark.parametrize("later", LATER)
@pytest.mark.parametrize(("source", "target"), [("a.avi", "b.mp4"), ("a.mp4", "b.webm"), ("a.mkv", "b.mov")])
def test_sound_that_the_container_does_not_take_is_coded_anew(
    source: str, target: str, later: Fraction, clips: Any, pictures: list[Tensor], tmp_path: Path
) -> None:
    sound, codec = {"a.avi": ("pcm_s16le", "ffv1"), "a.mp4": ("aac", "libx264"), "a.mkv": ("libopus", "libx264")}[
        source
    ]
    if source == "a.avi" and later:
        pytest.skip("AVI has no times")
    original = clips.write(source, sound=sound, codec=codec, sound_later=later)
    copy = write(tmp_path / target, pictures, sound_from=original)
    with av.open(str(copy)) as container:
        assert container.streams.audio[0].codec_context.codec.canonical_name == ("opus" if "webm" in target else "aac")
    samples, begin = heard(copy)
    onset = begin + np.argmax(np.abs(samples) > 0.1) / 48_000
    assert onset == pytest.approx(0.3 + float(later), abs=0.002)  # MKV rounds to a millisecond, and a sine swells
    # 440 Hz and nothing else, from its onset to the end, at its strength
    heard_tone = samples[round((onset - begin + 0.05) * 48_000) :][:28_800]  # 264 periods
    spectrum = np.abs(np.fft.rfft(heard_tone)) / len(heard_tone) * 2
    assert np.argmax(spectrum) == 264
    assert spectrum[264] == pytest.approx(0.5, rel=0.02)
    assert np.linalg.norm(np.delete(spectrum, 264)) < 0.02
    assert len(samples) == pytest.approx(48_000, abs=2 * 1024)


def test_packets_of_sound_and_picture_alternate(clips: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sound is read as far as the image has come: never the whole of it."""
    from nst_lightning.video.audio import Sound

    original = clips.write("a.mp4", sound="aac")
    asked: list[float] = []
    plain = Sound.write_until

    def noted(self: Sound, time: Fraction | float) -> None:
        asked.append(float(time))
        plain(self, time)

    monkeypatch.setattr(Sound, "write_until", noted)
    write(tmp_path / "b.mkv", [to_tensor(clips.picture(index)) for index in range(COUNT)], sound_from=original)
    assert asked[-1] == math.inf
    assert sorted(asked[:-1]) == asked[:-1]
    assert len(asked) == COUNT + 1
    with av.open(str(tmp_path / "b.mkv")) as container:
        order = [(packet.stream.type, packet.pts * packet.time_base) for packet in container.demux() if packet.size]
    runs = [len(list(group)) for kind, group in itertools.groupby(order, lambda packet: packet[0]) if kind == "audio"]
    assert max(runs) <= 5  # 0.04 s a frame, 0.02 s a packet, and some before the first one
    assert max(abs(float(a[1] - b[1])) for a, b in itertools.pairwise(order)) < 0.1


def test_a_silent_video_gives_a_silent_video(clips: Any, pictures: list[Tensor], tmp_path: Path) -> None:
    path = write(tmp_path / "b.mp4", pictures, sound_from=clips.write("a.mp4"))
    assert not read_info(path).has_sound


def test_no_rotation_is_noted(clips: Any, pictures: list[Tensor], tmp_path: Path) -> None:
    original = clips.write("a.mp4", sound="aac")
    data = bytearray(original.read_bytes())
    place = data.index(b"tkhd") + 44
    data[place : place + 20] = np.array([0, 1 << 16, 0, -1 << 16, 0], ">i4").tobytes()
    original.write_bytes(data)
    assert read_info(original).width == HEIGHT
    path = write(tmp_path / "b.mp4", pictures, sound_from=original)
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    assert (frame.rotation, frame.width, frame.height) == (0, WIDTH, HEIGHT)


def test_no_macroblock_tree_whose_bytes_differ_on_a_busy_machine(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mkv", 32, 32, Fraction(10)) as video:
        video.write(torch.zeros(1, 3, 32, 32), Fraction(0))
    assert re.search(rb" mbtree=(\d)", (tmp_path / "a.mkv").read_bytes())[1] == b"0"  # type: ignore[index]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_same_frames_give_the_same_bytes(suffix: str, clips: Any, pictures: list[Tensor], tmp_path: Path) -> None:
    original = clips.write("a.avi", codec="ffv1", sound="pcm_s16le")
    one, other = (write(tmp_path / name / f"a{suffix}", pictures, sound_from=original) for name in ("one", "other"))
    assert one.read_bytes() == other.read_bytes()
    with av.open(str(one)) as container:
        assert "creation_time" not in container.metadata


def test_mp4_begins_with_its_index(pictures: list[Tensor], tmp_path: Path) -> None:
    data = write(tmp_path / "a.mp4", pictures).read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


def test_a_greater_crf_gives_a_smaller_file(tmp_path: Path) -> None:
    noise = [torch.rand(1, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    for suffix in (".mp4", ".webm"):
        sizes = [write(tmp_path / f"{crf}{suffix}", noise, crf=crf).stat().st_size for crf in (5, 17, 40)]
        assert sizes[0] > 1.2 * sizes[1] > 1.44 * sizes[2]


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt, OSError])
def test_after_an_exception_nothing_is_there(
    failure: type[BaseException], clips: Any, pictures: list[Tensor], tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "b.mp4").write_bytes(b"old")
    original = clips.write("a.mp4", sound="aac")

    def fail() -> None:
        with VideoWriter(folder / "b.mp4", HEIGHT, WIDTH, RATE, sound_from=original) as writer:
            writer.write(pictures[0], Fraction(0))
            raise failure

    with pytest.raises(UserError if failure is OSError else failure):
        fail()
    assert [file.name for file in folder.iterdir()] == ["b.mp4"]
    assert (folder / "b.mp4").read_bytes() == b"old"


def test_sound_from_what_is_no_video_is_refused_before_the_first_frame(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("words")
    folder = tmp_path / "out"
    with (
        pytest.raises(UserError, match=r"found something else or a damaged file in .*a.mp4"),
        VideoWriter(folder / "b.mp4", HEIGHT, WIDTH, RATE, sound_from=tmp_path / "a.mp4"),
    ):
        pytest.fail("it was opened")
    assert list(folder.iterdir()) == []


def test_what_makes_no_video_is_refused(pictures: list[Tensor], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="got none"):
        _write_nothing(tmp_path / "a.mp4")
    with pytest.raises(ValueError, match="after the last frame's 1/25 s, got 1/50 s"):
        write(tmp_path / "a.mp4", pictures[:2], times=[Fraction(1, 25), Fraction(1, 50)])
    with pytest.raises(ValueError, match=r"expected pixels of shape \(1, 3, 32, 48\), got \(1, 3, 32, 40\)"):
        write(tmp_path / "a.mp4", [pictures[0], pictures[0][..., :40]])
    with pytest.raises(ValueError, match="NaN"):
        write(tmp_path / "a.mp4", [pictures[0] * torch.nan])
    assert list(tmp_path.iterdir()) == []


def _write_nothing(path: Path) -> None:
    with VideoWriter(path, HEIGHT, WIDTH, RATE):
        pass


def test_mpeg4_where_there_is_no_h264(pictures: list[Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(av, "codecs_available", {"mpeg4"})
    path = write(tmp_path / "a.mp4", pictures)
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == "mpeg4"
    frames = list(read_frames(path))
    assert [frame.time for frame in frames] == [Fraction(index, 25) for index in range(COUNT)]
    assert max((frame.pixels - pixels).abs().mean() for frame, pixels in zip(frames, pictures, strict=True)) < 0.02
    with pytest.raises(UserError, match=r"expected a PyAV with libvpx-vp9 for 'a\.webm'"):
        check_video_target(tmp_path / "a.webm")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.avi", "expected a video file ending in .mp4, .m4v, .mov, .mkv, .webm, found 'a.avi'"),
        ("a", "expected a video file ending in"),
        ("folder.mp4", "found the folder .*folder.mp4"),
        ("file.txt/a.mp4", "expected a folder that can be written to"),
    ],
)
def test_what_cannot_be_written_is_refused_before(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "file.txt").write_text("")
    with pytest.raises(UserError, match=message):
        check_video_target(tmp_path / name)
    check_video_target(tmp_path / "new" / "A.MP4")


def test_without_pyav_it_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'nst-lightning\[video\]'"):
        VideoWriter(tmp_path / "a.mp4", HEIGHT, WIDTH, RATE)


def test_written_suffixes() -> None:
    assert [written_suffix(suffix) for suffix in (".MP4", ".mov", ".webm", ".avi", ".gif")] == [
        *(".mp4", ".mov", ".webm"),
        *(".mp4", ".mp4"),
    ]


def test_tracks_that_are_left_out_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = tmp_path / "two.mkv"
    with av.open(str(source), "w") as container:
        video: Any = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 32, 32, "yuv420p"
        tracks: list[Any] = [container.add_stream("aac", rate=48000, layout="mono") for _ in range(2)]
        for index in range(5):
            container.mux(video.encode(av.VideoFrame(32, 32, "yuv420p")))
            for track in tracks:
                sound = av.AudioFrame(format="fltp", layout="mono", samples=1024)
                sound.planes[0].update(bytes(sound.planes[0].buffer_size))
                sound.sample_rate, sound.pts = 48000, index * 1024
                container.mux(track.encode(sound))
        for stream in (video, *tracks):
            container.mux(stream.encode(None))
    with VideoWriter(tmp_path / "out.mkv", 32, 32, RATE, sound_from=source) as video:
        video.write(torch.zeros(1, 3, 32, 32), Fraction(0))
    assert "the main track is kept; left out: 1 sound track" in caplog.text
