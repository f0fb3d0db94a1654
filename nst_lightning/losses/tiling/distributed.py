"""The tiles of an image, and the processes of a run that share them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor

from nst_lightning.encoders.tiles import Tile, deal, plan_tiles
from nst_lightning.encoders.vgg19 import VGG19


@dataclass(frozen=True)
class TileGroup:
    """The processes among which an objective's tiles are dealt out.

    Attributes:
        rank: Rank of this process, from 0.
        size: Number of processes; 1 for a run that is not distributed, where nothing is ever exchanged.
    """

    rank: int = 0
    size: int = 1

    def all_reduce_sum(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their sums over all processes, in place and in one exchange.

        Every process has to call it at the same point. All get the same bytes.

        Args:
            tensors: Tensors of one dtype, on one device, of the same shapes in all processes.
        """
        if self.size == 1 or not tensors:
            return
        if len(tensors) == 1 and tensors[0].is_contiguous():
            dist.all_reduce(tensors[0])
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(flat)
        totals = torch.split(flat, [tensor.numel() for tensor in tensors])
        for tensor, total in zip(tensors, totals, strict=True):
            tensor.copy_(total.view_as(tensor))

    def all_reduce_min(self, number: int, device: torch.device) -> int:
        """Return the smallest of all processes' numbers.

        Args:
            number: Number of this process.
            device: Device whose tensors the processes exchange.
        """
        if self.size == 1:
            return number
        smallest = torch.tensor(number, device=device)
        dist.all_reduce(smallest, dist.ReduceOp.MIN)
        return int(smallest)

    def broadcast(self, tensor: Tensor) -> None:
        """Replace a tensor by that of rank 0, in place."""
        if self.size > 1:
            dist.broadcast(tensor, 0)


@dataclass(frozen=True)
class Tiling:
    """How images are cut up, and for which processes.

    Attributes:
        tile_size: Longest side of a tile's own part, pixels; `None` for one tile for each process.
        group: Processes that the tiles are dealt out to.
        store: Device where content targets wait for their turn; `None` for the image's own.
    """

    tile_size: int | None
    group: TileGroup = field(default_factory=TileGroup)
    store: torch.device | None = None

    def share(self, image: Tensor, taps: Sequence[str]) -> TileShare:
        """Return this process's tiles of an image `(1, 3, H, W)` whose *taps* are to be exact."""
        height, width = image.shape[-2:]
        tiles = plan_tiles(height, width, taps, self.tile_size, self.group.size)
        return TileShare(self.group, deal(tiles, self.group.size)[self.group.rank], tiles[0], (height, width))


@dataclass(frozen=True)
class TileShare:
    """The tiles of an image that one process has.

    Attributes:
        group: All processes.
        tiles: Tiles of this process; none if there are fewer tiles than processes.
        first: The image's first tile, of whatever process.
        size: Height and width of the image, pixels.
    """

    group: TileGroup
    tiles: list[Tile]
    first: Tile
    size: tuple[int, int]

    def walk(self, encoder: VGG19, image: Tensor, taps: Sequence[str]) -> Iterator[tuple[Tile, dict[str, Tensor]]]:
        """Yield each tile with the part of its feature maps that it owns."""
        for tile in self.tiles:
            rows, columns = tile.pixels
            yield tile, owned(encoder(image[..., rows, columns], taps), tile)


def owned(features: dict[str, Tensor], tile: Tile) -> dict[str, Tensor]:
    """Return the part of a tile's feature maps that it owns."""
    return {tap: tensor[(..., *tile.inner(tap))] for tap, tensor in features.items()}
