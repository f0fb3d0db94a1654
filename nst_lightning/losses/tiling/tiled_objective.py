r"""The objective and its gradient tile by tile, exact to rounding: memory follows the tile, not the image.

A style loss is a function of means over positions, and a content loss a sum over positions. So the whole
image's value and gradient can be computed from its tiles, equal but for the order of the sums:

1. Without gradient, tile by tile: the statistics :math:`S = \sum_t w_t s_t / \sum_t w_t`, with :math:`w_t` the
   positions (or their guide's weights) that tile :math:`t` owns.
2. From the statistics: the style terms, and :math:`\partial L / \partial S`.
3. Tile by tile again: back-propagate :math:`\langle \partial L / \partial S, s_t \rangle w_t / \sum w` and the tile's
   share of the content terms to its pixels; overlapping gradients add up.

Three passes for the two of an untiled evaluation, times the overlap; two where a process has but one tile, whose
features are cached for the third step. Total variation goes by bands of rows.

Several processes share the tiles: statistics, terms and the gradient are summed over them, and all end with the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nst_lightning.encoders.tiles import Tile, stride_of
from nst_lightning.encoders.topology import INPUT
from nst_lightning.encoders.vgg19 import VGG19
from nst_lightning.errors import UserError
from nst_lightning.losses.content import ContentLoss
from nst_lightning.losses.functional import squared_norm
from nst_lightning.losses.loss import Features, Guide, Loss, LossTerm, Measured
from nst_lightning.losses.style import StyleLoss
from nst_lightning.losses.tiling.distributed import TileGroup, TileShare, Tiling, owned
from nst_lightning.losses.total_variation import TotalVariationLoss

_BAND_PIXELS = 2**20


def check_tile_size(tile_size: int | str | None, losses: Sequence[Loss]) -> None:
    """Refuse a tile size that makes no sense, or losses that are not functions of sums over positions.

    Args:
        tile_size: Pixels, `auto`, or `None` for no tiles.
        losses: All losses of the objective.

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
        losses: All losses of the objective.

    Raises:
        UserError: With the name of the first that can't be tiled.
    """
    for loss in losses:
        if why := loss.why_not_tileable():
            raise UserError(
                f"the loss {loss.name!r} can't be tiled, {why}; "
                "remove it, or set model.tile_size to null and trainer.devices to 1."
            )


class TiledObjective:
    """The sum of loss terms, evaluated tile by tile.

    Args:
        encoder: Network that returns the feature maps.
        terms: Losses with their targets; the targets of content losses are measured here.
        tiling: How the image is cut up.
        content: Content image, `(1, 3, H, W)` in [0, 1], if a loss compares with it.

    Attributes:
        contents: Content losses with this process's targets.

    Raises:
        UserError: If a loss can't be tiled.
    """

    def __init__(self, encoder: VGG19, terms: Sequence[LossTerm], tiling: Tiling, content: Tensor | None) -> None:
        check_tileable([term.loss for term in terms])
        self.encoder = encoder
        self.tiling = tiling
        self.styles = [(term, term.loss) for term in terms if isinstance(term.loss, StyleLoss)]
        self.contents = [TiledContent(term, term.loss) for term in terms if isinstance(term.loss, ContentLoss)]
        self.pixels = [term for term in terms if not isinstance(term.loss, StyleLoss | ContentLoss)]
        compared = (*(loss for _, loss in self.styles), *(c.loss for c in self.contents))
        self.taps = sorted({tap for loss in compared for tap in loss.taps})
        self._share: TileShare | None = None
        if self.contents and content is not None:
            measure_contents(encoder, content, self.contents, self._share_of(content), tiling.store)

    def __call__(self, image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Evaluate; every process of the group has to.

        Args:
            image: sRGB in [0, 1], `(1, 3, H, W)`.

        Returns:
            The sum of all terms, whose gradient reaches the image, and the terms themselves without gradient. The
            gradient can be taken once: a second `backward` raises a `UserError`.
        """
        terms, grad = self.evaluate(image.detach(), with_grad=torch.is_grad_enabled() and image.requires_grad)
        total = _sum(terms)
        if grad is not None:
            total = _WithGradient.apply(image, total, grad)
        return total, terms

    @torch.no_grad()
    def evaluate(self, image: Tensor, *, with_grad: bool) -> tuple[dict[str, Tensor], Tensor | None]:
        """Return the terms, and the gradient of their sum, `(1, 3, H, W)`, or `None` if it is not wanted."""
        grad = torch.zeros_like(image) if with_grad else None
        group = self.tiling.group
        local = evaluate_pixels(image, self.pixels, group, grad)
        terms = self._evaluate_tiles(image, local, grad) if self.taps else {}
        group.all_reduce_sum(list(local.values()))
        if grad is not None:
            group.all_reduce_sum([grad])
        return {**terms, **local}, grad

    def _share_of(self, image: Tensor) -> TileShare:
        if self._share is None or self._share.size != tuple(image.shape[-2:]):
            self._share = self.tiling.share(image, self.taps)
        return self._share

    def _evaluate_tiles(self, image: Tensor, local: dict[str, Tensor], grad: Tensor | None) -> dict[str, Tensor]:
        """Return the style terms; add this process's share of the content terms and of the gradient."""
        share = self._share_of(image)
        for content in self.contents:
            local.update((name, image.new_zeros(())) for name in content.names)
        cached = [self._forward_tile(image, tile, grad) for tile in share.tiles] if len(share.tiles) == 1 else []
        terms, statistics_grads = self._compare_styles(image, share, cached)
        if grad is None and not self.contents:
            return terms
        for index, tile in enumerate(share.tiles):
            pixels, features = cached.pop() if cached else self._forward_tile(image, tile, grad)
            with torch.set_grad_enabled(grad is not None):
                total = self._content_terms(index, tile, features, local)
                if grad is None:
                    continue
                for (term, loss), grads in zip(self.styles, statistics_grads, strict=True):
                    total = total + _inner_product(loss, grads, features, _crop(term.guide, tile))
            rows, columns = tile.pixels
            grad[..., rows, columns] += torch.autograd.grad(total, pixels)[0]
        return terms

    def _forward_tile(self, image: Tensor, tile: Tile, grad: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        """Return a tile's pixels, and the features it owns; with a graph if there is a gradient to add to."""
        rows, columns = tile.pixels
        pixels = image[..., rows, columns].detach().clone().requires_grad_(grad is not None)
        with torch.set_grad_enabled(grad is not None):
            return pixels, owned(self.encoder(pixels, self.taps), tile)

    def _compare_styles(
        self, image: Tensor, share: TileShare, cached: Sequence[tuple[Tensor, dict[str, Tensor]]]
    ) -> tuple[dict[str, Tensor], list[Measured]]:
        """Return the style terms, and for each style loss the gradient with respect to its statistics' sums."""
        terms: dict[str, Tensor] = {}
        if not self.styles:
            return terms, []
        losses = [(loss, term.guide) for term, loss in self.styles]
        tiles = [(tile, features) for tile, (_, features) in zip(share.tiles, cached, strict=False)]
        measured = merge_statistics(
            tiles or share.walk(self.encoder, image, _taps(losses)), losses, share, self.encoder, image
        )
        grads = []
        for (term, loss), statistics in zip(self.styles, measured, strict=True):
            counts = {layer: _image_positions(image, term.guide, layer) for layer in loss.layers}
            unguided = {tap: _image_positions(image, None, tap) for tap in (*loss.taps, INPUT)}
            positions = {**unguided, **counts, INPUT: unguided[INPUT]}
            with torch.enable_grad():
                leaves = {key: value.requires_grad_() for key, value in statistics.items()}
                found = term.rename(loss.compare(leaves, term.targets, positions))
                grad = torch.autograd.grad(
                    _sum(found), list(leaves.values()), allow_unused=True, materialize_grads=True
                )
            terms.update((name, value.detach()) for name, value in found.items())
            grads.append({key: part / counts[_layer(key)] for key, part in zip(leaves, grad, strict=True)})
        return terms, grads

    def _content_terms(self, index: int, tile: Tile, features: Features, local: dict[str, Tensor]) -> Tensor:
        total = torch.zeros((), device=features[self.taps[0]].device)
        for content in self.contents:
            for name, term in content.terms(index, tile, features).items():
                local[name] = local[name] + term.detach()
                total = total + term
        return total


class _WithGradient(torch.autograd.Function):
    """A total with its gradient, which was computed along with it, while the statistics were at hand."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, total: Tensor, grad: Tensor) -> Tensor:
        # Kept by hand, not by save_for_backward: there is no room for a second gradient of a huge image.
        ctx.grad = grad
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None, None]:
        grad, ctx.grad = ctx.grad, None
        if grad is None:
            raise UserError(
                "the gradient of a tiled objective can be taken once, but backward was called again; evaluate it anew."
            )
        return grad.mul_(grad_output), None, None


# Style statistics


@torch.no_grad()
def tiled_statistics(
    encoder: VGG19, image: Tensor, losses: Sequence[tuple[StyleLoss, Guide | None]], tiling: Tiling
) -> list[Measured]:
    """Return style statistics of a whole image, measured tile by tile.

    Args:
        encoder: Network that returns the feature maps.
        image: sRGB in [0, 1], `(1, 3, H, W)`.
        losses: Losses, each with its guide, of the whole image.
        tiling: How the image is cut up.

    Returns:
        For each loss what its `statistics` are for the whole image.
    """
    if not losses:
        return []
    share = tiling.share(image, _taps(losses))
    return merge_statistics(share.walk(encoder, image, _taps(losses)), losses, share, encoder, image)


@torch.no_grad()
def merge_statistics(
    tiles: Iterable[tuple[Tile, Features]],
    losses: Sequence[tuple[StyleLoss, Guide | None]],
    share: TileShare,
    encoder: VGG19,
    image: Tensor,
) -> list[Measured]:
    """Return style statistics of a whole image from the features of its tiles.

    Args:
        tiles: Tiles of this process, each with what it owns of the feature maps.
        losses: Losses, each with its guide, of the whole image.
        share: Tiles of this process.
        encoder: Network; a process without a tile learns from it what statistics look like.
        image: sRGB in [0, 1], `(1, 3, H, W)`.

    Returns:
        For each loss what its `statistics` are for the whole image, the same in all processes.
    """
    sums: list[Measured] = [{} for _ in losses]
    for tile, features in tiles:
        _add_statistics(sums, losses, tile, features)
    if not share.tiles:
        rows, columns = share.first.pixels
        features = owned(encoder(image[..., rows, columns], _taps(losses)), share.first)
        _add_statistics(sums, losses, share.first, features)
        for total in sums:
            for value in total.values():
                value.zero_()
    share.group.all_reduce_sum([value for total in sums for value in total.values()])
    return [
        {key: value / _image_positions(image, guide, _layer(key)) for key, value in total.items()}
        for total, (_, guide) in zip(sums, losses, strict=True)
    ]


def _add_statistics(
    sums: Sequence[Measured], losses: Sequence[tuple[StyleLoss, Guide | None]], tile: Tile, features: Features
) -> None:
    for total, (loss, guide) in zip(sums, losses, strict=True):
        part = _crop(guide, tile)
        for key, value in loss.statistics(features, part).items():
            amount = value * _tile_positions(features, part, _layer(key))
            total[key] = total[key].add_(amount) if key in total else amount


def _inner_product(loss: StyleLoss, grads: Measured, features: Features, guide: Guide | None) -> Tensor:
    r"""Return :math:`\langle \partial L / \partial S, s_t \rangle w_t / \sum w`, whose gradient is the tile's."""
    parts = [
        (grads[key] * value).sum() * _tile_positions(features, guide, _layer(key))
        for key, value in loss.statistics(features, guide).items()
    ]
    return torch.stack(parts).sum()


# Content targets of each tile


class TiledContent:
    """A content loss whose targets are kept tile by tile, in the precision of the features.

    Args:
        term: Loss with its name, guide and share; its targets are not read.
        loss: Loss of the term.

    Attributes:
        names: Names of the terms.
        parts: Targets of each of this process's tiles.
        divisors: What the squared differences are divided by, which belongs to the whole image.
    """

    def __init__(self, term: LossTerm, loss: ContentLoss) -> None:
        self.loss = loss
        self.names = [f"{term.name}/{layer}" for layer in loss.layers]
        self.parts: list[Measured] = []
        self.divisors: Measured = {}
        self._term = term

    def terms(self, index: int, tile: Tile, features: Features) -> dict[str, Tensor]:
        """Return a tile's share of the weighted terms.

        Args:
            index: Index of the tile among this process's.
            tile: The tile.
            features: Features of the image that the tile owns.
        """
        device = features[next(iter(self.loss.layers))].device
        targets = {layer: target.to(device, non_blocking=True) for layer, target in self.parts[index].items()}
        return self._term.rename(self.loss(features, {**targets, **self.divisors}, _crop(self._term.guide, tile)))


@torch.no_grad()
def measure_contents(
    encoder: VGG19, content: Tensor, contents: Sequence[TiledContent], share: TileShare, store: torch.device | None
) -> None:
    """Measure the content image.

    Args:
        encoder: Network that returns the feature maps.
        content: sRGB in [0, 1], `(1, 3, H, W)`.
        contents: Losses that get the targets of this process's tiles, and the divisors of the whole image.
        share: Tiles of this process.
        store: Device where targets are kept; `None` for that of the content.
    """
    taps = sorted({layer for part in contents for layer in part.loss.layers})
    energies = [{layer: content.new_zeros(1) for layer in part.loss.layers} for part in contents]
    for _, features in share.walk(encoder, content, taps):
        for energy, part in zip(energies, contents, strict=True):
            measured = part.loss.measure(features)
            part.parts.append({layer: _keep(target, store) for layer, target in measured.items()})
            for layer, target in measured.items():
                energy[layer] = energy[layer] + squared_norm(target)
    share.group.all_reduce_sum([value for energy in energies for value in energy.values()])
    for energy, part in zip(energies, contents, strict=True):
        if part.parts:  # without a tile nothing is divided
            channels = {layer: target.shape[1] for layer, target in part.parts[0].items()}
            counts = {layer: channels[layer] * _positions(share.size, layer) for layer in part.loss.layers}
            part.divisors = part.loss.divisors(energy, counts)


def _keep(target: Tensor, store: torch.device | None) -> Tensor:
    if store is None or store == target.device:
        return target.clone()  # a view would keep alive what lies around the tile
    kept = target.to(store)
    return kept.pin_memory() if target.is_cuda else kept


# Pixels, by bands of rows


def evaluate_pixels(
    image: Tensor, terms: Sequence[LossTerm], group: TileGroup, grad: Tensor | None
) -> dict[str, Tensor]:
    """Return this process's share of the terms; add its share of their gradient.

    Total variation goes by bands of rows, dealt out to the processes. Nothing is known of any other loss, one derived
    from it among them, but that it reads the pixels: rank 0 evaluates it on the whole image.

    Args:
        image: sRGB in [0, 1], `(1, 3, H, W)`.
        terms: Losses whose only tap is `input`.
        group: All processes.
        grad: Gradient to add to, `(1, 3, H, W)`; `None` if it is not wanted.

    Returns:
        Weighted terms without gradient, to be summed over the processes; all have the same names.
    """
    found: dict[str, Tensor] = {}
    for term in terms:
        loss = term.loss
        if isinstance(loss, TotalVariationLoss) and loss.tileable:
            found[term.name] = image.new_zeros(())
            for rows in _bands(image, group):
                around = slice(max(0, rows.start - 1), rows.stop + 1)
                band = _leaf(image[..., around, :], grad)
                with torch.set_grad_enabled(grad is not None):
                    (value,) = term.rename(loss.of_rows(band, rows, image.shape[2])).values()
                _add_grad(grad, around, value, band)
                found[term.name] = found[term.name] + value.detach()
        else:
            leaf = _leaf(image, grad)
            with torch.set_grad_enabled(grad is not None):
                values = {name: value * float(group.rank == 0) for name, value in term({INPUT: leaf}).items()}
                total = _sum(values)
            _add_grad(grad, slice(None), total, leaf)
            found.update((name, value.detach()) for name, value in values.items())
    return found


def _bands(image: Tensor, group: TileGroup) -> Iterator[slice]:
    height, width = image.shape[-2:]
    rows = max(1, min(_BAND_PIXELS // width, -(-height // group.size)))
    for start in range(group.rank * rows, height, group.size * rows):
        yield slice(start, min(start + rows, height))


def _leaf(pixels: Tensor, grad: Tensor | None) -> Tensor:
    return pixels.detach().requires_grad_(grad is not None)


def _add_grad(grad: Tensor | None, rows: slice, value: Tensor, leaf: Tensor) -> None:
    if grad is not None:
        grad[..., rows, :] += torch.autograd.grad(value, leaf)[0]


# Helpers of all of them


def _sum(terms: Measured) -> Tensor:
    return torch.stack(list(terms.values())).sum()


def _taps(losses: Sequence[tuple[StyleLoss, Guide | None]]) -> list[str]:
    return sorted({tap for loss, _ in losses for tap in loss.taps})


def _crop(guide: Guide | None, tile: Tile) -> Guide | None:
    """Return the weights of the positions that a tile owns."""
    return None if guide is None else {tap: weights[(..., *tile.outer(tap))] for tap, weights in guide.items()}


def _layer(key: str) -> str:
    """Return the layer of a statistic, whose key is the layer, or that and a word after a slash."""
    return key.split("/")[0]


def _tile_positions(features: Features, guide: Guide | None, layer: str) -> Tensor | float:
    """Return the number of positions that a tile owns, or the sum of their guide's weights."""
    return features[layer].shape[2] * features[layer].shape[3] if guide is None else guide[layer].sum()


def _image_positions(image: Tensor, guide: Guide | None, layer: str) -> Tensor | float:
    """Return the number of positions of the whole image, or the sum of their guide's weights."""
    return _positions((image.shape[2], image.shape[3]), layer) if guide is None else guide[layer].sum()


def _positions(size: tuple[int, int], layer: str) -> int:
    return (size[0] // stride_of(layer)) * (size[1] // stride_of(layer))
