"""Training a one-pass network of certain styles with the losses that a single image is painted with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from nst_lightning.data.fast_transfer_data import FastBatch
from nst_lightning.encoders.vgg19 import VGG19
from nst_lightning.errors import UserError
from nst_lightning.losses.loss import Loss, LossTerm, Measured
from nst_lightning.losses.objective import Objective, Targets
from nst_lightning.networks.network_file import CHECKPOINT_KEY
from nst_lightning.networks.transformer import TransformerNet
from nst_lightning.tasks.network_training import NetworkTraining


@torch.no_grad()
def measure_styles(objective: Objective, styles: Sequence[Tensor]) -> dict[str, Measured]:
    """Return the targets of each style loss, by its name, with the styles along the first dimension.

    Args:
        objective: Objective whose losses prepare tensors `(1, …)` of a style.
        styles: Each `(1, 3, h, w)` in [0, 1], with its own size.
    """
    losses = [loss for loss in objective.losses if loss.reference == "style"]
    prepared: dict[str, list[Measured]] = {loss.name: [] for loss in losses}
    for style in styles if losses else ():
        features = objective.encoder(style.to(objective.encoder.device), objective.taps("style"))
        for loss in losses:
            prepared[loss.name].append(loss.prepare(loss.measure(features)))
    return {
        name: {key: torch.cat([targets[key] for targets in each]) for key in each[0]} for name, each in prepared.items()
    }


@torch.no_grad()
def batch_targets(
    objective: Objective, contents: Tensor, targets: Mapping[str, Measured], styles: Tensor, strength: float
) -> Targets:
    """Return the targets of a batch: for each image its own style's, and its own photograph's.

    Args:
        objective: Objective without guides or tiles.
        contents: Photographs, `(N, 3, H, W)` in [0, 1].
        targets: Targets of each style loss, from `measure_styles`.
        styles: Number of the style that each image is painted in, `(N,)`.
        strength: Strength of the style, whose square the style's terms count.
    """
    taps = objective.taps("content")
    features = objective.encoder(contents, taps) if taps else {}
    terms = []
    for loss in objective.losses:
        if loss.reference == "style":
            own = {key: value[styles] for key, value in targets[loss.name].items()}
            terms.append(LossTerm(loss, loss.name, own, share=strength**2))
        else:
            measured = loss.measure(features) if loss.reference == "content" else {}
            terms.append(LossTerm(loss, loss.name, loss.prepare(measured)))
    return Targets(terms)


class FastStyleTransfer(NetworkTraining):
    r"""Train a network to do in one pass what `StyleTransfer` optimizes an image for.

    Johnson, Alahi and Fei-Fei 2016; several styles in one network as in Dumoulin et al. 2017. Every image of a batch
    is painted in one of the styles, in turn. Of the steps a share is painted at a strength :math:`\alpha < 1`,
    evenly spread over (0, 1), where the style's terms count :math:`\alpha^2`; so the strength can be chosen when the
    network is used (see `TransformerNet`). Babaeizadeh and Ghiasi 2018 draw a weight for each layer instead, and
    give the network nothing of the photograph itself.

    Styles and strengths follow from the number of the batch, photographs from the number of the sample: an
    interrupted training goes on exactly.

    Args:
        encoder: Frozen network of the losses; `None` for the compact VGG19 with replicated borders.
        network: Network that is trained; `None` for one of a single style.
        content: Loss against the photograph.
        style: Loss against the style images.
        variation: Loss of the painted image itself, such as total variation.
        extra_losses: Further losses. What a loss against the styles prepares must be tensors `(1, …)`.
        output: File to write the network to at the end (`.safetensors`, float16); `None` for no file.
        weaker: Share of the steps with a strength below 1, in [0, 1); 0 for a network without choice of strength.
        optimizer: Function that makes the optimizer of the network.
        lr_scheduler: Function that makes a schedule, which advances every step.
        decay: Part of the learning rate that is left at the end of the training, in [0, 1]; it falls on a straight line
            over the batches of the epoch, however many the data give. It multiplies what a schedule says.

    Raises:
        UserError: If there is no loss, or one reads a layer the encoder lacks, or the output can't be written, or a
            number is out of range.
    """

    network: TransformerNet

    def __init__(
        self,
        encoder: VGG19 | None = None,
        network: TransformerNet | None = None,
        content: Loss | None = None,
        style: Loss | None = None,
        variation: Loss | None = None,
        extra_losses: list[Loss] | None = None,
        output: str | None = None,
        weaker: float = 0.25,
        optimizer: OptimizerCallable = torch.optim.Adam,
        lr_scheduler: LRSchedulerCallable | None = None,
        decay: float = 1.0,
    ) -> None:
        super().__init__(
            network or TransformerNet(),
            encoder or VGG19(padding="replicate"),
            (content, style, variation, *(extra_losses or ())),
            output,
            weaker,
            optimizer,
            lr_scheduler,
            decay,
        )
        self._targets: dict[str, Measured] = {}
        self._style_names: tuple[str, ...] = ()
        self._styles_digest = ""

    @property
    def style_names(self) -> tuple[str, ...]:
        """Names of the styles."""
        return self._style_names

    def on_fit_start(self) -> None:
        """Convert the encoder once; forget the styles of an earlier run."""
        super().on_fit_start()
        self._targets = {}
        if self.trainer.ckpt_path is None:
            self._styles_digest = ""

    def forward(self, images: Tensor, weights: Tensor | None = None) -> Tensor:
        """Stylize images; see `TransformerNet.forward`."""
        painted: Tensor = self.network(images, weights)
        return painted

    def _evaluate(self, batch: FastBatch, batch_idx: int, strength: float) -> tuple[Tensor, dict[str, Tensor]]:
        self._measure_styles(batch)
        contents = batch.contents
        count = contents.shape[0]
        first = (batch_idx * self.trainer.world_size + self.global_rank) * count
        styles = torch.arange(first, first + count, device=self.device) % self.network.styles
        painted = self(contents, strength * F.one_hot(styles, self.network.styles).to(contents.dtype))
        targets = batch_targets(self.objective, contents, self._targets, styles, strength)
        loss: Tensor
        loss, terms = self.objective(painted, targets)
        return loss, terms

    def _measure_styles(self, batch: FastBatch) -> None:
        """Measure the styles once in a run."""
        if self._targets and batch.digest == self._styles_digest:
            return
        if len(batch.styles) != self.network.styles:
            raise UserError(
                f"data.style has {len(batch.styles)} pictures, but the network is made for {self.network.styles} "
                f"styles; set --model.network.styles {len(batch.styles)}."
            )
        if self._styles_digest not in ("", batch.digest):
            raise UserError(
                "the network of the checkpoint was trained with other style pictures or another data.style_size; "
                "restore them, or start without --ckpt_path."
            )
        self._targets = measure_styles(self.objective, batch.styles)
        self._style_names = batch.style_names
        self._styles_digest = batch.digest

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what an exact resume needs, the digest of the styles among it."""
        super().on_save_checkpoint(checkpoint)
        checkpoint[CHECKPOINT_KEY]["pictures"] = self._styles_digest

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the state over; see `NetworkTraining.on_load_checkpoint`."""
        super().on_load_checkpoint(checkpoint)
        saved = checkpoint[CHECKPOINT_KEY]
        self._style_names = tuple(saved["styles"])
        self._styles_digest = saved["pictures"]
