"""The clip of known motion that benchmarks measure flicker on: its flows and masks are true."""

import pytest
import torch

from benchmarks.flicker_clip import FlickerClip
from benchmarks.flicker_measures import flicker
from nst_lightning.video.warping import reliability


@pytest.fixture(scope="module")
def clip():
    return FlickerClip(width=128, height=96)


@pytest.mark.parametrize("index", [1, 40, 77, 124])
def test_the_true_flow_leads_to_the_frame_before(clip, index):
    before, frame = clip.frame(index - 1), clip.frame(index)
    flow, mask = clip.backward(index), clip.visible(index)
    assert frame.shape == (1, 3, 96, 128)
    assert 0 <= frame.min() < 0.2
    assert 0.8 < frame.max() <= 1
    assert 0.9 < mask.mean() < 1
    left = flicker(before, frame, flow, mask)
    assert left < 0.016  # what is lost by reading between pixels
    assert left < 0.25 * flicker(before, frame, torch.zeros_like(flow), mask)
    # pixels that were hidden or that two motions share are no match
    assert flicker(before, frame, flow, 1 - mask) > 3 * left


def test_the_disc_is_found_again_after_half_the_clip(clip):
    flow = clip.flow(60, 3)  # more than a radian of its spin
    y, x = (flow != flow[..., :1, :1]).any(1)[0].nonzero().float().T
    rows, columns = torch.meshgrid(torch.arange(96), torch.arange(128), indexing="ij")
    core = ((rows - y.mean()) ** 2 + (columns - x.mean()) ** 2 < 15**2).float()[None, None]
    left = flicker(clip.frame(3), clip.frame(60), flow, core)
    moved_but_not_turned = (flow * core).sum((2, 3), keepdim=True) / core.sum()
    assert left < 0.02
    assert left < 0.2 * flicker(clip.frame(3), clip.frame(60), moved_but_not_turned.expand_as(flow), core)


def test_the_papers_mask_from_the_true_flows_is_nearly_the_true_mask(clip):
    trusted, visible = reliability(clip.backward(50), clip.forward(50)), clip.visible(50)
    assert (trusted * visible).sum() / trusted.sum() > 0.99
    assert (trusted * visible).sum() / visible.sum() > 0.99


def test_length_and_ends(clip):
    assert len(clip) == 125
    for index in (-1, 125):
        with pytest.raises(IndexError):
            clip.frame(index)
