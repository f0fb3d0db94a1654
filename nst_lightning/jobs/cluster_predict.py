"""`nst predict` on a Ray cluster: images in shares, by workers that hold the network."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from nst_lightning.data.predict_data import MediaFile
from nst_lightning.errors import missing_packages_named
from nst_lightning.images.samples import SAMPLE
from nst_lightning.jobs.cluster import ClusterRequest, ClusterRunner, Task, check_answers, check_one_device
from nst_lightning.jobs.job import Job, Outcome, Report, output_of_run
from nst_lightning.jobs.jobs_bar import JobsBar
from nst_lightning.runs.fit_command import parsed, run_to_the_end
from nst_lightning.runs.predict_command import PredictCommand
from nst_lightning.utils.memory import named_out_of_memory
from nst_lightning.utils.streams import write_path

_log = logging.getLogger(__name__)

_SHARES = 256  # to go round among many workers, of images that a Trainer's start is little beside
_FEWEST, _MOST = 16, 256  # images in a share


@dataclass(frozen=True)
class ShareOutcome(Outcome):
    """What came of a share.

    Attributes:
        painted: Number of images and videos that were painted.
        failed: Number of those that could not be.
    """

    painted: int = 0
    failed: int = 0


class ShareCommand(PredictCommand):
    """`nst predict`, made without being run, to paint shares of its files one after another."""

    def __init__(self, args: Sequence[str], callbacks: Sequence[Callback] = ()) -> None:
        self._progress = _Progress()
        super().__init__(args, [*callbacks, self._progress])

    def run_subcommand(self, subcommand: str) -> None:
        """Run nothing yet."""

    def find(self) -> dict[MediaFile, Path]:
        """Return the output of each file whose result is missing."""
        self.before_predict()
        return self.writer.find(self.datamodule)

    def paint(self, share: Mapping[MediaFile, Path], report: Report) -> ShareOutcome:
        """Paint some of the files.

        Args:
            share: Output of each file.
            report: Hears of the progress.
        """
        self._progress.begin(report, len(share))
        self.writer.take(share)
        with missing_packages_named(), named_out_of_memory():
            super().run_subcommand("predict")
        return ShareOutcome("complete", painted=self.writer.painted, failed=len(self.writer.failed))

    def after_predict(self) -> None:
        """Leave the counts to whoever adds them up."""


class _Progress(Callback):
    """Report how much of a share is done."""

    def begin(self, report: Report, count: int) -> None:
        self._report, self._count, self._done = report, count, 0

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._done += batch.frame is None or batch.frame.is_last
        self._report("progress", self._done / self._count)


@lru_cache(maxsize=1)
def _command(args: tuple[str, ...]) -> ShareCommand:
    """Return the command, which a worker makes once."""
    return run_to_the_end(ShareCommand, args)


def paint_share(args: tuple[str, ...], share: Mapping[MediaFile, Path], report: Report) -> ShareOutcome:
    """Paint some of the files of a command, on a worker.

    Args:
        args: Command and its options.
        share: Output of each file.
        report: Hears of the progress, and of images that can't be painted.
    """
    with output_of_run(None, lambda text: report("warning", text)):
        return _command(args).paint(share, report)


def shares_of(targets: Mapping[MediaFile, Path]) -> list[dict[MediaFile, Path]]:
    """Return files in shares: videos one by one, and images enough at a time that a start is little beside them.

    Args:
        targets: Output of each file.
    """
    videos = [file for file in targets if file.is_video]
    images = [file for file in targets if not file.is_video]
    size = min(max(len(images) // _SHARES, _FEWEST), _MOST)
    shares = [[video] for video in videos] + [images[start : start + size] for start in range(0, len(images), size)]
    return [{file: targets[file] for file in share} for share in shares]


def run_predict_on_cluster(args: Sequence[str], request: ClusterRequest) -> int:
    """Run `nst predict …` on a cluster.

    Args:
        args: Command and its options.
        request: The cluster.

    Returns:
        0, 1 if an image or video could not be stylized, or 130, 143 or 129 after Ctrl-C, SIGTERM or SIGHUP.

    Raises:
        UserError: If something the user gave can't be used.
    """
    settings = parsed(PredictCommand, args).resolved_settings()
    check_one_device(settings)
    check_answers(request.address)
    quiet = (*args, "--trainer.enable_progress_bar=false")
    # What it refuses is refused here; this machine may have another accelerator than the nodes.
    command = run_to_the_end(ShareCommand, [*quiet, "--trainer.accelerator=cpu"])
    targets = command.find()
    shares = shares_of(targets)
    tasks = [Task(_job(number, share), partial(paint_share, quiet, share)) for number, share in enumerate(shares, 1)]
    painted = failed = 0
    stopped_by = None
    if tasks:
        writer = command.writer
        folder = writer.folder if writer.path is None else writer.path.parent
        folder.mkdir(parents=True, exist_ok=True)
        seen = [Path(file.path) for file in targets if not file.path.startswith(SAMPLE)][:1]
        jobs = [task.job for task in tasks]
        bar = JobsBar(jobs, len(targets), writer.kinds, is_rated=True, count=lambda job: int(job.work))
        runner = ClusterRunner(request, folder, [folder, *seen], str(settings["trainer"]["accelerator"]), bar)
        with closing(bar):
            runner.run(tasks)
        stopped_by = runner.stopped_by
        for task, share in zip(tasks, shares, strict=True):
            outcome = runner.outcomes.get(task.job.label)
            if isinstance(outcome, ShareOutcome):
                painted, failed = painted + outcome.painted, failed + outcome.failed
            elif outcome is not None:
                failed += len(share)
    command.conclude(painted, failed)
    if command.written is not None:
        write_path(command.written)
    if stopped_by is not None and painted + failed < len(targets):
        _log.warning("stopped by %s; the same command goes on", stopped_by.name)
        return 128 + stopped_by
    return 1 if failed else 0


def _job(number: int, share: Mapping[MediaFile, Path]) -> Job:
    return Job(f"share {number}, from {next(iter(share)).name}", (), Path(), work=len(share))
