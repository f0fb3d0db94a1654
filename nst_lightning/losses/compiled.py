"""The objective of one level, compiled."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Evaluation = Callable[[Tensor], tuple[Tensor, dict[str, Tensor]]]


class CompiledEvaluation:
    """A function of the picture alone, compiled once for one size; on CUDA it runs as a CUDA graph.

    What was compiled before is forgotten: each level has its own size and targets, and torch gives up on a function
    that it has compiled eight times.

    Args:
        evaluate: Gives the sum of all terms and the terms of a picture `(1, 3, H, W)`. What it reads beside that,
            targets and weights, must stay where it is.
        device: Where it runs.
    """

    def __init__(self, evaluate: Evaluation, device: torch.device) -> None:
        torch.compiler.reset()
        self._uses_graphs = device.type == "cuda"
        mode = "reduce-overhead" if self._uses_graphs else None
        self._compiled = torch.compile(evaluate, dynamic=False, mode=mode)

    def __call__(self, image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Evaluate."""
        if not self._uses_graphs:
            return self._compiled(image)
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        total, terms = self._compiled(image)
        # The next replay writes over what this one gave.
        return total.clone(), {name: term.clone() for name, term in terms.items()}
