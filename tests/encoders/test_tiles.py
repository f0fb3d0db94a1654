"""Tiles against the whole picture."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator

import pytest
import torch

from nst_lightning import VGG19
from nst_lightning.encoders import tiles as tiles_module
from nst_lightning.encoders.tiles import Span, Tile, deal, halo, plan_tiles, stride_of
from nst_lightning.encoders.topology import LAYERS

TAPS = ["input", "relu1_1", "pool1", "conv2_2", "relu3_1", "pool3", "conv4_1"]


@pytest.mark.parametrize("tap", ["conv1_1", "relu1_2", "pool1", "conv3_4", "relu4_2", "pool4", "relu5_1"])
def test_the_halo_is_the_reach_of_gradients(tap: str, encoder_file: str) -> None:
    """The pixels that one position of the real network depends on, by autograd, lie within the halo."""
    encoder = VGG19(encoder_file, pooling="avg").cast(torch.float64)
    stride = stride_of(tap)
    image = torch.rand(1, 3, 256 // 16 * 16 + 16, stride, dtype=torch.float64, requires_grad=True)
    features = encoder(image, [tap])[tap]
    row = features.shape[2] // 2
    features[:, :, row].sum().backward()
    assert image.grad is not None
    touched = image.grad.abs().sum(dim=(0, 1, 3)).nonzero().flatten()
    reach = max(row * stride - int(touched.min()), int(touched.max()) + 1 - (row + 1) * stride)
    assert reach <= halo([tap]) < reach + 2 * stride
    assert halo([tap]) % stride == 0


@pytest.mark.parametrize(("height", "width"), [(64, 96), (70, 101), (33, 160), (65, 64), (8, 200)])
@pytest.mark.parametrize("tile_size", [16, 30, 64])
def test_every_position_of_every_tap_is_owned_once(height: int, width: int, tile_size: int) -> None:
    for workers in (1, 2, 5):
        check_ownership(plan_tiles(height, width, TAPS, tile_size, workers), height, width)


def check_ownership(tiles: list[Tile], height: int, width: int) -> None:
    for tap in TAPS:
        stride = stride_of(tap)
        owners = torch.zeros(height // stride, width // stride)
        for tile in tiles:
            owners[tile.outer(tap)] += 1
            inner, outer = tile.inner(tap), tile.outer(tap)
            assert [s.stop - s.start for s in inner] == [s.stop - s.start for s in outer]
            assert all(s.stop > s.start for s in outer)
        assert torch.equal(owners, torch.ones_like(owners))


@pytest.mark.parametrize("padding", ["zeros", "replicate", "reflect"])
@pytest.mark.parametrize("pooling", ["max", "avg"])
def test_maps_of_tiles_are_those_of_the_whole(padding: str, pooling: str, encoder_file: str) -> None:
    encoder = VGG19(encoder_file, padding=padding, pooling=pooling).double()
    for height, width in [(90, 131), (67, 112)]:
        image = torch.rand(1, 3, height, width, dtype=torch.float64)
        whole = encoder(image, TAPS)
        for tile in plan_tiles(height, width, TAPS, 32):
            features = encoder(image[..., tile.pixels[0], tile.pixels[1]], TAPS)
            for tap in TAPS:
                part, expected = features[tap][(..., *tile.inner(tap))], whole[tap][(..., *tile.outer(tap))]
                torch.testing.assert_close(part, expected, rtol=1e-10, atol=1e-12)


def test_no_tile_is_longer_than_asked_and_all_are_about_alike() -> None:
    for length in range(64, 400):
        spans = [tile.rows for tile in plan_tiles(length, 16, ["relu5_1"], 64)]
        own = [span.owned_stop - span.owned_start for span in spans]
        assert max(own) <= 64
        assert max(own) - min(own) <= 16 + 15  # a cell of the pooling grid, and what is left over at the end
        assert len(own) == -(-length // 64)


@pytest.mark.parametrize("seed", range(60))
def test_the_plan_is_the_best_of_all(seed: int) -> None:
    """Every number of rows and columns in question is tried: sides are cut at cells of the grid, as equal as can be."""
    draw = random.Random(seed)
    taps = draw.sample(("input", *LAYERS[:20]), k=2)
    grid, margin = max(map(stride_of, taps)), halo(taps)
    size = draw.randint(grid, 40 * grid), draw.randint(grid, 40 * grid)
    tile_size, workers = draw.choice([None, 5 * grid, 8 * grid + 1, 15 * grid - 1]), draw.choice([1, 2, 3, 5, 8])

    def longest(length: int, count: int, around: int) -> int:
        """Give the pixels of the longest part, with those around it."""
        cuts = [-(-length // grid) * index // count * grid for index in range(count)] + [length]
        return max(min(length, b + around) - max(0, a - around) for a, b in itertools.pairwise(cuts))

    def fewest(length: int) -> int:
        return 1 if tile_size is None else -(-length // (-(-tile_size // grid) * grid))

    needed = fewest(size[0]) * fewest(size[1])
    counts = [
        (rows, columns)
        for rows in range(fewest(size[0]), min(size[0] // grid, fewest(size[0]) * workers) + 1)
        for columns in range(fewest(size[1]), min(size[1] // grid, fewest(size[1]) * workers) + 1)
        if rows * columns <= (needed if workers == 1 else 2 * max(needed, workers))
    ]
    rows, columns = min(
        counts,
        key=lambda n: (
            longest(size[0], n[0], margin) * longest(size[1], n[1], margin) * math.ceil(n[0] * n[1] / workers),
            n[0] * n[1],
        ),
    )
    tiles = plan_tiles(*size, taps, tile_size, workers)
    assert (len({tile.rows for tile in tiles}), len({tile.columns for tile in tiles})) == (rows, columns)
    assert len(tiles) == rows * columns
    assert max(tile.rows.owned_stop - tile.rows.owned_start for tile in tiles) == longest(size[0], rows, 0)
    assert max(tile.computed for tile in tiles) == longest(size[0], rows, margin) * longest(size[1], columns, margin)


def test_a_huge_picture_is_planned_by_its_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each number of rows and of columns is cut up once, not once for every pair of them: 52 seconds otherwise."""
    calls: list[tuple[int, int]] = []
    cut = tiles_module._spans

    def count(length: int, parts: int, margin: int, grid: int) -> Iterator[Span]:
        calls.append((length, parts))
        return cut(length, parts, margin, grid)

    monkeypatch.setattr(tiles_module, "_spans", count)
    assert len(plan_tiles(15000, 20000, ["relu5_1"], 128, 8)) == 118 * 157
    assert len(calls) == len(set(calls)) < 300


@pytest.mark.parametrize(("workers", "tile_size"), [(2, None), (3, None), (4, 512), (8, None), (64, 1024)])
def test_tiles_are_dealt_out_evenly(workers: int, tile_size: int | None) -> None:
    """The busiest worker has little more than its share of all that is computed."""
    tiles = plan_tiles(6144, 8192, ["relu5_1"], tile_size, workers)
    shares = deal(tiles, workers)
    assert sorted(map(id, tiles)) == sorted(id(tile) for share in shares for tile in share)
    loads = [sum(tile.computed for tile in share) for share in shares]
    assert max(loads) <= 1.12 * sum(loads) / workers
    assert max(max(_owned(tile)) for tile in tiles) <= (tile_size or 8192)
    if tile_size is None:
        assert len(tiles) == workers


def _owned(tile: Tile) -> tuple[int, int]:
    return tile.rows.owned_stop - tile.rows.owned_start, tile.columns.owned_stop - tile.columns.owned_start


def test_a_picture_no_larger_than_a_tile_is_one() -> None:
    (tile,) = plan_tiles(48, 64, ["relu5_1"], 64)
    assert tile.pixels == (slice(0, 48), slice(0, 64))
    assert halo(["relu5_1"]) == 80
    assert all(halo(LAYERS[:depth]) <= halo(LAYERS[: depth + 1]) for depth in range(1, len(LAYERS)))
