"""What the tests of weights and of checkpoint files both ask."""

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
