"""Losses under autocast: features may be rounded, sums and differences are not."""

from typing import get_args

import pytest
import torch

from nst_lightning.losses import ContentLoss, GramStyleLoss, TotalVariationLoss, WassersteinStyleLoss
from nst_lightning.losses.content import ContentConvention
from nst_lightning.losses.style import GramConvention
from nst_lightning.losses.total_variation import VariationKind
from nst_lightning.losses.wasserstein import WassersteinConvention

LOSSES = {
    **{f"content {name}": ContentLoss(["input"], convention=name) for name in get_args(ContentConvention)},
    **{f"gram {name}": GramStyleLoss(["input"], convention=name) for name in get_args(GramConvention)},
    **{f"w2 {name}": WassersteinStyleLoss(["input"], convention=name) for name in get_args(WassersteinConvention)},
    **{
        f"tv {kind} {chroma}": TotalVariationLoss(kind=kind, chroma=chroma)
        for kind in get_args(VariationKind)
        for chroma in (1.0, 20.0)
    },
}


@pytest.mark.parametrize("name", LOSSES)
def test_autocast_changes_neither_a_loss_nor_its_gradient(name, picture):
    loss = LOSSES[name]
    # Of pixels that hardly differ, bfloat16 would leave nothing but rounding.
    features = {"input": (0.5 + 0.01 * picture(24, 20, seed=1)["input"]).requires_grad_()}
    found = []
    for is_enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=is_enabled):
            targets = loss.prepare(loss.measure({"input": 0.5 + 0.01 * picture(24, 20, seed=2)["input"]}))
            (term,) = loss(features, targets).values()
        found.append((term, torch.autograd.grad(term.sum(), features["input"])[0]))
    torch.testing.assert_close(found[1], found[0], rtol=1e-5, atol=0)
