"""Write what nst predict paints: where each result goes, what is there already, and the files."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from tqdm import tqdm

from nst_lightning._compat import datamodule_of
from nst_lightning.callbacks.video_encoder import VideoEncoder
from nst_lightning.data.predict_data import FrameInfo, MediaFile, PredictData, PredictSample
from nst_lightning.errors import StorageError, UserError, user_path
from nst_lightning.images.files import OUTPUT_FORMATS, check_output, write_image
from nst_lightning.utils.atomic import LONGEST_NAME, check_writable
from nst_lightning.utils.cores import usable_cores
from nst_lightning.utils.memory import OUT_OF_MEMORY
from nst_lightning.utils.overwriting import ReadFile, WrittenFile, check_overwriting, find_same
from nst_lightning.utils.signals import exit_by_signal, stop_signals
from nst_lightning.utils.storage import look
from nst_lightning.video.reading import is_video
from nst_lightning.video.writing import written_suffix


def leave_out_folder(files: Sequence[MediaFile], folder: Path, searched: Sequence[str]) -> list[MediaFile]:
    """Leave out earlier outputs, where the outputs' folder lies inside one that is searched.

    Args:
        files: Files that were found.
        folder: Folder of the outputs.
        searched: Places that were searched: folders, files or `sample:NAME`.
    """
    outputs = folder.resolve()
    if not any(outputs != user_path(place).resolve() for place in searched if _holds(place, outputs)):
        return list(files)
    return [file for file in files if not Path(file.path).resolve().is_relative_to(outputs)]


def _holds(place: str, outputs: Path) -> bool:
    path = user_path(place)
    return path.is_dir() and outputs.is_relative_to(path.resolve())


def find_targets(
    files: Sequence[MediaFile], folder: Path, suffix: str | None, others: Sequence[ReadFile] = ()
) -> dict[MediaFile, Path]:
    """Return the output of each image and video: the same relative name below another folder.

    A file that can't be written in its own format gets the new suffix behind the old one: `a.gif.png`. As `a.png` it
    would be mistaken for the output of an `a.png` that is put beside it later. So do all files that would share a name
    in a format asked for, also one that has this format: an earlier run may have painted another one of them there.

    Args:
        files: Files that are stylized.
        folder: Folder of the outputs.
        suffix: Suffix of all images' outputs, such as `.png`; `None` for each image's own, if it can be written, else
            `.png`. A video's is `written_suffix` of its own.
        others: Style images and masks, which are not to be painted over either.

    Returns:
        A file for each, in the same order.

    Raises:
        UserError: If two inputs have the same name, one would be painted over a file that is read, or the folder can't
            be written to.
    """
    short = [_renamed(file, suffix) for file in files]
    counts = Counter(short)
    names = [
        file.name.with_name(file.name.name + name.suffix) if counts[name] > 1 else name
        for file, name in zip(files, short, strict=True)
    ]
    paths = [folder / name for name in names]
    if (same := find_same(paths)) is not None:
        first, second = same
        raise UserError(
            f"{files[first].path} and {files[second].path} would both be painted to {paths[second]}; rename one."
        )
    for file, path in zip(files, paths, strict=True):
        if len(os.fsencode(path.name)) > LONGEST_NAME:
            raise UserError(
                f"expected a name of at most {LONGEST_NAME} bytes for what {file.path} is painted to, found "
                f"{path.name!r}; give the file a shorter name."
            )
    targets = dict(zip(files, paths, strict=True))
    check_targets(targets, others, "give another --output.folder")
    return targets


def check_targets(targets: Mapping[MediaFile, Path], others: Sequence[ReadFile], remedy: str) -> None:
    """Refuse to paint over a file that is read, or where nothing can be written.

    Args:
        targets: Output of each file.
        others: Other files that are read.
        remedy: What to do about it.
    """
    kinds = ((file, "video" if file.is_video else "picture") for file in targets)
    check_overwriting(
        (WrittenFile(path, str(path), "would be painted over", remedy) for path in targets.values()),
        [*(ReadFile(Path(file.path), f"a {kind} that is read") for file, kind in kinds), *others],
    )
    if targets:
        check_writable(next(iter(targets.values())))


def _renamed(file: MediaFile, suffix: str | None) -> PurePosixPath:
    own = file.name.suffix
    if file.is_video:
        kept = written_suffix(own) == own.lower()
        return file.name if kept else file.name.with_name(file.name.name + written_suffix(own))
    if suffix:
        return file.name.with_suffix(suffix)
    return file.name if own.lower() in OUTPUT_FORMATS else file.name.with_name(f"{file.name.name}.png")


_log = logging.getLogger(__name__)

_MOST_THREADS = 8


class PredictionWriter(Callback):
    """Write one file for each image or video, with the same relative name; those that are there are left alone.

    Files appear whole or not at all, so one that exists is finished, and the same command goes on after an
    interruption: with a video from its start. Threads encode and write, at most two images each, or two frames, are
    waiting. A file that can't be read or written is reported and passed over; a file system that refuses (no space, no
    permission) ends the run.

    Args:
        folder: Folder of the results, or its address, such as `s3://bucket/painted`.
        format: Format of all images; `None` for that of each image if it is PNG, JPEG, WebP or TIFF, else PNG. A video
            keeps its own, or becomes an MP4 (`written_suffix`).
        quality: Quality of JPEG and WebP, 1 to 100.
        overwrite: Whether to stylize again what is there.
        path: File for the result of a single image or video, in the place of one in `folder`; it is written over.
        settings: Whether images hold the settings, by which `nst predict --config FILE` paints them again; `None` for
            where `path` names the one. They name the files that were read as they were given.

    Attributes:
        describe: Function that returns the settings of the images; for whoever starts the run to set.
        kinds: Words for the kinds of files: `pictures`, `videos` or both.
        painted: Files written by this process.
        failed: Images and videos that this process could not read or write.

    Raises:
        UserError: If the quality is out of range, or the path has the suffix of no image or video.
    """

    def __init__(
        self,
        folder: str = "painted",
        format: Literal["png", "jpg", "webp", "tiff"] | None = None,
        quality: int = 95,
        overwrite: bool = False,
        path: str | None = None,
        settings: bool | None = None,
    ) -> None:
        if path is not None and not is_video(Path(path)):
            check_output(path)
        if not 1 <= quality <= 100:
            raise UserError(f"output.quality must be from 1 to 100, but {quality} was given.")
        self.folder = user_path(folder)
        self.suffix = None if format is None else f".{format}"
        self.quality = quality
        self.overwrite = overwrite
        self.path = None if path is None else user_path(path)
        self.settings = settings
        self.describe: Callable[[], str] | None = None
        self.kinds = "pictures"
        self.painted = 0
        self.failed: list[MediaFile] = []
        self._targets: dict[MediaFile, Path] = {}
        self._is_given = False
        self._threads = min(_MOST_THREADS, usable_cores())
        self._pool: ThreadPoolExecutor | None = None
        self._waiting: deque[tuple[MediaFile, Future[None]]] = deque()
        self._encoder: VideoEncoder | None = None
        self._handlers: dict[signal.Signals, Any] = {}

    @property
    def targets(self) -> list[Path]:
        """Files of all results, those that were there before too."""
        return list(self._targets.values())

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find the files whose results are missing, unless they were given; all processes have them from the first."""
        data = datamodule_of(trainer)
        missing = list(self._targets) if self._is_given else list(self.find(data))
        assert isinstance(data, PredictData)  # else `find` refuses it
        data.keep_only(trainer.strategy.broadcast(missing))

    def take(self, targets: Mapping[MediaFile, Path]) -> None:
        """Write the results of these files and no others, and count from 0; `setup` then looks for nothing.

        Args:
            targets: Output of each file, as `find` returns them.
        """
        self._targets, self._is_given = dict(targets), True
        self.painted, self.failed = 0, []

    def find(self, data: object) -> dict[MediaFile, Path]:
        """Find where each file's result belongs, and log how many are missing.

        Args:
            data: Data of the Trainer.

        Returns:
            Output of each file whose result is missing.

        Raises:
            UserError: If the data hand out something else, or something that is read would be written over.
        """
        if not isinstance(data, PredictData):
            raise UserError("nst predict paints what a PredictData hands out; set data.class_path to it.")
        others = data.other_inputs()
        if self.path is None:
            look(self.folder)
            found = leave_out_folder(data.files, self.folder, data.places)
            self._targets = find_targets(found, self.folder, self.suffix, others)
        else:
            found = data.files
            self._targets = {self.only(found): self.path}
            check_targets(self._targets, others, "give another --output.path")
        if data.size is not None:
            for path in {
                path.suffix.lower(): path for file, path in self._targets.items() if not file.is_video
            }.values():
                check_output(path, data.size)
        missing = [
            file for file in found if self.overwrite or self.path is not None or not self._targets[file].exists()
        ]
        there = len(found) - len(missing)
        hint = f"; {there} are in {self.folder} already (--output.overwrite true paints them again)" if there else ""
        total, left = (
            Counter("videos" if file.is_video else "pictures" for file in files) for files in (found, missing)
        )
        kinds = sorted(total) or ["pictures"]
        self.kinds = " and ".join(kinds)
        counts = [f"{left[kind]} of {total[kind]} {kind[:-1] if total[kind] == 1 else kind}" for kind in kinds]
        _log.info("painting %s%s", " and ".join(counts), hint)
        return {file: self._targets[file] for file in missing}

    def only(self, files: Sequence[MediaFile]) -> MediaFile:
        """Return the one file whose result is written to `path`.

        Raises:
            UserError: If there are several, or it becomes another kind of file than the path's.
        """
        assert self.path is not None
        if len(files) != 1:
            raise UserError(
                f"--output.path names the result of one picture or video, but {len(files)} were found; give an "
                "--output.folder."
            )
        is_wanted = is_video(self.path)
        if files[0].is_video != is_wanted or (
            is_wanted and written_suffix(self.path.suffix) != self.path.suffix.lower()
        ):
            kind = "a video, such as .mp4" if files[0].is_video else "a picture, such as .png"
            raise UserError(f"--output.path {self.path}: {files[0].path} becomes {kind}; give such a suffix.")
        return files[0]

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Get threads ready, and let SIGTERM and SIGHUP end the run with exit code 143 or 129, not Lightning."""
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="writer")
        if threading.current_thread() is threading.main_thread():
            ends = [number for number in stop_signals() if number != signal.SIGINT]  # which is Lightning's
            self._handlers = {number: signal.signal(number, exit_by_signal) for number in ends}

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Tensor,
        batch: PredictSample,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Hand the result to a thread; wait if all have enough to do."""
        if batch.problem is None and not outputs.numel():
            batch = replace(batch, problem=OUT_OF_MEMORY)
        if batch.frame is not None:
            task = self._take_frame(batch, batch.frame, outputs)
        elif batch.problem is not None:
            self._report(batch.file, batch.problem)
            return
        else:
            assert self._pool is not None
            target = self._targets[batch.file]
            settings = self.settings_text()
            task = self._pool.submit(
                write_image, target, outputs, alpha=batch.alpha, quality=self.quality, settings=settings
            )
        if task is not None:
            self._waiting.append((batch.file, task))
        while len(self._waiting) > 2 * self._threads or (self._waiting and self._waiting[0][1].done()):
            self._finish(*self._waiting.popleft())

    def settings_text(self) -> str | None:
        """Return the settings that images are to hold; `None` for none."""
        is_wanted = self.path is not None if self.settings is None else self.settings
        return self.describe() if is_wanted and self.describe is not None else None

    def _take_frame(self, batch: PredictSample, frame: FrameInfo, result: Tensor) -> Future[None] | None:
        """Return the task that writes the video once it needs nothing more; before that `None`."""
        if self._encoder is None or self._encoder.file != batch.file:
            assert self._pool is not None
            size = (result.shape[-2], result.shape[-1])
            self._encoder = VideoEncoder(batch.file, self._targets[batch.file], frame.info.rate, size, self._pool)
        encoder = self._encoder
        if encoder.is_closed:  # it could not be written, and is being reported
            return None
        if batch.problem is None:
            encoder.add(result, frame)
        else:
            encoder.abandon(UserError(batch.problem))
        return encoder.task if encoder.is_closed else None

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Wait for the last files."""
        cut = UserError("the run ended before the video did; leave out trainer.limit_predict_batches")
        if self._encoder is not None and self._encoder.abandon(cut):
            self._waiting.append((self._encoder.file, self._encoder.task))
        while self._waiting:
            self._finish(*self._waiting.popleft())

    def _finish(self, file: MediaFile, task: Future[None]) -> None:
        try:
            task.result()
        except ValueError as error:
            if isinstance(error, StorageError) or isinstance(error.__cause__, OSError):
                raise  # the next file would not fare better
            self._report(file, str(error))
        else:
            self.painted += 1

    def _report(self, file: MediaFile, problem: str) -> None:
        self.failed.append(file)
        with tqdm.external_write_mode():  # on a line of its own, above the progress bar
            _log.error("not painted: %s: %s", file.path, problem)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Write what is stylized; of a video that is not complete, nothing is left."""
        if self._encoder is not None:
            self._encoder.abandon(exception)
        for _, task in self._waiting:
            if task.exception() is None:
                self.painted += 1
        self._waiting.clear()
        self._close()  # Lightning calls no `teardown` then

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Let the threads end, and put the signal's handler back."""
        self._close()

    def _close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}
