"""The network that paints in one pass in the style of any image, given that image's statistics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nst_lightning.encoders.tiles import stride_of
from nst_lightning.encoders.topology import INPUT
from nst_lightning.encoders.vgg19 import VGG19
from nst_lightning.errors import UserError
from nst_lightning.networks.gaussians import AffineMap, Gaussian, optimal_transport
from nst_lightning.networks.noise import with_noise

STYLE_TAPS = (INPUT, "relu1_1", "relu2_1", "relu3_1", "relu4_1")
"""Layers whose Gaussians describe a style, from fine to coarse."""

MOVED_TAPS = (INPUT, "relu3_1", "relu4_1")
"""Layers that the decoder paints from, the image itself at a quarter of its resolution. Given finer ones too, it keeps
the photograph's grain and paints no strokes."""

GRID = 8  # pixels: one position of relu4_1
_COLOR_RIDGE = 0.005  # lower than that of features: what is painted has hardly any noise to be amplified
DRAFTED_TAP = "relu2_1"
"""Finer layer that joins where a draft has been painted: its strokes are there already, and edges become clean."""

PAINTED = "painted"
"""Name of the statistics of the colors that are painted, beside those of `STYLE_TAPS`."""

_FADE = 0.25  # strength below which the photograph itself is mixed in

Statistics = Mapping[str, Gaussian]
"""Description of an image's style: the Gaussian of each of `STYLE_TAPS` at each resolution (`name_at`)."""

Smoothing = Callable[[str, Gaussian], Gaussian]
"""Function of the name and value of one of an image's statistics, which returns the one to paint by: in a video, one
smoothed over time."""


class Transport(NamedTuple):
    """What one image is painted by, for a whole image or any part of it.

    Attributes:
        maps: Map of each of `MOVED_TAPS`, and of `DRAFTED_TAP` where a draft has been painted.
        modulation: Factors and offsets of the decoder's channels, `(N, 2 * channels)`.
        colors: Weights and Gaussians of the colors that the painted image is given at last.
        opacity: Weight of what the decoder paints, the rest being the image itself: `(N, 1, 1, 1)` in [0, 1].
    """

    maps: Mapping[str, AffineMap]
    modulation: Tensor
    colors: Sequence[tuple[Tensor, Gaussian]]
    opacity: Tensor

    @torch.no_grad()
    def color_map(self, painted: Gaussian) -> AffineMap:
        """Return the map that gives colors of this Gaussian those that are wanted."""
        moved = [optimal_transport(painted, wanted, _COLOR_RIDGE, capped=True) for _, wanted in self.colors]
        parts = [
            (weight * each.matrix, weight * each.offset) for (weight, _), each in zip(self.colors, moved, strict=True)
        ]
        matrices, offsets = zip(*parts, strict=True)
        return AffineMap(torch.stack(matrices).sum(0), torch.stack(offsets).sum(0))


class _Modulated(nn.Module):
    """Convolution with replicated borders; each channel is then multiplied and shifted as the style asks."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, 3)
        self.outputs = outputs
        nn.init.kaiming_normal_(self.convolution.weight, nonlinearity="relu")
        assert self.convolution.bias is not None
        nn.init.zeros_(self.convolution.bias)

    def forward(self, x: Tensor, modulation: Tensor, inputs: int | None = None) -> Tensor:
        factor, offset = modulation[..., None, None].to(x.dtype).chunk(2, dim=1)
        weight = self.convolution.weight[:, :inputs]  # of the others there is nothing to be added
        convolved = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), weight, self.convolution.bias)
        return torch.addcmul(offset.to(convolved.dtype), convolved, 1 + factor.to(convolved.dtype))


class _Residual(nn.Module):
    """Two convolutions around which the input is carried."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _Modulated(channels, channels)
        self.second = _Modulated(channels, channels)
        with torch.no_grad():
            self.second.convolution.weight.mul_(0.1)

    def forward(self, x: Tensor, modulations: Sequence[Tensor]) -> Tensor:
        first, second = modulations
        added: Tensor = self.second(F.relu(self.first(x, first)), second)
        return x + added


class _Level(nn.Module):
    """One resolution of the decoder: the coarser one's map is doubled, and other maps of this one may join it."""

    def __init__(self, coarser: int, joining: int, channels: int) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(coarser, channels, 1)
        self.join = _Modulated(channels + joining, channels)
        self.refine = _Residual(channels)

    def forward(self, x: Tensor, joining: Tensor | None, modulations: Sequence[Tensor]) -> Tensor:
        x = F.interpolate(self.narrow(x), scale_factor=2.0, mode="bilinear", align_corners=False)
        if joining is None:
            x = F.relu(self.join(x, modulations[0], inputs=x.shape[1]))
        else:
            x = F.relu(self.join(torch.cat([x, joining.to(x.dtype)], dim=1), modulations[0]))
        refined: Tensor = self.refine(x, modulations[1:])
        return F.relu(refined)


def unsmoothed(name: str, gaussian: Gaussian) -> Gaussian:
    """Return a statistic as it is."""
    del name
    return gaussian


class AnyStyleNet(nn.Module):
    r"""Paint an image in the style of any other one, in one pass.

    A frozen encoder describes both images by the Gaussians of their features at several layers. The features of the
    image are moved by the optimal transport maps from its own Gaussians to the style's (`optimal_transport`; Mroueh,
    "Wasserstein Style Transfer", 2019, has one at a single layer), and a decoder paints an image of them: from the
    deepest layer upwards, the finer layers joining at their resolution. AdaIN (Huang and Belongie 2017) and whitening
    and coloring (Li et al. 2017) move features of one layer.
    The style's statistics also scale and shift the decoder's channels (Ghiasi et al. 2017), and at last the painted
    image's colors are moved likewise, but in no direction given more than the style has there.

    Broad strokes are painted in a draft, of the image at half of its resolution in the style of the painting at half of
    its own; the image's finer details are added to it (`with_draft`), and the same network paints the result once more.
    Lin et al. ("Drafting and Revision: Laplacian Pyramid Network for Fast High-Quality Artistic Style Transfer", 2021)
    have a network for one style at each resolution. Where a draft has been painted, a finer layer joins the decoder.

    The decoder normalizes nothing, and statistics are means over positions: so any part of an image can be painted by
    itself, once the whole has been measured, and finished once the whole has been painted.

    The style is a mixture of statistics, of which the image's own are one: their share is what the weights leave of
    1. Maps, modulations and statistics are averaged. The strength is the weights' sum :math:`\alpha`. Below
    0.25 the image itself is mixed in, so that at 0 it is left as it is, to the bit.

    Args:
        weights: Weights of the encoder, as `VGG19` takes them.
        width: Number of channels of the decoder at full resolution; 2, 4 and 8 times as many at the lower ones.
        blocks: Number of residual blocks at the lowest resolution.
        described: Number of features that the style's statistics are put into for the decoder.
        noise: Standard deviation, on the images' scale, of the noise that an image is given where it is flat before it
            is encoded (`with_noise`), at strengths from 1 on; proportional to the strength below. Of a flat part
            nothing can be painted but one regular pattern: noise makes strokes of it. With drafts the coarsest one is
            given it, by its own strength, and nothing else. 0 for none.
        drafts: Number of times that the resolution is halved for a draft to be painted first. 0 for none.
        draft_strength: Strength of drafts at a strength of 1.
        detail: Share of the image's finer details that a draft is given at a strength of 1; all of them at 0.

    Raises:
        UserError: If `width` or `described` is below 1, or another number below 0.

    Example:
        >>> network = AnyStyleNet(width=4, blocks=1).eval()
        >>> image, style = torch.rand(1, 3, 30, 41), torch.rand(1, 3, 24, 24)
        >>> network(image, [network.measure(style)]).shape
        torch.Size([1, 3, 30, 41])
    """

    def __init__(
        self,
        weights: str = "compact",
        width: int = 16,
        blocks: int = 2,
        described: int = 64,
        noise: float = 0.0,
        drafts: int = 0,
        draft_strength: float = 0.8,
        detail: float = 1.0,
    ) -> None:
        super().__init__()
        if min(width, described) < 1 or min(blocks, noise, drafts, draft_strength, detail) < 0:
            raise UserError(
                f"a network of any style needs a width and a description of at least 1, and blocks, noise, drafts, "
                f"their strength and detail of at least 0, but {width}, {described}, {blocks}, {noise:g}, {drafts}, "
                f"{draft_strength:g} and {detail:g} were given."
            )
        self.weights = weights
        self.width = width
        self.blocks = blocks
        self.described = described
        self.noise = noise
        self.drafts = drafts
        self.draft_strength = draft_strength
        self.detail = detail
        self.grid = GRID * 2**drafts
        self.encoder = VGG19(weights, padding="replicate")
        channels = [self.encoder.width(f"conv{block}_1") for block in (1, 2, 3, 4)]
        deep = 8 * width
        self.enter = _Modulated(channels[3], deep)
        self.trunk = nn.ModuleList(_Residual(deep) for _ in range(blocks))
        self.levels = nn.ModuleList(
            [
                _Level(deep, channels[2] + 3, 4 * width),
                _Level(4 * width, channels[1] if drafts else 0, 2 * width),
                _Level(2 * width, 0, width),
            ]
        )
        self.leave = nn.Conv2d(width, 3, 3)
        self._widths = [module.outputs for module in self.modules() if isinstance(module, _Modulated)]
        self.describe = nn.Linear(2 * (sum(channels) + 3), described)
        self.modulate = nn.Linear(described, 2 * sum(self._widths))
        nn.init.zeros_(self.modulate.weight)
        nn.init.zeros_(self.modulate.bias)
        self.to(memory_format=torch.channels_last)  # what convolutions run fastest in

    def architecture(self) -> dict[str, int | float | str]:
        """Return the arguments that make a network like this one."""
        numbers = {"width": self.width, "blocks": self.blocks, "described": self.described, "noise": self.noise}
        if self.drafts:
            numbers |= {"drafts": self.drafts, "draft_strength": self.draft_strength, "detail": self.detail}
        return {"weights": self.weights, **numbers}

    def disturb(self, images: Tensor, weights: Tensor | None = None, row: int = 0, column: int = 0) -> Tensor:
        """Return images, or any part of them, with the noise that they are encoded with.

        Args:
            images: sRGB in [0, 1], `(N, 3, H, W)`, sides multiples of `GRID`. Of a part what lies within `NOISE_REACH`
                of its border, and not on the image's, differs from the whole's.
            weights: Weights of the styles, as in `forward`.
            row: Row of the image that is the part's first.
            column: Column that is the part's first.
        """
        if not self.noise:
            return images
        strength = images.new_ones(()) if weights is None else weights.sum().clamp(0, 1).to(images)
        return with_noise(images, self.noise * strength, row, column)

    def encode(self, images: Tensor, taps: Sequence[str] = STYLE_TAPS) -> dict[str, Tensor]:
        """Return the encoder's maps of images whose sides are multiples of `GRID`."""
        maps: dict[str, Tensor] = self.encoder(images, taps)
        return maps

    @torch.no_grad()
    def measure(self, images: Tensor, part: Tensor | None = None) -> dict[str, Gaussian]:
        """Return the statistics of images, at each resolution that they are painted at.

        Args:
            images: sRGB in [0, 1], `(N, 3, H, W)`, of any size.
            part: Weight of each pixel, `(1, 1, H, W)`, at least 0; `None` for equal ones.
        """
        return self.statistics(extend(images, self.grid), None if part is None else extend(part, self.grid))

    def statistics(self, images: Tensor, part: Tensor | None = None, finest: int = 0) -> dict[str, Gaussian]:
        """Return the statistics of images that need no extension.

        Args:
            images: As in `measure`, sides multiples of `grid`.
            part: As in `measure`.
            finest: Number of halvings of the finest resolution that is measured.
        """
        statistics = {}
        for level in range(self.drafts + 1):
            if level:
                images, part = halve(images), None if part is None else halve(part)
            if level >= finest:
                described = describe(self.encode(images), part)
                statistics.update({name_at(tap, level): gaussian for tap, gaussian in described.items()})
        return statistics

    @property
    def statistic_names(self) -> list[str]:
        """Names of an image's statistics, in the order in which they are measured."""
        return [name_at(tap, level) for level in range(self.drafts + 1) for tap in STYLE_TAPS]

    def statistic_width(self, name: str) -> int:
        """Return the number of channels that a statistic is of."""
        tap = name.partition("@")[0]
        return 3 if tap == INPUT else self.encoder.width(tap.replace("relu", "conv"))

    def transport(
        self, own: Statistics, styles: Sequence[Statistics], weights: Tensor | None = None, drafted: bool = False
    ) -> Transport:
        """Return what an image is painted by.

        Args:
            own: Statistics of the image at one resolution, or of a batch of `N`.
            styles: Statistics of each style at this resolution (`at_level`), of a batch of 1 or `N`.
            weights: As in `forward`, for this resolution.
            drafted: Whether the image has a draft in it.
        """
        weights = equal_parts(weights, styles)
        strength = weights.sum()
        maps, described = {}, []
        for tap in (*MOVED_TAPS, DRAFTED_TAP) if drafted else MOVED_TAPS:
            identity = torch.eye(own[tap].mean.shape[1], dtype=own[tap].mean.dtype, device=own[tap].mean.device)
            matrix, offset = (1 - strength) * identity, torch.zeros_like(own[tap].mean)
            for style, weight in zip(styles, weights, strict=True):
                moved = optimal_transport(own[tap], style[tap])
                matrix, offset = matrix + weight * moved.matrix, offset + weight * moved.offset
            maps[tap] = AffineMap(matrix, offset)
        for tap in STYLE_TAPS:
            mean, deviation = (1 - strength) * own[tap].mean, (1 - strength) * own[tap].deviation
            for style, weight in zip(styles, weights, strict=True):
                mean, deviation = mean + weight * style[tap].mean, deviation + weight * style[tap].deviation
            described += [mean, deviation]
        modulation = self.modulate(F.relu(self.describe(torch.cat(described, dim=1).to(self.describe.weight.dtype))))
        opacity = (strength / _FADE).clamp(0, 1).expand(own[INPUT].mean.shape[0], 1, 1, 1)
        colors = [(1 - strength, own[INPUT]), *zip(weights, (style[INPUT] for style in styles), strict=True)]
        return Transport(maps, modulation, colors, opacity)

    def decode_deep(self, deepest: Tensor, transport: Transport) -> Tensor:
        """Return the decoder's map at relu4_1's resolution, of the encoder's there."""
        modulations = self._split(transport.modulation)
        x = transport.maps["relu4_1"](deepest).to(self.leave.weight.dtype)  # the encoder may have another
        x = F.relu(self.enter(x, modulations[0]))
        for index, block in enumerate(self.trunk):
            x = block(x, modulations[1 + 2 * index : 3 + 2 * index])
        return x

    def decode_fine(self, deep: Tensor, maps: Mapping[str, Tensor], transport: Transport, drafted: bool) -> Tensor:
        """Return the painted image, not finished yet, of the result of `decode_deep` and the encoder's finer maps.

        Args:
            deep: Result of `decode_deep`.
            maps: Maps of the encoder; of a draft `DRAFTED_TAP` too.
            transport: What the image is painted by.
            drafted: Whether the image has a draft in it.
        """
        dtype = self.leave.weight.dtype
        modulations = self._split(transport.modulation)[1 + 2 * self.blocks :]
        features = transport.maps["relu3_1"](maps["relu3_1"])
        colors = transport.maps[INPUT](F.avg_pool2d(maps[INPUT], 4))
        joining = torch.cat([features.to(colors.dtype), colors], dim=1).to(dtype)
        finer = transport.maps[DRAFTED_TAP](maps[DRAFTED_TAP]).to(dtype) if drafted else None
        x = self.levels[0](deep, joining, modulations[:3])
        x = self.levels[1](x, finer, modulations[3:6])
        x = self.levels[2](x, None, modulations[6:])
        painted: Tensor = self.leave(F.pad(x, (1, 1, 1, 1), mode="replicate"))
        return painted.to(maps[INPUT].dtype).sigmoid()

    @staticmethod
    def fade(painted: Tensor, images: Tensor, transport: Transport) -> Tensor:
        """Return what was painted, with the images themselves at a strength near 0."""
        return torch.lerp(images, painted, transport.opacity.to(images))

    def finish(self, painted: Tensor, color_map: AffineMap, images: Tensor, transport: Transport) -> Tensor:
        """Return the result for images, or any part of them, of what was painted."""
        return self.fade(color_map(painted).clamp(0, 1), images, transport)

    def _split(self, modulation: Tensor) -> tuple[Tensor, ...]:
        return torch.split(modulation, [2 * width for width in self._widths], dim=1)

    def paint(self, maps: Mapping[str, Tensor], transport: Transport, drafted: bool) -> Tensor:
        """Return the painted image, not finished yet, of the encoder's maps of an image."""
        return self.decode_fine(self.decode_deep(maps["relu4_1"], transport), maps, transport, drafted)

    def forward(
        self,
        images: Tensor,
        styles: Sequence[Statistics],
        weights: Tensor | None = None,
        region: Tensor | None = None,
        smoothing: Smoothing = unsmoothed,
    ) -> Tensor:
        """Return painted images.

        Args:
            images: sRGB in [0, 1], `(N, 3, H, W)`, of any size.
            styles: Statistics of each style, from `measure`.
            weights: Weights of the styles, `(S,)`; their sum is the strength. `None` for equal parts at strength 1.
            region: Weight of each pixel in the image's own statistics, `(1, 1, H, W)`: those of the region are given
                the style's. All of the image is painted. `None` for equal weights.
            smoothing: Function that the image's own statistics are handed to before the image is painted by them.

        Returns:
            sRGB in [0, 1], `(N, 3, H, W)`.
        """
        height, width = images.shape[-2:]
        images, region = extend(images, self.grid), None if region is None else extend(region, self.grid)
        weights = equal_parts(weights, styles)
        return self.forward_at(0, images, styles, weights, region, smoothing)[..., :height, :width]

    def forward_at(
        self,
        level: int,
        images: Tensor,
        styles: Sequence[Statistics],
        weights: Tensor,
        region: Tensor | None = None,
        smoothing: Smoothing = unsmoothed,
    ) -> Tensor:
        """Return images painted at one resolution, after those below it.

        Args:
            level: Number of halvings of the resolution, up to `drafts`.
            images: sRGB in [0, 1] at this resolution, `(N, 3, H, W)`, sides multiples of
                `GRID * 2 ** (drafts - level)`.
            styles: Statistics of each style at this resolution and below it.
            weights: Weights of the styles, as in `forward`.
            region: As in `forward`, at this resolution.
            smoothing: As in `forward`.
        """
        drafted = level < self.drafts
        if drafted:
            smaller = None if region is None else halve(region)
            draft = self.forward_at(level + 1, halve(images), styles, weights, smaller, smoothing)
        weights = self.weights_at(level, weights)
        read = with_draft(images, draft, self.detail_at(weights)) if drafted else self.disturb(images, weights)
        maps = self.encode(read)
        own = {tap: smoothing(name_at(tap, level), gaussian) for tap, gaussian in describe(maps, region).items()}
        transport = self.transport(own, [at_level(style, level) for style in styles], weights, drafted)
        painted = self.paint(maps, transport, drafted)
        colors = smoothing(name_at(PAINTED, level), Gaussian.of(painted, region))
        return self.finish(painted, transport.color_map(colors), images, transport)

    def weights_at(self, level: int, weights: Tensor) -> Tensor:
        """Return the weights of the styles at a level's resolution: those of drafts are weaker."""
        return weights * self.draft_strength if level else weights

    def detail_at(self, weights: Tensor) -> Tensor:
        """Return the share of the details that a draft is given with these weights of the styles."""
        return 1 - (1 - self.detail) * weights.sum().clamp(0, 1)


def name_at(tap: str, level: int) -> str:
    """Return the name of a statistic at a resolution, of how many halvings.

    Example:
        >>> name_at("relu3_1", 0), name_at("relu3_1", 1)
        ('relu3_1', 'relu3_1@2')
    """
    return f"{tap}@{2**level}" if level else tap


def at_level(statistics: Statistics, level: int) -> dict[str, Gaussian]:
    """Return those of the statistics that are of one resolution, named as `STYLE_TAPS` are."""
    return {tap: statistics[name_at(tap, level)] for tap in STYLE_TAPS}


def equal_parts(weights: Tensor | None, styles: Sequence[Statistics]) -> Tensor:
    """Return weights, or equal ones at strength 1 for `None`, where the statistics are."""
    return styles[0][INPUT].mean.new_full((len(styles),), 1 / len(styles)) if weights is None else weights


def halve(images: Tensor) -> Tensor:
    """Return images of half of the sides, which are even."""
    return F.avg_pool2d(images, 2)


def with_draft(images: Tensor, draft: Tensor, detail: Tensor | float = 1.0) -> Tensor:
    """Return images whose coarser part is that of a draft, the finer one their own.

    The finest level of the images' Laplacian pyramid (Burt and Adelson 1983) is added to the draft.

    Args:
        images: sRGB in [0, 1], `(N, 3, H, W)`, even sides; or a part of images from an even row and column on, whose
            outermost pixels then differ from the whole's.
        draft: What is painted of `halve(images)`.
        detail: Factor of the level.

    Example:
        >>> images = torch.rand(1, 3, 8, 8)
        >>> torch.equal(with_draft(images, halve(images)), images)
        True
    """
    rest = F.interpolate(draft - detail * halve(images), scale_factor=2.0, mode="bilinear", align_corners=False)
    return (detail * images + rest).clamp(0, 1)


def extend(images: Tensor, grid: int = GRID) -> Tensor:
    """Return images with the last row and column repeated until both sides are multiples of `grid`."""
    height, width = images.shape[-2:]
    return F.pad(images, (0, -width % grid, 0, -height % grid), mode="replicate")


def describe(maps: Mapping[str, Tensor], part: Tensor | None = None) -> dict[str, Gaussian]:
    """Return the Gaussian of each of `STYLE_TAPS`.

    Args:
        maps: The encoder's maps.
        part: Weight of each pixel, `(1, 1, H, W)`, of which each position of a map has the mean; `None` for equal ones.
    """
    if part is None:
        return {tap: Gaussian.of(maps[tap]) for tap in STYLE_TAPS}
    return {tap: Gaussian.of(maps[tap], F.avg_pool2d(part, stride_of(tap))) for tap in STYLE_TAPS}
