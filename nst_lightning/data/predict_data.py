"""Images and videos to stylize in one pass: found, read ahead, and shared out among processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain
from pathlib import Path, PurePosixPath

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from nst_lightning.data.colors import ColorPreservation
from nst_lightning.data.guide_masks import RegionMasks
from nst_lightning.data.style_images import StyleImages
from nst_lightning.errors import StorageError, UserError, user_path
from nst_lightning.images.files import (
    IMAGE_SUFFIXES,
    LoadedImage,
    is_held,
    is_image_file,
    log_passed_over,
    read_image,
    visible_files,
)
from nst_lightning.images.resize import fit_long_side, resize
from nst_lightning.images.samples import SAMPLE, sample_path
from nst_lightning.utils.cores import usable_cores
from nst_lightning.utils.memory import named_out_of_memory
from nst_lightning.utils.overwriting import ReadFile
from nst_lightning.video.reading import VIDEO_SUFFIXES, VideoInfo, is_video, read_frames, read_info


@dataclass(frozen=True)
class MediaFile:
    """Image or video to be stylized.

    Attributes:
        path: Path of a file, or `sample:NAME`, as `read_image` takes it.
        name: Path relative to the folder that was searched, with its suffix; its name alone if it was given itself.
    """

    path: str
    name: PurePosixPath

    @property
    def is_video(self) -> bool:
        """Whether the suffix is a video's."""
        return is_video(Path(self.path))


@dataclass(frozen=True)
class FrameInfo:
    """Position of a frame in its video.

    Attributes:
        index: Number of the frame, from 0.
        time: Time from the start of the video, seconds.
        info: Size, rate and length of the video.
        is_last: Whether nothing of this video follows.
    """

    index: int
    time: Fraction
    info: VideoInfo
    is_last: bool = False


@dataclass(eq=False)
class PredictSample:
    """Image as read, or a frame of a video.

    Attributes:
        file: File that it is from.
        pixels: Float32 sRGB in [0, 1], `(1, 3, H, W)`; `(1, 3, 0, 0)` if it can't be read.
        alpha: Opacity in [0, 1], `(1, 1, H, W)`, on the CPU; `None` for a frame and for an opaque image.
        problem: Reason why it can't be read, in one line; `None` if it can.
        frame: Position of a frame in its video; `None` for an image, and for a video that can't be opened.
        styles: Style images, the same for all; `None` where the network has its own styles.
        regions: Mask of each style's region, `(1, 1, H, W)` in [0, 1]; none for a blend everywhere.
    """

    file: MediaFile
    pixels: Tensor
    alpha: Tensor | None = None
    problem: str | None = None
    frame: FrameInfo | None = None
    styles: StyleImages | None = None
    regions: tuple[Tensor, ...] = ()


class VideoFrames:
    """Frames of some videos, one video after another.

    A video that can't be read, or breaks in the middle, ends with a frame that has a `problem` and no pixels; its index
    counts the frames before it.

    Args:
        files: Files of the videos.
        size: Long side of the frames, pixels; `None` for each video's own.
        max_pixels: Most pixels of a frame; a video with larger ones is not read.
        read_ahead: Whether the next frame is read in a thread, while the last one is stylized. A process as of a
            `DataLoader` would gain nothing, since FFmpeg lets other threads run, and frames would have to fit into
            shared memory.
        regions: Masks of the styles' regions, the same for all frames of a video.
    """

    def __init__(
        self,
        files: list[MediaFile],
        size: int | None,
        max_pixels: int,
        read_ahead: bool = False,
        regions: RegionMasks | None = None,
    ) -> None:
        self.files = files
        self.size = size
        self.max_pixels = max_pixels
        self.read_ahead = read_ahead
        self.regions = regions

    def __iter__(self) -> Iterator[PredictSample]:
        frames = chain.from_iterable(_mark_last(self._read(file)) for file in self.files)
        return _read_ahead(frames) if self.read_ahead else frames

    def _read(self, file: MediaFile) -> Iterator[PredictSample]:
        info: VideoInfo | None = None
        index, time = 0, Fraction(0)
        regions: tuple[Tensor, ...] = ()
        try:
            info = self._check(file)
            for read in read_frames(Path(file.path), size=self.size):
                index, time = read.index + 1, read.time
                if self.regions is not None and not regions:
                    height, width = read.pixels.shape[-2:]
                    regions = self.regions.at(file.name, LoadedImage(read.pixels, None, ""), (height, width))
                yield PredictSample(file, read.pixels, frame=FrameInfo(read.index, time, info), regions=regions)
        except StorageError:  # the next one would not fare better
            raise
        except UserError as error:
            frame = None if info is None else FrameInfo(index, time, info)
            yield PredictSample(file, torch.empty(1, 3, 0, 0), problem=str(error), frame=frame)

    def _check(self, file: MediaFile) -> VideoInfo:
        info = read_info(Path(file.path))
        if info.width * info.height > self.max_pixels:
            raise UserError(
                f"expected at most {self.max_pixels} pixels a frame, found {info.width}×{info.height} in {file.path}; "
                "raise data.max_pixels"
            )
        return info

    def count_frames(self) -> int | None:
        """Return the number of frames by the files' headers, which may be off by some; `None` if one does not say."""
        counts = [self._count(file) for file in self.files]
        return None if None in counts else sum(count for count in counts if count is not None)

    def _count(self, file: MediaFile) -> int | None:
        try:
            return self._check(file).frames
        except UserError:
            return 1  # its problem


def _mark_last(samples: Iterator[PredictSample]) -> Iterator[PredictSample]:
    """Read one frame ahead, to know which is the last of a video, of which there is at least one."""
    waiting = next(samples)
    for sample in samples:
        yield waiting
        waiting = sample
    frame = waiting.frame
    yield replace(waiting, frame=None if frame is None else replace(frame, is_last=True))


def _read_ahead(samples: Iterator[PredictSample]) -> Iterator[PredictSample]:
    with ThreadPoolExecutor(1, thread_name_prefix="reader") as pool:
        coming = pool.submit(next, samples, None)
        while (sample := coming.result()) is not None:
            coming = pool.submit(next, samples, None)
            yield sample


class PredictLoader:
    """Loader of one of several processes: its images, then its videos.

    It has no length, on no process: Lightning would add up lengths over all of them, and wait for ever where only
    some have one.

    Args:
        images: Loader of the images, one at a time.
        frames: Frames of the videos, which are read when the images are done.
    """

    def __init__(self, images: DataLoader[PredictSample], frames: VideoFrames) -> None:
        self.images = images
        self.frames = frames

    def __iter__(self) -> Iterator[PredictSample]:
        return chain.from_iterable((self.images, self.frames))

    def count(self) -> int | None:
        """Return the number of images and frames, as far as it is known before they are read."""
        frames = self.frames.count_frames()
        return None if frames is None else len(self.images) + frames


class PredictData(LightningDataModule):
    """Hand out the images of folders and the frames of their videos, each a batch of its own.

    Images are read as `read_image` does: upright, sRGB, on white where they have alpha; videos as `read_frames` does,
    after the images. A file that can't be read is handed on as such. Several processes take turns: no image is
    stylized twice, and a video is stylized by one of them.

    Args:
        images: Folders, which are searched for images and videos with their subfolders (hidden files are left out,
            those with neither's suffix are named in the log), image or video files, or `sample:NAME`.
        size: Long side of the results, pixels; `None` for each image's and video's own.
        keep_alpha: Whether results have their images' alpha channels.
        max_pixels: Most pixels of an image or a frame; files with more are not read, as decompression bombs.
        num_workers: Processes that read ahead, an image each, at most as many as there are cores; 0 to read in
            between. With any, videos are read ahead too, in a thread.
        style: Image or images whose style is given to all: paths, or `sample:NAME`. For a network of any style; `None`
            for a network that has styles of its own.
        style_weights: Weights of the styles, in any proportion; `None` for equal parts.
        style_scale: Long side that the styles are measured at, over 512 pixels: larger makes larger strokes. One
            number, or one for each style.
        preserve_color: Method of keeping each image's colors, as in `TransferData`.
        color_strength: Weight of the kept colors, from 0 to 1.
        guides: Mask of each style's region, in which it is used alone: an image file for all, a folder with a mask of
            each image's name, `alpha` for each image's own opacity, or for one of them `rest`, what the others leave.
            Outside of all regions images stay as they are.
        style_guides: Mask of each style's part that is used: an image file, `alpha` or `null`.

    Attributes:
        files: Files that are to be stylized, in order.
        styles: Style images; `None` without any.

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
        style: str | list[str] | None = None,
        style_weights: list[float] | None = None,
        style_scale: float | list[float] = 1.0,
        preserve_color: ColorPreservation | None = None,
        color_strength: float = 1.0,
        guides: list[str] | None = None,
        style_guides: list[str | None] | None = None,
    ) -> None:
        super().__init__()
        self.allow_zero_length_dataloader_with_multiple_devices = True  # fewer images than processes
        if size is not None and size < 1:
            raise UserError(f"data.size must be at least 1 pixel, or null, but {size} was given.")
        if num_workers < 0:
            raise UserError(f"data.num_workers must be 0 or more, but {num_workers} was given.")
        self.places = [images] if isinstance(images, str) else list(images)
        self.files = [file for place in self.places for file in find_media(place)]
        if not self.files:
            raise UserError("there is nothing to paint; set --data.images to a folder, a picture or a video.")
        self.size = size
        self.keep_alpha = keep_alpha
        self.max_pixels = max_pixels
        self.num_workers = num_workers
        self.styles: StyleImages | None = None
        if paths := [style] if isinstance(style, str) else list(style or ()):
            self.styles = StyleImages.read(
                paths, style_weights, style_scale, preserve_color, color_strength, max_pixels, style_guides
            )
        elif any(each is not None for each in (style_weights, preserve_color, guides, style_guides)):
            raise UserError(
                "data.style_weights, data.preserve_color, data.guides and data.style_guides need style pictures; set "
                "data.style."
            )
        self.regions = None if guides is None else RegionMasks(guides, len(paths), max_pixels)

    def other_inputs(self) -> list[ReadFile]:
        """Return the files that are read beside those that are stylized: styles and masks."""
        styles = () if self.styles is None else self.styles.paths
        masks = [] if self.styles is None else list(self.styles.masks)
        if self.regions is not None:
            masks += [path for file in self.files for path in self.regions.paths(file.name)]
        return [
            *(ReadFile(user_path(path), "a style that is read") for path in styles),
            *(ReadFile(user_path(path), "a mask that is read") for path in dict.fromkeys(masks)),
        ]

    def keep_only(self, files: Sequence[MediaFile]) -> None:
        """Leave out the other files, of which results are there.

        Args:
            files: Files that are left, in order.
        """
        self.files = list(files)

    def predict_dataloader(self) -> DataLoader[PredictSample] | PredictLoader:
        """Return the loader of this process's share; without videos a plain one, whose length Lightning knows."""
        trainer = self.trainer
        rank, processes = (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)
        images = [file for file in self.files if not file.is_video]
        videos = [file for file in self.files if file.is_video]
        dataset = ImageFiles(images, self.size, self.keep_alpha, self.max_pixels, self.regions)
        workers = min(self.num_workers, len(images), usable_cores())
        loader = DataLoader(
            dataset,
            batch_size=None,
            sampler=StridedSampler(dataset, rank, processes),
            num_workers=workers,
            prefetch_factor=1 if workers else None,  # images may be large, and wait in shared memory
        )
        if not videos:
            return loader
        frames = VideoFrames(
            videos[rank::processes], self.size, self.max_pixels, self.num_workers > 0, regions=self.regions
        )
        return PredictLoader(loader, frames)

    def transfer_batch_to_device(
        self, batch: PredictSample, device: torch.device, dataloader_idx: int
    ) -> PredictSample:
        """Copy the pixels; the opacity is needed where files are written. Add the styles, which are measured once."""
        del dataloader_idx
        pixels, *regions = (tensor.to(device, non_blocking=True) for tensor in (batch.pixels, *batch.regions))
        return replace(batch, pixels=pixels, styles=self.styles, regions=tuple(regions))


class ImageFiles(Dataset[PredictSample]):
    """Images, read when they are asked for.

    Args:
        files: Files of the images.
        size: Long side, pixels; `None` for each image's own.
        keep_alpha: Whether to hand on their alpha channels.
        max_pixels: Most pixels of an image; one with more is not read.
        regions: Masks of the styles' regions.
    """

    def __init__(
        self,
        files: list[MediaFile],
        size: int | None,
        keep_alpha: bool,
        max_pixels: int,
        regions: RegionMasks | None = None,
    ) -> None:
        self.files = files
        self.size = size
        self.keep_alpha = keep_alpha
        self.max_pixels = max_pixels
        self.regions = regions

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> PredictSample:
        file = self.files[index]
        try:
            image = read_image(file.path, max_pixels=self.max_pixels)
            pixels, alpha = image.pixels, image.alpha if self.keep_alpha else None
            if self.size is not None:
                size = fit_long_side(pixels.shape[-2], pixels.shape[-1], self.size)
                with named_out_of_memory():
                    pixels, alpha = resize(pixels, size), None if alpha is None else resize(alpha, size)
            size = (pixels.shape[-2], pixels.shape[-1])
            regions = () if self.regions is None else self.regions.at(file.name, image, size)
        except StorageError:
            raise
        except UserError as error:
            return PredictSample(file, torch.empty(1, 3, 0, 0), problem=str(error))
        return PredictSample(file, pixels, alpha, regions=regions)


class StridedSampler(DistributedSampler[int]):
    """Indices of every n-th image, beginning with the rank's, for one of n processes.

    Torch's own repeats images so that all processes have as many; Lightning's for predictions does not, but refuses
    more processes than images. Lightning leaves a `DistributedSampler` as it is.

    Args:
        files: Images of all processes together.
        rank: Rank of this process.
        processes: Number of processes.
    """

    def __init__(self, files: ImageFiles, rank: int, processes: int) -> None:
        super().__init__(files, processes, rank, shuffle=False)
        self._share = range(rank, len(files), processes)

    def __len__(self) -> int:
        return len(self._share)

    def __iter__(self) -> Iterator[int]:
        return iter(self._share)


def find_media(place: str) -> list[MediaFile]:
    """Find the images and videos of one value of `data.images`.

    Args:
        place: Path of a folder, an image or a video, or `sample:NAME`.

    Returns:
        The files, a folder's sorted by name.

    Raises:
        UserError: If there is nothing by that name, or the folder holds neither.
    """
    if is_held(place):
        return [MediaFile(place, PurePosixPath("image.png"))]
    if place.startswith(SAMPLE):
        return [MediaFile(place, PurePosixPath(sample_path(place.removeprefix(SAMPLE)).name))]
    path = user_path(place)
    if not path.exists():
        raise UserError(f"--data.images found nothing at {place}; give a folder, a picture, a video or sample:NAME.")
    if not path.is_dir():
        return [MediaFile(str(path), PurePosixPath(path.name))]
    found = visible_files(path)
    files = [file for file in found if is_image_file(file) or is_video(file)]
    taken = set(files)
    log_passed_over(path, [file for file in found if file not in taken])
    if not files:
        suffixes = ", ".join((*IMAGE_SUFFIXES, *VIDEO_SUFFIXES))
        raise UserError(f"--data.images {place} holds no pictures or videos ({suffixes}); give another folder.")
    return [MediaFile(str(file), PurePosixPath(file.relative_to(path).as_posix())) for file in files]
