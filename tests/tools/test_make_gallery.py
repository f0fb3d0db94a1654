"""The gallery: its page is made of the list of commands, its pictures are there and small, its program paints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tools.make_gallery import MAX_BYTES, PAGE, Entry, describe, paint, read_entries, save_small, write_mask

ENTRIES = read_entries()


def test_the_page_is_what_the_program_writes() -> None:
    assert PAGE.read_text(encoding="utf-8") == describe(ENTRIES)


def test_there_is_a_small_picture_for_each_entry_and_no_other() -> None:
    assert len(ENTRIES) <= 12
    pictures = sorted(PAGE.with_suffix("").iterdir())
    assert [picture.stem for picture in pictures] == sorted(entry.name for entry in ENTRIES)
    for picture in pictures:
        assert picture.stat().st_size <= MAX_BYTES
        with Image.open(picture) as image:
            assert max(image.size) <= 640
            assert np.asarray(image.convert("RGB")).std() > 20, f"{picture} is flat"


def test_the_mask_is_white_above_and_black_below(tmp_path: Path) -> None:
    write_mask(tmp_path / "sky.png")
    with Image.open(tmp_path / "sky.png") as mask:
        column = np.asarray(mask)[:, 0].astype(int)
    assert column[0] == 255
    assert column[-1] == 0
    assert (np.diff(column) <= 0).all()


def test_a_picture_is_made_small(tmp_path: Path) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (500, 900, 3), np.uint8)).resize((1800, 1000))
    file = save_small(noise, tmp_path / "noise.jpg")
    assert file.stat().st_size <= MAX_BYTES
    with Image.open(file) as image:
        assert image.size == (640, 356)


def test_another_program_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a command of nst, found 'rm'"):
        paint(Entry("evil", "Evil", "rm -r .", "x.png"), tmp_path)


@pytest.mark.slow
@pytest.mark.processes
def test_a_command_is_run_and_its_picture_kept(tmp_path: Path) -> None:
    command = (
        "nst fit --config configs/quick.yaml --data.style '[sample:starry, sample:woodcut]' "
        "--data.guides '[sky.png, rest]' --data.sizes '[48]' --data.steps 2 --output.path masks.png"
    )
    assert paint(Entry("masks", "Masks", command, "masks.png"), tmp_path) == tmp_path / "masks.jpg"
    with Image.open(tmp_path / "masks.jpg") as image:
        assert image.size == (48, 36)
