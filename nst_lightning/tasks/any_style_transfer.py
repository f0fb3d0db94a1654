"""Training a network that paints in the style of any image, with the losses that a single image is painted with."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from nst_lightning.data.any_style_data import AnyStyleBatch
from nst_lightning.encoders.vgg19 import VGG19
from nst_lightning.errors import UserError
from nst_lightning.losses.loss import Features, Loss, LossTerm
from nst_lightning.losses.objective import Targets
from nst_lightning.networks.any_style import (
    DRAFTED_TAP,
    MOVED_TAPS,
    STYLE_TAPS,
    AnyStyleNet,
    describe,
    extend,
    halve,
    with_draft,
)
from nst_lightning.networks.gaussians import Gaussian
from nst_lightning.tasks.network_training import NetworkTraining

_IDENTITY_EVERY = 2  # steps in which the last image is its own style
_DRAFTED_OF = 3  # of so many pairs of steps the first one is without a draft


class AnyStyleTransfer(NetworkTraining):
    r"""Train an `AnyStyleNet` to do in one pass, for any style, what `StyleTransfer` optimizes an image for.

    Each image of a batch has a style of its own. In every second step the style of the last one is the image itself,
    which the network then has to leave as it is: else a photograph would lose more than its style.

    Of the steps a share is painted at a strength :math:`\alpha < 1`, evenly spread over (0, 1), where the style's
    terms count :math:`\alpha^2`. Strengths follow from the number of the batch, images from the number of the sample:
    an interrupted training goes on exactly.

    Args:
        network: Network that is trained; `None` for one of the usual size.
        encoder: Frozen network of the losses; `None` for the network's own, which then encodes each image once.
        content: Loss against the photograph.
        style: Loss against the style images.
        variation: Loss of the painted image itself, such as total variation.
        moved: Loss against the photograph's features as they are moved to the style's statistics, of `MOVED_TAPS` and,
            with drafts, `DRAFTED_TAP`: the content loss of Huang and Belongie 2017. The decoder learns to paint what it
            is given, and no grain beside.
        extra_losses: Further losses.
        identity: Weight of the mean squared difference of pixels where an image is its own style.
        output: File to write the network to at the end (`.safetensors`, float16); `None` for no file.
        weaker: Share of the steps with a strength below 1, in [0, 1).
        optimizer: Function that makes the optimizer of the network.
        lr_scheduler: Function that makes a schedule, which advances every step.
        decay: Part of the learning rate that is left at the end of the training, in [0, 1]; it falls on a straight line
            over the batches of the epoch, however many the data give. It multiplies what a schedule says.

    Raises:
        UserError: If there is no loss, or one reads a layer the encoder lacks, or the output can't be written, or a
            number is out of range.
    """

    network: AnyStyleNet

    def __init__(
        self,
        network: AnyStyleNet | None = None,
        encoder: VGG19 | None = None,
        content: Loss | None = None,
        style: Loss | None = None,
        variation: Loss | None = None,
        moved: Loss | None = None,
        extra_losses: list[Loss] | None = None,
        identity: float = 20.0,
        output: str | None = None,
        weaker: float = 0.25,
        optimizer: OptimizerCallable = torch.optim.Adam,
        lr_scheduler: LRSchedulerCallable | None = None,
        decay: float = 1.0,
    ) -> None:
        network = network or AnyStyleNet()
        super().__init__(
            network,
            encoder or network.encoder,
            (content, style, variation, moved, *(extra_losses or ())),
            output,
            weaker,
            optimizer,
            lr_scheduler,
            decay,
        )
        self.identity = identity
        self.moved = moved
        if moved is not None:
            known = {*MOVED_TAPS, *([DRAFTED_TAP] if network.drafts else [])}
            if self.encoder is not network.encoder or not known.issuperset(moved.taps):
                raise UserError(
                    f"model.moved compares with the features that the decoder is given ({', '.join(sorted(known))}), "
                    f"but reads {', '.join(moved.taps)} of {self.encoder.weights_name}; choose among those layers, "
                    "and leave model.encoder out."
                )

    def on_fit_start(self) -> None:
        """Convert both encoders once."""
        super().on_fit_start()
        self.network.encoder.cast(self.encoder.dtype)

    def forward(self, images: Tensor, styles: Tensor, strength: float = 1.0) -> Tensor:
        """Return images `(N, 3, H, W)` painted in the styles of others, one for each or one for all."""
        weights = images.new_tensor([strength])
        painted: Tensor = self.network(images, [self.network.measure(styles)], weights)
        return painted

    def _evaluate(self, batch: AnyStyleBatch, batch_idx: int, strength: float) -> tuple[Tensor, dict[str, Tensor]]:
        network = self.network
        contents, styles = extend(batch.contents, network.grid), extend(batch.styles, network.grid)
        own_style = self.training and batch_idx % _IDENTITY_EVERY == 0
        weights = contents.new_tensor([strength])
        # By turns as at the coarsest resolution, with noise, and as at a finer one, with a draft.
        drafted = network.drafts > 0 and (batch_idx // _IDENTITY_EVERY % _DRAFTED_OF != 0 or not self.training)
        if drafted:
            read = self._with_draft(contents, styles, weights)
        else:
            read = network.disturb(contents, weights, *_position_of(batch_idx))
        if own_style and read is not contents:  # it is to stay as it is, without draft and noise too
            read = _with_last(read, contents)
        maps, of_contents = self._encode(contents, "content", *(["style"] if own_style else []), read=read)
        of_styles, references = self._encode(styles, "style")
        own, others = describe(maps), describe(of_styles)
        if own_style:
            others = {tap: Gaussian(*map(_with_last, others[tap], own[tap])) for tap in STYLE_TAPS}
        terms = []
        for loss in self.objective.losses:
            if loss is self.moved:
                continue
            if loss.reference == "style":
                measured = loss.measure(references)
                if own_style:
                    itself = loss.measure(of_contents)
                    measured = {key: _with_last(value, itself[key]) for key, value in measured.items()}
                terms.append(LossTerm(loss, loss.name, loss.prepare(measured), share=strength**2))
            else:
                measured = loss.measure(of_contents) if loss.reference == "content" else {}
                terms.append(LossTerm(loss, loss.name, loss.prepare(measured)))
        transport = network.transport(own, [others], weights, network.drafts > 0)
        if self.moved is not None:
            given = self.moved.measure({tap: transport.maps[tap](maps[tap]) for tap in self.moved.taps})
            terms.append(LossTerm(self.moved, self.moved.name, self.moved.prepare(given)))
        # Its colors are not moved at last, as they are when the network is used: it is to come near them by itself.
        painted = network.fade(network.paint(maps, transport, drafted), contents, transport)
        total, found = self.objective(painted, Targets(terms))
        if own_style:
            difference = self.identity * F.mse_loss(painted[-1:], contents[-1:])
            total, found["identity"] = total + difference, difference.detach()
        return total, found

    @torch.no_grad()
    def _with_draft(self, contents: Tensor, styles: Tensor, weights: Tensor) -> Tensor:
        """Return images with the drafts that the network paints of them now."""
        statistics = self.network.statistics(styles, finest=1)
        draft = self.network.forward_at(1, halve(contents), [statistics], weights)
        return with_draft(contents, draft, self.network.detail_at(weights))

    @torch.no_grad()
    def _encode(self, images: Tensor, *references: str, read: Tensor | None = None) -> tuple[Features, Features]:
        """Return what the network reads of images, and what the losses do that have these references.

        Args:
            images: Images.
            references: References of the losses.
            read: Images that the network reads; `None` for the same.
        """
        taps = self.objective.taps(*references)
        if self.encoder is self.network.encoder and (read is None or read is images):
            both = self.network.encode(images, [*STYLE_TAPS, *taps])
            return both, both
        return self.network.encode(images if read is None else read), self.encoder(images, taps) if taps else {}


def _position_of(step: int) -> tuple[int, int]:
    """Return where in the field of noise the images of a step are: each of 8,192 steps sees another part."""
    return 1021 * step % 8192, 2039 * step % 8192


def _with_last(batch: Tensor, other: Tensor) -> Tensor:
    """Return a batch whose last element is that of another one."""
    return torch.cat([batch[:-1], other[-1:]])
