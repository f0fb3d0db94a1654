"""Feature maps and style statistics of a whole picture, measured tile by tile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from nst_lightning.encoders.tiles import Tile, plan_tiles, stride_of
from nst_lightning.encoders.vgg19 import VGG19
from nst_lightning.losses.loss import Features, Guide, Measured
from nst_lightning.losses.style import StyleLoss


def tiled_features(encoder: VGG19, image: Tensor, taps: Sequence[str], tile_size: int) -> dict[str, Tensor]:
    """Give the whole picture's feature maps, computed tile by tile; equal to `encoder(image, taps)`.

    Args:
        encoder: The network.
        image: `(1, 3, H, W)` in [0, 1].
        taps: Layer names.
        tile_size: Side of a tile's own part, pixels.

    Returns:
        For each tap `(1, C, h, w)`, without gradient.
    """
    maps: dict[str, Tensor] = {}
    with torch.no_grad():
        for tile, features in _walk(encoder, image, taps, tile_size):
            for tap, part in features.items():
                if tap not in maps:
                    height, width = (side // stride_of(tap) for side in image.shape[-2:])
                    maps[tap] = part.new_empty(1, part.shape[1], height, width)
                rows, columns = tile.outer(tap)
                maps[tap][..., rows, columns] = part
    return maps


@torch.no_grad()
def tiled_statistics(
    encoder: VGG19, image: Tensor, losses: Sequence[tuple[StyleLoss, Guide | None]], tile_size: int
) -> list[Measured]:
    """Give style statistics of a whole picture, tile by tile.

    Args:
        encoder: The network.
        image: `(1, 3, H, W)` in [0, 1].
        losses: Each with its guide, of the whole picture.
        tile_size: Side of a tile's own part, pixels.

    Returns:
        For each loss what its `statistics` are for the whole picture.
    """
    if not losses:
        return []
    taps = sorted({layer for loss, _ in losses for layer in loss.layers})
    sums: list[Measured] = [{} for _ in losses]
    for tile, features in _walk(encoder, image, taps, tile_size):
        for total, (loss, guide) in zip(sums, losses, strict=True):
            for key, value in loss.statistics(features, crop_guide(guide, tile)).items():
                part = value * tile_positions(features, crop_guide(guide, tile), layer_of(key))
                total[key] = total[key] + part if key in total else part
    return [
        {key: value / picture_positions(image, guide, layer_of(key)) for key, value in total.items()}
        for total, (_, guide) in zip(sums, losses, strict=True)
    ]


def _walk(
    encoder: VGG19, image: Tensor, taps: Sequence[str], tile_size: int
) -> Iterator[tuple[Tile, dict[str, Tensor]]]:
    """Give each tile with the feature maps of what it owns."""
    for tile in plan_tiles(image.shape[-2], image.shape[-1], taps, tile_size):
        rows, columns = tile.pixels
        yield tile, owned(encoder(image[..., rows, columns], taps), tile)


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
