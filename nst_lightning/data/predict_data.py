"""Pictures and videos to be painted: found, read ahead, and shared out among devices."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePosixPath

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from nst_lightning.data.predict_sample import PictureFile as PictureFile
from nst_lightning.data.predict_sample import Unpainted as Unpainted
from nst_lightning.data.video_frames import Footage, Share
from nst_lightning.errors import UserError, user_path
from nst_lightning.images.files import read_image
from nst_lightning.images.folders import PICTURE_SUFFIXES, is_picture, visible_files
from nst_lightning.images.resize import fit_long_side, resize
from nst_lightning.images.samples import SAMPLE, sample_path
from nst_lightning.video.reading import VIDEO_SUFFIXES, is_video


class PicturesToPaint(LightningDataModule):
    """Every picture of a folder, or of several, and every frame of their videos, each a batch of its own.

    Pictures are read as `read_image` does: upright, sRGB, on white where they have alpha; videos as `read_frames` does,
    after the pictures. A file that can't be read is handed on as such. Several processes take turns: no picture is
    painted twice, and a video is painted by one of them.

    Args:
        images: Folders, which are searched for pictures and videos with their subfolders (hidden files and those with
            neither's suffix are left out), picture or video files, or `sample:NAME`.
        size: Long side of the results, pixels; `None` for each picture's and video's own.
        keep_alpha: Give the results their pictures' alpha channels.
        max_pixels: Pictures of more pixels, and videos with larger frames, are not read, as decompression bombs.
        num_workers: Processes that read ahead, a picture each, at most as many as there are cores; 0 to read in
            between. With any, videos are read ahead too, in a thread.

    Attributes:
        files: What is to be painted, in order; whoever writes may take away what need not be.

    Raises:
        UserError: If there is nothing by a name, a folder holds nothing to paint, or a number makes no sense.
    """

    def __init__(
        self,
        images: str | list[str],
        size: int | None = None,
        keep_alpha: bool = True,
        max_pixels: int = 200_000_000,
        num_workers: int = 2,
    ) -> None:
        super().__init__()
        self.allow_zero_length_dataloader_with_multiple_devices = True  # fewer pictures than processes
        if size is not None and size < 1:
            raise UserError(f"data.size must be at least 1 pixel, or null, but {size} was given.")
        if num_workers < 0:
            raise UserError(f"data.num_workers must be 0 or more, but {num_workers} was given.")
        self.places = [images] if isinstance(images, str) else list(images)
        self.files = [file for place in self.places for file in find_pictures(place)]
        if not self.files:
            raise UserError("there is nothing to paint; set --data.images to a folder, a picture or a video.")
        self.size = size
        self.keep_alpha = keep_alpha
        self.max_pixels = max_pixels
        self.num_workers = num_workers

    def predict_dataloader(self) -> DataLoader[Unpainted] | Share:
        """Give the loader of this process's share; without videos a plain one, whose length Lightning knows."""
        trainer = self.trainer
        rank, processes = (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)
        pictures = [file for file in self.files if not file.is_video]
        videos = [file for file in self.files if file.is_video]
        readings = Readings(pictures, self.size, self.keep_alpha, self.max_pixels)
        workers = min(self.num_workers, len(pictures), _cores())
        loader = DataLoader(
            readings,
            batch_size=None,
            sampler=EveryNth(readings, rank, processes),
            num_workers=workers,
            prefetch_factor=1 if workers else None,  # pictures may be large, and wait in shared memory
        )
        if not videos:
            return loader
        return Share(loader, Footage(videos[rank::processes], self.size, self.max_pixels, self.num_workers > 0))

    def transfer_batch_to_device(self, batch: Unpainted, device: torch.device, dataloader_idx: int) -> Unpainted:
        """Copy the pixels; the opacity is needed where files are written."""
        del dataloader_idx
        return replace(batch, pixels=batch.pixels.to(device, non_blocking=True))


class Readings(Dataset[Unpainted]):
    """Pictures, read when they are asked for.

    Args:
        files: Where they are.
        size: Long side, pixels; `None` for each picture's own.
        keep_alpha: Whether to hand on their alpha channels.
        max_pixels: The most that is read.
    """

    def __init__(self, files: list[PictureFile], size: int | None, keep_alpha: bool, max_pixels: int) -> None:
        self.files = files
        self.size = size
        self.keep_alpha = keep_alpha
        self.max_pixels = max_pixels

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Unpainted:
        file = self.files[index]
        try:
            picture = read_image(file.path, max_pixels=self.max_pixels)
        except UserError as error:
            return Unpainted(file, torch.empty(1, 3, 0, 0), problem=str(error))
        pixels, alpha = picture.pixels, picture.alpha if self.keep_alpha else None
        if self.size is not None:
            size = fit_long_side(pixels.shape[-2], pixels.shape[-1], self.size)
            pixels, alpha = resize(pixels, size), None if alpha is None else resize(alpha, size)
        return Unpainted(file, pixels, alpha)


class EveryNth(DistributedSampler[int]):
    """What one of several processes reads: every n-th picture, beginning with its rank's.

    Torch's own repeats pictures so that all processes have as many; Lightning's for predictions does not, but refuses
    more processes than pictures. Lightning leaves a `DistributedSampler` as it is.

    Args:
        readings: Pictures of all processes together.
        rank: Of this process.
        processes: How many there are.
    """

    def __init__(self, readings: Readings, rank: int, processes: int) -> None:
        super().__init__(readings, processes, rank, shuffle=False)
        self._share = range(rank, len(readings), processes)

    def __len__(self) -> int:
        return len(self._share)

    def __iter__(self) -> Iterator[int]:
        return iter(self._share)


def _cores() -> int:
    """Give the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def find_pictures(place: str) -> list[PictureFile]:
    """Find the pictures and videos that a word means.

    Args:
        place: A folder, a picture or video file, or `sample:NAME`.

    Returns:
        What is to be painted, a folder's sorted by name.

    Raises:
        UserError: If there is nothing by that name, or the folder holds neither.
    """
    if place.startswith(SAMPLE):
        return [PictureFile(place, PurePosixPath(sample_path(place.removeprefix(SAMPLE)).name))]
    path = user_path(place)
    if not path.exists():
        raise UserError(f"--data.images found nothing at {place}; give a folder, a picture, a video or sample:NAME.")
    if not path.is_dir():
        return [PictureFile(str(path), PurePosixPath(path.name))]
    files = [file for file in visible_files(path) if is_picture(file) or is_video(file)]
    if not files:
        suffixes = ", ".join((*PICTURE_SUFFIXES, *VIDEO_SUFFIXES))
        raise UserError(f"--data.images {place} holds no pictures or videos ({suffixes}); give another folder.")
    return [PictureFile(str(file), PurePosixPath(file.relative_to(path).as_posix())) for file in files]
