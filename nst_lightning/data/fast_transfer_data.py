"""What a network that paints in one pass is trained on: crops of photographs, and the style pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor
from torch.utils.data import DataLoader

from nst_lightning.data.folder_images import FolderImages
from nst_lightning.data.sampling import ResumableLoader, SampleNumbers, SeededPictures
from nst_lightning.errors import UserError
from nst_lightning.images.files import read_image
from nst_lightning.images.resize import fit_long_side, resize
from nst_lightning.images.samples import SAMPLE


@dataclass(eq=False)
class FastBatch:
    """Photographs to paint, and the styles to paint them in. All are float32 sRGB in [0, 1].

    Attributes:
        contents: `(N, 3, H, W)`.
        styles: Each `(1, 3, h, w)` with its own size, on the CPU: they are measured once in a run.
        style_names: One for each style.
        digest: Identifies the styles and their sizes.
    """

    contents: Tensor
    styles: tuple[Tensor, ...]
    style_names: tuple[str, ...]
    digest: str


class FastTransferData(FolderImages):
    """Crops of a folder's photographs with the style pictures, in an order that a resumed run goes on with exactly.

    One epoch is the whole training. Which photograph comes when, and how it is cropped, follows from the seed and
    the number of the sample alone: not from the workers, nor from where the run was interrupted.

    Args:
        folder: Photographs; searched with its subfolders for JPEG, PNG and WebP files.
        style: The picture or pictures to learn the manner of: paths, or `sample:NAME` for one of the package's.
        style_size: Long side of the styles, pixels. Strokes come out as large in a painted picture as they are in the
            style at this size.
        steps: Optimiser steps of the training.
        crop: Side of the square crops, pixels.
        batch_size: Crops per step (and process).
        zoom: As in `FolderImages`.
        holdout_every: As in `FolderImages`.
        color_jitter: As in `FolderImages`.
        num_workers: Processes that decode.
        seed: Of the order and the crops.

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
        shapes = [picture.pixels.shape for picture in read]
        sizes = [fit_long_side(height, width, style_size) for _, _, height, width in shapes]
        self.styles = tuple(resize(picture.pixels, size) for picture, size in zip(read, sizes, strict=True))
        self.style_names = _names(paths)
        identity = "|".join(f"{picture.digest} {size}" for picture, size in zip(read, sizes, strict=True))
        self.digest = hashlib.sha256(identity.encode()).hexdigest()[:16]
        self.steps = steps
        self.seed = seed

    def train_dataloader(self) -> Iterable[Tensor]:
        """Give `steps` batches `(batch_size, 3, crop, crop)`; Lightning keeps the place in the checkpoint."""
        trainer = self.trainer
        rank, processes = (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)
        samples = SampleNumbers(self.steps, self.batch_size, rank, processes)
        loader = DataLoader(
            SeededPictures(self.training_pictures(), self.seed),
            batch_sampler=samples,
            num_workers=self.num_workers,
        )
        return ResumableLoader(loader, samples)

    def on_after_batch_transfer(self, batch: Tensor, dataloader_idx: int) -> FastBatch:
        """Add the styles, which stay where they are."""
        del dataloader_idx
        return FastBatch(batch, self.styles, self.style_names, self.digest)


def _names(paths: list[str]) -> tuple[str, ...]:
    """Give each style its file's name without the suffix; a number is added where it is not the first of its name."""
    stems = [Path(path.removeprefix(SAMPLE)).stem for path in paths]
    return tuple(
        stem if stem not in stems[:index] else f"{stem}_{stems[: index + 1].count(stem)}"
        for index, stem in enumerate(stems)
    )
