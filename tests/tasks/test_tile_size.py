"""Tiles chosen by memory, and that a run through them paints what an untiled one does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from nst_lightning import VGG19, ContentLoss, GramStyleLoss, StyleTransfer, TotalVariationLoss, TransferData, fit
from nst_lightning.encoders.tiles import halo, plan_tiles
from nst_lightning.errors import UserError
from nst_lightning.tasks import tile_size as memory
from nst_lightning.tasks.tile_size import bytes_per_pixel, pick_tile_size

TAPS = ["relu1_1", "relu3_1"]
QUIET: dict[str, Any] = {"accelerator": "cpu", "enable_progress_bar": False}


def model(encoder_file: str, **options: Any) -> StyleTransfer:
    return StyleTransfer(
        VGG19(encoder_file, padding="replicate"),
        content=ContentLoss(["relu3_1"]),
        style=GramStyleLoss(TAPS, weight=5.0),
        variation=TotalVariationLoss(weight=0.5),
        **options,
    )


def test_the_estimate_counts_the_channels_of_each_block(encoder_file: str) -> None:
    """4 channels at full size in two layers, 8 at a half in two, 8 at a quarter in one."""
    encoder = VGG19(encoder_file)
    assert bytes_per_pixel(encoder, TAPS) == 3 * 4 * (2 * 4 + 2 * 8 / 4 + 8 / 16) + 64
    assert bytes_per_pixel(encoder.cast(torch.bfloat16), TAPS) == 3 * 2 * (2 * 4 + 2 * 8 / 4 + 8 / 16) + 64


PICTURES = 7 * 3 * 4  # bytes a pixel: picture, gradient, two moments, average, last good picture, content


def test_the_largest_tile_that_half_the_memory_holds_beside_the_picture(encoder_file: str) -> None:
    encoder = VGG19(encoder_file)
    each, margin, picture = bytes_per_pixel(encoder, TAPS), 2 * halo(TAPS), PICTURES * 1000**2
    assert pick_tile_size(1000, 1000, encoder, TAPS, picture + round(2 * each * 1000**2) + 1) is None
    tile = pick_tile_size(1000, 1000, encoder, TAPS, picture + round(2 * each * 900**2))
    assert tile is not None
    assert tile % 64 == 0
    assert (tile + margin) ** 2 <= 900**2 < (tile + 64 + margin) ** 2


def test_what_the_smallest_tile_does_not_fit_into_is_refused(encoder_file: str) -> None:
    """A picture of 300 megapixels takes 25 GB before anything is seen of it."""
    encoder = VGG19(encoder_file)
    least = PICTURES * 1000**2 + round(bytes_per_pixel(encoder, TAPS) * (128 + 2 * halo(TAPS)) ** 2)
    assert pick_tile_size(1000, 1000, encoder, TAPS, least + 1) == 128
    with pytest.raises(
        UserError, match=r"1000×1000 pixels needs 0\.0828 GiB .* 0\.0828 GiB are free; lower data\.size"
    ):
        pick_tile_size(1000, 1000, encoder, TAPS, least - 1)
    with pytest.raises(UserError, match=r"20000×15000 pixels needs 23\.5 GiB .* 8 GiB are free"):
        pick_tile_size(15000, 20000, encoder, TAPS, 8 * 2**30)


@pytest.mark.parametrize("processes", [2, 4, 8, 16])
def test_each_process_has_room_for_its_part_and_the_halo_around_it(processes: int, encoder_file: str) -> None:
    height, width, deep = 300, 400, ["relu5_1"]
    encoder = VGG19(encoder_file)
    part = max(tile.computed for tile in plan_tiles(height, width, deep, None, processes))
    assert part > height * width / processes
    enough = PICTURES * height * width + round(2 * bytes_per_pixel(encoder, deep) * part) + 1
    assert pick_tile_size(height, width, encoder, deep, enough, processes) is None
    assert pick_tile_size(height, width, encoder, deep, enough - 2, processes) is not None


@pytest.mark.slow
def test_a_tiled_run_paints_the_untiled_picture(encoder_file: str, content: str, style: str, tmp_path: Path) -> None:
    pictures = []
    for tile_size in (None, 16):
        data = TransferData(content, style, sizes=[48, 64], steps=[4, 3])
        painted = fit(model(encoder_file, tile_size=tile_size), data, default_root_dir=tmp_path, **QUIET).picture
        pictures.append(painted)
    torch.testing.assert_close(pictures[1], pictures[0], atol=1e-3, rtol=0)
    assert (pictures[1] - pictures[0]).abs().mean() < 1e-5


@pytest.mark.slow
def test_what_auto_picked_is_said_and_kept_on_resume(
    encoder_file: str,
    content: str,
    style: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def paint(name: str, free: int, **settings: Any) -> StyleTransfer:
        monkeypatch.setattr(memory, "free_memory", lambda device: free)
        made = model(encoder_file, tile_size="auto")
        data = TransferData(content, style, sizes=[100, 200], steps=2)
        fit(made, data, name=name, default_root_dir=tmp_path, **{**QUIET, **settings})
        return made

    with caplog.at_level("INFO", logger="nst_lightning"):
        first = paint("cut", 10**7, max_steps=1)
    assert first.tile_sizes.by_level == [None, 128]
    assert "200×150 pixels go in tiles of 128" in caplog.text
    # When the tiles are chosen, the first level's picture, last good picture and content are there already.
    enough = (PICTURES + 2 * bytes_per_pixel(first.encoder, first.objective.taps())) * 200 * 150 - 3 * 12 * 100 * 75
    assert paint("plenty", round(enough) + 1).tile_sizes.by_level == [None, None]
    assert paint("scarce", round(enough) - 1).tile_sizes.by_level == [None, 128]
    assert paint("cut", 10**12, ckpt_path="last").tile_sizes.by_level == [None, 128]
