import pytest
import torch
from torch import nn

from nst_lightning.encoders.topology import CONVOLUTIONS
from nst_lightning.encoders.widening import widen


def run(state, image):
    maps = []
    for layer in CONVOLUTIONS:
        if layer.endswith("_1") and layer != "conv1_1":
            image = nn.functional.max_pool2d(image, 2)
        image = nn.functional.conv2d(image, state[f"{layer}.weight"], state[f"{layer}.bias"], padding=1).relu()
        maps.append(image)
    return maps


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_widening_computes_the_same(factor, tiny_state):
    state = {key: value.double() for key, value in tiny_state().items()}
    image = torch.rand(1, 3, 32, 48, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for narrow, wide in zip(run(state, image), run(widen(state, factor), image), strict=True):
        assert wide.shape[1] == factor * narrow.shape[1]
        for copy in range(factor):
            torch.testing.assert_close(wide[:, copy::factor], narrow, rtol=1e-10, atol=0)


def test_widening_leaves_its_argument_alone(tiny_state):
    state = tiny_state()
    widen(state)
    assert all(torch.equal(value, state[key]) for key, value in tiny_state().items())
    with pytest.raises(ValueError, match="at least 1"):
        widen(state, 0)
