"""What a frame starts from: the painting of the frame before, moved along with what is seen."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nst_lightning.video.flow import FlowMethod, make_flow
from nst_lightning.video.warping import reliability, warp

SAME_SCENE = 0.3
"""Share of a frame below which the one before is no help: across a cut flow is trusted here and there by chance."""

_SETTLING = 10
"""Frames over which what has come into view is held ever more to the painting of the frame before. The few steps of one
frame don't make paint of it: held at once, it would stay the photograph that it starts from."""


@dataclass(frozen=True, eq=False)
class Carried:
    """A frame as the painting of the one before foretells it.

    Attributes:
        warped: That painting, moved along, `(1, 3, H, W)` in [0, 1].
        trusted: 1 where the flow is to be trusted, else 0, `(1, 1, H, W)`.
        held: How much the frame is to be that, from 0 to 1, `(1, 1, H, W)`: 0 where the flow is not trusted, and 1 only
            where it was for the last frames.
    """

    warped: Tensor
    trusted: Tensor
    held: Tensor

    @property
    def new(self) -> float:
        """The share of the frame that was not seen in the one before."""
        return 1 - float(self.trusted.mean())

    @property
    def settled(self) -> Tensor:
        """How much each pixel of the frame, once painted, is to be held in the next one, `(1, 1, H, W)`."""
        return (self.held + 1 / _SETTLING).clamp(max=1)


class Motion:
    """Carries paintings from frame to frame by optical flow.

    Args:
        method: How it is estimated.
        accelerator: Of the Trainer: with `auto` and those of GPUs the flow is estimated on a GPU where there is one.

    Attributes:
        name: Of the method in use.
    """

    def __init__(self, method: FlowMethod, accelerator: str) -> None:
        on_gpu = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
        self._flow = make_flow(method, "cuda" if on_gpu else "cpu")
        self.name = self._flow.name

    @torch.no_grad()
    def carry(self, painted: Tensor, settled: Tensor, before: Tensor, now: Tensor) -> Carried:
        """Move a painting along.

        Args:
            painted: Of the frame before, `(1, 3, H, W)` in [0, 1].
            settled: How much each of its pixels is to be held, `(1, 1, H, W)` in [0, 1].
            before: The frame before itself, of the same shape.
            now: The frame to be painted.

        Returns:
            What is known of its painting.
        """
        backward = self._flow.estimate(now, before)
        trusted = reliability(backward, self._flow.estimate(before, now))
        return Carried(warp(painted, backward), trusted, trusted * warp(settled, backward))
