"""Convolutions with weights that never change: less to keep for the gradient, and a faster algorithm on CPUs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_input

from nst_lightning._compat import winograd_convolution

_TILE = 6
_BAND_NUMBERS = 2**23  # inputs and outputs of a band, which NNPACK makes a copy of, 16 / 9 times as large
_MIN_CHANNELS = {"never": 2**31, "backward": 256, "always": 64}  # with fewer the transformations cost too much

Padding = Literal["zeros", "replicate", "reflect"]
Winograd = Literal["never", "backward", "always"]


@dataclass(frozen=True, eq=False)
class FrozenConvolution:
    r"""A 3×3 convolution that keeps the size of its map, and whose weights get no gradient.

    So, unlike with `torch.nn.functional.conv2d`, nothing of the size of a map is saved for the backward pass: a padded
    copy of the input is freed at once.

    Wide float32 convolutions on a CPU may go by Winograd's algorithm (Lavin and Gray 2015, "Fast Algorithms for
    Convolutional Neural Networks"), :math:`F(6 \times 6, 3 \times 3)`: 64 multiplications in place of 324. PyTorch
    has it in NNPACK, but does not choose it by itself for small batches. Its rounding is about 1e-5 of a map's
    largest number, ten times that of the direct sum. In the backward pass that stays so; in the forward pass it changes
    which of nearly equal numbers a pooling picks, and so the gradient by some 0.5 %.

    Attributes:
        source: Weights, `(outputs, inputs, 3, 3)`.
        bias: Bias, `(outputs,)`.
        contiguous: Weights laid out for Winograd's algorithm in the forward pass; `None` for the direct sum.
        transposed: Weights `(inputs, outputs, 3, 3)` for Winograd's algorithm in the backward pass: the gradient with
            respect to the input is the convolution of the output's with the weights flipped in height and width, inputs
            and outputs exchanged. `None` for the direct sum.
    """

    source: Tensor
    bias: Tensor
    contiguous: Tensor | None = None
    transposed: Tensor | None = None

    @classmethod
    def prepare(cls, weight: Tensor, bias: Tensor, winograd: Winograd) -> FrozenConvolution:
        """Lay out the weights for the algorithm, once.

        Args:
            weight: Weights, `(outputs, inputs, 3, 3)`.
            bias: Bias, `(outputs,)`.
            winograd: Passes to use Winograd's algorithm in, if it is available and faster.
        """
        if not winograd_pays(weight, winograd):
            return cls(weight, bias)
        transposed = weight.flip(2, 3).transpose(0, 1).contiguous()
        return cls(weight, bias, weight.contiguous() if winograd == "always" else None, transposed)

    def __call__(self, x: Tensor, padding: Padding) -> Tensor:
        """Convolve.

        Args:
            x: Feature maps, `(N, inputs, H, W)`.
            padding: Values outside the map; `reflect` needs two rows and columns.

        Returns:
            `(N, outputs, H, W)`.
        """
        y: Tensor = _Convolve.apply(x, self, padding)
        return y

    def forward(self, x: Tensor, padding: Padding) -> Tensor:
        """Convolve without a graph; see `__call__`."""
        zeros = int(padding == "zeros")
        x = x if zeros else F.pad(x, (1, 1, 1, 1), mode=padding)
        if self.contiguous is not None:
            return _convolve_in_bands(x, self.contiguous, self.bias, zeros)
        return F.conv2d(x, self.source, self.bias, padding=zeros)

    def backward(self, grad_output: Tensor, padding: Padding) -> Tensor:
        """Return the gradient with respect to the input.

        Args:
            grad_output: Gradient with respect to the output, `(N, outputs, H, W)`.
            padding: Values outside the map, as in the forward pass.

        Returns:
            `(N, inputs, H, W)`.
        """
        zeros = int(padding == "zeros")
        batch, _, height, width = grad_output.shape
        if self.transposed is not None:
            grad = _convolve_in_bands(grad_output, self.transposed, None, 2 - zeros)
        else:
            size = (batch, self.source.shape[1], height + 2 - 2 * zeros, width + 2 - 2 * zeros)
            grad = conv2d_input(size, self.source, grad_output, padding=zeros)  # type: ignore[no-untyped-call]
        return grad if zeros else _unpad(grad, padding)


def _unpad(grad: Tensor, padding: Padding) -> Tensor:
    """Add the gradient of each padded row and column to that of the one it was copied from."""
    offset = 1 if padding == "replicate" else 2
    for axis in (2, 3):
        last = grad.shape[axis] - 1
        for edge, origin in ((0, offset), (last, last - offset)):
            grad.select(axis, origin).add_(grad.select(axis, edge))
    return grad[:, :, 1:-1, 1:-1]


def winograd_pays(weight: Tensor, winograd: Winograd) -> bool:
    """Whether Winograd's algorithm is wanted, available for a convolution, and faster (benchmarks/README.md)."""
    channels = weight.shape[0] if winograd == "always" else min(weight.shape[:2])
    wide = weight.device.type == "cpu" and weight.dtype == torch.float32 and channels >= _MIN_CHANNELS[winograd]
    # Asking whether it is available also initializes it.
    return wide and bool(torch.backends.nnpack.is_available())  # type: ignore[no-untyped-call]


def _convolve_in_bands(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int) -> Tensor:
    """Convolve by Winograd's algorithm, a band of rows at a time: it would need thrice the memory of the maps."""
    outputs, height, width = weight.shape[0], x.shape[2] - 2 + 2 * padding, x.shape[3] - 2 + 2 * padding
    fitting = _BAND_NUMBERS // (x.shape[0] * (x.shape[1] + outputs) * x.shape[3])
    rows = max(fitting // _TILE, 1) * _TILE  # whole tiles: bands do not change a number
    if rows >= height:
        return winograd_convolution(x.contiguous(), weight, bias, padding)
    y = x.new_empty(x.shape[0], outputs, height, width)
    for start in range(0, height, rows):
        stop = min(start + rows, height)
        top, bottom = max(padding - start, 0), max(stop + 2 - padding - x.shape[2], 0)
        band = x[:, :, start - padding + top : stop + 2 - padding - bottom]
        band = F.pad(band, (padding, padding, top, bottom)).contiguous()
        y[:, :, start:stop] = winograd_convolution(band, weight, bias, 0)
    return y


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, convolution: FrozenConvolution, padding: Padding) -> Tensor:
        ctx.convolution, ctx.padding = convolution, padding
        return convolution.forward(x, padding)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None, None]:
        return ctx.convolution.backward(grad_output, ctx.padding), None, None
