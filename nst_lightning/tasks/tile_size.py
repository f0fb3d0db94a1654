"""Tile sizes that the free memory allows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch

from nst_lightning.data.schedule import Level, Schedule
from nst_lightning.encoders.tiles import halo, plan_tiles, stride_of
from nst_lightning.encoders.topology import LAYERS, deepest
from nst_lightning.encoders.vgg19 import VGG19
from nst_lightning.errors import UserError
from nst_lightning.losses.objective import Objective
from nst_lightning.losses.tiling.distributed import TileGroup, Tiling
from nst_lightning.utils.memory import free_memory

_log = logging.getLogger(__name__)

_COPIES = 3
"""Feature maps that an evaluation holds for each convolution's output: itself for the backward pass, a copy with
padding, and a share for pooling indices and gradients. Measured: 1003 bytes a pixel of the compact encoder up to
relu5_1 in float32, 3447 of the full one, where this gives 934 and 3544 (benchmarks/README.md)."""
_IMAGE_BYTES = 64  # for each pixel of the image itself: its gradient and what total variation needs
_IMAGES = 7
"""Tensors of the whole image's size, whatever the tile, in each process: the image, its gradient, two moments, the
average, the last good image and the content."""
_HELD_IMAGES = 3  # of those that are there when a level has been entered: the image, the last good one, the content
_PART = 0.5  # of what the image leaves free: the rest is for the targets, what is short-lived and other programs
_CONTENT_PART = 0.25  # of an accelerator's free memory, beyond which content targets wait on the CPU
_SURELY = 0.5  # of what an image is estimated to need: with less it can't be painted, whatever else is done
_SMALLEST, _STEP = 128, 64  # pixels


def bytes_per_pixel(encoder: VGG19, taps: Sequence[str]) -> float:
    """Estimate the memory of one evaluation of the objective with its gradient.

    Args:
        encoder: Network, in the precision it will run in.
        taps: Layers that losses read.

    Returns:
        Bytes for each pixel of the image, or of the tile with its halo.
    """
    channels = sum(
        encoder.width(layer) / stride_of(layer) ** 2 for layer in LAYERS[: deepest(taps)] if layer.startswith("conv")
    )
    return _COPIES * encoder.dtype.itemsize * channels + _IMAGE_BYTES


def content_bytes(height: int, width: int, objective: Objective) -> float:
    """Return the memory of the content targets of an image, bytes."""
    encoder, channels, total = objective.encoder, 3, 0.0
    taps = objective.taps("content")
    for layer in LAYERS[: deepest(taps)] if taps else ():
        channels = encoder.width(layer) if layer.startswith("conv") else channels
        if layer in taps:
            total += channels * encoder.dtype.itemsize * height * width / stride_of(layer) ** 2
    return total


def image_bytes(encoder: VGG19) -> int:
    """Return the memory of one tensor of the image's size, bytes a pixel."""
    return 3 * max(torch.float32.itemsize, encoder.dtype.itemsize)


def pick_tile_size(
    height: int, width: int, encoder: VGG19, taps: Sequence[str], free: int, processes: int = 1
) -> int | None:
    """Pick the largest tile that half of the free memory holds beside what follows the image's size.

    Args:
        height: Height of the image, pixels.
        width: Width of the image, pixels.
        encoder: Network, in the precision it will run in.
        taps: Layers that losses read.
        free: Free memory of each process before anything of the image is there, bytes.
        processes: Number of processes that share the image.

    Returns:
        Pixels, a multiple of 64 and at least 128; `None` if the whole image fits, or of several processes each one's
        part with the halo around it.

    Raises:
        UserError: If not even the smallest tile fits.
    """
    images, each = _IMAGES * image_bytes(encoder) * height * width, bytes_per_pixel(encoder, taps)
    pixels = _PART * (free - images) / each
    largest = max(tile.computed for tile in plan_tiles(height, width, taps, None, processes))
    if largest <= pixels:
        return None
    smallest = min(height, _SMALLEST + 2 * halo(taps)) * min(width, _SMALLEST + 2 * halo(taps))
    needed = images + each * min(smallest, largest)
    if needed > free:
        raise UserError(
            f"a picture of {width}×{height} pixels needs {_gibibytes(needed)} in each process however small its "
            f"tiles are, but {_gibibytes(free)} are free; lower data.size, or set model.tile_size to {_SMALLEST} "
            "to try it all the same."
        )
    side = int(pixels**0.5) - 2 * halo(taps) if pixels > 0 else 0
    return max(_SMALLEST, side // _STEP * _STEP)


def check_fits(
    height: int,
    width: int,
    encoder: VGG19,
    taps: Sequence[str],
    free: int,
    tile_size: int | Literal["auto"] | None,
    itemsize: int,
) -> None:
    """Refuse an image that memory can't hold, before hours are spent on the levels before it.

    Half of what is estimated counts: what might be painted is tried.

    Args:
        height: Height of the image, pixels.
        width: Width of the image, pixels.
        encoder: Network.
        taps: Layers that losses read.
        free: Free memory before anything of the image is there, bytes.
        tile_size: Longest side of the tiles, pixels; `auto`; or `None` for the whole image at once.
        itemsize: Bytes for each number of the encoder's maps in the precision it will run in.

    Raises:
        UserError: If it can't fit.
    """
    images = _IMAGES * image_bytes(encoder) * height * width
    whole = bytes_per_pixel(encoder, taps) * itemsize / encoder.dtype.itemsize * height * width
    needed = images + (whole if tile_size is None else 0)
    if _SURELY * needed <= free:
        return
    remedy = "lower --data.size"
    if tile_size is None and _SURELY * images <= free:
        remedy += ", or set --model.tile_size auto, which paints in tiles that fit"
    raise UserError(
        f"a picture of {width}×{height} pixels needs about {_gibibytes(needed)} of memory, but "
        f"{_gibibytes(free)} are free; {remedy}."
    )


class TileSizes:
    """The tiles of each pyramid level.

    Those of `auto` are chosen for all levels at once and kept in the checkpoint: a resumed run may find other
    memory, and is to tile alike. With another number of processes they are chosen anew.

    Args:
        wanted: Longest side, pixels; `auto`; or `None` for the whole image at once.

    Attributes:
        by_level: Choice for each level so far, pixels; `None` for no tiles.
        processes: Number of processes that it was made for.
    """

    def __init__(self, wanted: int | Literal["auto"] | None) -> None:
        self.wanted = wanted
        self.by_level: list[int | None] = []
        self.processes = 1

    def choose(
        self,
        schedule: Schedule,
        entered: int,
        objective_at: Callable[[Level], Objective],
        device: torch.device,
        group: TileGroup,
    ) -> None:
        """Choose for the levels that have none yet; all processes choose alike.

        Args:
            schedule: Schedule of all levels.
            entered: Index of the level whose images are in memory by now.
            objective_at: Function that returns a level's objective, by which the memory of a pixel is known.
            device: Device that the run is on.
            group: Processes that share the image.

        Raises:
            UserError: If a level's image can't fit, however small its tiles are.
        """
        if group.size != self.processes:
            self.by_level, self.processes = [], group.size
        for level in schedule.levels[len(self.by_level) :]:
            tile_size = self.wanted
            if tile_size == "auto":
                objective = objective_at(level)
                free = free_memory(device) // (group.size if device.type == "cpu" else 1)
                now = schedule.levels[entered]
                free += _HELD_IMAGES * image_bytes(objective.encoder) * now.height * now.width
                tile_size = pick_tile_size(
                    *(level.height, level.width, objective.encoder, objective.taps()),
                    *(group.all_reduce_min(free, device), group.size),
                )
                if tile_size is not None:
                    _log.info("%d×%d pixels go in tiles of %d", level.width, level.height, tile_size)
            self.by_level.append(tile_size)

    def tiling(
        self, level: int, size: tuple[int, int], objective: Objective, device: torch.device, group: TileGroup
    ) -> Tiling | None:
        """Return how the images of a level are cut into tiles.

        Args:
            level: Index of the level.
            size: Height and width, pixels.
            objective: Objective of the level.
            device: Device that the run is on.
            group: Processes that share the image.

        Returns:
            `None` for the whole image at once.
        """
        tile_size = self.by_level[level]
        if tile_size is None and group.size == 1:
            return None
        height, width = size
        targets = content_bytes(height, width, objective) / group.size
        # A CPU's memory is the same whatever it is called; it has more than an accelerator, and is far from it.
        crowded = device.type != "cpu" and targets > _CONTENT_PART * free_memory(device)
        return Tiling(tile_size, group, torch.device("cpu") if crowded else None)

    def state_dict(self) -> dict[str, Any]:
        """Return what was chosen, for a checkpoint."""
        return {"wanted": self.wanted, "by_level": list(self.by_level), "processes": self.processes}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Tile as before, unless the user asks for something else now."""
        self.by_level = list(state["by_level"]) if state["wanted"] == self.wanted else []
        self.processes = state["processes"]


def _gibibytes(count: float) -> str:
    size = count / 2**30
    return f"{size:.3g} GiB" if size < 1000 else f"{size:,.0f} GiB"
