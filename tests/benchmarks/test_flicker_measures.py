import pytest
import torch

from benchmarks.flicker_measures import flicker, warping_error
from nst_lightning.errors import UserError


@pytest.fixture
def frames():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(1, 3, 20, 24, generator=generator), torch.rand(1, 3, 20, 24, generator=generator)


def still():
    return torch.zeros(1, 2, 20, 24)


def test_a_pan_does_not_flicker(frames):
    scene, _ = frames
    flow = still()
    flow[:, 0] = 2  # the camera goes to the right: what is at x was at x + 2
    present = torch.cat([scene[..., 2:], torch.rand(1, 3, 20, 2)], -1)
    assert flicker(scene, present, flow) < 1e-5  # the two new columns do not count
    assert warping_error(scene, present, flow) < 1e-9
    assert flicker(scene, present, still()) > 0.2


def test_both_are_means_over_trusted_pixels_and_channels(frames):
    previous, present = frames
    mask = torch.zeros(1, 1, 20, 24)
    mask[..., 3:9, 5:20] = 1
    difference = (present - previous).double()[..., 3:9, 5:20]
    assert flicker(previous, present, still(), mask) == pytest.approx(difference.abs().mean().item(), rel=1e-5)
    assert warping_error(previous, present, still(), mask) == pytest.approx(difference.square().mean().item(), rel=1e-5)


def test_a_weight_counts_by_its_size(frames):
    previous, present = frames
    mask = torch.full((1, 1, 20, 24), 0.25)
    mask[..., :10, :] = 0.75
    change = (present - previous).double().abs()
    expected = 0.75 * change[..., :10, :].mean() + 0.25 * change[..., 10:, :].mean()
    assert flicker(previous, present, still(), mask) == pytest.approx(expected.item(), rel=1e-5)


def test_the_unit_is_that_of_the_pixels(frames):
    previous, _ = frames
    assert flicker(previous, previous + 3 / 255, still()) == pytest.approx(3 / 255, rel=1e-4)
    assert warping_error(previous, previous + 3 / 255, still()) == pytest.approx((3 / 255) ** 2, rel=1e-4)


@pytest.mark.parametrize("measure", [flicker, warping_error])
def test_no_trusted_pixel_is_no_measure(frames, measure):
    with pytest.raises(UserError, match="found none of 480") as caught:
        measure(*frames, still(), torch.zeros(1, 1, 20, 24))
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="found none"):
        measure(*frames, still() + 100)


def test_a_mask_of_another_shape_is_refused(frames):
    with pytest.raises(ValueError, match=r"expected a mask \(1, 1, H, W\)"):
        flicker(*frames, still(), torch.ones(20, 24))
