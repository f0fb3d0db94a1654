"""The network that paints in one pass, and its normalization by style."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nst_lightning.errors import UserError

_EPSILON = 1e-5


class Moments(NamedTuple):
    """Mean and variance of each channel over positions, `(N, C)` each, in float32 (of a float64 map in float64).

    The variance divides by the number of positions, not by one less.
    """

    mean: Tensor
    variance: Tensor

    @classmethod
    def merged(cls, parts: Sequence[Moments], areas: Sequence[int]) -> Moments:
        r"""Return the moments of a whole from those of its parts.

        With shares :math:`s` of the positions, :math:`\mu = \sum_i s_i \mu_i` and
        :math:`\sigma^2 = \sum_i s_i (\sigma_i^2 + (\mu_i - \mu)^2)`: Chan, Golub and LeVeque, "Algorithms for Computing
        the Sample Variance", 1983. Nothing is subtracted that nearly cancels.

        Args:
            parts: Moments of the parts, at least one.
            areas: Number of positions of each part.
        """
        means, variances = (torch.stack(values) for values in zip(*parts, strict=True))
        shares = (means.new_tensor(areas) / sum(areas)).view(-1, 1, 1)
        mean = (shares * means).sum(0)
        return cls(mean, (shares * (variances + (means - mean).square())).sum(0))


class ConditionalInstanceNorm(nn.Module):
    r"""Normalize each channel of each image, then scale and shift it as a mixture of styles says.

    .. math:: y = \gamma \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta, \quad
              \gamma = \sum_s m_s \gamma_s, \quad \beta = \sum_s m_s \beta_s

    Dumoulin, Shlens and Kudlur, "A Learned Representation For Artistic Style", 2017: everything but
    :math:`\gamma` and :math:`\beta` is shared by all styles, and their mixtures are styles in between. The
    moments are the image's own, or given: of the whole image where `x` is a part of it.

    Args:
        channels: Number of channels of the map.
        rows: Number of rows of the mixture.
    """

    def __init__(self, channels: int, rows: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(rows, channels))
        self.shift = nn.Parameter(torch.zeros(rows, channels))

    @staticmethod
    def moments(x: Tensor) -> Moments:
        r"""Return the moments of a map `(N, C, H, W)`.

        With :math:`d = x - p`, :math:`\mu = p + \mathrm{E}[d]` and
        :math:`\sigma^2 = \mathrm{E}[d^2] - \mathrm{E}[d]^2` for any pivot p. Here it is the mean of the first row.
        Whatever the map, that bounds what cancels: the mean of one row in H is at most :math:`\sqrt{H - 1}` deviations
        from the whole's. With :math:`p = 0` a clear sky, whose maps have means far above their deviations, would have
        a variance of rounding errors.
        """
        x = x if x.dtype == torch.float64 else x.float()
        pivot = _mean_over_positions(x[:, :, :1]).detach()  # whatever it is, the moments are the same
        centered = x - pivot[..., None, None]
        mean = _mean_over_positions(centered)
        # Squared in place: where no gradient is wanted this is as fast as the sums of x and x² would be.
        return Moments(pivot + mean, _mean_over_positions(centered.square_()) - mean.square())

    def forward(self, x: Tensor, mixture: Tensor, moments: Moments | None = None) -> Tensor:
        """Return a normalized map.

        Args:
            x: Map, `(N, C, H, W)`.
            mixture: Weights of the styles, `(N, rows)` or `(1, rows)`.
            moments: Moments of the image that `x` is a part of; `None` if it is the whole.

        Returns:
            Map like `x`, in its dtype.
        """
        mean, variance = self.moments(x) if moments is None else moments
        with torch.autocast(x.device.type, enabled=False):
            mixture = mixture.to(mean.dtype)
            scale, shift = mixture @ self.scale.to(mean.dtype), mixture @ self.shift.to(mean.dtype)
            factor = scale * torch.rsqrt(variance + _EPSILON)
            offset = shift - mean * factor
        return torch.addcmul(offset[..., None, None].to(x.dtype), x, factor[..., None, None].to(x.dtype))


def _mean_over_positions(x: Tensor) -> Tensor:
    # Row by row as products with ones: in channels_last half the time of `Tensor.mean` and a quarter of that of
    # `torch.var_mean`, with backward; and no running sum over all positions, which would lose digits.
    rows = x.permute(0, 2, 3, 1)
    with torch.autocast(x.device.type, enabled=False):
        sums = rows.new_ones(1, rows.shape[2]) @ rows
    return sums.squeeze(2).mean(dim=1) / rows.shape[2]


SMALLEST_SIDE = 8
"""Smallest side of an image, pixels: two positions after the two halvings, so that there is one to reflect."""


class Stage(nn.Module):
    """One step of the network: upsampling, reflection padding, convolution, normalization, rectifier.

    `forward` is `finish` after `convolve`. They are apart because only the normalization looks further than a kernel:
    an image can be run tile by tile, each stage over all tiles, if the moments of the convolved maps are gathered
    over the whole image before any tile is finished.

    Args:
        inputs: Number of input channels.
        outputs: Number of output channels.
        kernel: Side of the kernel, odd.
        rows: Rows of the mixture; 0 for a stage without normalization.
        stride: Stride of the convolution, 1 or 2.
        upsample: Whether to repeat each position twice in both directions first (Odena et al., "Deconvolution and
            Checkerboard Artifacts", 2016), where Johnson et al. 2016 have transposed convolutions.
        rectify: Whether negative values become 0 at the end.
        block: Whether the stage opens a residual block, closes one (the map that entered the opening stage is
            added to its own), or neither.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        rows: int,
        *,
        stride: int = 1,
        upsample: bool = False,
        rectify: bool = True,
        block: Literal["opens", "closes"] | None = None,
    ) -> None:
        super().__init__()
        self.upsample = upsample
        self.rectify = rectify
        self.block = block
        self.margin = kernel // 2
        # A bias would be taken off again by the normalization.
        self.convolution = nn.Conv2d(inputs, outputs, kernel, stride, bias=rows == 0)
        self.norm = ConditionalInstanceNorm(outputs, rows) if rows else None

    def convolve(self, x: Tensor, padding: tuple[int, int, int, int] | None = None) -> Tensor:
        """Return a map upsampled, padded and convolved.

        Args:
            x: Map, `(N, inputs, H, W)`.
            padding: Numbers of positions to reflect on the left, right, top and bottom, counted after upsampling;
                `None` for `margin` all around. A tile that brings its neighbors' positions along has 0 there.

        Returns:
            `(N, outputs, H', W')`.
        """
        if self.upsample:
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        padded = F.pad(x, padding or (self.margin,) * 4, mode="reflect")
        convolved: Tensor = self.convolution(padded)
        return convolved

    def finish(
        self, x: Tensor, mixture: Tensor, moments: Moments | None = None, skipped: Tensor | None = None
    ) -> Tensor:
        """Return a convolved map normalized, rectified and added to another one.

        Args:
            x: Result of `convolve`.
            mixture: Weights of the styles, `(N, rows)` or `(1, rows)`.
            moments: Moments of the whole image's `convolve`; `None` if `x` is the whole.
            skipped: Map that entered the block, for a stage that closes one.
        """
        if self.norm is not None:
            x = self.norm(x, mixture, moments)
        if self.rectify:
            x = F.relu(x)
        return x if skipped is None else x + skipped

    def forward(self, x: Tensor, mixture: Tensor, skipped: Tensor | None = None) -> Tensor:
        """Return the stage's output for a whole image."""
        return self.finish(self.convolve(x), mixture, None, skipped)


class TransformerNet(nn.Module):
    r"""Johnson et al., "Perceptual Losses for Real-Time Style Transfer", 2016, for several styles and strengths.

    Three convolutions that halve the image twice (a side of n becomes ⌈n/2⌉), residual blocks, two upsampling
    convolutions and a last one; each pads by reflection, and what is too much at the right and the bottom in the end
    is cut off. What differs from the paper and its supplement: instance normalization (Ulyanov et al. 2016)
    conditioned on the style (Dumoulin et al. 2017), upsampling by repetition instead of transposed convolutions,
    residual blocks that keep their size, a logistic function instead of a scaled tanh at the end (the same function
    but for the scale of its argument, and exactly [0, 1] where theirs had to reach below 0 and above 255).

    The mixture of styles has one more row than there are styles: the photograph. It takes what the weights
    leave of 1, in the normalizations, :math:`\gamma = (1 - \alpha) \gamma_0 + \sum_s w_s \gamma_s` with
    :math:`\alpha = \sum_s w_s`, and in the pixels, :math:`y = (1 - \alpha) x + \alpha \, \mathrm{net}(x)`. So
    :math:`\alpha` is the strength: 1 for the styles as learned, 0 for the photograph itself, to the bit, and in
    between what the training asked of that strength (Babaeizadeh and Ghiasi, "Adjustable Real-time Style
    Transfer", 2018, who have a network of its own turn the strength into :math:`\gamma` and :math:`\beta`).

    Args:
        styles: Number of styles.
        width: Number of channels at full resolution; twice and four times as many at a half and a quarter of it.
        blocks: Number of residual blocks, at a quarter.

    Attributes:
        stages: Stages in the order of the forward pass; `blend` comes after them.

    Raises:
        UserError: If a number is below 1 (`blocks`: below 0).

    Example:
        >>> network = TransformerNet(styles=2, width=4, blocks=1).eval()
        >>> image = torch.rand(1, 3, 30, 41)
        >>> network(image, torch.tensor([0.5, 0.25])).shape  # both styles, at strength 0.75
        torch.Size([1, 3, 30, 41])
        >>> torch.equal(network(image, torch.zeros(2)), image)
        True
    """

    def __init__(self, styles: int = 1, width: int = 32, blocks: int = 5) -> None:
        super().__init__()
        if min(styles, width) < 1 or blocks < 0:
            raise UserError(
                f"a transformer network needs at least 1 style, a width of 1 and 0 blocks, but {styles}, {width} and "
                f"{blocks} were given."
            )
        self.styles = styles
        self.width = width
        self.blocks = blocks
        rows, deep = styles + 1, 4 * width
        stages = [
            Stage(3, width, 9, rows),
            Stage(width, 2 * width, 3, rows, stride=2),
            Stage(2 * width, deep, 3, rows, stride=2),
        ]
        for _ in range(blocks):
            stages += [
                Stage(deep, deep, 3, rows, block="opens"),
                Stage(deep, deep, 3, rows, rectify=False, block="closes"),
            ]
        stages += [
            Stage(deep, 2 * width, 3, rows, upsample=True),
            Stage(2 * width, width, 3, rows, upsample=True),
            Stage(width, 3, 9, 0, rectify=False),
        ]
        self.stages = nn.ModuleList(stages)
        self.to(memory_format=torch.channels_last)  # what convolutions run fastest in

    def architecture(self) -> dict[str, int]:
        """Return the arguments that make a network like this one."""
        return {"styles": self.styles, "width": self.width, "blocks": self.blocks}

    def mixture(self, weights: Tensor) -> Tensor:
        """Return style weights `(S,)` or `(N, S)` after the photograph's share, what they leave of 1: `(·, 1 + S)`."""
        weights = weights.reshape(-1, self.styles)
        return torch.cat([1 - weights.sum(dim=1, keepdim=True), weights], dim=1)

    @staticmethod
    def blend(x: Tensor, images: Tensor, mixture: Tensor) -> Tensor:
        """Return the result for `images` from the last stage's map, which is up to 3 rows and columns too large."""
        height, width = images.shape[-2:]
        # A negative padding cuts off as a slice does, but torch.export can follow it without knowing the size.
        cut = F.pad(x.to(images.dtype), (0, width - x.shape[3], 0, height - x.shape[2]))
        strength = (1 - mixture[:, 0]).clamp(0, 1).to(images.dtype).view(-1, 1, 1, 1)
        return torch.lerp(images, cut.sigmoid(), strength)

    def forward(self, images: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return stylized images.

        Args:
            images: sRGB in [0, 1], `(N, 3, H, W)`, both sides at least `SMALLEST_SIDE`.
            weights: Weights of the styles, `(S,)` for all images or `(N, S)`; their sum is the strength. `None` for
                equal parts at strength 1.

        Returns:
            sRGB in [0, 1], `(N, 3, H, W)`.

        Raises:
            UserError: If a side is too short, or there is another number of weights.
        """
        if min(images.shape[-2:]) < SMALLEST_SIDE:
            raise UserError(
                f"a picture of {images.shape[-1]}×{images.shape[-2]} pixels is too small to be painted in one pass, "
                f"each side needs {SMALLEST_SIDE}; use a larger size."
            )
        if weights is None:
            weights = images.new_full((self.styles,), 1 / self.styles)
        if weights.shape[-1] != self.styles:
            raise UserError(
                f"the network knows {self.styles} styles, but {weights.shape[-1]} weights were given; give one each."
            )
        return self.paint(images.contiguous(memory_format=torch.channels_last), self.mixture(weights))

    def paint(self, images: Tensor, mixture: Tensor) -> Tensor:
        """Return stylized images without a check of the sizes, which exporters stumble over.

        Args:
            images: Images, as in `forward`.
            mixture: Result of `mixture`, `(1, 1 + S)` or `(N, 1 + S)`.
        """
        x = entered = images
        for stage in self.stages:
            assert isinstance(stage, Stage)
            if stage.block == "opens":
                entered = x
            x = stage(x, mixture, entered if stage.block == "closes" else None)
        return self.blend(x, images, mixture)
