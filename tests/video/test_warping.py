import math

import numpy as np
import pytest
import torch

from nst_lightning.video.warping import inside, reliability, warp


def uniform(x, y, size=(12, 16)):
    return torch.tensor([x, y]).float()[None, :, None, None].expand(1, 2, *size).clone()


def picture(size=(12, 16), channels=3, seed=0):
    return torch.rand(1, channels, *size, generator=torch.Generator().manual_seed(seed))


def by_hand(image, flow):
    """Bilinear look-up, pixel by pixel in float64, coordinates clamped to the image."""
    image, flow = image.double().numpy(), flow.double().numpy()
    _, channels, height, width = image.shape
    out = np.empty((1, channels, height, width))
    for row in range(height):
        for column in range(width):
            x = min(max(column + flow[0, 0, row, column], 0), width - 1)
            y = min(max(row + flow[0, 1, row, column], 0), height - 1)
            left, top = math.floor(x), math.floor(y)
            right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
            a, b = x - left, y - top
            upper = (1 - a) * image[0, :, top, left] + a * image[0, :, top, right]
            lower = (1 - a) * image[0, :, bottom, left] + a * image[0, :, bottom, right]
            out[0, :, row, column] = (1 - b) * upper + b * lower
    return torch.from_numpy(out)


def mask_by_hand(backward, forward):
    """Equations 5 and 6 of Ruder et al., and the border, pixel by pixel."""
    brought = by_hand(forward, backward).numpy()[0]
    w = backward.double().numpy()[0]
    _, height, width = w.shape
    out = np.zeros((height, width))
    for row in range(height):
        for column in range(width):
            here, there = w[:, row, column], brought[:, row, column]
            left, right = w[:, row, max(column - 1, 0)], w[:, row, min(column + 1, width - 1)]
            above, below = w[:, max(row - 1, 0), column], w[:, min(row + 1, height - 1), column]
            gradient = ((right - left) ** 2).sum() / 4 + ((below - above) ** 2).sum() / 4
            hidden = ((here + there) ** 2).sum() > 0.01 * ((here**2).sum() + (there**2).sum()) + 0.5
            edge = gradient > 0.01 * (here**2).sum() + 0.002
            came_from_inside = 0 <= column + here[0] <= width - 1 and 0 <= row + here[1] <= height - 1
            out[row, column] = not hidden and not edge and came_from_inside
    return torch.from_numpy(out).float()[None, None]


def test_warp_is_a_look_up_between_pixel_centres():
    image = picture()
    flow = 6 * torch.rand(1, 2, 12, 16, generator=torch.Generator().manual_seed(1)) - 3
    torch.testing.assert_close(warp(image, flow).double(), by_hand(image, flow), atol=2e-6, rtol=0)


def test_whole_pixels_are_shifted_and_the_border_repeated():
    image = picture()
    warped = warp(image, uniform(3, -2))
    torch.testing.assert_close(warped[..., 2:, :-3], image[..., :-2, 3:], atol=2e-6, rtol=0)
    torch.testing.assert_close(warped[..., 2:, -3:], image[..., :-2, -1:].expand(-1, -1, -1, 3), atol=2e-6, rtol=0)
    torch.testing.assert_close(warped[..., :2, :-3], image[..., :1, 3:].expand(-1, -1, 2, -1), atol=2e-6, rtol=0)


def test_a_plane_is_warped_exactly_by_an_affine_flow():
    y, x = torch.meshgrid(torch.arange(20.0), torch.arange(30.0), indexing="ij")
    flow = torch.stack([0.1 * (x - 15) - 0.2 * (y - 10), 0.2 * (x - 15) + 0.05 * (y - 10)])[None]
    plane = (0.3 * x - 0.7 * y + 2)[None, None]
    expected = (0.3 * (x + flow[0, 0]) - 0.7 * (y + flow[0, 1]) + 2)[None, None]
    within = inside(flow).bool()
    assert 0.5 < within.float().mean() < 1
    torch.testing.assert_close(warp(plane, flow)[within], expected[within], atol=1e-4, rtol=0)


def test_warp_has_the_right_gradients():
    image = picture((4, 5), 2).double().requires_grad_()
    flow = uniform(0.3, -0.4, (4, 5)).double().requires_grad_()
    assert torch.autograd.gradcheck(warp, (image, flow))


def test_one_flow_serves_several_pictures():
    images = torch.cat([picture(), picture(seed=1)])
    flow = uniform(0.5, 1.5)
    torch.testing.assert_close(warp(images, flow)[1:], warp(images[1:], flow))


def test_a_picture_of_one_pixel():
    image = picture((1, 1))
    torch.testing.assert_close(warp(image, uniform(0.7, 0, (1, 1))), image)


@pytest.mark.parametrize("flow", [torch.zeros(1, 3, 12, 16), torch.zeros(1, 2, 12, 15), torch.zeros(3, 2, 12, 16)])
def test_what_does_not_fit_is_refused(flow):
    with pytest.raises(ValueError, match="expected a"):
        warp(torch.cat([picture()] * 2), flow)


def test_inside_counts_the_outermost_centres():
    expected = torch.zeros(1, 1, 12, 16)
    expected[..., 2:, :-3] = 1  # column 12 comes from column 15, row 2 from row 0
    assert torch.equal(inside(uniform(3, -2)), expected)
    expected[..., 2, :] = 0
    expected[..., -4] = 0
    assert torch.equal(inside(uniform(3.25, -2.25)), expected)


@pytest.mark.parametrize("seed", range(3))
def test_reliability_is_the_papers(seed):
    generator = torch.Generator().manual_seed(seed)
    # smooth flows about opposite to each other, so that each of the three reasons occurs and many pixels have none
    coarse = torch.randn(1, 2, 5, 6, generator=generator) * 1.5 + torch.tensor([4.0, -3.0])[:, None, None]
    backward = torch.nn.functional.interpolate(coarse, (32, 40), mode="bicubic", align_corners=True)
    forward = -backward + 0.4 * torch.randn(1, 2, 32, 40, generator=generator)
    mask = reliability(backward, forward)
    assert mask.dtype == torch.float32
    assert 0.1 < mask.mean() < 0.9
    assert torch.equal(mask, mask_by_hand(backward, forward))


@pytest.mark.parametrize(("back", "trusted"), [(-2.78, 1), (-2.79, 0), (-1.26, 1), (-1.25, 0)])
def test_the_bound_of_the_way_there_and_back(back, trusted):
    # (2 + back)^2 = 0.01 (2^2 + back^2) + 0.5 has the roots -2.7859 and -1.2545
    mask = reliability(uniform(0, 2), uniform(0, back))
    assert torch.equal(mask[..., :10, :], torch.full((1, 1, 10, 16), float(trusted)))
    assert mask[..., 10:, :].sum() == 0  # from below the image


def test_the_bound_of_motion_boundaries():
    # u = slope * x, so that the gradient is the slope itself away from the border
    slope = 0.08
    x = torch.arange(40.0).expand(1, 1, 30, 40)
    backward = torch.cat([-slope * x, torch.zeros_like(x)], 1)
    forward = torch.cat([slope / (1 - slope) * x, torch.zeros_like(x)], 1)
    mask = reliability(backward, forward)[..., 1:-1]
    expected = (slope**2 <= 0.01 * (slope * x) ** 2 + 0.002).float()[..., 1:-1]
    assert 0 < expected.mean() < 1
    assert torch.equal(mask, expected)


def test_what_a_passing_square_uncovers_is_not_trusted():
    # a square of 10 pixels has gone 6 to the right over a ground that stands still
    backward, forward = torch.zeros(1, 2, 32, 48), torch.zeros(1, 2, 32, 48)
    backward[:, 0, 10:20, 26:36] = -6
    forward[:, 0, 10:20, 20:30] = 6
    mask = reliability(backward, forward)
    uncovered = torch.zeros(32, 48, dtype=torch.bool)
    uncovered[10:20, 20:26] = True
    assert mask[0, 0][uncovered].sum() == 0
    assert mask[..., 11:19, 27:35].min() == 1  # the square itself, within
    ring = torch.zeros(32, 48, dtype=torch.bool)
    ring[9:21, 19:37] = True  # and the motions' boundary, one pixel to either side
    assert mask[0, 0][~ring].min() == 1


def test_a_still_video_is_trusted_everywhere():
    assert reliability(uniform(0, 0), uniform(0, 0)).min() == 1
