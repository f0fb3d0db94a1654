"""What every loss is: layers, their weights, a measurement of the reference picture, a distance to it."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Literal

from torch import Tensor, nn

from nst_lightning.errors import UserError

Features = Mapping[str, Tensor]
"""Tap name to features `(N, C, H, W)`; the key "input" is the image itself in [0, 1]."""

Guide = Mapping[str, Tensor]
"""Tap name to weights of positions `(1, 1, H, W)` in [0, 1], of the tap's size."""

Measured = dict[str, Tensor]
"""What a loss compares. Several references are blended by a weighted mean of these, key by key."""


class Loss(nn.Module, ABC):
    r"""One weighted part of the objective.

    A loss is used in three steps. `measure` a reference picture: the result is blendable, key by key.
    `prepare` the blend, once per pyramid level. Then call the loss with the features of the image and these
    targets, at every step: it returns its weighted terms, one scalar for each layer,

    .. math:: \mathrm{term}_l = \mathrm{weight} \cdot \mathrm{layer\ weight}_l \cdot \mathrm{distance}_l,

    where the distances of a batch of pictures are averaged over the batch. A loss has no parameters and no
    buffers: targets belong to the caller. Subclasses give `reference`, `measure` (unless the loss has no
    reference) and `forward`.
    """

    reference: Literal["content", "style", "warped", "none"]
    """Which pictures give the targets of this loss."""

    guidable = False
    """Whether `forward`, and `measure` of a style loss, take a guide as a further argument."""

    def __init__(self, *, layers: Sequence[str] | Mapping[str, float], weight: float = 1.0, name: str) -> None:
        """Check and keep the settings.

        Args:
            layers: Tap names. A list shares the weight equally, 1/n each; a mapping gives each layer's own
                weight as it stands, without normalising.
            weight: Weight of the whole loss, finite and not negative.
            name: Prefix of the terms, as in `style/relu1_1`.

        Raises:
            UserError: If *layers* is empty, no list or mapping, or names a layer twice; if a weight is
                negative or not finite; if *name* is empty.
        """
        super().__init__()
        if not name:
            raise UserError("a loss needs a name, found an empty one; give for example name: style")
        self.name = name
        self.weight = check_weight(weight, f"{name}: weight")
        self.layer_weights = _layer_weights(layers, name)

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that have a term, in the order given."""
        return tuple(self.layer_weights)

    @property
    def taps(self) -> tuple[str, ...]:
        """What the encoder has to give: the layers and, for some losses, "input"."""
        return self.layers

    def measure(self, features: Features) -> Measured:
        """Measure a reference picture, without gradient.

        Args:
            features: Those of the reference picture, at least `taps`.

        Returns:
            Nothing, for a loss without reference.
        """
        return {}

    def prepare(self, measured: Measured) -> Measured:
        """Turn a (blended) measurement into targets, once per pyramid level; by default they are the same."""
        return measured

    @abstractmethod
    def forward(self, features: Features, targets: Measured) -> dict[str, Tensor]:
        """Return the weighted terms.

        Args:
            features: Those of the image, at least `taps`.
            targets: What `prepare` returned.

        Returns:
            `{f"{name}/{layer}": scalar}`.
        """

    def weigh(self, layer: str, distances: Tensor) -> Tensor:
        """Return the weighted term, a scalar, of a layer's distances `(N,)`."""
        return self.weight * self.layer_weights[layer] * distances.mean()

    def extra_repr(self) -> str:
        """Tell the settings in `print(loss)`."""
        layers = ", ".join(f"{layer}: {weight:g}" for layer, weight in self.layer_weights.items())
        return f"name={self.name}, weight={self.weight:g}, layers={{{layers}}}"


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
