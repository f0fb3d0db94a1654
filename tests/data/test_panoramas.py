"""Panoramas and scrolls: their pyramid begins where the short side is long enough."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from nst_lightning.data.schedule import Level
from nst_lightning.data.transfer_data import TransferData
from nst_lightning.errors import UserError
from tests.helpers.inputs import make_image


def _panorama(folder: Path, width: int, height: int, name: str = "panorama.png") -> str:
    return make_image(folder / name, width, height, seed=5)


def _levels(data: TransferData) -> list[tuple[int, int, int]]:
    return [(level.width, level.height, level.steps) for level in data.schedule.levels]


def _needs(least: int) -> Callable[[Level, Sequence[tuple[int, int]]], None]:
    def check(level: Level, styles: Sequence[tuple[int, int]]) -> None:
        if min(level.height, level.width, *(side for style in styles for side in style)) < least:
            raise UserError("too small; use a larger size.")

    return check


@pytest.mark.parametrize("upright", [False, True])
def test_a_panoramas_pyramid_begins_where_the_short_side_is_long_enough(upright: bool, tmp_path: Path) -> None:
    content = _panorama(tmp_path, *((12, 240) if upright else (240, 12)))
    data = TransferData(content, size=240, min_size=60, steps=3, first_steps=7)
    assert [max(row[:2]) for row in _levels(data)] == [60, 85, 120, 170, 240]
    data.begin_where_large_enough(_needs(6))
    data.begin_where_large_enough(_needs(6))  # asked again, as by the command and the Trainer
    expected = [(120, 6, 7), (170, 9, 3), (240, 12, 3)]
    assert _levels(data) == [(h, w, n) for w, h, n in expected] if upright else expected
    assert data.batch(0).initial is not None
    assert data.settings()["levels"] == 3


def test_a_style_that_is_a_panorama_has_a_say(tmp_path: Path, content: str) -> None:
    data = TransferData(content, [_panorama(tmp_path, 160, 8)], size=160, min_size=40, steps=[1, 2, 3, 4, 5])
    data.begin_where_large_enough(_needs(4))
    assert [(max(row[:2]), row[2]) for row in _levels(data)] == [(80, 3), (113, 4), (160, 5)]
    again = TransferData(content, [_panorama(tmp_path, 160, 8)], size=160, min_size=40, steps=[3, 4, 5])
    assert _levels(again) == _levels(data)  # a number for each level that was painted
    with pytest.raises(UserError, match="2 numbers for 5 levels"):
        TransferData(content, size=160, min_size=40, steps=[3, 4])  # no panorama


def test_a_picture_that_is_nowhere_large_enough_says_what_size_would_do(tmp_path: Path) -> None:
    data = TransferData(_panorama(tmp_path, 100, 1), size=200, min_size=50, steps=1)
    with pytest.raises(UserError, match=r"too small; use a larger size. With --data.size (\d+) it is") as caught:
        data.begin_where_large_enough(_needs(8))
    size = int(re.findall(r"size (\d+) it", str(caught.value))[0])
    assert 750 <= size <= 770
    larger = TransferData(tmp_path.joinpath("panorama.png").as_posix(), size=size, min_size=50, steps=1)
    larger.begin_where_large_enough(_needs(8))
    assert len(larger.schedule.levels) == 1


def test_sizes_that_were_given_stay(tmp_path: Path) -> None:
    data = TransferData(_panorama(tmp_path, 100, 10), sizes=[20, 80], steps=1)
    data.begin_where_large_enough(_needs(8))
    assert len(data.schedule.levels) == 2


def test_a_mask_drawn_on_a_reduced_copy_of_a_panorama_fits(tmp_path: Path, style: str) -> None:
    content = _panorama(tmp_path, 240, 10)
    mask = _panorama(tmp_path, 55, 2, "mask.png")  # 2.3 rows
    data = TransferData(content, [style], size=240, min_size=60, guides=[mask], content_guide=mask)
    assert data.batch(0).guides is not None
