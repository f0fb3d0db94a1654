"""What benchmarks/step.py compares with: a plain PyTorch loop, and the convolutions alone."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nst_lightning.encoders.encoder_weights import IMAGENET_MEAN, IMAGENET_STD
from nst_lightning.encoders.topology import LAYERS, deepest

CONTENT_LAYERS = ("relu4_2",)
STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
LAST = deepest([*CONTENT_LAYERS, *STYLE_LAYERS])

State = dict[str, Tensor]


class Normalization(nn.Module):
    """ImageNet's mean and standard deviation."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = torch.tensor(IMAGENET_MEAN).view(-1, 1, 1)
        self.std = torch.tensor(IMAGENET_STD).view(-1, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Normalize."""
        return (image - self.mean.to(image.device)) / self.std.to(image.device)


class PlainContentLoss(nn.Module):
    """A layer that passes its input on and keeps its distance from the target."""

    def __init__(self, target: Tensor) -> None:
        super().__init__()
        self.target = target.detach()

    def forward(self, features: Tensor) -> Tensor:
        """Keep the loss."""
        self.loss = F.mse_loss(features, self.target)
        return features


class PlainStyleLoss(nn.Module):
    """The same for the Gram matrix."""

    def __init__(self, target: Tensor) -> None:
        super().__init__()
        self.target = plain_gram_matrix(target).detach()

    def forward(self, features: Tensor) -> Tensor:
        """Keep the loss."""
        self.loss = F.mse_loss(plain_gram_matrix(features), self.target)
        return features


def plain_gram_matrix(features: Tensor) -> Tensor:
    """Return the Gram matrix as the tutorial does."""
    batch, channels, height, width = features.size()
    flat = features.view(batch * channels, height * width)
    return torch.mm(flat, flat.t()).div(batch * channels * height * width)


class PlainLoop:
    """Value and gradient as in "Neural Transfer Using PyTorch" (pytorch/tutorials, neural_style_tutorial.py).

    A `nn.Sequential` of layers with the losses between them, contiguous float32, the weights without gradient.
    Differs: the taps are ours (Gatys et al. 2015, after the rectifier) in place of the first five convolutions.

    Args:
        state: VGG19's weights.
        content: `(1, 3, H, W)` in [0, 1].
        style: Style image, sRGB in [0, 1].
    """

    def __init__(self, state: State, content: Tensor, style: Tensor) -> None:
        self.model = nn.Sequential(Normalization())
        self.content_losses: list[PlainContentLoss] = []
        self.style_losses: list[PlainStyleLoss] = []
        for name in LAYERS[:LAST]:
            self.model.add_module(name, _plain_layer(state, name).to(content.device))
            with torch.no_grad():
                if name in CONTENT_LAYERS:
                    self.content_losses.append(PlainContentLoss(self.model(content)))
                    self.model.add_module(f"content_{name}", self.content_losses[-1])
                if name in STYLE_LAYERS:
                    self.style_losses.append(PlainStyleLoss(self.model(style)))
                    self.model.add_module(f"style_{name}", self.style_losses[-1])
        self.model.eval().requires_grad_(False)

    def __call__(self, image: Tensor) -> Tensor:
        """Return the loss, a scalar."""
        self.model(image)
        style_score = torch.zeros((), device=image.device)
        content_score = torch.zeros((), device=image.device)
        for style_loss in self.style_losses:
            style_score = style_score + style_loss.loss
        for content_loss in self.content_losses:
            content_score = content_score + content_loss.loss
        return style_score * 1_000_000 + content_score


def _plain_layer(state: State, name: str) -> nn.Module:
    if name.startswith("relu"):
        return nn.ReLU(inplace=False)  # as the tutorial replaces them, or its losses would see changed maps
    if name.startswith("pool"):
        return nn.MaxPool2d(2)
    weight, bias = state[f"{name}.weight"].contiguous(), state[f"{name}.bias"]
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1)
    layer.load_state_dict({"weight": weight, "bias": bias})
    return layer


def convolution_shapes(state: State, height: int, width: int) -> dict[str, tuple[int, int, int, int]]:
    """Return for each convolution its inputs' and outputs' channels, and the height and width of its map."""
    shapes = {}
    for name in LAYERS[:LAST]:
        if name.startswith("conv"):
            outputs, inputs = state[f"{name}.weight"].shape[:2]
            shapes[name] = (inputs, outputs, height, width)
        elif name.startswith("pool"):
            height, width = height // 2, width // 2
    return shapes


def count_flops(state: State, height: int, width: int) -> int:
    """Count multiplications and additions of all convolutions, forward and backward to their inputs."""
    shapes = convolution_shapes(state, height, width).values()
    return sum(2 * 2 * 9 * inputs * outputs * rows * columns for inputs, outputs, rows, columns in shapes)


class Floor:
    """The convolutions alone: each on a map of its own shape, forward and backward to its input.

    Args:
        state: VGG19's weights.
        height: Height of the image, pixels.
        width: Width of the image, pixels.
        device: Where.
        dtype: What they run in.
        layout: Memory format of maps and weights.
    """

    def __init__(
        self,
        state: State,
        height: int,
        width: int,
        device: torch.device,
        dtype: torch.dtype,
        layout: torch.memory_format,
    ) -> None:
        self.cases: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        for name, (inputs, outputs, rows, columns) in convolution_shapes(state, height, width).items():
            weight = state[f"{name}.weight"].to(device, dtype).contiguous(memory_format=layout)
            bias = state[f"{name}.bias"].to(device, dtype)
            x = torch.rand(1, inputs, rows, columns, device=device).to(dtype).contiguous(memory_format=layout)
            slope = torch.rand(1, outputs, rows, columns, device=device).to(dtype).contiguous(memory_format=layout)
            self.cases.append((x, weight, bias, slope))

    @torch.no_grad()
    def __call__(self) -> None:
        """Run each once."""
        for x, weight, bias, slope in self.cases:
            F.conv2d(x, weight, bias, padding=1)
            torch.ops.aten.convolution_backward(
                slope, x, weight, [bias.shape[0]], [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [True, False, False]
            )
