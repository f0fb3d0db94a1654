r"""The objective and its exact gradient, tile by tile: memory follows the tile, not the picture.

A style loss is a function of means over positions, and a content loss a sum over positions. So the whole
picture's value and gradient can be had from its tiles:

1. Without gradient, tile by tile: the statistics :math:`S = \sum_t w_t s_t / \sum_t w_t`, with :math:`w_t` the
   positions (or their guide's weights) that tile :math:`t` owns.
2. From the statistics: the style terms, and :math:`\partial L / \partial S`.
3. Tile by tile again: back-propagate :math:`\langle \partial L / \partial S, s_t \rangle w_t / \sum w` and the tile's
   share of the content terms to its pixels; overlapping gradients add up.

Three passes for the two of an untiled evaluation, times the overlap; two where a process has but one tile, whose
features are kept for the third step. Total variation goes by bands of rows.

Several processes share the tiles: statistics, terms and the gradient are added up over them, and all end with the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nst_lightning.encoders.tiles import Tile
from nst_lightning.encoders.topology import INPUT
from nst_lightning.encoders.vgg19 import VGG19
from nst_lightning.errors import UserError
from nst_lightning.losses.content import ContentLoss
from nst_lightning.losses.loss import Features, Guide, Loss, Measured
from nst_lightning.losses.loss_term import Comparison
from nst_lightning.losses.style import StyleLoss
from nst_lightning.losses.tiling.tileable import obstacle
from nst_lightning.losses.tiling.tiled_content import TiledContent, measure_contents
from nst_lightning.losses.tiling.tiled_pixels import evaluate_pixels
from nst_lightning.losses.tiling.tiled_statistics import (
    TileShare,
    Tiling,
    crop_guide,
    layer_of,
    merge_statistics,
    owned,
    picture_positions,
    tile_positions,
)


def check_tile_size(tile_size: int | str | None, losses: Sequence[Loss]) -> None:
    """Refuse a tile size that makes no sense, or losses that are not functions of sums over positions.

    Args:
        tile_size: Pixels, `auto`, or `None` for no tiles.
        losses: All of the objective.

    Raises:
        UserError: With the name of the first loss that can't be tiled.
    """
    if tile_size is None:
        return
    if tile_size != "auto" and (not isinstance(tile_size, int) or tile_size < 1):
        raise UserError(f"model.tile_size must be at least 1 pixel, auto or null, but {tile_size} was given.")
    check_tileable(losses)


def check_tileable(losses: Sequence[Loss]) -> None:
    """Refuse losses that are not functions of sums over positions.

    Args:
        losses: All of the objective.

    Raises:
        UserError: With the name of the first that can't be tiled.
    """
    for loss in losses:
        if why := obstacle(loss):
            raise UserError(
                f"the loss {loss.name!r} can't be tiled, {why}; "
                "remove it, or set model.tile_size to null and trainer.devices to 1."
            )


class TiledObjective:
    """Evaluates comparisons tile by tile.

    Args:
        encoder: The network.
        comparisons: Losses with their targets; those of content losses are measured here.
        tiling: How the picture is cut up.
        content: The content picture, `(1, 3, H, W)` in [0, 1], if a loss compares with it.

    Raises:
        UserError: If a loss can't be tiled.
    """

    def __init__(
        self, encoder: VGG19, comparisons: Sequence[Comparison], tiling: Tiling, content: Tensor | None
    ) -> None:
        check_tileable([comparison.loss for comparison in comparisons])
        self.encoder = encoder
        self.tiling = tiling
        self.styles = [(c, c.loss) for c in comparisons if isinstance(c.loss, StyleLoss)]
        self.contents = [TiledContent(c) for c in comparisons if isinstance(c.loss, ContentLoss)]
        self.pixels = [c for c in comparisons if not isinstance(c.loss, StyleLoss | ContentLoss)]
        compared = (*(loss for _, loss in self.styles), *(c.loss for c in self.contents))
        self.taps = sorted({tap for loss in compared for tap in loss.taps})
        self._share: TileShare | None = None
        if self.contents and content is not None:
            measure_contents(encoder, content, self.contents, self._share_of(content), tiling.store)

    def __call__(self, image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Evaluate; every process of the team has to.

        Args:
            image: `(1, 3, H, W)` in [0, 1].

        Returns:
            The sum of all terms, whose gradient reaches the image, and the terms themselves without gradient. The
            gradient can be had once: a second `backward` raises a `UserError`.
        """
        terms: dict[str, Tensor] = {}
        if torch.is_grad_enabled() and image.requires_grad:
            total: Tensor = _Total.apply(image, self, terms)
        else:
            self.evaluate(image.detach(), terms, with_gradient=False)
            total = _sum(terms)
        return total, terms

    def _share_of(self, image: Tensor) -> TileShare:
        if self._share is None or self._share.size != tuple(image.shape[-2:]):
            self._share = self.tiling.share(image, self.taps)
        return self._share

    def evaluate(self, image: Tensor, terms: dict[str, Tensor], *, with_gradient: bool) -> Tensor | None:
        """Fill in the terms; give the gradient of their sum, `(1, 3, H, W)`, or `None` if it is not wanted."""
        gradient = torch.zeros_like(image) if with_gradient else None
        team = self.tiling.team
        partial = evaluate_pixels(image, self.pixels, team, gradient)
        if self.taps:
            self._evaluate_tiles(image, terms, partial, gradient)
        team.add_up(list(partial.values()))
        terms.update(partial)
        if gradient is not None:
            team.add_up([gradient])
        return gradient

    def _evaluate_tiles(
        self, image: Tensor, terms: dict[str, Tensor], partial: dict[str, Tensor], gradient: Tensor | None
    ) -> None:
        """Fill in the style terms; add this process's share of the content terms and of the gradient."""
        share = self._share_of(image)
        for content in self.contents:
            partial.update((name, image.new_zeros(())) for name in content.names())
        held = [self._see(image, tile, gradient) for tile in share.tiles] if len(share.tiles) == 1 else []
        slopes = self._compare_styles(image, share, held, terms)
        if gradient is None and not self.contents:
            return
        for index, tile in enumerate(share.tiles):
            part, features = held.pop() if held else self._see(image, tile, gradient)
            with torch.set_grad_enabled(gradient is not None):
                total = self._content_terms(index, tile, features, partial)
                if gradient is None:
                    continue
                for (comparison, loss), slope in zip(self.styles, slopes, strict=True):
                    total = total + _slope_times_statistics(loss, slope, features, crop_guide(comparison.guide, tile))
            rows, columns = tile.pixels
            gradient[..., rows, columns] += torch.autograd.grad(total, part)[0]

    def _see(self, image: Tensor, tile: Tile, gradient: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        """Give a tile's pixels, and the features of what it owns; with a graph if there is a gradient to fill."""
        rows, columns = tile.pixels
        part = image[..., rows, columns].detach().clone().requires_grad_(gradient is not None)
        with torch.set_grad_enabled(gradient is not None):
            return part, owned(self.encoder(part, self.taps), tile)

    def _compare_styles(
        self,
        image: Tensor,
        share: TileShare,
        held: Sequence[tuple[Tensor, dict[str, Tensor]]],
        terms: dict[str, Tensor],
    ) -> list[Measured]:
        """Fill in the style terms; give for each style loss the gradient with respect to its statistics' sums."""
        if not self.styles:
            return []
        losses = [(loss, comparison.guide) for comparison, loss in self.styles]
        taps = sorted({tap for loss, _ in losses for tap in loss.taps})
        seen = [(tile, features) for tile, (_, features) in zip(share.tiles, held, strict=False)]
        measured = merge_statistics(seen or share.walk(self.encoder, image, taps), losses, share, self.encoder, image)
        return [
            self._compare(comparison, loss, statistics, image, terms)
            for (comparison, loss), statistics in zip(self.styles, measured, strict=True)
        ]

    def _compare(
        self,
        comparison: Comparison,
        loss: StyleLoss,
        statistics: Measured,
        image: Tensor,
        terms: dict[str, Tensor],
    ) -> Measured:
        """Fill in the style's terms; give the gradient with respect to each tile's statistics times its positions."""
        counts = {layer: picture_positions(image, comparison.guide, layer) for layer in loss.layers}
        unguided = {tap: picture_positions(image, None, tap) for tap in (*loss.taps, INPUT)}
        positions = {**unguided, **counts, INPUT: unguided[INPUT]}
        with torch.enable_grad():
            leaves = {key: value.requires_grad_() for key, value in statistics.items()}
            found = comparison.scaled(loss.compare(leaves, comparison.targets, positions))
            slopes = torch.autograd.grad(_sum(found), list(leaves.values()), allow_unused=True, materialize_grads=True)
        terms.update((name, term.detach()) for name, term in found.items())
        return {key: slope / counts[layer_of(key)] for key, slope in zip(leaves, slopes, strict=True)}

    def _content_terms(self, index: int, tile: Tile, features: Features, partial: dict[str, Tensor]) -> Tensor:
        total = torch.zeros((), device=features[self.taps[0]].device)
        for content in self.contents:
            for name, term in content.terms(index, tile, features).items():
                partial[name] = partial[name] + term.detach()
                total = total + term
        return total


class _Total(torch.autograd.Function):
    """The sum of all terms; its gradient is computed with its value, while the statistics are at hand."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, objective: TiledObjective, terms: dict[str, Tensor]) -> Tensor:
        # Kept by hand, not by save_for_backward: of a huge picture there is no room for a second gradient.
        ctx.gradient = objective.evaluate(image.detach(), terms, with_gradient=True)
        return _sum(terms)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None, None]:
        gradient, ctx.gradient = ctx.gradient, None
        if gradient is None:
            raise UserError(
                "the gradient of a tiled objective can be taken once, but backward was called again; evaluate it anew."
            )
        return gradient.mul_(slopes[0]), None, None


def _sum(terms: Measured) -> Tensor:
    return torch.stack(list(terms.values())).sum()


def _slope_times_statistics(loss: StyleLoss, slope: Measured, features: Features, guide: Guide | None) -> Tensor:
    statistics = loss.statistics(features, guide)
    parts = [
        (slope[key] * value).sum() * tile_positions(features, guide, layer_of(key)) for key, value in statistics.items()
    ]
    return torch.stack(parts).sum()
