"""Guides for feature maps: a mask of the image becomes weights of each tap's positions."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from nst_lightning.encoders.topology import INPUT, LAYERS, check_layers, deepest
from nst_lightning.errors import UserError

Propagation = Literal["simple", "inside", "all"]


def propagate_guide(guide: Tensor, taps: Sequence[str], how: Propagation, *, name: str) -> dict[str, Tensor]:
    """Carry a mask through the encoder's poolings, to each tap.

    The three ways are those of Gatys et al. 2017, "Controlling Perceptual Factors in Neural Style Transfer"
    (arXiv 1611.07865):

    * `simple`: averages over each pooling's cells, so that a weight is the share of the region in the cell.
    * `inside`: only positions whose receptive field lies within the region; every convolution and pooling
      takes the smallest weight it sees. What lies outside the image counts as inside.
    * `all`: every position whose receptive field touches the region; the largest weight is taken.

    Args:
        guide: Mask of the image's size, `(1, 1, H, W)` in [0, 1].
        taps: Layer names, or `input`.
        how: Way of propagation; one of the above.
        name: Name of the mask in messages.

    Returns:
        For each tap `(1, 1, h, w)` of that tap's size, in [0, 1].

    Raises:
        UserError: If a layer is unknown, or no position of one has any weight.
    """
    check_layers(taps)
    convolve, pool = _STEPS[how]
    guides = {INPUT: guide} if INPUT in taps else {}
    for layer in LAYERS[: deepest(taps)]:
        if layer.startswith("conv"):
            guide = convolve(guide)
        elif layer.startswith("pool"):
            guide = pool(guide)
        if layer in taps:
            guides[layer] = guide
    for layer, propagated in guides.items():
        if not bool(propagated.any()):
            height, width = propagated.shape[-2:]
            raise UserError(
                f"the guide {name} has no pixels left at {layer} ({width}×{height} positions); use a larger region, a "
                "larger data.size at the first level, shallower layers or model.guide_propagation simple."
            )
    return guides


_STEPS: dict[Propagation, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "simple": (lambda guide: guide, lambda guide: F.avg_pool2d(guide, 2)),
    "inside": (lambda guide: -F.max_pool2d(-guide, 3, stride=1, padding=1), lambda guide: -F.max_pool2d(-guide, 2)),
    "all": (lambda guide: F.max_pool2d(guide, 3, stride=1, padding=1), lambda guide: F.max_pool2d(guide, 2)),
}
"""What a convolution and a pooling do to a guide."""
