"""What is minimised: the sum of all losses' terms, as a function of the picture."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nst_lightning.encoders.guide_propagation import Propagation, propagate_guide
from nst_lightning.encoders.topology import LAYERS
from nst_lightning.encoders.vgg19 import VGG19
from nst_lightning.errors import UserError
from nst_lightning.images.guides import Guides
from nst_lightning.losses.compiled import CompiledEvaluation
from nst_lightning.losses.loss import Features, Guide, Loss, Measured
from nst_lightning.losses.loss_term import Comparison
from nst_lightning.losses.style import StyleLoss
from nst_lightning.losses.tiling.tiled_objective import TiledObjective
from nst_lightning.losses.tiling.tiled_statistics import Tiling, tiled_statistics


class Objective(nn.Module):
    """The losses over one encoder, with targets measured from reference pictures.

    Targets are held outside the module's state: they follow from the pictures and are measured anew on
    resume.

    Args:
        encoder: Gives the feature maps.
        losses: At least one; names must differ.
        guide_propagation: How masks reach deeper layers; see `propagate_guide`.

    Attributes:
        tiling: How value and gradient are computed tile by tile (see `losses/tiling/`); `None` for the whole picture
            at once. To be set before `measure`.
        compiled: Whether `torch.compile` makes one program of it, for each size anew; not where there are tiles. To be
            set before `measure`.

    Raises:
        UserError: If there is no loss, two have the same name, or one taps a layer the encoder lacks.
    """

    def __init__(
        self,
        encoder: VGG19,
        losses: Sequence[Loss],
        guide_propagation: Propagation = "simple",
    ) -> None:
        super().__init__()
        if not losses:
            raise UserError("there is nothing to optimise; give at least one of content, style and variation.")
        names = [loss.name for loss in losses]
        for name in names:
            if names.count(name) > 1:
                raise UserError(f"two losses are named {name!r}; give one of them another name (init_args.name).")
        self.encoder = encoder
        self.losses = nn.ModuleList(losses)
        self.guide_propagation: Propagation = guide_propagation
        self.tiling: Tiling | None = None
        self.comparisons: list[Comparison] = []
        self.compiled = False
        self._tiled: TiledObjective | None = None
        self._compiled: CompiledEvaluation | None = None
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
    def measure(
        self,
        content: Tensor | None,
        styles: Sequence[Tensor],
        style_weights: Sequence[float],
        guides: Guides | None = None,
        warped: Tensor | None = None,
        warped_guide: Tensor | None = None,
    ) -> None:
        r"""Measure the reference pictures; what was measured before is forgotten.

        Without guides several styles are blended: their measurements are averaged with the weights. With
        guides each style is compared in its own region, and its terms, called `style_1/…`, `style_2/…`, are
        multiplied by the region's share :math:`w_r a_r / \sum_s w_s a_s` of the weights :math:`w` and areas
        :math:`a`: a position then weighs the same in a small region as in a large one. Gatys et al. 2017
        leave these factors to the user.

        Args:
            content: `(1, 3, H, W)` in [0, 1], or `None`.
            styles: Each `(1, 3, h, w)` in [0, 1], with its own size.
            style_weights: One for each style, summing to 1.
            guides: Masks of the sizes of the pictures; `None` for none.
            warped: What the picture should be by the frame before, `(1, 3, H, W)` in [0, 1]; `None` if there is none.
            warped_guide: Where that is to be trusted, `(1, 1, H, W)` in [0, 1]; `None` for everywhere.

        Raises:
            UserError: If a loss needs a picture that is not there or can't be guided, a picture is too small
                for a layer, or a region has no position at one.
        """
        self.comparisons, self._tiled, self._compiled = [], None, None
        guides = guides or Guides()
        shown = None
        if self.tiling is None and content is not None and (taps := self.taps("content")):
            shown = self.encoder(content, taps)
        measured = self._measure_styles(styles, guides)
        for loss in self.terms():
            if loss.reference == "style":
                self.comparisons += self._compare_styles(loss, measured[loss.name], style_weights, guides)
            elif loss.reference == "content":
                if content is None:
                    raise _missing(loss)
                self.comparisons.append(self._compare_content(loss, shown, guides))
            elif loss.reference == "warped":
                self.comparisons.append(self._compare_warped(loss, warped, warped_guide))
            else:
                self.comparisons.append(Comparison(loss, loss.name, loss.prepare({})))
        if self.tiling is not None:
            self._tiled = TiledObjective(self.encoder, self.comparisons, self.tiling, content)
        elif self.compiled:
            self._compiled = CompiledEvaluation(self._evaluate, self.encoder.device)

    def _compare_content(self, loss: Loss, features: Features | None, guides: Guides) -> Comparison:
        guide = None
        if guides.content is not None:
            guide = self._propagate(guides.content, loss, "data.content_guide")
        # Tiled, the targets are measured and kept tile by tile.
        targets = {} if features is None else loss.prepare(loss.measure(features))
        return Comparison(loss, loss.name, targets, guide)

    def _compare_warped(self, loss: Loss, warped: Tensor | None, warped_guide: Tensor | None) -> Comparison:
        if warped is None:
            raise _missing(loss)
        guide = None if warped_guide is None else self._propagate(warped_guide, loss, "data.warped_guide")
        return Comparison(loss, loss.name, loss.prepare(loss.measure(self.encoder(warped, loss.taps))), guide)

    def _compare_styles(
        self, loss: Loss, measured: Sequence[Measured], weights: Sequence[float], guides: Guides
    ) -> list[Comparison]:
        if not measured:
            raise _missing(loss)
        if not guides.regions:
            return [Comparison(loss, loss.name, loss.prepare(_blend(measured, weights)))]
        areas = [weight * float(region.mean()) for weight, region in zip(weights, guides.regions, strict=True)]
        return [
            Comparison(
                loss,
                f"{loss.name}_{index + 1}",
                loss.prepare(measured[index]),
                self._propagate(region, loss, guides.names[index]),
                areas[index] / sum(areas),
            )
            for index, region in enumerate(guides.regions)
            if weights[index] > 0
        ]

    def _measure_styles(self, styles: Sequence[Tensor], guides: Guides) -> dict[str, list[Measured]]:
        """Give for each style loss, by name, what it measures of each style; every style is encoded once."""
        losses = [loss for loss in self.terms() if loss.reference == "style"]
        measured: dict[str, list[Measured]] = {loss.name: [] for loss in losses}
        for index, style in enumerate(styles if losses else ()):
            self._check_style(style, index + 1)
            part = guides.styles[index] if guides.styles else None
            name = f"of style {index + 1}"
            guided = [(loss, None if part is None else self._propagate(part, loss, name)) for loss in losses]
            for loss, found in zip(losses, self._measure_style(style, guided), strict=True):
                measured[loss.name].append(found)
        return measured

    def _check_style(self, style: Tensor, number: int) -> None:
        try:
            self.encoder.check(self.taps("style"), style.shape[-2], style.shape[-1])
        except UserError as error:
            raise UserError(f"style {number}: {error} A style's size follows data.style_scale.") from error

    def _measure_style(self, style: Tensor, guided: Sequence[tuple[Loss, Guide | None]]) -> list[Measured]:
        if self.tiling is not None:
            tileable = [(loss, guide) for loss, guide in guided if isinstance(loss, StyleLoss)]  # check_tile_size: all
            return tiled_statistics(self.encoder, style, tileable, self.tiling)
        features = self.encoder(style, self.taps("style"))
        return [loss.measure(features, *([] if guide is None else [guide])) for loss, guide in guided]

    def _propagate(self, guide: Tensor, loss: Loss, name: str) -> Guide:
        if not loss.guidable:
            raise UserError(f"the loss {loss.name!r} can't be guided; remove the masks or the loss.")
        return propagate_guide(guide, loss.layers, self.guide_propagation, name=name)

    def forward(self, image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Evaluate the objective.

        Args:
            image: `(1, 3, H, W)` in [0, 1].

        Returns:
            The sum of all weighted terms, a float32 scalar whose gradient reaches the image, and the terms by
            name, such as `content/relu4_2`, `style/relu1_1`, `tv`, without gradient.
        """
        if self._tiled is not None:
            return self._tiled(image)
        if self._compiled is not None and torch.is_grad_enabled():  # not once more for the final value alone
            return self._compiled(image)
        return self._evaluate(image)

    def _evaluate(self, image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        features = self.encoder(image, self.taps())
        terms: dict[str, Tensor] = {}
        for comparison in self.comparisons:
            terms.update(comparison.terms(features))
        return torch.stack(list(terms.values())).sum(), {name: term.detach() for name, term in terms.items()}

    def terms(self) -> list[Loss]:
        """Give the losses, in the order they were given."""
        return [loss for loss in self.losses if isinstance(loss, Loss)]


def _missing(loss: Loss) -> UserError:
    return UserError(
        f"the loss {loss.name!r} compares with a {loss.reference} picture, but there is none; "
        f"set data.{loss.reference} or remove the loss."
    )


def _blend(measured: Sequence[Measured], weights: Sequence[float]) -> Measured:
    if len(measured) == 1:
        return measured[0]
    return {
        key: torch.stack([m[key] * weight for m, weight in zip(measured, weights, strict=True)]).sum(0)
        for key in measured[0]
    }
