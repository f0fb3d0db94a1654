"""The compiled objective against the plain one."""

from __future__ import annotations

import pytest
import torch

from nst_lightning import VGG19, ContentLoss, GramStyleLoss, TotalVariationLoss
from nst_lightning.losses.objective import Objective, References


@pytest.mark.slow
def test_compiled_it_gives_the_same_through_a_change_of_size(
    encoder_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the last stage of the compiler, which takes a minute; the function is one graph, compiled once a size."""
    graphs = []

    def count(graph: torch.fx.GraphModule, _: object) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    compile_ = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda f, **options: compile_(f, backend=count, fullgraph=True, dynamic=False)
    )
    losses = [ContentLoss(), GramStyleLoss(), TotalVariationLoss()]
    objective = Objective(VGG19(encoder_file, padding="replicate"), losses)
    for size in (32, 48):
        content, style, image = (torch.rand(1, 3, size, size + 16) for _ in range(3))
        found = []
        for compiled in (False, True):
            targets = objective.measure(References(content, [style], [1.0]), compiled=compiled)
            for _ in range(2):
                leaf = image.clone().requires_grad_()
                total, terms = objective(leaf, targets)
                total.backward()
            found.append((total.detach(), terms, leaf.grad))
        torch.testing.assert_close(found[1], found[0])
    assert len(graphs) == 2
