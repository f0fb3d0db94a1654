import pytest
import torch
from safetensors.torch import save_file

from nst_lightning.encoders.topology import CONVOLUTIONS

WIDTHS = (2, 3, 4, 5, 5)


@pytest.fixture
def tiny_state():
    """VGG19 with a handful of channels under the layers' names, drawn from a seed, up to some convolution."""

    def draw(seed=0, last=16):
        generator = torch.Generator().manual_seed(seed)
        state, channels = {}, 3
        for layer in CONVOLUTIONS[:last]:
            width = WIDTHS[int(layer[4]) - 1]
            state[f"{layer}.weight"] = torch.randn(width, channels, 3, 3, generator=generator)
            state[f"{layer}.bias"] = torch.randn(width, generator=generator)
            channels = width
        return state

    return draw


@pytest.fixture
def tiny_file(tiny_state, tmp_path):
    """Few channels; weights scaled so that sixteen layers neither explode nor die."""

    def write(last=16, **metadata):
        state = {key: value / 3 if "weight" in key else value / 9 for key, value in tiny_state(last=last).items()}
        path = tmp_path / f"tiny{last}.safetensors"
        save_file(state, path, metadata or {"preprocessing": "imagenet"})
        return str(path)

    return write
