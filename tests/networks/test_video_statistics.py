"""Statistics smoothed over a video's frames."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nst_lightning.networks.gaussians import Gaussian
from nst_lightning.networks.video_statistics import VideoStatistics


def scene(seed: int) -> Tensor:
    return torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def smoothed(frames: list[Tensor], seconds: float = 0.5, rate: float = 4.0) -> list[Gaussian]:
    statistics, found = VideoStatistics(seconds, rate), []
    for frame in frames:
        statistics.begin_frame(frame)
        found.append(statistics.smooth("colors", Gaussian.of(frame)))
    return found


def test_frames_count_by_their_age_and_the_first_ones_alike() -> None:
    """The Gaussian of the positions of all frames, weighted: not the mean of covariances."""
    frames = [scene(0) * exposure for exposure in torch.linspace(0.4, 1, 12)]
    keep = math.exp(-1 / (0.5 * 4))
    shares = [1.0]
    for number, found in enumerate(smoothed(frames), start=1):
        new = max(1 - keep, 1 / number)
        shares = [new] if number == 1 else [*(share * (1 - new) for share in shares), new]
        pooled = torch.cat(frames[:number], dim=3)
        weights = torch.cat([torch.full((1, 1, 32, 32), share, dtype=torch.float64) for share in shares], dim=3)
        wanted = Gaussian.of(pooled, weights)
        torch.testing.assert_close(found.mean, wanted.mean, rtol=0, atol=1e-12)
        torch.testing.assert_close(found.covariance, wanted.covariance, rtol=0, atol=1e-12)


def test_at_a_cut_all_before_is_forgotten_but_not_at_a_flash() -> None:
    first, second = scene(1), scene(2)
    found = smoothed([first, first, second, second])
    assert torch.equal(found[2].mean, Gaussian.of(second).mean)
    flash = smoothed([first * 0.4, 0.4 + first * 0.6])
    assert not torch.allclose(flash[1].mean, Gaussian.of(0.4 + first * 0.6).mean)
    black = smoothed([first, torch.zeros_like(first)])
    assert not torch.equal(black[1].mean, torch.zeros(1, 3, dtype=torch.float64))


def test_at_a_cut_through_black_all_before_is_forgotten_and_within_a_scene_nothing() -> None:
    first, second, black = scene(1), scene(2), torch.zeros(1, 3, 32, 32, dtype=torch.float64)
    assert torch.equal(smoothed([first, first, black, black, second])[-1].mean, Gaussian.of(second).mean)
    within = smoothed([first * 0.5, black, first])
    assert not torch.allclose(within[-1].mean, Gaussian.of(first).mean)
