"""Noise as a function of position, and where an image is flat, against sums and statistics of another making."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from nst_lightning.networks import noise
from nst_lightning.networks.noise import NOISE_REACH, flatness, smooth_noise, with_noise


def test_it_is_the_sum_of_the_waves() -> None:
    """Summed pixel by pixel in float64, the shared part and each channel's own."""
    down, across, *phases = torch.tensor(noise._waves(), dtype=torch.float64)
    found = smooth_noise(torch.arange(300, 304), torch.arange(7))
    for channel in range(3):
        for y in range(4):
            for x in range(7):
                angles = down * (300 + y) + across * x
                shared, own = ((angles + phase).cos().sum() for phase in (phases[0], phases[1 + channel]))
                wanted = math.sqrt(2 / len(down)) * (math.sqrt(1 - 0.35**2) * shared + 0.35 * own)
                assert float(found[0, channel, y, x]) == pytest.approx(float(wanted), abs=2e-3)


def test_waves_have_their_lengths_and_all_directions() -> None:
    down, across, *_ = torch.tensor(noise._waves())
    lengths, angles = 2 * math.pi / torch.hypot(down, across), torch.atan2(down, across)
    assert 12 <= float(lengths.min()) < 13
    assert 60 < float(lengths.max()) <= 64
    logarithms = ((lengths.log() - math.log(12)) / math.log(64 / 12)).sort().values
    for values in (logarithms, (angles / math.pi).sort().values):
        even = (torch.arange(96) + 0.5) / 96
        assert float((values - even).abs().max()) < 0.04  # the distribution function of an even spread


def test_mean_variance_and_what_channels_share() -> None:
    field = smooth_noise(torch.arange(768), torch.arange(768))[0].flatten(1)
    torch.testing.assert_close(field.mean(1), torch.zeros(3), rtol=0, atol=0.02)
    torch.testing.assert_close(field.var(1), torch.ones(3), rtol=0, atol=0.05)
    shared = torch.corrcoef(field)[torch.triu_indices(3, 3, 1).unbind()]
    torch.testing.assert_close(shared, torch.full((3,), 1 - 0.35**2), rtol=0, atol=0.03)


def test_a_part_is_the_wholes() -> None:
    whole = smooth_noise(torch.arange(96), torch.arange(130))
    torch.testing.assert_close(
        smooth_noise(torch.arange(40, 96), torch.arange(17, 100)), whole[..., 40:, 17:100], rtol=0, atol=1e-5
    )


def test_flatness_is_that_of_the_variance_around() -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, 120, 136, generator=generator) * torch.linspace(0, 0.5, 136)
    gray = image[0].mean(0).numpy()
    # Center of four squares, of which each has the variance of 40 times 40 pixels, by numpy.
    row, column = 56, 64
    near = []
    for y in (row - 4, row + 4):
        for x in (column - 4, column + 4):
            near.append(1 / (1 + np.var(gray[y - 20 : y + 20, x - 20 : x + 20], dtype=np.float64) / 0.06**2))
    found = flatness(image)[0, 0]
    # Rows 55 and 56, columns 63 and 64 lie half a pixel around that center.
    assert float(found[row - 1 : row + 1, column - 1 : column + 1].mean()) == pytest.approx(np.mean(near), abs=1e-4)
    assert float(found[:, :8].mean()) > 0.9 > 0.4 > float(found[:, -8:].mean())


def test_noise_goes_where_the_image_is_flat() -> None:
    image = torch.full((1, 3, 64, 256), 0.5)
    image[..., 128:] = torch.rand(64, 128, generator=torch.Generator().manual_seed(0)).round()
    added = with_noise(image, 0.1) - image
    assert float(added[..., :96].std()) == pytest.approx(0.1, rel=0.25)
    assert float(added[..., 168:].std()) < 0.003


def test_noise_of_a_part_needs_its_reach() -> None:
    image = torch.rand(1, 3, 160, 96, generator=torch.Generator().manual_seed(0)) * torch.linspace(0, 1, 96)
    whole = with_noise(image, 0.2)
    part = with_noise(image[..., 40:120, :], 0.2, row=40)
    inner = slice(NOISE_REACH, -NOISE_REACH)
    torch.testing.assert_close(part[..., inner, :], whole[..., 40:120, :][..., inner, :], rtol=0, atol=1e-6)
    assert float((part - whole[..., 40:120, :]).abs().max()) > 1e-3  # the border does differ: the reach is needed


def test_amplitudes_of_a_batch() -> None:
    images = torch.full((2, 3, 16, 24), 0.5)
    both = with_noise(images, torch.tensor([0.1, 0.0]).view(2, 1, 1, 1))
    torch.testing.assert_close(both[:1], with_noise(images[:1], 0.1))
    assert torch.equal(both[1:], images[1:])
