"""What the picture starts from."""

from __future__ import annotations

import pytest
import scipy.stats
import torch
from lightning import seed_everything

from nst_lightning import TransferData, UserError


def start(content: str | None, style: str, init: str, size: int = 200) -> torch.Tensor:
    initial = TransferData(content, style, sizes=[size], steps=1, init=init).batch(0).initial
    assert initial is not None
    return initial


def test_normal_is_cut_off_and_grey_is_within_a_grey_level(content: str, style: str) -> None:
    seed_everything(1)
    normal = start(content, style, "normal")
    expected = scipy.stats.truncnorm(-2, 2, 0.5, 0.25)
    assert normal.min() >= 0
    assert normal.max() <= 1
    assert abs(float(normal.mean()) - expected.mean()) < 0.005
    assert abs(float(normal.std()) - expected.std()) < 0.005
    grey = start(content, style, "grey")
    assert grey.min() >= 0.5
    assert grey.max() <= 0.5 + 1 / 255 + 1e-6
    assert grey.std() > 0


def test_style_stats_are_the_styles_by_channel(content: str, style: str) -> None:
    picture = TransferData(content, style, sizes=[200], steps=1).prepared_styles[0]
    found = start(content, style, "style_stats")
    for channel in range(3):
        mean, deviation = float(picture[:, channel].mean()), float(picture[:, channel].std())
        expected = scipy.stats.truncnorm(-mean / deviation, (1 - mean) / deviation, mean, deviation)
        assert abs(float(found[:, channel].mean()) - expected.mean()) < 0.005
        assert abs(float(found[:, channel].std()) - expected.std()) < 0.005


@pytest.mark.parametrize("init", ["noise", "normal", "grey", "style_stats"])
def test_noise_depends_on_the_seed_alone(init: str, content: str, style: str) -> None:
    seed_everything(1)
    first = start(content, style, init, 40)
    torch.rand(7)
    assert torch.equal(start(content, style, init, 40), first)
    seed_everything(2)
    assert not torch.equal(start(content, style, init, 40), first)


def test_a_start_that_needs_a_missing_picture_is_refused(content: str) -> None:
    with pytest.raises(UserError, match=r"data\.init is style_stats, but data\.style is not set"):
        TransferData(content, None, init="style_stats")
