"""A wider network that computes the same: real features at the real cost without the real weights."""

from torch import Tensor


def widen(state: dict[str, Tensor], factor: int = 4) -> dict[str, Tensor]:
    """Repeat every channel and divide what the next layer makes of it.

    Net2WiderNet (Chen, Goodfellow, Shlens 2016, "Net2Net: Accelerating learning via knowledge transfer").
    Differs from the paper: every channel is copied equally often, not at random. The compact encoder (16, 32,
    64, 128, 128 channels) gets the widths of VGG19 (64, 128, 256, 512, 512).

    Args:
        state: Weights as in `EncoderWeights.state`, in network order.
        factor: Copies of each channel, at least 1.

    Returns:
        New weights. Channel `i` of a layer of the wider network equals channel `i // factor` of the narrow
        one, up to the rounding of sums in another order.

    Raises:
        ValueError: If `factor` is less than 1.
    """
    if factor < 1:
        raise ValueError(f"expected a factor of at least 1, got {factor}")
    widened: dict[str, Tensor] = {}
    for name, tensor in state.items():
        wide = tensor.repeat_interleave(factor, dim=0)
        if name.endswith(".weight") and name != "conv1_1.weight":  # whose inputs are the picture's colours
            wide = wide.repeat_interleave(factor, dim=1) / factor
        widened[name] = wide
    return widened
