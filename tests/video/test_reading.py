"""Frames read from clips made with PyAV alone are compared with the images the clips were made of."""

from __future__ import annotations

import io
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nst_lightning.errors import UserError
from nst_lightning.images.resize import resize
from nst_lightning.video.reading import Frame, VideoInfo, is_video, read_frames, read_info

av = pytest.importorskip("av")

HEIGHT, WIDTH, COUNT = 32, 48, 25
CLOCKWISE = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0), "mirrored": (-1, 0, 0, 1)}


def values(frame: Frame) -> np.ndarray:
    """The frame as `(H, W, 3)` from 0 to 255."""
    assert frame.pixels.dtype == torch.float32
    return frame.pixels[0].permute(1, 2, 0).numpy().astype(float) * 255


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.avi"])
def test_frames_are_the_pictures_in_their_order(name: str, clips: Any) -> None:
    codec = {"codec": "ffv1"} if name == "a.avi" else {}
    path = clips.write(name, sound="pcm_s16le" if name == "a.avi" else "aac", **codec)
    assert read_info(path) == VideoInfo(WIDTH, HEIGHT, Fraction(25), COUNT, True)
    frames = list(read_frames(path))
    assert [frame.index for frame in frames] == list(range(COUNT))
    assert [frame.time for frame in frames] == [Fraction(index, 25) for index in range(COUNT)]
    for frame in frames:
        # The codec has no loss. FFmpeg takes color half a pixel off where it writes and not where it reads: red
        # changes by 90 · 5/48 a pixel, all but 0.3 of it in color: 3.3; rounding adds 0.6 and 1.
        error = np.abs(values(frame) - clips.picture(frame.index))
        assert error[2:-2, 2:-2].max() < 6.5
        assert error.mean() < 2.5


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_times_of_a_varying_rate_are_kept(name: str, clips: Any) -> None:
    times = [0, 40, 50, 350, 351, 900, 2000]
    path = clips.write(name, times)
    assert [frame.time for frame in read_frames(path)] == [Fraction(time, 1000) for time in times]


def test_frames_left_out_are_counted_and_the_others_are_the_same(clips: Any) -> None:
    path = clips.write("a.mp4")
    whole, rest = list(read_frames(path)), list(read_frames(path, start=20))
    assert [(f.index, f.time) for f in rest] == [(f.index, f.time) for f in whole[20:]]
    assert all(torch.equal(one.pixels, other.pixels) for one, other in zip(rest, whole[20:], strict=True))
    assert list(read_frames(path, start=COUNT)) == []


def note_matrix(path: Path, a: int, b: int, c: int, d: int) -> None:
    """Put a display matrix into the header of an MP4's first track (ISO/IEC 14496-12, §8.3.2): 16.16 and 2.30."""
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 44
    one = 1 << 16
    data[place : place + 36] = struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


@pytest.mark.parametrize("turn", [90, 180, 270, "mirrored"])
def test_frames_are_turned_upright(turn: int | str, clips: Any) -> None:
    """A stored place (x, y) is shown at (a·x + c·y, b·x + d·y), moved into the image."""
    path = clips.write("a.mp4", 1)
    stored = next(read_frames(path)).pixels
    a, b, c, d = CLOCKWISE[turn]
    note_matrix(path, a, b, c, d)
    shown = next(read_frames(path)).pixels
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    right, down = a * x + c * y, b * x + d * y
    expected = torch.empty(3, int(np.ptp(down)) + 1, int(np.ptp(right)) + 1)
    expected[:, down - down.min(), right - right.min()] = stored[0]
    assert torch.equal(shown[0], expected)
    info = read_info(path)
    assert (info.height, info.width) == tuple(expected.shape[1:])
    if turn != "mirrored":
        with av.open(str(path)) as container:  # FFmpeg's own reading of the matrix: degrees against the clock
            counted = next(container.decode(video=0)).rotation
        assert torch.equal(shown, torch.rot90(stored, counted // 90, (2, 3)))


def test_the_long_side_is_that_of_the_upright_frame(clips: Any) -> None:
    path = clips.write("a.mp4", 1)
    whole = next(read_frames(path)).pixels
    note_matrix(path, *CLOCKWISE[90])
    small = next(read_frames(path, size=24)).pixels
    torch.testing.assert_close(small, resize(whole, (16, 24)).rot90(-1, (2, 3)))


def test_pixels_become_square(clips: Any) -> None:
    path = clips.write("a.mp4", 1, aspect=Fraction(4, 3))
    frame = next(read_frames(path))
    assert frame.pixels.shape == (1, 3, HEIGHT, 64)
    assert read_info(path).width == 64
    # picture() at the places where its columns now are
    y, x = np.mgrid[:HEIGHT, :64] / WIDTH
    x = ((x * WIDTH + 0.5) * WIDTH / 64 - 0.5) / WIDTH
    expected = np.stack([np.sin(5 * x), np.sin(4 * y), np.cos(3 * x + 6 * y)], -1) * 90 + 128
    assert np.abs(values(frame) - expected)[2:-2, 3:-3].max() < 6.5


MATRICES = {"BT.601": (0.299, 0.114), "BT.709": (0.2126, 0.0722), "BT.2020": (0.2627, 0.0593)}


@pytest.mark.parametrize(
    ("tags", "height", "meant", "full", "deep"),
    [
        ((5, 1), 32, "BT.601", False, False),
        ((6, 2), 32, "BT.601", True, False),
        ((1, 1), 32, "BT.709", False, False),
        ((1, 2), 32, "BT.709", True, False),
        ((9, 1), 32, "BT.2020", False, True),
        (None, 32, "BT.601", False, False),
        (None, 720, "BT.709", False, False),
        (None, 32, "BT.601", False, True),
    ],
)
def test_colours_follow_the_matrix_and_the_range(
    tags: tuple[int, int] | None, height: int, meant: str, full: bool, deep: bool, clips: Any
) -> None:
    """Y'CbCr to R'G'B' from the luma weights alone (ITU-R BT.601, BT.709, BT.2020)."""
    y, cb, cr = (480, 420, 610) if deep else (120, 105, 153)
    one = 4 if deep else 1
    low, luma, chroma = (0, 255, 255) if full else (16, 219, 224)
    light = (y / one - low) / luma
    blue, red = (cb / one - 128) / chroma, (cr / one - 128) / chroma
    weight_red, weight_blue = MATRICES[meant]
    r, b = light + 2 * (1 - weight_red) * red, light + 2 * (1 - weight_blue) * blue
    g = (light - weight_red * r - weight_blue * b) / (1 - weight_red - weight_blue)
    path = clips.write(
        "a.mkv",
        1,
        codec="ffv1",
        pixels="yuv420p10le" if deep else "yuv420p",
        size=(height, WIDTH),
        flat=(y, cb, cr),
        tags=tags,
    )
    pixels = next(read_frames(path)).pixels
    assert pixels.shape[2] == height
    wanted = torch.tensor([r, g, b]).view(1, 3, 1, 1).expand_as(pixels)
    torch.testing.assert_close(pixels, wanted.float(), rtol=0, atol=(0.3 if deep else 1.0) / 255)


def test_rgb_is_taken_as_it_is(clips: Any) -> None:
    frame = next(read_frames(clips.write("a.avi", codec="rawvideo", pixels="bgr24", tags=None)))
    assert np.array_equal(np.round(values(frame)), clips.picture(0))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
def test_a_file_cut_short_gives_what_it_has_and_says_where_it_ends(name: str, clips: Any) -> None:
    path = clips.write(name, codec="ffv1", options={"slices": "4"}) if name != "a.mp4" else clips.write(name)
    whole = [frame.pixels for frame in read_frames(path)]
    if name == "a.mp4":  # the index first, as in files that are watched while they load
        move_index_first(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    seen: list[Frame] = []
    with pytest.raises(UserError, match="damaged or cut short at frame") as caught:
        seen.extend(read_frames(path))  # extend() keeps what came before the exception
    assert 5 < len(seen) < COUNT
    assert f"frame {len(seen)}, {len(seen) / 25:.2f} s" in str(caught.value)
    assert "\n" not in str(caught.value)
    # the last one may be made from half its data
    assert all(torch.equal(frame.pixels, whole[frame.index]) for frame in seen[:-1])


def move_index_first(path: Path) -> None:
    with av.open(str(path)) as source, av.open(str(path) + "x", "w", "mp4", {"movflags": "+faststart"}) as target:
        copy = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = copy
                target.mux(packet)
    Path(str(path) + "x").replace(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.mp4", None, "expected a video file, found no .*none.mp4; check the path"),
        ("folder.mp4", "folder", "expected a video file, found the folder"),
        ("empty.mp4", b"", "found something else or a damaged file in .*empty.mp4"),
        ("words.mkv", b"no video at all\n" * 100, "found something else or a damaged file"),
        # a play list, by which a visitor of the page could have other files read
        ("list.mp4", b"ffconcat version 1.0\nfile other.mp4\n", "found something else or a damaged file"),
    ],
)
def test_what_is_no_video_is_refused_in_a_line(
    name: str, content: bytes | str | None, message: str, clips: Any, tmp_path: Path
) -> None:
    clips.write("other.mp4")
    if content == "folder":
        (tmp_path / name).mkdir()
    elif isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    for read in (read_info, lambda path: next(read_frames(path))):
        with pytest.raises(UserError, match=message) as caught:
            read(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 48000, 0
        container.mux([*stream.encode(frame), *stream.encode(None)])
    with pytest.raises(UserError, match="found no moving picture"):
        read_info(tmp_path / "a.mp4")


def test_without_pyav_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'nst-lightning\[video\]'"):
        next(read_frames(Path("a.mp4")))


def test_a_video_is_known_by_its_suffix() -> None:
    assert [is_video(Path(name)) for name in ("a.MP4", "b.webm", "c.avi", "d.png", "mp4")] == [True] * 3 + [False] * 2


@pytest.mark.parametrize(("curve", "name"), [(16, "PQ"), (18, "HLG"), (1, None)])
def test_hdr_is_told(curve: int, name: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        stream.codec_context.color_trc = curve
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
        container.mux(stream.encode(None))
    assert len(list(read_frames(path))) == 3
    told = [record.getMessage() for record in caplog.records if "HDR" in record.getMessage()]
    assert len(told) == (name is not None)
    assert name is None or f"is HDR ({name})" in told[0]


@pytest.mark.parametrize(
    ("options", "form", "told"),
    [
        ({"x264-params": "tff=1", "flags": "+ilme+ildct"}, "yuv420p", "is interlaced"),
        ({}, "yuva420p", "is transparent in parts"),
        ({}, "yuv420p", None),
    ],
)
def test_what_is_not_read_of_a_video_is_told(
    options: dict[str, str], form: str, told: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / ("a.mkv" if form == "yuva420p" else "a.mp4")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1" if form == "yuva420p" else "libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 32, 32, form
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame(32, 32, form)))
        container.mux(stream.encode(None))
    assert len(list(read_frames(path))) == 3
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == (told is not None)
    assert told is None or told in said[0]


def test_the_shape_of_the_first_frame_goes_for_all_from_any_start(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:  # a stream of JPEGs, whose sizes may change
        stream = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuvj420p"
        for index, size in enumerate([(64, 32), (32, 64), (32, 64)]):
            file = io.BytesIO()
            Image.new("RGB", size, (90, 120, 40)).save(file, "JPEG")
            packet = av.Packet(file.getvalue())
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, 1000), True
            packet.pts = packet.dts = 100 * index
            container.mux(packet)
    shapes = [tuple(frame.pixels.shape[-2:]) for frame in read_frames(path)]
    assert shapes == [(32, 64)] * 3
    assert [tuple(frame.pixels.shape[-2:]) for frame in read_frames(path, start=1)] == shapes[1:]
