"""A narrow VGG19 that can be trained, and how it becomes a frozen one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nst_lightning.encoders.encoder_weights import IMAGENET_MEAN, IMAGENET_STD
from nst_lightning.encoders.topology import CONVOLUTIONS, LAYERS, check_layers, deepest

_HARDLY_ACTIVE = 1e-3


class StudentVGG19(nn.Module):
    """VGG19's convolutions at any width, each followed by batch norm and ReLU.

    Batch norm makes sixteen narrow layers trainable from scratch; `fold` takes it out again. A network whose
    activations are normalized already, as `normalize_activations` leaves them, trains on without it, and without the
    noise of batch statistics.

    Args:
        widths: Channels of the five blocks.
        batch_norm: Whether the convolutions are followed by batch norm; if not, they have biases of their own.
    """

    def __init__(self, widths: Sequence[int] = (16, 32, 64, 128, 128), *, batch_norm: bool = True) -> None:
        super().__init__()
        self.convolutions = nn.ModuleDict()
        self.norms = nn.ModuleDict()
        channels = 3
        for name in CONVOLUTIONS:
            width = widths[int(name[4]) - 1]
            # Replicated borders, as pictures are later painted with: zeros would draw a frame.
            self.convolutions[name] = nn.Conv2d(
                channels, width, 3, padding=1, padding_mode="replicate", bias=not batch_norm
            )
            self.norms[name] = nn.BatchNorm2d(width) if batch_norm else nn.Identity()
            channels = width
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """Compute the maps of pictures.

        Args:
            images: sRGB in [0, 1], shape `(N, 3, H, W)`.
            taps: `reluX_Y` or `poolX` names.

        Returns:
            For each tap its map `(N, C, h, w)`.
        """
        check_layers(taps)
        features: dict[str, Tensor] = {}
        x = (images - self.get_buffer("mean")) / self.get_buffer("std")
        for name in LAYERS[: deepest(taps)]:
            if name.startswith("conv"):
                x = self.norms[name](self.convolutions[name](x))
            else:
                x = F.relu(x) if name.startswith("relu") else F.max_pool2d(x, 2)
            if name in taps:
                features[name] = x
        return features


def fold(student: StudentVGG19) -> dict[str, Tensor]:
    r"""Fold each batch norm into the convolution before it.

    With running mean m, variance v, scale g and shift b: :math:`W' = W g/\sqrt{v+ε}`,
    :math:`b' = b - m g/\sqrt{v+ε}`; the function in evaluation mode stays the same.

    Args:
        student: The trained network.

    Returns:
        Float32 tensors under `conv1_1.weight`, `conv1_1.bias` … in network order.
    """
    state: dict[str, Tensor] = {}
    for name in CONVOLUTIONS:
        norm = student.norms[name]
        convolution = cast(nn.Conv2d, student.convolutions[name])
        if not isinstance(norm, nn.BatchNorm2d):
            for key, value in convolution.named_parameters():
                state[f"{name}.{key}"] = value.detach().float().clone()
            continue
        mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
        gain = norm.weight * torch.rsqrt(variance + norm.eps)
        state[f"{name}.weight"] = (convolution.weight * gain.view(-1, 1, 1, 1)).detach().float().clone()
        state[f"{name}.bias"] = (norm.bias - mean * gain).detach().float().clone()
    return state


@torch.no_grad()
def normalize_activations(state: dict[str, Tensor], images: Iterable[Tensor]) -> dict[str, Tensor]:
    """Rescale every channel so that its mean activation over pictures is 1, the function staying the same.

    A channel's weights and bias are divided by its mean after ReLU, and the next layer's weights for that
    channel multiplied by it; ReLU and pooling commute with positive factors. This is the normalised network
    of Gatys et al. 2015, section 2, channel by channel instead of position by position. A channel that is
    hardly ever active, with less than a thousandth of its layer's mean, gets its layer's factor: with its own
    it would be all noise, and its weights would leave the range of float16. A layer without any activity is
    left as it is.

    Args:
        state: Weights under `conv1_1.weight`, `conv1_1.bias` … in network order; they may end early.
        images: Batches of natural pictures, sRGB in [0, 1], `(N, 3, H, W)`.

    Returns:
        New weights of the same shapes.
    """
    convolutions = [name for name in CONVOLUTIONS if f"{name}.weight" in state]
    sums = dict.fromkeys(convolutions, torch.zeros((), dtype=torch.float64))
    positions = dict.fromkeys(convolutions, 0)
    mean, std = torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)
    for batch in images:
        x = (batch - mean) / std
        for name in LAYERS[: deepest(convolutions)]:
            if name.startswith("conv"):
                padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
                x = F.relu(F.conv2d(padded, state[f"{name}.weight"], state[f"{name}.bias"]))
                sums[name] = sums[name] + x.sum(dim=(0, 2, 3), dtype=torch.float64)
                positions[name] += x.shape[0] * x.shape[2] * x.shape[3]
            elif name.startswith("pool"):
                x = F.max_pool2d(x, 2)
    normalized: dict[str, Tensor] = {}
    previous = torch.ones(3)
    for name in convolutions:
        means = (sums[name] / max(1, positions[name])).float()
        typical = means.mean() if means.any() else torch.ones(())
        means = torch.where(means > _HARDLY_ACTIVE * typical, means, typical)
        normalized[f"{name}.weight"] = state[f"{name}.weight"] * previous.view(1, -1, 1, 1) / means.view(-1, 1, 1, 1)
        normalized[f"{name}.bias"] = state[f"{name}.bias"] / means
        previous = means
    return normalized
