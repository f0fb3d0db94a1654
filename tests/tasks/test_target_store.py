"""Content targets wait on the CPU where they would crowd an accelerator's memory."""

from __future__ import annotations

import pytest
import torch

from nst_lightning import VGG19, ContentLoss, GramStyleLoss
from nst_lightning.losses.objective import Objective
from nst_lightning.losses.tiling.distributed import TileGroup
from nst_lightning.tasks import tile_size as memory
from nst_lightning.tasks.tile_size import TileSizes

TARGETS = 4 * (100 * 80 * 4 + 50 * 40 * 8)
"""Bytes of float32 targets of 100×80 pixels: 4 channels at full size, 8 at half of it."""


@pytest.mark.parametrize(
    ("device", "free", "processes", "store"),
    [
        ("cuda", 4 * TARGETS, 1, None),
        ("cuda", 4 * TARGETS - 4, 1, "cpu"),
        ("mps", 4 * TARGETS - 4, 1, "cpu"),
        ("cuda", 2 * TARGETS, 2, None),
        ("cuda", 2 * TARGETS - 2, 2, "cpu"),
        ("cpu", 0, 1, None),
    ],
)
def test_targets_beyond_a_quarter_of_the_free_memory_wait_on_the_cpu(
    device: str, free: int, processes: int, store: str | None, encoder_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A CPU's own memory is not crowded by them, whatever it has; processes have their shares each."""
    monkeypatch.setattr(memory, "free_memory", lambda asked: free)
    losses = [ContentLoss(["conv1_2", "relu2_1"]), GramStyleLoss(["relu3_1"])]
    sizes = TileSizes(64)
    sizes.by_level = [64]
    tiling = sizes.tiling(
        0, (80, 100), Objective(VGG19(encoder_file), losses), torch.device(device), TileGroup(0, processes)
    )
    assert tiling is not None
    assert tiling.tile_size == 64
    assert tiling.store == (None if store is None else torch.device(store))
