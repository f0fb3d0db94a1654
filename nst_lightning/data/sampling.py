"""An endless shuffle of pictures that any process can take up anywhere."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from nst_lightning.data.folder_images import Pictures
from nst_lightning.errors import UserError


class SeededPictures(Dataset[Tensor]):
    """Sample `k` of an endless shuffle: a random crop that the seed and `k` decide.

    Args:
        pictures: Cropped with torch's global generator, which is left as it was.
        seed: Decides everything random.
    """

    def __init__(self, pictures: Pictures, seed: int) -> None:
        self.pictures = pictures
        self.seed = seed
        self._round = -1
        self._order: list[int] = []

    def __getitem__(self, sample: int) -> Tensor:
        turn, place = divmod(sample, len(self.pictures))
        with torch.random.fork_rng(devices=[]):
            if turn != self._round:
                torch.manual_seed(_mixed(self.seed, "order", turn))
                self._round, self._order = turn, torch.randperm(len(self.pictures)).tolist()
            torch.manual_seed(_mixed(self.seed, "crop", sample))
            return self.pictures[self._order[place]]


def _mixed(*parts: object) -> int:
    """Turn what identifies a draw into a seed; neighbouring numbers give unrelated ones."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:7], "big")


class SampleNumbers(Sampler[list[int]]):
    """The numbers of each step's samples in this process: processes take turns, batch by batch.

    Args:
        steps: Of the training.
        batch_size: Samples per step and process.
        rank: Of this process.
        processes: How many there are.

    Attributes:
        first: The step that iteration begins with.
    """

    def __init__(self, steps: int, batch_size: int, rank: int, processes: int) -> None:
        self.steps = steps
        self.batch_size = batch_size
        self.rank = rank
        self.processes = processes
        self.first = 0

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.first, self.steps):
            start = (step * self.processes + self.rank) * self.batch_size
            yield list(range(start, start + self.batch_size))


class ResumableLoader:
    """A loader that goes on in the middle: Lightning keeps `state_dict` in the checkpoint and hands it back.

    Args:
        loader: Reads the samples.
        samples: Its batch sampler.
    """

    def __init__(self, loader: DataLoader[Tensor], samples: SampleNumbers) -> None:
        self._loader = loader
        self._samples = samples
        self._step = 0

    def __len__(self) -> int:
        return self._samples.steps

    def __iter__(self) -> Iterator[Tensor]:
        # Workers read ahead: what counts is what was handed out.
        self._samples.first = self._step
        for batch in self._loader:
            self._step += 1
            yield batch
        self._step = 0

    def state_dict(self) -> dict[str, Any]:
        """Give the number of batches handed out."""
        return {"step": self._step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on after `state["step"]` batches.

        Raises:
            UserError: If that is more than there are now.
        """
        if state["step"] > len(self):
            raise UserError(
                f"the checkpoint is {state['step']} steps into its training, but data.steps is {len(self)}; raise it."
            )
        self._step = state["step"]
