"""The two networks of a distillation: a pretrained one that is frozen, and a narrow VGG19 that can be trained."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, cast

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import get_model
from torchvision.models.feature_extraction import create_feature_extractor

from nst_lightning.encoders.encoder_weights import CAFFE_MEAN, IMAGENET_MEAN, IMAGENET_STD
from nst_lightning.encoders.topology import CONVOLUTIONS, LAYERS, check_layers, deepest
from nst_lightning.errors import UserError, one_line, user_path
from nst_lightning.utils.torch_files import load_tensors

_HARDLY_ACTIVE = 1e-3


class Teacher(nn.Module):
    """Frozen torchvision model with some of its maps tapped.

    Args:
        model: Name that `torchvision.models.get_model` knows, such as `vgg19` or `squeezenet1_1`.
        layers: Names of the nodes to tap, as `torchvision.models.feature_extraction` spells them (`features.29`).
        weights: Name of torchvision's weights such as `DEFAULT`, or a path to a `.safetensors` or `.pth` file.
        rename: Regular expressions and their replacements, applied in order to a weights file's keys until
            they are torchvision's; keys that the model lacks are left out.
        preprocessing: Range that the model expects: `imagenet` (RGB, mean and standard deviation) or `caffe` (BGR,
            0–255, mean only).
        padding: Pixels that are repeated at the right and bottom edges. Where a network's strided layers have
            no padding of their own, as SqueezeNet's, 1 makes its grids coincide with VGG's, and nothing has
            to be resampled.

    Raises:
        UserError: If the model or a layer is unknown, or the file is missing, damaged or does not hold all
            tensors of the tapped part.
    """

    def __init__(
        self,
        model: str,
        layers: list[str],
        weights: str = "DEFAULT",
        *,
        rename: dict[str, str] | None = None,
        preprocessing: Literal["imagenet", "caffe"] = "imagenet",
        padding: int = 0,
    ) -> None:
        super().__init__()
        is_file = Path(weights).suffix in (".safetensors", ".pth", ".pt")
        self.layers = list(layers)
        try:
            network = get_model(model, weights=None if is_file else weights)
            self.body = create_feature_extractor(network, return_nodes=self.layers)
        except (ValueError, KeyError) as error:  # torchvision's words for an unknown model, weights or layer
            reason = one_line(error)
            raise UserError(f"the teacher can't be built ({reason}); see torchvision's documentation.") from error
        if is_file:
            self._load(user_path(weights), rename or {})
        self.body.requires_grad_(False)
        self.preprocessing = preprocessing
        self.padding = padding
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("caffe_mean", torch.tensor(CAFFE_MEAN).view(1, 3, 1, 1), persistent=False)
        self.eval()

    def _load(self, path: Path, rename: Mapping[str, str]) -> None:
        if not path.is_file():
            raise UserError(f"there is no teacher weights file {path}; give the path of a .safetensors or .pth file.")
        renamed: dict[str, Tensor] = {}
        for key, value in _read(path).items():
            for pattern, replacement in rename.items():
                key = re.sub(pattern, replacement, key)
            renamed[key] = value
        missing = sorted(set(self.body.state_dict()) - set(renamed))
        if missing:
            raise UserError(f"{path} lacks {missing[0]} and {len(missing) - 1} more tensors; see the option rename.")
        try:
            self.body.load_state_dict({key: renamed[key] for key in self.body.state_dict()})
        except RuntimeError as error:  # a tensor of another shape
            reason = one_line(error)
            raise UserError(f"the weights in {path} are not the model's ({reason}); give its own.") from error

    def train(self, mode: bool = True) -> Teacher:
        """Stay in evaluation mode whatever is asked: dropout and batch statistics have no place in a target."""
        del mode
        return super().train(False)

    def forward(self, images: Tensor, taps: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Compute the tapped maps.

        Args:
            images: sRGB in [0, 1], shape `(N, 3, H, W)`.
            taps: Layers to return; `None` for all.

        Returns:
            For each layer its map `(N, C, h, w)`.
        """
        if self.preprocessing == "caffe":
            prepared = images.flip(1) * 255.0 - self.get_buffer("caffe_mean")
        else:
            prepared = (images - self.get_buffer("mean")) / self.get_buffer("std")
        prepared = F.pad(prepared, (0, self.padding, 0, self.padding), mode="replicate")
        features: dict[str, Tensor] = self.body(prepared)
        return features if taps is None else {name: features[name] for name in taps}


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return load_tensors(path)
    # a damaged file trips the unpickler in ways that have no common class
    except (Exception, SafetensorError) as error:
        raise UserError(f"{path} can't be read as tensors; save the teacher's state_dict() anew.") from error


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
            # Replicated borders, as images are later painted with: zeros would draw a frame.
            self.convolutions[name] = nn.Conv2d(
                channels, width, 3, padding=1, padding_mode="replicate", bias=not batch_norm
            )
            self.norms[name] = nn.BatchNorm2d(width) if batch_norm else nn.Identity()
            channels = width
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """Compute the maps of images.

        Args:
            images: sRGB in [0, 1], shape `(N, 3, H, W)`.
            taps: Names of layers, such as `relu1_2` or `pool3`.

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
        student: Trained network.

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
    """Rescale every channel so that its mean activation over images is 1, the function staying the same.

    A channel's weights and bias are divided by its mean after ReLU, and the next layer's weights for that
    channel multiplied by it; ReLU and pooling commute with positive factors. This is the normalized network
    of Gatys et al. 2015, section 2, channel by channel instead of position by position. A channel that is
    hardly ever active, with less than a thousandth of its layer's mean, gets its layer's factor: with its own
    it would be all noise, and its weights would leave the range of float16. A layer without any activity is
    left as it is.

    Args:
        state: Weights under `conv1_1.weight`, `conv1_1.bias` … in network order; they may end early.
        images: Batches of natural images, sRGB in [0, 1], `(N, 3, H, W)`.

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
