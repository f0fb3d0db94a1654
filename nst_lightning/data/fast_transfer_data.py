"""The data module of a one-pass network's training: crops in an order that a resumed run goes on with, and styles."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from nst_lightning.data.folder_images import FolderDataset, FolderImages
from nst_lightning.errors import UserError
from nst_lightning.images.files import read_image
from nst_lightning.images.resize import fit_long_side, resize
from nst_lightning.images.samples import SAMPLE

_Batch = TypeVar("_Batch")


@dataclass(eq=False)
class FastBatch:
    """Photographs, and the styles to paint them in. All are float32 sRGB in [0, 1].

    Attributes:
        contents: Photographs, `(N, 3, H, W)`.
        styles: Style images, each `(1, 3, h, w)` with its own size, on the CPU: they are measured once in a run.
        style_names: Names of the styles.
        digest: Digest of the styles and their sizes.
    """

    contents: Tensor
    styles: tuple[Tensor, ...]
    style_names: tuple[str, ...]
    digest: str


class FastTransferData(FolderImages):
    """Hand out crops of photographs and the style images, in an order that a resumed run goes on with exactly.

    One epoch is the whole training. Which photograph comes when, and how it is cropped, follows from the seed and
    the number of the sample alone: not from the workers, nor from where the run was interrupted.

    Args:
        folder: Folder of photographs, searched with its subfolders for JPEG, PNG and WebP files.
        style: Image or images whose style is learned: paths, or `sample:NAME` for one of the package's.
        style_size: Long side of the styles, pixels. Strokes come out as large in a painted image as they are in the
            style at this size.
        steps: Optimizer steps of the training.
        crop: Side of the square crops, pixels.
        batch_size: Crops per step (and process).
        zoom: Range of the random zoom, as in `FolderImages`.
        holdout_every: Distance of the images that are for validation, as in `FolderImages`.
        color_jitter: Strength of random color changes, as in `FolderImages`.
        num_workers: Processes that decode.
        seed: Seed of the order and the crops.

    Raises:
        UserError: If a style can't be read, or as in `FolderImages`.
    """

    def __init__(
        self,
        folder: str,
        style: str | list[str] = "sample:starry",
        style_size: int = 512,
        steps: int = 10_000,
        crop: int = 256,
        batch_size: int = 4,
        zoom: tuple[float, float] = (0.5, 1.4),
        holdout_every: int = 16,
        color_jitter: float = 0.0,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(folder, crop, batch_size, zoom, holdout_every, color_jitter, num_workers)
        paths = [style] if isinstance(style, str) else list(style)
        if not paths or min(style_size, steps) < 1:
            raise UserError(
                f"data.style must name a picture, data.style_size and data.steps must be at least 1, but {len(paths)} "
                f"pictures, {style_size} and {steps} were given."
            )
        read = [read_image(path) for path in paths]
        shapes = [image.pixels.shape for image in read]
        sizes = [fit_long_side(height, width, style_size) for _, _, height, width in shapes]
        self.styles = tuple(resize(image.pixels, size) for image, size in zip(read, sizes, strict=True))
        self.style_names = _names(paths)
        identity = "|".join(f"{image.digest} {size}" for image, size in zip(read, sizes, strict=True))
        self.digest = hashlib.sha256(identity.encode()).hexdigest()[:16]
        self.steps = steps
        self.seed = seed

    def train_dataloader(self) -> Iterable[Tensor]:
        """Return `steps` batches `(batch_size, 3, crop, crop)`; Lightning keeps the place in the checkpoint."""
        trainer = self.trainer
        rank, processes = (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)
        samples = StepBatchSampler(self.steps, self.batch_size, rank, processes)
        loader = DataLoader(
            SeededDataset(self.training_images(), self.seed),
            batch_sampler=samples,
            num_workers=self.num_workers,
        )
        return ResumableLoader(loader, samples)

    def on_after_batch_transfer(self, batch: Tensor, dataloader_idx: int) -> FastBatch:
        """Add the styles, which stay where they are."""
        del dataloader_idx
        return FastBatch(batch, self.styles, self.style_names, self.digest)


def _names(paths: list[str]) -> tuple[str, ...]:
    """Return the styles' names: the files' without suffix, with a number where it is not the first of its name."""
    stems = [Path(path.removeprefix(SAMPLE)).stem for path in paths]
    names: list[str] = []
    for index, stem in enumerate(stems):
        number, name = 1, stem
        while name in names or (number > 1 and name in stems[index + 1 :]):
            number += 1
            name = f"{stem}_{number}"
        names.append(name)
    return tuple(names)


class SeededDataset(Dataset[Tensor]):
    """Endless shuffle, whose sample `k` is a random crop that the seed and `k` decide.

    Args:
        images: Dataset that crops with torch's global generator, which is left as it was.
        seed: Seed of the order and the crops.
    """

    def __init__(self, images: FolderDataset, seed: int) -> None:
        self.images = images
        self.seed = seed
        self._round = -1
        self._order: list[int] = []

    def __getitem__(self, sample: int) -> Tensor:
        turn, place = divmod(sample, len(self.images))
        with torch.random.fork_rng(devices=[]):
            if turn != self._round:
                torch.manual_seed(_mixed(self.seed, "order", turn))
                self._round, self._order = turn, torch.randperm(len(self.images)).tolist()
            torch.manual_seed(_mixed(self.seed, "crop", sample))
            return self.images[self._order[place]]


def _mixed(*parts: object) -> int:
    """Return a seed for what identifies a draw; neighboring numbers give unrelated ones."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:7], "big")


class StepBatchSampler(Sampler[list[int]]):
    """Numbers of each step's samples in one of several processes, which take turns, batch by batch.

    Args:
        steps: Steps of the training.
        batch_size: Samples per step and process.
        rank: Rank of this process.
        processes: Number of processes.

    Attributes:
        first: Step that iteration begins with.
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


class ResumableLoader(Generic[_Batch]):
    """Loader that goes on in the middle: Lightning keeps `state_dict` in the checkpoint and hands it back.

    Args:
        loader: Loader that reads the samples.
        samples: Batch sampler of the loader.
    """

    def __init__(self, loader: DataLoader[_Batch], samples: StepBatchSampler) -> None:
        self._loader = loader
        self._samples = samples
        self._step = 0

    def __len__(self) -> int:
        return self._samples.steps

    def __iter__(self) -> Iterator[_Batch]:
        # Workers read ahead: what counts is what was handed out.
        self._samples.first = self._step
        for batch in self._loader:
            self._step += 1
            yield batch
        self._step = 0

    def state_dict(self) -> dict[str, Any]:
        """Return the number of batches handed out."""
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
