"""Guides in feature maps, against receptive fields measured by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from nst_lightning import UserError
from nst_lightning.encoders.guide_propagation import propagate_guide
from nst_lightning.encoders.topology import LAYERS

TAPS = ["input", "relu1_2", "conv2_1", "pool2", "relu3_4", "pool3"]


def mask(height: int = 32, width: int = 40) -> torch.Tensor:
    guide = torch.zeros(1, 1, height, width)
    guide[..., 4:26, 6:34] = 1
    return guide


def seen_by(layer: str, height: int, width: int) -> torch.Tensor:
    """For each position of a layer the pixels that reach it: `(positions, H, W)`, by pushing single pixels through."""
    pixels = torch.eye(height * width).reshape(-1, 1, height, width)
    for name in LAYERS[: LAYERS.index(layer) + 1]:
        if name.startswith("conv"):
            pixels = F.conv2d(pixels, torch.ones(1, 1, 3, 3), padding=1).clamp(max=1)
        elif name.startswith("pool"):
            pixels = F.max_pool2d(pixels, 2)
    return pixels.flatten(1).T.reshape(-1, height, width) > 0


@pytest.mark.parametrize("layer", ["relu1_2", "conv2_1", "pool2"])
def test_inside_and_all_are_the_receptive_fields_within_and_touching(layer: str) -> None:
    guide = mask(16, 20)
    region = guide[0, 0].bool()
    fields = seen_by(layer, 16, 20)
    within = torch.stack([region[field].all() for field in fields])
    touching = torch.stack([region[field].any() for field in fields])
    inside = propagate_guide(guide, [layer], "inside", name="m")[layer]
    reached = propagate_guide(guide, [layer], "all", name="m")[layer]
    assert torch.equal(inside.flatten().bool(), within)
    assert torch.equal(reached.flatten().bool(), touching)


def test_simple_is_the_share_of_the_region_in_each_cell() -> None:
    guide = mask()
    guides = propagate_guide(guide, TAPS, "simple", name="m")
    assert torch.equal(guides["input"], guide)
    assert torch.equal(guides["relu1_2"], guide)
    for layer, cell in {"conv2_1": 2, "pool2": 4, "relu3_4": 4, "pool3": 8}.items():
        shares = guide.unfold(2, cell, cell).unfold(3, cell, cell).mean(dim=(-1, -2))
        torch.testing.assert_close(guides[layer], shares)


@pytest.mark.parametrize("how", ["simple", "inside", "all"])
def test_sizes_are_those_of_the_taps_and_a_white_mask_stays_white(how: str, encoder_file: str) -> None:
    from nst_lightning import VGG19

    taps = ["input", "relu1_1", "conv3_1", "relu4_1", "pool4"]
    features = VGG19(encoder_file)(torch.rand(1, 3, 35, 51), taps)
    guides = propagate_guide(torch.ones(1, 1, 35, 51), taps, how, name="m")
    assert {tap: guide.shape[2:] for tap, guide in guides.items()} == {
        tap: tensor.shape[2:] for tap, tensor in features.items()
    }
    assert all(bool((guide == 1).all()) for guide in guides.values())


def test_a_region_that_vanishes_names_layer_and_mask() -> None:
    guide = torch.zeros(1, 1, 32, 32)
    guide[..., 10:16, 10:16] = 1
    assert propagate_guide(guide, ["relu1_1"], "inside", name="nose.png")["relu1_1"].sum() == 16
    with pytest.raises(UserError, match=r"guide nose\.png has no pixels left at relu2_2 \(16×16"):
        propagate_guide(guide, ["relu1_1", "relu2_2", "relu3_1"], "inside", name="nose.png")
