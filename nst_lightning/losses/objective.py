"""What is minimised: the sum of all losses' terms, as a function of the picture."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nst_lightning.encoders.topology import LAYERS
from nst_lightning.encoders.vgg19 import VGG19
from nst_lightning.errors import UserError
from nst_lightning.losses.loss import Features, Loss, Measured


class Objective(nn.Module):
    """The losses over one encoder, with targets measured from reference pictures.

    Targets are held outside the module's state: they follow from the pictures and are measured anew on
    resume.

    Args:
        encoder: Gives the feature maps.
        losses: At least one; names must differ.

    Raises:
        UserError: If there is no loss, two have the same name, or one taps a layer the encoder lacks.
    """

    def __init__(self, encoder: VGG19, losses: Sequence[Loss]) -> None:
        super().__init__()
        if not losses:
            raise UserError("there is nothing to optimise; give at least one of content, style and variation.")
        names = [loss.name for loss in losses]
        for name in names:
            if names.count(name) > 1:
                raise UserError(f"two losses are named {name!r}; give one of them another name (init_args.name).")
        self.encoder = encoder
        self.losses = nn.ModuleList(losses)
        self.targets: dict[str, Measured] = {}
        encoder.check(self.taps(), 2**15, 2**15)  # names only: the size is not known yet

    def taps(self, *references: str) -> list[str]:
        """Give the layers that losses read, in the encoder's order.

        Args:
            references: Only of losses whose `reference` is among these; none for all.
        """
        wanted = {
            layer for loss in self.terms() if not references or loss.reference in references for layer in loss.taps
        }
        return sorted(wanted, key=lambda name: LAYERS.index(name) if name in LAYERS else -1)

    @torch.no_grad()
    def measure(self, content: Tensor | None, styles: Sequence[Tensor], style_weights: Sequence[float]) -> None:
        """Measure the reference pictures; what was measured before is forgotten.

        Several styles are blended: their measurements are averaged with the weights.

        Args:
            content: `(1, 3, H, W)` in [0, 1], or `None`.
            styles: Each `(1, 3, h, w)` in [0, 1], with its own size.
            style_weights: One for each style, summing to 1.

        Raises:
            UserError: If a loss needs a picture that is not there, or a picture is too small for a layer.
        """
        self.targets = {}
        features: dict[str, list[Features]] = {"content": [], "style": [], "none": []}
        weights: dict[str, Sequence[float]] = {"content": [1.0], "style": style_weights, "none": []}
        if content is not None and (taps := self.taps("content")):
            features["content"] = [self.encoder(content, taps)]
        if taps := self.taps("style"):
            features["style"] = [self.encoder(style, taps) for style in styles]
        for loss in self.terms():
            pictures = features[loss.reference]
            if loss.reference != "none" and not pictures:
                raise UserError(
                    f"the loss {loss.name!r} compares with a {loss.reference} picture, but there is none; "
                    f"set data.{loss.reference} or remove the loss."
                )
            measured = [loss.measure(picture) for picture in pictures]
            self.targets[loss.name] = loss.prepare(_blend(measured, weights[loss.reference]))

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Give every weighted term.

        Args:
            image: `(1, 3, H, W)` in [0, 1].

        Returns:
            Float32 scalars such as `content/relu4_2`, `style/relu1_1`, `tv`; the objective is their sum.
        """
        features = self.encoder(image, self.taps())
        terms: dict[str, Tensor] = {}
        for loss in self.terms():
            terms.update(loss(features, self.targets[loss.name]))
        return terms

    def terms(self) -> list[Loss]:
        """Give the losses, in the order they were given."""
        return [loss for loss in self.losses if isinstance(loss, Loss)]


def _blend(measured: Sequence[Measured], weights: Sequence[float]) -> Measured:
    if len(measured) == 1:
        return measured[0]
    keys = measured[0].keys() if measured else ()
    return {
        key: torch.stack([m[key] * weight for m, weight in zip(measured, weights, strict=True)]).sum(0) for key in keys
    }
