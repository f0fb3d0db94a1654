import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from nst_lightning.errors import UserError
from nst_lightning.images.files import read_image, to_pillow, write_image
from nst_lightning.images.icc import srgb_profile


def picture(height=9, width=7, channels=3, seed=0):
    return torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(seed))


def decode_png16(content):
    """Decode a 16-bit PNG after its specification, without Pillow; filters "none" and "up" only."""
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, position = [], 8
    while position < len(content):
        length, kind = struct.unpack(">I4s", content[position : position + 8])
        data = content[position + 8 : position + 8 + length]
        (checksum,) = struct.unpack(">I", content[position + 8 + length : position + 12 + length])
        assert checksum == zlib.crc32(kind + data)
        chunks.append((kind, data))
        position += 12 + length
    assert chunks[0][0] == b"IHDR"
    assert chunks[-1] == (b"IEND", b"")
    width, height, bits, colour_type, *rest = struct.unpack(">IIBBBBB", chunks[0][1])
    assert (bits, rest) == (16, [0, 0, 0])
    channels = {2: 3, 6: 4}[colour_type]
    data = zlib.decompress(b"".join(data for kind, data in chunks if kind == b"IDAT"))
    lines = np.frombuffer(data, np.uint8).reshape(height, 1 + width * channels * 2)
    assert set(lines[:, 0].tolist()) <= {0, 2}
    rows = np.zeros((height + 1, width * channels * 2), np.uint8)
    for index, line in enumerate(lines):
        rows[index + 1] = line[1:] + (rows[index] if line[0] == 2 else 0)
    profile = zlib.decompress(dict(chunks)[b"iCCP"].split(b"\0\0", 1)[1])
    return rows[1:].copy().view(">u2").reshape(height, width, channels).astype(int), profile


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff", ".PNG"])
@pytest.mark.parametrize("with_alpha", [False, True])
def test_lossless_formats_round_halves_up(tmp_path, suffix, with_alpha):
    pixels, alpha = picture(), picture(channels=1, seed=1)
    pixels[0, 0, 0, :4] = torch.tensor([-0.2, 1.3, 0.5, 127.5 / 255])
    path = tmp_path / f"x{suffix}"
    write_image(path, pixels, alpha=alpha if with_alpha else None)
    written = np.asarray(Image.open(path)).transpose(2, 0, 1)
    everything = torch.cat([pixels, alpha], 1) if with_alpha else pixels
    expected = np.floor(everything[0].numpy().clip(0, 1).astype(np.float32) * 255 + np.float32(0.5))
    np.testing.assert_array_equal(written, expected)
    assert written[0, 0, :4].tolist() == [0, 255, 128, 128]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg", ".webp", ".tif"])
def test_formats_profile_and_determinism(tmp_path, suffix):
    pixels = picture(64, 48)
    smooth = torch.nn.functional.avg_pool2d(pixels, 15, 1, 7)
    for name in ("a", "b"):
        write_image(tmp_path / f"{name}{suffix}", smooth)
    first, second = (tmp_path / f"a{suffix}").read_bytes(), (tmp_path / f"b{suffix}").read_bytes()
    assert first == second
    image = Image.open(io.BytesIO(first))
    assert image.info["icc_profile"] == srgb_profile()
    assert image.format == {".png": "PNG", ".webp": "WEBP", ".tif": "TIFF"}.get(suffix, "JPEG")
    error = np.asarray(image).astype(float) / 255 - smooth[0].permute(1, 2, 0).numpy()
    assert np.abs(error).mean() < 0.01


def test_what_was_written_is_read_back(tmp_path):
    levels = torch.randint(0, 256, (1, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    pixels = levels.float() / 255
    write_image(tmp_path / "x.png", pixels)
    assert torch.equal(read_image(tmp_path / "x.png").pixels, pixels)


def test_large_pictures_are_rounded_in_strips(tmp_path):
    pixels = picture(700, 3)
    write_image(tmp_path / "x.png", pixels)
    expected = np.floor(pixels[0].permute(1, 2, 0).numpy() * np.float32(255) + np.float32(0.5))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "x.png")), expected)


@pytest.mark.parametrize("with_alpha", [False, True])
@pytest.mark.parametrize("height", [1, 64, 65, 200])
def test_16_bit_png(tmp_path, with_alpha, height):
    pixels, alpha = picture(height, 5), picture(height, 5, channels=1, seed=1)
    write_image(tmp_path / "x.png", pixels, alpha=alpha if with_alpha else None, bits=16)
    written, profile = decode_png16((tmp_path / "x.png").read_bytes())
    everything = torch.cat([pixels, alpha], 1) if with_alpha else pixels
    expected = np.floor(everything[0].permute(1, 2, 0).numpy() * np.float32(65535) + np.float32(0.5))
    np.testing.assert_array_equal(written, expected)
    assert profile == srgb_profile()
    image = Image.open(tmp_path / "x.png")
    np.testing.assert_array_equal(np.asarray(image), written >> 8)
    assert image.info["icc_profile"] == srgb_profile()


def test_jpeg_has_full_colour_resolution(tmp_path):
    pixels = torch.zeros(1, 3, 32, 32)
    pixels[:, 0, :, ::2] = 1
    pixels[:, 2, :, 1::2] = 1
    write_image(tmp_path / "x.jpg", pixels)
    image = Image.open(tmp_path / "x.jpg")
    assert [component[1:3] for component in image.layer] == [(1, 1)] * 3
    assert np.abs(np.asarray(image) / 255 - pixels[0].permute(1, 2, 0).numpy()).mean() < 0.03


def test_jpeg_composites_alpha_on_white(tmp_path):
    write_image(tmp_path / "x.jpg", torch.zeros(1, 3, 16, 16), alpha=torch.full((1, 1, 16, 16), 0.25))
    np.testing.assert_allclose(np.asarray(Image.open(tmp_path / "x.jpg")), 191, atol=2)


def test_quality_counts(tmp_path):
    sizes = []
    for quality in (20, 95):
        write_image(tmp_path / "x.jpg", picture(64, 64), quality=quality)
        sizes.append((tmp_path / "x.jpg").stat().st_size)
    assert sizes[0] < sizes[1] / 2


def test_bfloat16_and_gradients_are_accepted(tmp_path):
    write_image(tmp_path / "x.png", torch.ones(1, 3, 2, 2, dtype=torch.bfloat16, requires_grad=True))
    assert np.asarray(Image.open(tmp_path / "x.png")).min() == 255


@pytest.mark.parametrize("name", ["x.heic", "x", "png"])
def test_unknown_suffix(tmp_path, name):
    with pytest.raises(UserError, match=r"\.png, \.jpg, \.jpeg, \.webp, \.tif, \.tiff"):
        write_image(tmp_path / name, picture())
    assert list(tmp_path.iterdir()) == []


def test_limits_of_the_formats(tmp_path):
    with pytest.raises(UserError, match="16 bits per channel"):
        write_image(tmp_path / "x.jpg", picture(), bits=16)
    with pytest.raises(UserError, match="16383 pixels a side in a WEBP file, found 16384"):
        write_image(tmp_path / "x.webp", torch.zeros(1, 3, 1, 16384))
    with pytest.raises(UserError, match="65500 pixels a side in a JPEG file, found 65501"):
        write_image(tmp_path / "x.jpg", torch.zeros(1, 3, 65501, 1))


@pytest.mark.parametrize(
    ("pixels", "options"),
    [
        (torch.zeros(3, 4, 4), {}),
        (torch.zeros(2, 3, 4, 4), {}),
        (torch.zeros(1, 3, 4, 4), {"alpha": torch.zeros(1, 1, 4, 5)}),
        (torch.zeros(1, 3, 4, 4), {"bits": 12}),
        (torch.full((1, 3, 4, 4), float("nan")), {}),
    ],
)
def test_a_programmers_mistakes_are_value_errors(tmp_path, pixels, options):
    with pytest.raises(ValueError, match="expected") as caught:
        write_image(tmp_path / "x.png", pixels, **options)
    assert not isinstance(caught.value, UserError)


def test_a_failing_encoder_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x.png"
    write_image(path, torch.zeros(1, 3, 4, 4))
    old = path.read_bytes()

    def fail(self, target, *args, **kwargs):
        target.write(b"half")
        raise OSError("encoder error -2 when writing image file")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(UserError, match="encoder error -2"):
        write_image(path, torch.ones(1, 3, 4, 4))
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_alpha_may_be_on_another_device(tmp_path, suffix):
    pixels, alpha = picture(), picture(channels=1, seed=1)
    for name, where in (("a", "cpu"), ("b", "cuda")):
        write_image(tmp_path / f"{name}{suffix}", pixels.to(where), alpha=alpha)
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
    assert to_pillow(pixels.cuda(), alpha).tobytes() == to_pillow(pixels, alpha).tobytes()
