"""Content targets, each process keeping those of its own tiles."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nst_lightning.encoders.tiles import Tile, stride_of
from nst_lightning.encoders.vgg19 import VGG19
from nst_lightning.losses.content import ContentLoss
from nst_lightning.losses.functional import squared_norm
from nst_lightning.losses.loss import Features, Measured
from nst_lightning.losses.loss_term import Comparison
from nst_lightning.losses.tiling.tiled_statistics import TileShare, crop_guide


class TiledContent:
    """A content loss whose targets are kept tile by tile, in the precision of the features.

    Args:
        comparison: The loss, its name, guide and share; targets are measured here.
    """

    def __init__(self, comparison: Comparison) -> None:
        assert isinstance(comparison.loss, ContentLoss)
        self.comparison = comparison
        self.loss = comparison.loss
        self._parts: list[Measured] = []
        self._divisors: Measured = {}

    def add_tile(self, features: Features, store: torch.device | None) -> Measured:
        """Keep the next tile's features of the content picture; give its energies, `(1,)` for each layer."""
        measured = self.loss.measure(features)
        energies = {layer: squared_norm(target) for layer, target in measured.items()}
        # A view would keep alive what lies around the tile.
        self._parts.append({layer: _keep(target, store) for layer, target in measured.items()})
        return energies

    def set_energies(self, energies: Measured, size: tuple[int, int]) -> None:
        """Take in what the squared differences are divided by, which belongs to the whole picture."""
        counts = {
            layer: (size[0] // stride_of(layer)) * (size[1] // stride_of(layer)) * self._channels(layer)
            for layer in self.loss.layers
        }
        self._divisors = self.loss.divisors(energies, counts)

    def _channels(self, layer: str) -> int:
        return self._parts[0][layer].shape[1] if self._parts else 1  # without a tile nothing is divided

    def names(self) -> list[str]:
        """Give the names of the terms."""
        nothing = torch.zeros(())
        return list(self.comparison.scaled({f"{self.loss.name}/{layer}": nothing for layer in self.loss.layers}))

    def terms(self, index: int, tile: Tile, features: Features) -> dict[str, Tensor]:
        """Give a tile's share of the weighted terms.

        Args:
            index: Of the tile among this process's.
            tile: The tile.
            features: Those of the image that it owns.
        """
        device = features[next(iter(self.loss.layers))].device
        targets = {layer: target.to(device, non_blocking=True) for layer, target in self._parts[index].items()}
        guide = crop_guide(self.comparison.guide, tile)
        return self.comparison.scaled(self.loss(features, {**targets, **self._divisors}, guide))


@torch.no_grad()
def measure_contents(
    encoder: VGG19,
    content: Tensor,
    contents: Sequence[TiledContent],
    share: TileShare,
    store: torch.device | None,
) -> None:
    """Measure the content picture.

    Args:
        encoder: The network.
        content: `(1, 3, H, W)` in [0, 1].
        contents: Get the targets of this process's tiles, and the divisors of the whole picture.
        share: This process's tiles.
        store: Where targets are kept; `None` for where the content is.
    """
    taps = sorted({layer for content_loss in contents for layer in content_loss.loss.layers})
    sums = [{layer: content.new_zeros(1) for layer in part.loss.layers} for part in contents]
    for _, features in share.walk(encoder, content, taps):
        for total, part in zip(sums, contents, strict=True):
            for layer, energy in part.add_tile(features, store).items():
                total[layer] = total[layer] + energy
    share.team.add_up([energy for total in sums for energy in total.values()])
    for total, part in zip(sums, contents, strict=True):
        part.set_energies(total, share.size)


def _keep(target: Tensor, store: torch.device | None) -> Tensor:
    if store is None or store == target.device:
        return target.clone()
    kept = target.to(store)
    return kept.pin_memory() if target.is_cuda else kept
