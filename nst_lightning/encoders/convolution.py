"""Convolutions with weights that never change: less to keep for the gradient, and a faster algorithm on CPUs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_input

_TILE = 6
_BAND_NUMBERS = 2**23  # inputs and outputs of a band, which NNPACK makes a copy of, 16 / 9 times as large
_LEAST_CHANNELS = {"never": 2**31, "backward": 256, "always": 64}  # with fewer the transformations cost too much

Padding = Literal["zeros", "replicate", "reflect"]
Winograd = Literal["never", "backward", "always"]


@dataclass(frozen=True, eq=False)
class FrozenConvolution:
    r"""A 3×3 convolution that keeps the size of its map, and whose weights get no gradient.

    So, unlike with `torch.nn.functional.conv2d`, nothing of the size of a map is kept for the gradient: a padded
    copy of the input can go at once.

    Wide float32 convolutions on a CPU may go by Winograd's algorithm (Lavin and Gray 2015, "Fast Algorithms for
    Convolutional Neural Networks"), :math:`F(6 \times 6, 3 \times 3)`: 64 multiplications in place of 324. PyTorch
    brings it with NNPACK, but does not choose it by itself for small batches. Its rounding is about 1e-5 of a map's
    largest number, ten times that of the direct sum. On the way back that stays so; on the way forth it changes which
    of nearly equal numbers a pooling picks, and so the gradient by some 0.5 %.

    Attributes:
        source: The weights as they came, `(outputs, inputs, 3, 3)`.
        bias: `(outputs,)`.
        contiguous: The weights laid out for Winograd's algorithm on the way forth; `None` for the direct sum.
        turned: `(inputs, outputs, 3, 3)`, for Winograd's algorithm on the way back: the gradient with respect to the
            input is the convolution of the output's with the weights turned by half a turn, inputs and outputs
            exchanged. `None` for the direct sum.
    """

    source: Tensor
    bias: Tensor
    contiguous: Tensor | None = None
    turned: Tensor | None = None

    @classmethod
    def prepare(cls, weight: Tensor, bias: Tensor, winograd: Winograd) -> FrozenConvolution:
        """Lay out the weights for the algorithm, once.

        Args:
            weight: `(outputs, inputs, 3, 3)`.
            bias: `(outputs,)`.
            winograd: Where to use Winograd's algorithm, if it is at hand and pays.
        """
        if not winograd_pays(weight, winograd):
            return cls(weight, bias)
        turned = weight.flip(2, 3).transpose(0, 1).contiguous()
        return cls(weight, bias, weight.contiguous() if winograd == "always" else None, turned)

    def __call__(self, x: Tensor, padding: Padding) -> Tensor:
        """Convolve.

        Args:
            x: `(N, inputs, H, W)`.
            padding: What lies outside; `reflect` needs two rows and columns.

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

    def backward(self, slope: Tensor, padding: Padding) -> Tensor:
        """Give the gradient with respect to the input.

        Args:
            slope: With respect to the output, `(N, outputs, H, W)`.
            padding: As it was.

        Returns:
            `(N, inputs, H, W)`.
        """
        zeros = int(padding == "zeros")
        batch, _, height, width = slope.shape
        if self.turned is not None:
            gradient = _convolve_in_bands(slope, self.turned, None, 2 - zeros)
        else:
            size = (batch, self.source.shape[1], height + 2 - 2 * zeros, width + 2 - 2 * zeros)
            gradient = conv2d_input(size, self.source, slope, padding=zeros)  # type: ignore[no-untyped-call]
        return gradient if zeros else _unpad(gradient, padding)


def _unpad(gradient: Tensor, padding: Padding) -> Tensor:
    """Add the gradient of each padded row and column to that of the one it was copied from."""
    offset = 1 if padding == "replicate" else 2
    for axis in (2, 3):
        last = gradient.shape[axis] - 1
        for edge, origin in ((0, offset), (last, last - offset)):
            gradient.select(axis, origin).add_(gradient.select(axis, edge))
    return gradient[:, :, 1:-1, 1:-1]


def winograd_pays(weight: Tensor, winograd: Winograd) -> bool:
    """Tell whether Winograd's algorithm is wanted, at hand for a convolution, and faster (benchmarks/README.md)."""
    channels = weight.shape[0] if winograd == "always" else min(weight.shape[:2])
    wide = weight.device.type == "cpu" and weight.dtype == torch.float32 and channels >= _LEAST_CHANNELS[winograd]
    # Asking whether it is at hand also initialises it.
    return wide and bool(torch.backends.nnpack.is_available())  # type: ignore[no-untyped-call]


def _convolve_in_bands(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int) -> Tensor:
    """Convolve by Winograd's algorithm, a band of rows at a time: it would need thrice the memory of the maps."""
    outputs, height, width = weight.shape[0], x.shape[2] - 2 + 2 * padding, x.shape[3] - 2 + 2 * padding
    fitting = _BAND_NUMBERS // (x.shape[0] * (x.shape[1] + outputs) * x.shape[3])
    rows = max(fitting // _TILE, 1) * _TILE  # whole tiles: bands do not change a number
    if rows >= height:
        return torch._nnpack_spatial_convolution(x.contiguous(), weight, bias, [padding, padding], [1, 1])
    y = x.new_empty(x.shape[0], outputs, height, width)
    for start in range(0, height, rows):
        stop = min(start + rows, height)
        top, bottom = max(padding - start, 0), max(stop + 2 - padding - x.shape[2], 0)
        band = x[:, :, start - padding + top : stop + 2 - padding - bottom]
        band = F.pad(band, (padding, padding, top, bottom)).contiguous()
        y[:, :, start:stop] = torch._nnpack_spatial_convolution(band, weight, bias, [0, 0], [1, 1])
    return y


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, convolution: FrozenConvolution, padding: Padding) -> Tensor:
        ctx.convolution, ctx.padding = convolution, padding
        return convolution.forward(x, padding)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None, None]:
        return ctx.convolution.backward(slopes[0], ctx.padding), None, None
