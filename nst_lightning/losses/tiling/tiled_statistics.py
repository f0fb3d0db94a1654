"""Style statistics of a whole picture, measured tile by tile, by one process or several."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nst_lightning.encoders.tiles import Tile, deal, plan_tiles, stride_of
from nst_lightning.encoders.vgg19 import VGG19
from nst_lightning.losses.loss import Features, Guide, Measured
from nst_lightning.losses.style import StyleLoss
from nst_lightning.losses.tiling.distributed import Team


@dataclass(frozen=True)
class Tiling:
    """How pictures are cut up, and for whom.

    Attributes:
        tile_size: Longest side of a tile's own part, pixels; `None` for one tile for each process.
        team: The processes that the tiles are dealt out to.
        store: Where content targets wait for their turn; `None` for the picture's own device.
    """

    tile_size: int | None
    team: Team = field(default_factory=Team)
    store: torch.device | None = None

    def share(self, image: Tensor, taps: Sequence[str]) -> TileShare:
        """Give this process's tiles of a picture `(1, 3, H, W)` whose `taps` are to be exact."""
        height, width = image.shape[-2:]
        tiles = plan_tiles(height, width, taps, self.tile_size, self.team.size)
        mine = deal(tiles, self.team.size)[self.team.rank]
        return TileShare(self.team, mine, tiles[0], (height, width))


@dataclass(frozen=True)
class TileShare:
    """What one process has of a picture's tiles.

    Attributes:
        team: All processes.
        tiles: Its own; none if there are fewer tiles than processes.
        first: The picture's first tile, whoever has it.
        size: Height and width of the picture, pixels.
    """

    team: Team
    tiles: list[Tile]
    first: Tile
    size: tuple[int, int]

    def walk(self, encoder: VGG19, image: Tensor, taps: Sequence[str]) -> Iterator[tuple[Tile, dict[str, Tensor]]]:
        """Give each tile with the feature maps of what it owns."""
        for tile in self.tiles:
            rows, columns = tile.pixels
            yield tile, owned(encoder(image[..., rows, columns], taps), tile)


@torch.no_grad()
def tiled_statistics(
    encoder: VGG19, image: Tensor, losses: Sequence[tuple[StyleLoss, Guide | None]], tiling: Tiling
) -> list[Measured]:
    """Give style statistics of a whole picture, tile by tile.

    Args:
        encoder: The network.
        image: `(1, 3, H, W)` in [0, 1].
        losses: Each with its guide, of the whole picture.
        tiling: How the picture is cut up.

    Returns:
        For each loss what its `statistics` are for the whole picture.
    """
    if not losses:
        return []
    taps = sorted({tap for loss, _ in losses for tap in loss.taps})
    share = tiling.share(image, taps)
    return merge_statistics(share.walk(encoder, image, taps), losses, share, encoder, image)


@torch.no_grad()
def merge_statistics(
    tiles: Iterable[tuple[Tile, Features]],
    losses: Sequence[tuple[StyleLoss, Guide | None]],
    share: TileShare,
    encoder: VGG19,
    image: Tensor,
) -> list[Measured]:
    """Give style statistics of a whole picture from the features of its tiles.

    Args:
        tiles: This process's tiles with what they own of the feature maps.
        losses: Each with its guide, of the whole picture.
        share: Where the tiles come from.
        encoder: The network; a process without a tile learns from it what statistics look like.
        image: `(1, 3, H, W)` in [0, 1].

    Returns:
        For each loss what its `statistics` are for the whole picture, the same in all processes.
    """
    sums: list[Measured] = [{} for _ in losses]
    for tile, features in tiles:
        _add_tile(sums, losses, tile, features)
    if not share.tiles:
        rows, columns = share.first.pixels
        taps = sorted({tap for loss, _ in losses for tap in loss.taps})
        _add_tile(sums, losses, share.first, owned(encoder(image[..., rows, columns], taps), share.first))
        for total in sums:
            for value in total.values():
                value.zero_()
    share.team.add_up([value for total in sums for value in total.values()])
    return [
        {key: value / picture_positions(image, guide, layer_of(key)) for key, value in total.items()}
        for total, (_, guide) in zip(sums, losses, strict=True)
    ]


def _add_tile(
    sums: Sequence[Measured], losses: Sequence[tuple[StyleLoss, Guide | None]], tile: Tile, features: Features
) -> None:
    for total, (loss, guide) in zip(sums, losses, strict=True):
        part = crop_guide(guide, tile)
        for key, value in loss.statistics(features, part).items():
            amount = value * tile_positions(features, part, layer_of(key))
            total[key] = total[key].add_(amount) if key in total else amount


def owned(features: Features, tile: Tile) -> dict[str, Tensor]:
    """Give the part of a tile's feature maps that it owns."""
    return {tap: tensor[(..., *tile.inner(tap))] for tap, tensor in features.items()}


def crop_guide(guide: Guide | None, tile: Tile) -> Guide | None:
    """Give the weights of the positions that a tile owns."""
    return None if guide is None else {tap: weights[(..., *tile.outer(tap))] for tap, weights in guide.items()}


def layer_of(key: str) -> str:
    """Give the layer of a statistic: it is called by that, or by that and a word after a slash."""
    return key.split("/")[0]


def tile_positions(features: Features, guide: Guide | None, layer: str) -> Tensor | float:
    """Give the positions of a tile, counted by the guide's weights if there is one."""
    if guide is not None:
        return guide[layer].sum()
    return features[layer].shape[2] * features[layer].shape[3]


def picture_positions(image: Tensor, guide: Guide | None, layer: str) -> Tensor | float:
    """Give the positions of the whole picture, counted by the guide's weights if there is one."""
    if guide is not None:
        return guide[layer].sum()
    return (image.shape[2] // stride_of(layer)) * (image.shape[3] // stride_of(layer))
