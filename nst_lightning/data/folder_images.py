"""Random crops of a folder of images, for tasks that learn from natural images."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from lightning.pytorch import LightningDataModule
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from nst_lightning.errors import UserError, one_line, user_path
from nst_lightning.images.files import visible_files
from nst_lightning.utils.storage import fetch

_log = logging.getLogger(__name__)

_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
_MOST_JITTER = 2.5  # a fifth of it goes for the hue, which may be moved by half of the circle at most


class FolderImages(LightningDataModule):
    """Hand out crops of all images below a folder; every n-th image is held out for validation.

    In the place of a file that can't be decoded the next one is taken, with a warning; at the end one line says how
    many there were, of those that this process and its workers came across.

    Args:
        folder: Folder that is searched with its subfolders for JPEG, PNG and WebP files, hidden ones left out; or
            several folders.
        crop: Side of the square crops, pixels.
        batch_size: Crops per step.
        zoom: Range of the random zoom: a crop covers `crop / zoom` pixels of the image, within its bounds.
        holdout_every: Distance of the images, by sorted name, that are for validation, at least 2; their center
            is cropped.
        color_jitter: Strength of random brightness, contrast, saturation (±) and of hue (a fifth of it).
        num_workers: Processes that decode.
        noise: Standard deviation of Gaussian noise that is added to every second training crop, in the range of
            pixels, [0, 1].

    Raises:
        UserError: If the folder holds fewer than two images, or a number makes no sense.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> from nst_lightning.data import FolderImages
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for index in range(4):
        ...         Image.new("RGB", (64, 48), (60 * index, 0, 0)).save(f"{folder}/{index}.png")
        ...     data = FolderImages(folder, crop=16, batch_size=3, holdout_every=4)
        ...     batch = next(iter(data.train_dataloader()))
        >>> batch.shape
        torch.Size([3, 3, 16, 16])
    """

    def __init__(
        self,
        folder: str | list[str],
        crop: int = 128,
        batch_size: int = 32,
        zoom: tuple[float, float] = (0.5, 1.4),
        holdout_every: int = 16,
        color_jitter: float = 0.0,
        num_workers: int = 0,
        noise: float = 0.0,
    ) -> None:
        super().__init__()
        folders = [user_path(name) for name in ([folder] if isinstance(folder, str) else folder)]
        self.paths = [p for each in folders for p in visible_files(each) if p.suffix.lower() in _SUFFIXES]
        if len(self.paths) < 2:
            raise UserError(
                f"{' and '.join(map(str, folders))} holds {len(self.paths)} pictures, but at least 2 are needed; give "
                "a folder with more."
            )
        if min(crop, batch_size) < 1 or holdout_every < 2:
            raise UserError(
                f"crop and batch_size must be at least 1 and holdout_every at least 2, but {crop}, {batch_size} and "
                f"{holdout_every} were given."
            )
        if not 0 <= color_jitter <= _MOST_JITTER or num_workers < 0:
            raise UserError(
                f"color_jitter must be from 0 to {_MOST_JITTER} and num_workers at least 0, but {color_jitter} and "
                f"{num_workers} were given."
            )
        if not 0 <= noise < math.inf:
            raise UserError(f"noise must be 0 or more, but {noise} was given.")
        if not 0 < zoom[0] <= zoom[1]:
            raise UserError(f"zoom must be a range above 0 such as [0.5, 1.4], but {list(zoom)} was given.")
        self.crop = crop
        self.batch_size = batch_size
        self.zoom = zoom
        self.holdout_every = holdout_every
        self.color_jitter = color_jitter
        self.noise = noise
        self.num_workers = num_workers
        # Shared memory: a worker's own copy would be lost with the worker.
        self._damaged = torch.zeros(len(self.paths), dtype=torch.bool)
        self._damaged.share_memory_()  # type: ignore[no-untyped-call]

    def train_dataloader(self) -> Iterable[Tensor]:
        """Return shuffled batches `(N, 3, crop, crop)`, float32 in [0, 1]."""
        return self._loader(self.training_images(), shuffle=True)

    def training_images(self) -> FolderDataset:
        """Return the images that are not held out, randomly cropped to `(3, crop, crop)`."""
        strength = self.color_jitter
        transform = v2.Compose(
            [
                RandomZoomCrop(self.crop, self.zoom),
                v2.RandomHorizontalFlip(),
                v2.ColorJitter(strength, strength, strength, strength / 5),
                v2.ToDtype(torch.float32, scale=True),
                *([v2.RandomApply([v2.GaussianNoise(sigma=self.noise)])] if self.noise else []),
            ]
        )
        return FolderDataset(
            self.paths, [i for i in range(len(self.paths)) if i % self.holdout_every], transform, self._damaged
        )

    def val_dataloader(self) -> DataLoader[Tensor]:
        """Return the center crops of the held-out images."""
        return self._loader(self.held_out_images(), shuffle=False)

    def held_out_images(self) -> FolderDataset:
        """Return the center crops of the images that are held out, `(3, 2 * crop, 2 * crop)`."""
        transform = v2.Compose(
            [v2.Resize(2 * self.crop), v2.CenterCrop(2 * self.crop), v2.ToDtype(torch.float32, scale=True)]
        )
        return FolderDataset(self.paths, range(0, len(self.paths), self.holdout_every), transform, self._damaged)

    @property
    def damaged(self) -> list[Path]:
        """Files that could not be decoded so far."""
        return [path for path, damaged in zip(self.paths, self._damaged.tolist(), strict=True) if damaged]

    def teardown(self, stage: str) -> None:
        """Log how many files were passed over."""
        del stage
        if count := len(self.damaged):
            _log.warning("%d of %d pictures could not be decoded and were passed over", count, len(self.paths))

    def _loader(self, images: FolderDataset, *, shuffle: bool) -> DataLoader[Tensor]:
        return DataLoader(
            images,
            batch_size=self.batch_size,
            shuffle=shuffle,
            drop_last=shuffle and len(images) >= self.batch_size,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
        )


class RandomZoomCrop(v2.Transform):  # type: ignore[misc]  # torchvision has no types
    """Crop a random square and resize it.

    Args:
        size: Side of the result, pixels.
        zoom: Range of the magnification, drawn log-uniformly; the square is kept inside the image.
    """

    def __init__(self, size: int, zoom: tuple[float, float]) -> None:
        super().__init__()
        self.size = size
        self.log_zoom = torch.tensor(zoom).log().tolist()

    def forward(self, image: Tensor) -> Tensor:
        """Crop one image `(3, H, W)` to `(3, size, size)`."""
        height, width = image.shape[-2:]
        zoom = float(torch.empty(()).uniform_(*self.log_zoom).exp())
        side = max(1, min(round(self.size / zoom), height, width))
        top = int(torch.randint(height - side + 1, ()))
        left = int(torch.randint(width - side + 1, ()))
        size = [self.size, self.size]
        crop: Tensor = v2.functional.resized_crop(image, top, left, side, side, size, antialias=True)
        return crop


class FolderDataset(Dataset[Tensor]):
    """Some of a folder's images, decoded and transformed; damaged ones are replaced by the next.

    Args:
        paths: Files of the folder.
        chosen: Indices of the files that this dataset is made of.
        transform: Transform of `(3, H, W)`, bytes, into an item.
        damaged: Flag of each file, in memory that worker processes share.
    """

    def __init__(self, paths: Sequence[Path], chosen: Sequence[int], transform: v2.Transform, damaged: Tensor) -> None:
        self.paths = paths
        self.chosen = chosen
        self.transform = transform
        self._damaged = damaged

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, index: int) -> Tensor:
        for number in [*self.chosen[index:], *self.chosen[:index]]:
            path = self.paths[number]
            file = fetch(path)  # what a storage can't give is no damaged image
            try:
                # Without the care of images/files.py (profiles, 16 bits, orientation), five times as fast.
                with Image.open(file) as opened:
                    pixels = v2.functional.pil_to_tensor(opened.convert("RGB"))
            except MemoryError:
                raise
            except Exception as error:  # a damaged file trips Pillow in ways that have no common class
                if not self._damaged[number]:
                    self._damaged[number] = True
                    _log.warning("%s can't be decoded (%s); another picture is taken", path, one_line(error))
                continue
            image: Tensor = self.transform(pixels)
            return image
        raise UserError(
            f"none of {len(self)} pictures can be decoded, {self.paths[self.chosen[0]]} for one; give other pictures."
        )
