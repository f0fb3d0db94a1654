"""Processes that share one picture: each has some of its tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Team:
    """The processes among which an objective's tiles are dealt out.

    Attributes:
        rank: Of this process, from 0.
        size: How many there are; 1 for a run that is not distributed, where nothing is ever exchanged.
    """

    rank: int = 0
    size: int = 1

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their sums over all processes, in place and in one exchange.

        Every process has to call it at the same point. All get the same bytes.

        Args:
            tensors: Of one dtype, on one device; the shapes are alike in all processes.
        """
        if self.size == 1 or not tensors:
            return
        if len(tensors) == 1 and tensors[0].is_contiguous():
            dist.all_reduce(tensors[0])
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(flat)
        totals = torch.split(flat, [tensor.numel() for tensor in tensors])
        for tensor, total in zip(tensors, totals, strict=True):
            tensor.copy_(total.view_as(tensor))

    def least(self, number: int, device: torch.device) -> int:
        """Give the smallest of all processes' numbers.

        Args:
            number: This process's.
            device: Where the processes exchange tensors.
        """
        if self.size == 1:
            return number
        smallest = torch.tensor(number, device=device)
        dist.all_reduce(smallest, dist.ReduceOp.MIN)
        return int(smallest)

    def broadcast(self, tensor: Tensor) -> None:
        """Give every process the tensor that the first one has, in place."""
        if self.size > 1:
            dist.broadcast(tensor, 0)
