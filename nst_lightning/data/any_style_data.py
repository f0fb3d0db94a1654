"""The data module of the training of a network of any style: crops of photographs, each with one of a painting."""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass

from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, StackDataset, Subset

from nst_lightning.data.fast_transfer_data import ResumableLoader, SeededDataset, StepBatchSampler
from nst_lightning.data.folder_images import FolderImages
from nst_lightning.errors import UserError, named_in_errors


@dataclass(eq=False)
class AnyStyleBatch:
    """Photographs `(N, 3, H, W)`, and for each a style `(N, 3, h, w)`. All are float32 sRGB in [0, 1]."""

    contents: Tensor
    styles: Tensor


class AnyStyleData(LightningDataModule):
    """Hand out crops of photographs, each with a crop of a painting, in an order that a resumed run goes on with.

    One epoch is the whole training. What comes when, and how it is cropped, follows from the seed and the number of the
    sample alone: not from the workers, nor from where the run was interrupted.

    Args:
        photos: Folder or folders of photographs, searched with their subfolders for JPEG, PNG and WebP files.
        paintings: Folder or folders of paintings, likewise.
        steps: Optimizer steps of the training.
        crop: Side of the square crops of photographs, pixels.
        style_crop: Side of the square crops of paintings, pixels. A part of a painting has fewer colors and forms than
            the whole, whose style the network is to paint in.
        batch_size: Pairs per step (and process).
        zoom: Range of the random zoom of photographs, as in `FolderImages`.
        style_zoom: Range of the random zoom of paintings.
        color_jitter: Strength of random color changes of paintings, as in `FolderImages`.
        photo_styles: Share of the pairs whose style is a photograph's, in [0, 1).
        holdout_every: Distance of the images that are for validation, as in `FolderImages`.
        num_workers: Processes that decode.
        seed: Seed of the order and the crops.

    Raises:
        UserError: If a number is out of range, or as in `FolderImages`.
    """

    def __init__(
        self,
        photos: str | list[str],
        paintings: str | list[str],
        steps: int = 20_000,
        crop: int = 256,
        style_crop: int = 384,
        batch_size: int = 4,
        zoom: tuple[float, float] = (0.5, 1.4),
        style_zoom: tuple[float, float] = (0.6, 1.2),
        color_jitter: float = 0.1,
        photo_styles: float = 0.1,
        holdout_every: int = 64,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if steps < 1 or not 0 <= photo_styles < 1:
            raise UserError(
                f"data.steps must be at least 1 and data.photo_styles from 0 up to but not including 1, but {steps} "
                f"and {photo_styles:g} were given."
            )
        with named_in_errors("data.photos"):
            self.photos = FolderImages(photos, crop, batch_size, zoom, holdout_every, num_workers=num_workers)
        with named_in_errors("data.paintings"):
            self.paintings = FolderImages(paintings, style_crop, batch_size, style_zoom, holdout_every, color_jitter)
        self.style_photos = copy(self.photos)  # whose damaged files it knows, too
        self.style_photos.crop, self.style_photos.zoom = style_crop, style_zoom
        self.steps = steps
        self.batch_size = batch_size
        self.photo_styles = photo_styles
        self.num_workers = num_workers
        self.seed = seed

    def train_dataloader(self) -> Iterable[tuple[Tensor, Tensor]]:
        """Return `steps` batches of photographs and styles; Lightning keeps the place in the checkpoint."""
        trainer = self.trainer
        rank, processes = (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)
        samples = StepBatchSampler(self.steps, self.batch_size, rank, processes)
        images = (self.photos, self.paintings, self.style_photos)
        contents, paintings, photos = (
            SeededDataset(each.training_images(), self.seed + index) for index, each in enumerate(images)
        )
        pairs = _Pairs(contents, paintings, photos, self.photo_styles)
        return ResumableLoader(DataLoader(pairs, batch_sampler=samples, num_workers=self.num_workers), samples)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Return the center crops of the held-out images, the shorter of the lists of them to its end."""
        held_out = [images.held_out_images() for images in (self.photos, self.paintings)]
        count = min(map(len, held_out))
        pairs = StackDataset(*(Subset(images, range(count)) for images in held_out))
        return DataLoader(pairs, batch_size=self.batch_size, num_workers=self.num_workers)

    def on_after_batch_transfer(self, batch: tuple[Tensor, Tensor], dataloader_idx: int) -> AnyStyleBatch:
        """Return photographs and styles by their names."""
        del dataloader_idx
        return AnyStyleBatch(*batch)

    def teardown(self, stage: str) -> None:
        """Log how many files were passed over."""
        self.photos.teardown(stage)
        self.paintings.teardown(stage)


class _Pairs(Dataset[tuple[Tensor, Tensor]]):
    """Pairs of a photograph and a style of endless shuffles.

    Args:
        contents: Photographs.
        paintings: Styles of most pairs.
        photos: Styles of the other pairs.
        share: Share of those.
    """

    def __init__(self, contents: SeededDataset, paintings: SeededDataset, photos: SeededDataset, share: float) -> None:
        self.contents = contents
        self.paintings = paintings
        self.photos = photos
        self.share = share

    def __getitem__(self, sample: int) -> tuple[Tensor, Tensor]:
        # The whole part grows at evenly spread samples, at a share of them.
        photographic = int((sample + 1) * self.share) > int(sample * self.share)
        styles = self.photos if photographic else self.paintings
        return self.contents[sample], styles[sample]
