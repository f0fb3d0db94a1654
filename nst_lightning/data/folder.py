"""Random crops of a folder of pictures, for tasks that learn from natural images."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from lightning.pytorch import LightningDataModule
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from nst_lightning.errors import UserError

_log = logging.getLogger(__name__)

_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


class FolderImages(LightningDataModule):
    """Crops of all pictures below a folder; every n-th picture is held out for validation.

    In the place of a file that can't be decoded the next one is taken, with a warning.

    Args:
        folder: Searched with its subfolders for JPEG, PNG and WebP files.
        crop: Side of the square crops, pixels.
        batch_size: Crops per step.
        zoom: Range of the random zoom: a crop covers `crop / zoom` pixels of the picture, within its bounds.
        holdout_every: Each such picture, by sorted name, is for validation, at least every second; its centre
            is cropped.
        color_jitter: Strength of random brightness, contrast, saturation (±) and of hue (a fifth of it).
        num_workers: Processes that decode.

    Raises:
        UserError: If the folder holds fewer than two pictures, or a number makes no sense.
    """

    def __init__(
        self,
        folder: str,
        crop: int = 128,
        batch_size: int = 32,
        zoom: tuple[float, float] = (0.5, 1.4),
        holdout_every: int = 16,
        color_jitter: float = 0.0,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        self.paths = sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in _SUFFIXES)
        if len(self.paths) < 2:
            raise UserError(f"{folder} holds {len(self.paths)} pictures, but at least 2 are needed; set --data.folder.")
        if min(crop, batch_size) < 1 or holdout_every < 2:
            raise UserError(
                f"data.crop and data.batch_size must be at least 1 and data.holdout_every at least 2, but "
                f"{crop}, {batch_size} and {holdout_every} were given."
            )
        if not 0 < zoom[0] <= zoom[1]:
            raise UserError(f"data.zoom must be a range above 0 such as [0.5, 1.4], but {list(zoom)} was given.")
        self.crop = crop
        self.batch_size = batch_size
        self.zoom = zoom
        self.holdout_every = holdout_every
        self.color_jitter = color_jitter
        self.num_workers = num_workers

    def train_dataloader(self) -> DataLoader[Tensor]:
        """Give shuffled batches `(N, 3, crop, crop)`, float32 in [0, 1]."""
        strength = self.color_jitter
        transform = v2.Compose(
            [
                RandomZoomCrop(self.crop, self.zoom),
                v2.RandomHorizontalFlip(),
                v2.ColorJitter(strength, strength, strength, strength / 5),
                v2.ToDtype(torch.float32, scale=True),
            ]
        )
        paths = [p for i, p in enumerate(self.paths) if i % self.holdout_every]
        return self._loader(paths, transform, shuffle=True)

    def val_dataloader(self) -> DataLoader[Tensor]:
        """Give the centre crops of the held-out pictures."""
        transform = v2.Compose(
            [v2.Resize(2 * self.crop), v2.CenterCrop(2 * self.crop), v2.ToDtype(torch.float32, scale=True)]
        )
        return self._loader(self.paths[:: self.holdout_every], transform, shuffle=False)

    def _loader(self, paths: Sequence[Path], transform: v2.Transform, *, shuffle: bool) -> DataLoader[Tensor]:
        return DataLoader(
            _Pictures(paths, transform),
            batch_size=self.batch_size,
            shuffle=shuffle,
            drop_last=shuffle and len(paths) >= self.batch_size,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
        )


class RandomZoomCrop(v2.Transform):  # type: ignore[misc]  # torchvision has no types
    """Crop a random square and resize it.

    Args:
        size: Side of the result, pixels.
        zoom: Range of the magnification, drawn log-uniformly; the square is kept inside the picture.
    """

    def __init__(self, size: int, zoom: tuple[float, float]) -> None:
        super().__init__()
        self.size = size
        self.log_zoom = torch.tensor(zoom).log().tolist()

    def forward(self, image: Tensor) -> Tensor:
        """Crop one picture `(3, H, W)` to `(3, size, size)`."""
        height, width = image.shape[-2:]
        zoom = float(torch.empty(()).uniform_(*self.log_zoom).exp())
        side = max(1, min(round(self.size / zoom), height, width))
        top = int(torch.randint(height - side + 1, ()))
        left = int(torch.randint(width - side + 1, ()))
        size = [self.size, self.size]
        crop: Tensor = v2.functional.resized_crop(image, top, left, side, side, size, antialias=True)
        return crop


class _Pictures(Dataset[Tensor]):
    def __init__(self, paths: Sequence[Path], transform: v2.Transform) -> None:
        self.paths = paths
        self._damaged: set[Path] = set()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        for path in [*self.paths[index:], *self.paths[:index]]:
            try:
                # Without the care of images/files.py (profiles, 16 bits, orientation), five times as fast.
                with Image.open(path) as file:
                    pixels = v2.functional.pil_to_tensor(file.convert("RGB"))
            except Exception as error:  # a damaged file trips Pillow in ways that have no common class
                if path not in self._damaged:
                    self._damaged.add(path)
                    _log.warning(
                        "%s can't be decoded (%s); another picture is taken", path, " ".join(str(error).split())
                    )
                continue
            image: Tensor = self.transform(pixels)
            return image
        raise UserError(
            f"none of {len(self.paths)} pictures can be decoded, {self.paths[0]} for one; check data.folder."
        )
