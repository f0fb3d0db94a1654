"""Checks of encoder weights, and a network widened without a change of its output."""

import torch


def assert_same(state, expected):
    assert list(state) == list(expected)
    for key, value in state.items():
        assert value.dtype == torch.float32
        assert torch.equal(value, expected[key]), key


def one_line(caught):
    message = str(caught.value)
    assert "\n" not in message
    return message


def widen(state, factor):
    """Return the weights of a wider network of the same output: channels repeated, the next layer's weights divided.

    Net2WiderNet (Chen, Goodfellow, Shlens 2016), but each channel is copied equally often, not at random.
    """
    widened = {}
    for name, tensor in state.items():
        wide = tensor.repeat_interleave(factor, dim=0)
        if name.endswith(".weight") and name != "conv1_1.weight":  # whose inputs are the image's colors
            wide = wide.repeat_interleave(factor, dim=1) / factor
        widened[name] = wide
    return widened
