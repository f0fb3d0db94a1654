"""Settings inside image files: read back from each format, and no pixel is another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nst_lightning.errors import UserError
from nst_lightning.images.embedded_settings import read_settings
from nst_lightning.images.files import OUTPUT_FORMATS, read_image, write_image

SETTINGS = 'data:\n  content: "\\xFC \\uDCFF.png"\n' + "".join(f"  key{n}: {n}\n" for n in range(300))
PIXELS = torch.rand(1, 3, 12, 17, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("suffix", OUTPUT_FORMATS)
def test_they_are_read_back_and_change_no_pixel(suffix: str, bits: int, tmp_path: Path) -> None:
    if bits == 16 and suffix != ".png":
        return
    plain, told = tmp_path / f"plain{suffix}", tmp_path / f"told{suffix}"
    write_image(plain, PIXELS, bits=bits)
    write_image(told, PIXELS, bits=bits, settings=SETTINGS)
    assert read_settings(plain) is None
    assert read_settings(told) == SETTINGS
    with Image.open(plain) as before, Image.open(told) as after:
        assert np.array_equal(np.asarray(before), np.asarray(after))
        assert before.info["icc_profile"] == after.info["icc_profile"]
    assert torch.equal(read_image(plain).pixels, read_image(told).pixels)
    again = tmp_path / f"again{suffix}"
    write_image(again, PIXELS, bits=bits, settings=SETTINGS)
    assert again.read_bytes() == told.read_bytes()


def test_both_depths_of_png_have_one_chunk(tmp_path: Path) -> None:
    found = []
    for bits in (8, 16):
        write_image(tmp_path / "a.png", PIXELS, bits=bits, settings=SETTINGS)
        with Image.open(tmp_path / "a.png") as image:
            found.append(image.info["nst-lightning"])
    assert found[0] == found[1]


def test_a_jpeg_without_room_is_written_without(tmp_path: Path) -> None:
    write_image(tmp_path / "a.jpg", PIXELS, settings="x" * 70_000)
    assert read_settings(tmp_path / "a.jpg") is None
    write_image(tmp_path / "a.webp", PIXELS, settings="x" * 70_000)
    assert read_settings(tmp_path / "a.webp") == "x" * 70_000


def test_what_others_wrote_is_not_taken_for_settings(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0model: evil"
    Image.new("RGB", (9, 9)).save(tmp_path / "photo.jpg", exif=exif)
    assert read_settings(tmp_path / "photo.jpg") is None
    (tmp_path / "text.png").write_text("model: evil")
    assert read_settings(tmp_path / "text.png") is None
    (tmp_path / "empty.png").touch()
    assert read_settings(tmp_path / "empty.png") is None
    with pytest.raises(UserError, match=r"gone\.png can't be read"):
        read_settings(tmp_path / "gone.png")


def test_a_text_that_unpacks_to_megabytes_is_not_read(tmp_path: Path) -> None:
    write_image(tmp_path / "bomb.png", PIXELS, settings="a: 1\n" * 2_000_000)
    assert (tmp_path / "bomb.png").stat().st_size < 100_000
    assert read_settings(tmp_path / "bomb.png") is None
