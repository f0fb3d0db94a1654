"""One-pass networks as modules of tensors alone, which other programs can run."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nst_lightning.networks.any_style import AnyStyleNet, Statistics
from nst_lightning.networks.gaussians import Gaussian
from nst_lightning.networks.transformer import TransformerNet


class Portable(nn.Module):
    """A module whose `forward` takes and returns tensors alone, for one image at a time.

    Attributes:
        inputs: Names of the inputs; the first one is the image, `(1, 3, H, W)`, sRGB in [0, 1].
        output: Name of the output.
        step: Number of pixels that the sides of images are multiples of.
    """

    inputs: tuple[str, ...] = ("images", "weights")
    output = "painted"
    step = 1

    @abstractmethod
    def example(self, height: int, width: int, generator: torch.Generator | None = None) -> tuple[Tensor, ...]:
        """Return random inputs, of an image of these sides."""

    @abstractmethod
    def expected(self, *inputs: Tensor) -> Tensor:
        """Return what the exported file is to return for these inputs, computed by the network's own methods."""


class PortableTransformer(Portable):
    """What `TransformerNet.forward` computes, without its complaints about sizes.

    Args:
        network: Network to be exported.
    """

    def __init__(self, network: TransformerNet) -> None:
        super().__init__()
        self.network = network

    def example(self, height: int, width: int, generator: torch.Generator | None = None) -> tuple[Tensor, ...]:
        """Return an image and weights of the styles, `(S,)`."""
        return _image(height, width, generator), _weights(self.network.styles, generator)

    def expected(self, *inputs: Tensor) -> Tensor:
        """Return the network's own result."""
        painted: Tensor = self.network(*inputs)
        return painted

    def forward(self, images: Tensor, weights: Tensor) -> Tensor:
        """Paint `(1, 3, H, W)` in the mixture `(S,)`."""
        return self.network.paint(images, self.network.mixture(weights))


class PortableAnyStyle(Portable):
    """What `AnyStyleNet.forward` computes in certain styles, for sides that need no extension.

    Args:
        network: Network to be exported.
        styles: Statistics of each style.
    """

    def __init__(self, network: AnyStyleNet, styles: Sequence[Statistics]) -> None:
        super().__init__()
        self.network = network
        self.step = network.grid
        self.statistics = styles

    def example(self, height: int, width: int, generator: torch.Generator | None = None) -> tuple[Tensor, ...]:
        """Return an image and weights of the styles, `(S,)`."""
        return _image(height, width, generator), _weights(len(self.statistics), generator)

    def expected(self, *inputs: Tensor) -> Tensor:
        """Return the network's own result."""
        images, weights = inputs
        painted: Tensor = self.network(images, self.statistics, weights)
        return painted

    def forward(self, images: Tensor, weights: Tensor) -> Tensor:
        """Paint `(1, 3, H, W)` in the blend `(S,)`."""
        return self.network.forward_at(0, images, self.statistics, weights)


class PortableAnyStyleInput(Portable):
    """What `AnyStyleNet.forward` computes in styles whose statistics are an input, packed (`pack_statistics`).

    Args:
        network: Network to be exported.
        styles: Number of the styles that are blended.
    """

    inputs = ("images", "weights", "statistics")

    def __init__(self, network: AnyStyleNet, styles: int) -> None:
        super().__init__()
        self.network = network
        self.step = network.grid
        self.styles = styles

    def example(self, height: int, width: int, generator: torch.Generator | None = None) -> tuple[Tensor, ...]:
        """Return an image, weights of the styles, `(S,)`, and their packed statistics, `(S, D)`."""
        paintings = (_image(64, 64, generator) for _ in range(self.styles))
        statistics = torch.cat([pack_statistics(self.network.measure(each), self.network) for each in paintings])
        return _image(height, width, generator), _weights(self.styles, generator), statistics

    def expected(self, *inputs: Tensor) -> Tensor:
        """Return the network's own result."""
        images, weights, statistics = inputs
        painted: Tensor = self.network(images, self._unpacked(statistics), weights)
        return painted

    def forward(self, images: Tensor, weights: Tensor, statistics: Tensor) -> Tensor:
        """Paint `(1, 3, H, W)` in the blend `(S,)` of styles `(S, D)`."""
        return self.network.forward_at(0, images, self._unpacked(statistics), weights)

    def _unpacked(self, statistics: Tensor) -> list[dict[str, Gaussian]]:
        return [unpack_statistics(statistics[index : index + 1], self.network) for index in range(self.styles)]


class PortableMeasure(Portable):
    """What `AnyStyleNet.measure` computes, packed, for sides that need no extension.

    Args:
        network: Network to be exported.
    """

    inputs = ("images",)
    output = "statistics"

    def __init__(self, network: AnyStyleNet) -> None:
        super().__init__()
        self.network = network
        self.step = network.grid

    def example(self, height: int, width: int, generator: torch.Generator | None = None) -> tuple[Tensor, ...]:
        """Return an image."""
        return (_image(height, width, generator),)

    def expected(self, *inputs: Tensor) -> Tensor:
        """Return the packed statistics that the network measures."""
        (images,) = inputs
        return pack_statistics(self.network.measure(images), self.network)

    def forward(self, images: Tensor) -> Tensor:
        """Measure `(1, 3, H, W)`."""
        return pack_statistics(self.network.statistics(images), self.network)


def pack_statistics(statistics: Statistics, network: AnyStyleNet) -> Tensor:
    """Return statistics as one row for each image, `(N, D)`: the mean of each, then its covariance.

    Their order is that of `network.statistic_names`.

    Args:
        statistics: Statistics that a network measured.
        network: That network.

    Example:
        >>> network = AnyStyleNet(width=4, blocks=1)
        >>> statistics = network.measure(torch.rand(1, 3, 32, 32))
        >>> unpacked = unpack_statistics(pack_statistics(statistics, network), network)
        >>> torch.equal(unpacked["relu3_1"].covariance, statistics["relu3_1"].covariance)
        True
    """
    return torch.cat([value.flatten(1) for name in network.statistic_names for value in statistics[name]], dim=1)


def unpack_statistics(packed: Tensor, network: AnyStyleNet) -> dict[str, Gaussian]:
    """Return what `pack_statistics` was given, of a network's encoder."""
    statistics = {}
    widths = {name: network.statistic_width(name) for name in network.statistic_names}
    parts = iter(torch.split(packed, [size for width in widths.values() for size in (width, width**2)], dim=1))
    for name, width in widths.items():
        statistics[name] = Gaussian(next(parts), next(parts).view(-1, width, width))
    return statistics


def _image(height: int, width: int, generator: torch.Generator | None) -> Tensor:
    return torch.rand(1, 3, height, width, generator=generator)


def _weights(styles: int, generator: torch.Generator | None) -> Tensor:
    return torch.rand(styles, generator=generator) / styles
