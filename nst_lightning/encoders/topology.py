"""The layers of VGG19 in order, and what follows from that order: names, depths, smallest image."""

from __future__ import annotations

from collections.abc import Iterable

from nst_lightning.errors import UserError, did_you_mean

CONVOLUTIONS_PER_BLOCK = (2, 2, 4, 4, 4)
"""Configuration E of Simonyan and Zisserman, "Very Deep Convolutional Networks", 2014."""


def _layer_names() -> tuple[str, ...]:
    names: list[str] = []
    for block, count in enumerate(CONVOLUTIONS_PER_BLOCK, start=1):
        for index in range(1, count + 1):
            names += [f"conv{block}_{index}", f"relu{block}_{index}"]
        names.append(f"pool{block}")
    return tuple(names)


LAYERS = _layer_names()
"""Every layer that can be tapped, in the order of the forward pass: `conv1_1`, `relu1_1` … `pool5`."""

CONVOLUTIONS = tuple(name for name in LAYERS if name.startswith("conv"))
"""The 16 convolutions, in order."""

INPUT = "input"
"""The tap that stands for the image itself, before any preprocessing."""


def check_layers(names: Iterable[str]) -> None:
    """Refuse names that VGG19 does not have.

    Args:
        names: Tap names; `input` is allowed.

    Raises:
        UserError: If a name is unknown; the message gives the nearest valid one.
    """
    for name in names:
        if name not in LAYERS and name != INPUT:
            hint = did_you_mean(name, (*LAYERS, INPUT), shown=repr, cutoff=0.0)
            raise UserError(
                f"VGG19 has no layer {name!r}; {hint} "
                "Layers are conv1_1 … conv5_4, relu1_1 … relu5_4, pool1 … pool5 and input."
            )


def deepest(names: Iterable[str]) -> int:
    """Return the number of layers that have to run so that every named tap has been passed.

    Args:
        names: Valid tap names.

    Returns:
        An index into `LAYERS` such that `LAYERS[:index]` holds all of them; 0 for none or only `input`.
    """
    # A list: torch.compile of torch 2.8 knows no generators here.
    return max([LAYERS.index(name) + 1 for name in names if name != INPUT], default=0)


def smallest_side(names: Iterable[str]) -> int:
    """Return the fewest pixels an image's side may have so that the deepest tap still has a position.

    Every pooling halves and rounds down, so a tap behind k poolings needs 2^k pixels.

    Args:
        names: Valid tap names.

    Returns:
        A side in pixels.
    """
    return 1 << sum(name.startswith("pool") for name in LAYERS[: deepest(names)])
