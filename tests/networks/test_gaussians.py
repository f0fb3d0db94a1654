"""Gaussians of features against numpy's, and the map between two of them against its defining properties."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from nst_lightning.losses.functional import gaussian_distance
from nst_lightning.networks.gaussians import Gaussian, optimal_transport
from nst_lightning.utils.matrix_roots import symmetric_root

NEXT_TO_NOTHING = 1e-12


def features(seed: int, channels: int = 5, size: tuple[int, int] = (12, 9)) -> Tensor:
    """Correlated channels with means far above their deviations, two images."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(channels, channels, generator=generator, dtype=torch.float64)
    noise = torch.rand(2, channels, *size, generator=generator, dtype=torch.float64)
    return torch.einsum("ij,njhw->nihw", mixing, noise) + 20


def test_mean_and_covariance_are_numpys() -> None:
    maps = features(0)
    found = Gaussian.of(maps)
    for index, image in enumerate(maps.flatten(2).numpy()):
        np.testing.assert_allclose(found.mean[index], image.mean(axis=1), rtol=1e-12)
        np.testing.assert_allclose(found.covariance[index], np.cov(image, bias=True), atol=1e-12)
        np.testing.assert_allclose(found.deviation[index], image.std(axis=1), rtol=1e-9)


def test_parts_make_the_whole() -> None:
    maps = features(1)
    parts = [maps[..., :4, :], maps[..., 4:, :2], maps[..., 4:, 2:]]
    areas = [part[0, 0].numel() for part in parts]
    merged = Gaussian.merged([Gaussian.of(part) for part in parts], areas)
    for found, expected in zip(merged, Gaussian.of(maps), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_the_map_gives_mean_and_covariance_and_moves_as_little_as_the_distance_says() -> None:
    source, target = features(2), features(3)
    have, wanted = Gaussian.of(source), Gaussian.of(target)
    transport = optimal_transport(have, wanted, NEXT_TO_NOTHING)
    moved = transport(source)
    for found, expected in zip(Gaussian.of(moved), wanted, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(transport.matrix, transport.matrix.mT)
    assert bool((torch.linalg.eigvalsh(transport.matrix) > 0).all())
    trace = wanted.covariance.diagonal(dim1=1, dim2=2).sum(dim=1)
    root = symmetric_root(wanted.covariance)
    cost = (moved - source).square().sum(dim=1).mean(dim=(1, 2))
    torch.testing.assert_close(cost, gaussian_distance(*have, wanted.mean, root, trace), rtol=1e-6, atol=0)


def test_without_correlation_each_channel_is_stretched() -> None:
    have = Gaussian(torch.tensor([[1.0, 2.0]]).double(), torch.diag(torch.tensor([4.0, 9.0])).double()[None])
    wanted = Gaussian(torch.tensor([[5.0, 0.0]]).double(), torch.diag(torch.tensor([1.0, 36.0])).double()[None])
    transport = optimal_transport(have, wanted, NEXT_TO_NOTHING)
    torch.testing.assert_close(transport.matrix, torch.diag(torch.tensor([0.5, 2.0])).double()[None])
    torch.testing.assert_close(transport.offset, torch.tensor([[4.5, -4.0]]).double())


@pytest.mark.parametrize("value", [0.0, 1.0, 1e-4])
def test_equal_gaussians_are_left_alone(value: float) -> None:
    maps = value * features(4).float()
    gaussian = Gaussian.of(maps)
    torch.testing.assert_close(optimal_transport(gaussian, gaussian)(maps), maps, rtol=1e-4, atol=1e-5 * value)


def test_the_ridge_bounds_how_much_noise_is_amplified() -> None:
    noisy = torch.randn(1, 2, 40, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 1e-4
    style = features(5)[:1, :2]
    free = optimal_transport(Gaussian.of(noisy), Gaussian.of(style), NEXT_TO_NOTHING)(noisy)
    held = optimal_transport(Gaussian.of(noisy), Gaussian.of(style), 0.02)(noisy)
    assert float(free.std()) > 1e3 * float(noisy.std())
    ridge = 0.02 * float(Gaussian.of(style).covariance.diagonal(dim1=1, dim2=2).mean()) / 2
    largest = float(torch.linalg.eigvalsh(Gaussian.of(style).covariance).max())
    assert float(held.std(dim=(2, 3)).max()) <= 1.01 * ((largest + ridge) / ridge) ** 0.5 * 1e-4


def test_a_flat_style_flattens() -> None:
    maps, flat = features(6), torch.full((2, 5, 4, 4), 3.0, dtype=torch.float64)
    moved = optimal_transport(Gaussian.of(maps), Gaussian.of(flat), 1e-6)(maps)
    torch.testing.assert_close(moved, torch.full_like(maps, 3.0), rtol=0, atol=0.05)


def test_capped_a_direction_without_extent_in_the_target_loses_its_own() -> None:
    """A gray target: without the cap as much color is left as the ridge hides."""
    maps = 0.05 * torch.randn(1, 3, 40, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gray = torch.rand(1, 1, 40, 40, generator=torch.Generator().manual_seed(1), dtype=torch.float64).expand(
        1, 3, -1, -1
    )
    have, wanted = Gaussian.of(maps), Gaussian.of(gray)
    color = [
        float((moved - moved.mean(1, keepdim=True)).std())
        for capped in (False, True)
        for moved in [optimal_transport(have, wanted, 0.02, capped)(maps)]
    ]
    assert color[0] > 0.02
    assert color[1] < 0.1 * color[0]


def test_capped_a_colorful_target_is_matched_as_before() -> None:
    source, target = Gaussian.of(features(2)), Gaussian.of(features(3))
    free, capped = (optimal_transport(source, target, 1e-6, each) for each in (False, True))
    torch.testing.assert_close(capped.matrix, free.matrix, rtol=1e-3, atol=1e-3)
    itself = optimal_transport(source, source, 0.02, capped=True)
    torch.testing.assert_close(itself.matrix, torch.eye(5, dtype=torch.float64).expand(2, 5, 5))


def test_capped_without_correlation_each_channel_is_stretched() -> None:
    """By ((t + a) / (s + a))^(1/2), of variances s of the source and t of the target."""
    s, t = (torch.tensor(values, dtype=torch.float64) for values in ([4.0, 0.5, 0.09], [1.0, 0.05, 0.0001]))
    have, wanted = (Gaussian(torch.zeros(1, 3).double(), torch.diag(variances)[None]) for variances in (s, t))
    ridge = 0.1 * torch.cat([s, t]).mean()
    added = ridge * t / (t + ridge) + 0.001 * ridge
    moved = optimal_transport(have, wanted, 0.1, capped=True)
    torch.testing.assert_close(moved.matrix[0], torch.diag(((t + added) / (s + added)).sqrt()))
