r"""The objective and its exact gradient, tile by tile: memory follows the tile, not the picture.

A style loss is a function of means over positions, and a content loss a sum over positions. So the whole
picture's value and gradient can be had from its tiles:

1. Without gradient, tile by tile: the statistics :math:`S = \sum_t w_t s_t / \sum_t w_t`, with :math:`w_t` the
   positions (or their guide's weights) that tile :math:`t` owns.
2. From the statistics: the style terms, and :math:`\partial L / \partial S`.
3. Tile by tile again: back-propagate :math:`\langle \partial L / \partial S, s_t \rangle w_t / \sum w` and the tile's
   share of the content terms to its pixels; overlapping gradients add up.

Three passes for the two of an untiled evaluation, times the overlap. Losses of the pixels alone, such as total
variation, are evaluated on the whole picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from nst_lightning.encoders.tiles import Tile, plan_tiles
from nst_lightning.encoders.topology import INPUT
from nst_lightning.encoders.vgg19 import VGG19
from nst_lightning.errors import UserError
from nst_lightning.losses.comparison import Comparison
from nst_lightning.losses.content import ContentLoss
from nst_lightning.losses.loss import Features, Guide, Loss, Measured
from nst_lightning.losses.style import StyleLoss
from nst_lightning.losses.tiled_statistics import (
    crop_guide,
    layer_of,
    owned,
    picture_positions,
    tile_positions,
    tiled_statistics,
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
    for loss in losses:
        if not isinstance(loss, StyleLoss | ContentLoss) and set(loss.taps) != {INPUT}:
            raise UserError(
                f"the loss {loss.name!r} can't be tiled, only StyleLoss, ContentLoss and losses of the pixels can; "
                "remove it or set model.tile_size to null."
            )


class TiledObjective:
    """Evaluates comparisons tile by tile.

    Args:
        encoder: The network.
        comparisons: Losses with their targets, measured for the whole picture.
        tile_size: Side of a tile's own part, pixels.
    """

    def __init__(self, encoder: VGG19, comparisons: Sequence[Comparison], tile_size: int) -> None:
        self.encoder = encoder
        self.tile_size = tile_size
        self.styles = [(c, c.loss) for c in comparisons if isinstance(c.loss, StyleLoss)]
        self.contents = [c for c in comparisons if isinstance(c.loss, ContentLoss)]
        self.pixels = [c for c in comparisons if set(c.loss.taps) == {INPUT}]
        compared = (*(loss for _, loss in self.styles), *(c.loss for c in self.contents))
        self.taps = sorted({layer for loss in compared for layer in loss.layers})

    def __call__(self, image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Evaluate.

        Args:
            image: `(1, 3, H, W)` in [0, 1].

        Returns:
            The sum of all terms, whose gradient reaches the image, and the terms themselves without gradient.
        """
        terms: dict[str, Tensor] = {}
        total: Tensor = _Total.apply(image, self, terms)
        return total, terms

    def evaluate(self, image: Tensor, terms: dict[str, Tensor], *, with_gradient: bool) -> Tensor:
        """Fill in the terms; give the gradient of their sum, `(1, 3, H, W)`, or 0 if it is not wanted."""
        measured = tiled_statistics(
            self.encoder, image, [(loss, comparison.guide) for comparison, loss in self.styles], self.tile_size
        )
        slopes = [
            self._compare(comparison, loss, statistics, image, terms)
            for (comparison, loss), statistics in zip(self.styles, measured, strict=True)
        ]
        gradient = self._evaluate_pixels(image, terms)
        if not self.taps or not (with_gradient or self.contents):
            return gradient
        for tile in plan_tiles(image.shape[-2], image.shape[-1], self.taps, self.tile_size):
            rows, columns = tile.pixels
            part = image[..., rows, columns].detach().clone().requires_grad_(with_gradient)
            with torch.set_grad_enabled(with_gradient):
                features = owned(self.encoder(part, self.taps), tile)
                share = self._content_terms(tile, features, terms)
                for (comparison, loss), slope in zip(self.styles, slopes, strict=True):
                    share = share + _slope_times_statistics(loss, slope, features, crop_guide(comparison.guide, tile))
            if with_gradient:
                gradient[..., rows, columns] += torch.autograd.grad(share, part)[0]
        return gradient

    def _compare(
        self,
        comparison: Comparison,
        loss: StyleLoss,
        statistics: Measured,
        image: Tensor,
        terms: dict[str, Tensor],
    ) -> Measured:
        """Fill in the style's terms; give the gradient with respect to each tile's statistics times its positions."""
        positions = {layer: picture_positions(image, comparison.guide, layer) for layer in loss.layers}
        positions[INPUT] = image.shape[-2] * image.shape[-1]
        with torch.enable_grad():
            leaves = {key: value.requires_grad_() for key, value in statistics.items()}
            found = comparison.scaled(loss.compare(leaves, comparison.targets, positions))
            slopes = torch.autograd.grad(torch.stack(list(found.values())).sum(), list(leaves.values()))
        terms.update((name, term.detach()) for name, term in found.items())
        return {key: slope / positions[layer_of(key)] for key, slope in zip(leaves, slopes, strict=True)}

    def _content_terms(self, tile: Tile, features: Features, terms: dict[str, Tensor]) -> Tensor:
        total = torch.zeros((), device=features[self.taps[0]].device)
        for comparison in self.contents:
            targets = dict(comparison.targets)
            for layer in comparison.loss.layers:
                rows, columns = tile.outer(layer)
                targets[layer] = targets[layer][..., rows, columns]
            guide = crop_guide(comparison.guide, tile)
            for name, term in comparison.scaled(comparison.loss(features, targets, guide)).items():
                terms[name] = terms[name] + term.detach() if name in terms else term.detach()
                total = total + term
        return total

    def _evaluate_pixels(self, image: Tensor, terms: dict[str, Tensor]) -> Tensor:
        if not self.pixels:
            return torch.zeros_like(image)
        with torch.enable_grad():
            leaf = image.detach().requires_grad_()
            found = {name: term for c in self.pixels for name, term in c.terms({INPUT: leaf}).items()}
            gradient: Tensor = torch.autograd.grad(torch.stack(list(found.values())).sum(), leaf)[0]
        terms.update((name, term.detach()) for name, term in found.items())
        return gradient


class _Total(torch.autograd.Function):
    """The sum of all terms; its gradient is computed with its value, while the statistics are at hand."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, objective: TiledObjective, terms: dict[str, Tensor]) -> Tensor:
        gradient = objective.evaluate(image.detach(), terms, with_gradient=ctx.needs_input_grad[0])
        ctx.save_for_backward(gradient)
        return torch.stack(list(terms.values())).sum()

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * slopes[0], None, None


def _slope_times_statistics(loss: StyleLoss, slope: Measured, features: Features, guide: Guide | None) -> Tensor:
    statistics = loss.statistics(features, guide)
    parts = [
        (slope[key] * value).sum() * tile_positions(features, guide, layer_of(key)) for key, value in statistics.items()
    ]
    return torch.stack(parts).sum()
