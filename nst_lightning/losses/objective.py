"""What is minimized: the sum of all losses' terms, as a function of the image and of what it is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from nst_lightning.encoders.guide_propagation import Propagation, propagate_guide
from nst_lightning.encoders.topology import LAYERS
from nst_lightning.encoders.vgg19 import VGG19
from nst_lightning.errors import UserError
from nst_lightning.images.guides import Guides
from nst_lightning.losses.loss import Guide, Loss, LossTerm, Measured
from nst_lightning.losses.style import StyleLoss
from nst_lightning.losses.tiling.distributed import Tiling
from nst_lightning.losses.tiling.tiled_objective import TiledObjective, tiled_statistics


@dataclass(frozen=True, eq=False)
class References:
    """The images that targets are measured of. All are sRGB in [0, 1].

    Attributes:
        content: Content image, `(1, 3, H, W)`; `None` for none.
        styles: Style images, `(1, 3, h, w)` each, of any sizes.
        style_weights: Weights of the styles, one each, summing to 1.
        guides: Masks of the sizes of the images; `None` for none.
        warped: Result of the frame before, warped to this one, `(1, 3, H, W)`; `None` for none.
        warped_guide: Where *warped* is to be trusted, `(1, 1, H, W)` in [0, 1]; `None` for everywhere.
    """

    content: Tensor | None = None
    styles: Sequence[Tensor] = ()
    style_weights: Sequence[float] = ()
    guides: Guides | None = None
    warped: Tensor | None = None
    warped_guide: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Targets:
    """What an image is compared with, at one size. It belongs to the `Objective` that measured it.

    Attributes:
        terms: Losses with their targets.
        tiled: Evaluation tile by tile; `None` for the whole image at once.
        compiled: Evaluation by a program that `torch.compile` makes; `None` for none.
    """

    terms: Sequence[LossTerm]
    tiled: TiledObjective | None = None
    compiled: CompiledEvaluation | None = None


class Objective(nn.Module):
    """The losses over one encoder, as a function of an image and of targets.

    Targets are held by the caller, outside the module's state: they follow from the reference images and are measured
    anew on resume.

    Args:
        encoder: Network that returns the feature maps.
        losses: Losses, at least one; names must differ.
        guide_propagation: How masks reach deeper layers; see `propagate_guide`.

    Raises:
        UserError: If there is no loss, two have the same name, or one taps a layer the encoder lacks.

    Example:
        >>> from nst_lightning import VGG19, ContentLoss, TotalVariationLoss
        >>> content = torch.full((1, 3, 32, 32), 0.5)
        >>> objective = Objective(VGG19("compact"), [ContentLoss(["relu2_1"]), TotalVariationLoss()])
        >>> targets = objective.measure(References(content=content))
        >>> image = (0.5 * content).requires_grad_()
        >>> total, terms = objective(image, targets)
        >>> total.backward()
        >>> image.grad.shape
        torch.Size([1, 3, 32, 32])
        >>> list(terms), terms["tv"]
        (['content/relu2_1', 'tv'], tensor(0.))
    """

    def __init__(
        self,
        encoder: VGG19,
        losses: Sequence[Loss],
        guide_propagation: Propagation = "simple",
    ) -> None:
        super().__init__()
        if not losses:
            raise UserError("there is nothing to optimize; give at least one of content, style and variation.")
        names = [loss.name for loss in losses]
        for name in names:
            if names.count(name) > 1:
                raise UserError(f"two losses are named {name!r}; give one of them another name (init_args.name).")
        self.encoder = encoder
        self.losses = cast("Sequence[Loss]", nn.ModuleList(losses))  # a list is one, but torch does not declare it
        self.guide_propagation: Propagation = guide_propagation
        encoder.check(self.taps(), 2**15, 2**15)  # names only: the size is not known yet

    def taps(self, *references: str) -> list[str]:
        """Return the layers that losses read, in the encoder's order.

        Args:
            references: Values of `Loss.reference` to take losses of; none for all losses.
        """
        wanted = {
            layer for loss in self.losses if not references or loss.reference in references for layer in loss.taps
        }
        return sorted(wanted, key=lambda name: LAYERS.index(name) if name in LAYERS else -1)

    @torch.no_grad()
    def measure(self, references: References, *, tiling: Tiling | None = None, compiled: bool = False) -> Targets:
        r"""Measure reference images.

        Without guides several styles are blended: their measurements are averaged with the weights. With
        guides each style is compared in its own region, and its terms, called `style_1/…`, `style_2/…`, are
        multiplied by the region's share :math:`w_r a_r / \sum_s w_s a_s` of the weights :math:`w` and areas
        :math:`a`: a position then weighs the same in a small region as in a large one. Gatys et al. 2017
        leave these factors to the user.

        Args:
            references: Images to measure.
            tiling: How images are cut up, to be measured and evaluated tile by tile (see `losses/tiling/`); `None` for
                the whole image at once.
            compiled: Whether `torch.compile` makes one program of the evaluation; not where there are tiles. What was
                compiled before is forgotten.

        Returns:
            Targets for images of the size of the content, of the guides and of the warped image.

        Raises:
            UserError: If a loss needs an image that is not there or can't be guided, an image is too small
                for a layer, or a region has no position at one.
        """
        content, guides, features = references.content, references.guides or Guides(), None
        if tiling is None and content is not None and (taps := self.taps("content")):
            features = self.encoder(content, taps)
        measured = self._measure_styles(references.styles, guides, tiling)
        terms: list[LossTerm] = []
        for loss in self.losses:
            if loss.reference == "style":
                terms += self._style_terms(loss, measured[loss.name], references.style_weights, guides)
            elif loss.reference == "content":
                if content is None:
                    raise _missing(loss)
                guide = self._propagate(guides.content, loss, "data.content_guide")
                # Tiled, the targets are measured and kept tile by tile.
                targets = {} if features is None else loss.prepare(loss.measure(features))
                terms.append(LossTerm(loss, loss.name, targets, guide))
            elif loss.reference == "warped":
                if references.warped is None:
                    raise _missing(loss)
                guide = self._propagate(references.warped_guide, loss, "data.warped_guide")
                targets = loss.prepare(loss.measure(self.encoder(references.warped, loss.taps)))
                terms.append(LossTerm(loss, loss.name, targets, guide))
            else:
                terms.append(LossTerm(loss, loss.name, loss.prepare({})))
        if tiling is not None:
            return Targets(terms, tiled=TiledObjective(self.encoder, terms, tiling, content))
        if compiled:
            return Targets(terms, compiled=CompiledEvaluation(self, terms))
        return Targets(terms)

    def _style_terms(
        self, loss: Loss, measured: Sequence[Measured], weights: Sequence[float], guides: Guides
    ) -> list[LossTerm]:
        if not measured:
            raise _missing(loss)
        if not guides.regions:
            return [LossTerm(loss, loss.name, loss.prepare(_blend(measured, weights)))]
        areas = [weight * float(region.mean()) for weight, region in zip(weights, guides.regions, strict=True)]
        return [
            LossTerm(
                loss,
                f"{loss.name}_{index + 1}",
                loss.prepare(measured[index]),
                self._propagate(region, loss, guides.names[index]),
                areas[index] / sum(areas),
            )
            for index, region in enumerate(guides.regions)
            if weights[index] > 0
        ]

    def _measure_styles(
        self, styles: Sequence[Tensor], guides: Guides, tiling: Tiling | None
    ) -> dict[str, list[Measured]]:
        """Return what each style loss, by name, measures of each style; every style is encoded once."""
        losses = [loss for loss in self.losses if loss.reference == "style"]
        measured: dict[str, list[Measured]] = {loss.name: [] for loss in losses}
        for index, style in enumerate(styles if losses else ()):
            self.check_style(index + 1, *style.shape[-2:])
            part = guides.styles[index] if guides.styles else None
            guided = [(loss, self._propagate(part, loss, f"of style {index + 1}")) for loss in losses]
            for loss, found in zip(losses, self._measure_style(style, guided, tiling), strict=True):
                measured[loss.name].append(found)
        return measured

    def check_style(self, number: int, height: int, width: int) -> None:
        """Refuse a style that is too small for a layer.

        Args:
            number: Number of the style, from 1.
            height: Height of the style, pixels.
            width: Width of the style, pixels.

        Raises:
            UserError: If it is.
        """
        try:
            self.encoder.check(self.taps("style"), height, width)
        except UserError as error:
            raise UserError(f"style {number}: {error} A style's size follows data.style_scale.") from error

    def _measure_style(
        self, style: Tensor, guided: Sequence[tuple[Loss, Guide | None]], tiling: Tiling | None
    ) -> list[Measured]:
        if tiling is not None:
            tileable = [(loss, guide) for loss, guide in guided if isinstance(loss, StyleLoss)]  # check_tile_size: all
            return tiled_statistics(self.encoder, style, tileable, tiling)
        features = self.encoder(style, self.taps("style"))
        return [
            loss.measure(features) if guide is None else loss.measure(features, guide)
            for loss, guide in guided  # a loss of a user's own may have no parameter for it
        ]

    def _propagate(self, guide: Tensor | None, loss: Loss, name: str) -> Guide | None:
        if guide is None:
            return None
        if not loss.guidable:
            raise UserError(f"the loss {loss.name!r} can't be guided; remove the masks or the loss.")
        return propagate_guide(guide, loss.layers, self.guide_propagation, name=name)

    def forward(self, image: Tensor, targets: Targets) -> tuple[Tensor, dict[str, Tensor]]:
        """Evaluate the objective.

        Args:
            image: sRGB in [0, 1], `(1, 3, H, W)`; a batch `(N, 3, H, W)` where the targets are not tiled.
            targets: What `measure` returned.

        Returns:
            The sum of all weighted terms, a float32 scalar whose gradient reaches the image, and the terms by
            name, such as `content/relu4_2`, `style/relu1_1`, `tv`, without gradient.
        """
        if targets.tiled is not None:
            return targets.tiled(image)
        if targets.compiled is not None and torch.is_grad_enabled():  # not once more for the final value alone
            return targets.compiled(image)
        return self.evaluate(image, targets.terms)

    def evaluate(self, image: Tensor, terms: Sequence[LossTerm]) -> tuple[Tensor, dict[str, Tensor]]:
        """Evaluate the whole image at once, without a compiled program; see `forward`."""
        features = self.encoder(image, self.taps())
        found: dict[str, Tensor] = {}
        for term in terms:
            found.update(term(features))
        return torch.stack(list(found.values())).sum(), {name: value.detach() for name, value in found.items()}


class CompiledEvaluation:
    """An objective as a function of the image alone, compiled once for one size; on CUDA it runs as a CUDA graph.

    What was compiled before is forgotten: each level has its own size and targets, and torch gives up on a function
    that it has compiled eight times.

    Args:
        objective: Objective to evaluate. Its encoder's weights must stay where they are.
        terms: Losses with their targets, which must stay where they are.
    """

    def __init__(self, objective: Objective, terms: Sequence[LossTerm]) -> None:
        torch.compiler.reset()
        self._uses_graphs = objective.encoder.device.type == "cuda"
        mode = "reduce-overhead" if self._uses_graphs else None
        self._compiled = torch.compile(_Evaluation(objective, terms).forward, dynamic=False, mode=mode)

    def __call__(self, image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Evaluate."""
        if not self._uses_graphs:
            return self._compiled(image)
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        total, terms = self._compiled(image)
        # The next replay overwrites these tensors.
        return total.clone(), {name: term.clone() for name, term in terms.items()}


class _Evaluation(nn.Module):
    """A module, so that torch takes targets to stay in place: others it would copy into its graph at each step."""

    def __init__(self, objective: Objective, terms: Sequence[LossTerm]) -> None:
        super().__init__()
        self.objective = objective
        self.terms = terms

    def forward(self, image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return self.objective.evaluate(image, self.terms)


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
