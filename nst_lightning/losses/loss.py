"""What every loss is: layers, their weights, a measurement of the reference image, a distance to it."""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor, nn
from typing_extensions import Self

from nst_lightning.encoders.topology import INPUT, check_layers
from nst_lightning.errors import UserError

Features = Mapping[str, Tensor]
"""Tap name to features `(N, C, H, W)`; the key "input" is the image itself in [0, 1]."""

Guide = Mapping[str, Tensor]
"""Tap name to weights of positions `(1, 1, H, W)` in [0, 1], of the tap's size."""

Measured = dict[str, Tensor]
"""What a loss compares. Several references are blended by a weighted mean of these, key by key."""


class Loss(nn.Module, ABC):
    r"""One weighted part of the objective.

    A loss is used in three steps. `measure` a reference image: the result is blendable, key by key.
    `prepare` the blend, once per pyramid level. Then call the loss with the features of the image and these
    targets, at every step: it returns its weighted terms, one scalar for each layer,

    .. math:: \mathrm{term}_l = \mathrm{weight} \cdot \mathrm{layer\ weight}_l \cdot \mathrm{distance}_l,

    where the distances of a batch of images are averaged over the batch. A loss has no parameters and no
    buffers: targets belong to the caller.

    A subclass defines `reference`, `measure` (unless the loss has no reference) and `forward`. Unless it declares
    `guidable`, it is never given a guide, and its methods may leave that parameter out.

    Args:
        layers: Tap names. A list shares the weight equally, 1/n each; a mapping gives each layer's own
            weight as it stands, without normalizing.
        weight: Weight of the whole loss, finite and not negative.
        name: Prefix of the terms, as in `style/relu1_1`.
        up_to: Long sides of the image, pixels, up to which layers are compared; those not named always are. A run
            without a level so small never compares them. Layers that the loss does not have may be named, as by a
            config whose layers an option replaces.

    Raises:
        UserError: If *layers* is empty, no list or mapping, or names a layer twice; if a weight is
            negative or not finite; if *name* is empty; if *up_to* names a layer that no encoder has, or a size below 1.
    """

    reference: Literal["content", "style", "warped", "none"]
    """The images that give the targets of this loss."""

    guidable = False
    """Whether `forward`, and `measure` of a style loss, take a guide."""

    tileable: ClassVar[bool] = False
    """Whether the loss can be computed from the tiles of an image, in the way of the class that declares it.

    A subclass that overrides one of `tiled_methods` has to declare it anew, or is not tiled. A loss that reads the
    pixels alone and compares with no content or style image needs no declaration: it is evaluated on the whole image.
    """

    tiled_methods: ClassVar[tuple[str, ...]] = ()
    """Methods that tiling goes round, or whose results for tiles it takes to add up to that for the image."""

    _overridden: ClassVar[str] = ""  # the end of a sentence: why a subclass is not tileable though its base is

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        base = next(c for c in cls.__mro__ if issubclass(c, Loss) and "tileable" in vars(c))
        own = [name for name in cls.tiled_methods if getattr(cls, name) is not getattr(base, name)]
        if base is not cls and base.tileable and own:
            cls.tileable = False
            cls._overridden = f"since {cls.__name__} has a {' and a '.join(own)} of its own"

    def __init__(
        self,
        *,
        layers: Sequence[str] | Mapping[str, float],
        weight: float = 1.0,
        name: str,
        up_to: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__()
        if not name:
            raise UserError("a loss needs a name, found an empty one; give for example name: style")
        self.name = name
        self.weight = check_weight(weight, f"{name}: weight")
        self.layer_weights = _layer_weights(layers, name)
        self.up_to = _up_to(up_to or {}, name)

    def at_size(self, long_side: int) -> Self:
        """Return the loss of an image of a size: the same without the layers that only smaller ones are compared by.

        Where none would be left it has all of them.

        Args:
            long_side: Long side of the image, pixels.
        """
        left = {
            layer: weight
            for layer, weight in self.layer_weights.items()
            if layer not in self.up_to or long_side <= self.up_to[layer]
        }
        if left == self.layer_weights or not left:
            return self
        other = copy.copy(self)
        other.layer_weights = left
        return other

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that have a term, in the order given."""
        return tuple(self.layer_weights)

    @property
    def taps(self) -> tuple[str, ...]:
        """What the encoder has to return: the layers and, for some losses, "input"."""
        return self.layers

    def measure(self, features: Features, guide: Guide | None = None) -> Measured:
        """Measure a reference image, without gradient.

        Args:
            features: Features of the reference image, at least `taps`.
            guide: How much each position of a style image counts; `None` for 1. Other losses are given none.

        Returns:
            Nothing, for a loss without reference.
        """
        return {}

    def prepare(self, measured: Measured) -> Measured:
        """Turn a (blended) measurement into targets, once per pyramid level; by default they are the same."""
        return measured

    @abstractmethod
    def forward(self, features: Features, targets: Measured, guide: Guide | None = None) -> dict[str, Tensor]:
        """Return the weighted terms.

        Args:
            features: Features of the image, at least `taps`.
            targets: What `prepare` returned.
            guide: How much each position of the image counts; `None` for 1.

        Returns:
            `{f"{name}/{layer}": scalar}`.
        """

    def weigh(self, layer: str, distances: Tensor) -> Tensor:
        """Return the weighted term, a scalar, of a layer's distances `(N,)`."""
        return self.weight * self.layer_weights[layer] * distances.mean()

    def why_not_tileable(self) -> str | None:
        """Return why the loss can't be computed by tiles, as the end of a sentence; `None` if it can."""
        if self.tileable or (set(self.taps) == {INPUT} and self.reference in ("none", "warped")):
            return None
        return self._overridden or (
            "only StyleLoss, ContentLoss and losses of the pixels that compare with no content or style picture can"
        )

    def extra_repr(self) -> str:
        """Return the settings, for `print(loss)`."""
        layers = ", ".join(f"{layer}: {weight:g}" for layer, weight in self.layer_weights.items())
        settings = f"name={self.name}, weight={self.weight:g}, layers={{{layers}}}"
        settings += f", up_to={self.up_to}" if self.up_to else ""
        return f"{settings}, convention={self.convention}" if hasattr(self, "convention") else settings


@dataclass(frozen=True, eq=False)
class LossTerm:
    """A loss with its targets.

    Attributes:
        loss: The loss.
        name: Prefix of its terms: the loss's own, or with the region's number after it.
        targets: What `loss.prepare` returned.
        guide: Where in the image it is compared; `None` for everywhere.
        share: Factor of the terms.
    """

    loss: Loss
    name: str
    targets: Measured
    guide: Guide | None = None
    share: float = 1.0

    def __call__(self, features: Features) -> dict[str, Tensor]:
        """Return the weighted terms of an image's features."""
        if self.guide is None:  # a loss of a user's own may have no parameter for it
            return self.rename(self.loss(features, self.targets))
        return self.rename(self.loss(features, self.targets, self.guide))

    def rename(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the loss's own terms under this term's name and times its share."""
        if self.name == self.loss.name and self.share == 1.0:
            return terms
        return {self.name + key.removeprefix(self.loss.name): term * self.share for key, term in terms.items()}


def check_weight(weight: float, what: str) -> float:
    """Return *weight*; raise a UserError that calls it *what* unless it is finite and not negative."""
    if not math.isfinite(weight) or weight < 0:
        raise UserError(f"{what}: expected a finite number, 0 or more, found {weight}; give for example 1.0")
    return float(weight)


def _layer_weights(layers: Sequence[str] | Mapping[str, float], name: str) -> dict[str, float]:
    if isinstance(layers, str) or not isinstance(layers, Sequence | Mapping):
        raise UserError(
            f"{name}: expected layers as a list of names or a mapping of names to weights, found {layers!r}; "
            "write for example [relu4_2]"
        )
    if not layers:
        raise UserError(f"{name}: expected at least one layer, found none; write for example [relu4_2]")
    if isinstance(layers, Mapping):
        return {layer: check_weight(weight, f"{name}: weight of {layer}") for layer, weight in layers.items()}
    twice = sorted({layer for layer in layers if layers.count(layer) > 1})
    if twice:
        raise UserError(
            f"{name}: expected each layer once, found {', '.join(twice)} more than once; "
            "to weigh a layer more, write a mapping of names to weights"
        )
    return dict.fromkeys(layers, 1 / len(layers))


def _up_to(up_to: Mapping[str, int], name: str) -> dict[str, int]:
    check_layers(list(up_to))
    for layer, size in up_to.items():
        if size < 1:
            raise UserError(f"{name}: up_to of {layer}: expected a long side of 1 pixel or more, found {size}")
    return dict(up_to)
