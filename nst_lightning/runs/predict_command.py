"""`nst predict`: images and videos stylized in one pass by a trained network."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from nst_lightning._compat import allow_idle_ranks, callbacks_of
from nst_lightning.callbacks.announcement import precision_and_device
from nst_lightning.callbacks.image_writer import FILE_NAME
from nst_lightning.callbacks.prediction_writer import PredictionWriter
from nst_lightning.callbacks.run_folder import RunFolder
from nst_lightning.data.predict_data import PredictData, PredictSample
from nst_lightning.errors import UserError
from nst_lightning.networks.network_file import ANY_STYLE
from nst_lightning.runs.config_files import OneLineParser
from nst_lightning.runs.fit_command import NSTCommand, run_to_the_end
from nst_lightning.runs.predict_help import PREDICT_HELP
from nst_lightning.runs.ranks import check_launch
from nst_lightning.runs.result import Result
from nst_lightning.runs.resume import runs_root
from nst_lightning.runs.saved_config import image_settings
from nst_lightning.runs.trainer import build_predictor
from nst_lightning.tasks.fast_stylizer import FastStylizer
from nst_lightning.utils.signals import stop_signals
from nst_lightning.utils.storage import remove

_log = logging.getLogger(__name__)

_INSTANT = "instant"  # name of the runs that paint in one pass


class PredictCommand(NSTCommand):
    """`nst predict`, which reads configs and reports mistakes as `nst fit` does, but leaves no run behind.

    Attributes:
        failed: Number of images and videos that could not be stylized, over all processes; set at the end.
        written: The image or video, or the folder of several; `None` before the end, and for all processes but one.
    """

    default_config = "fast_predict"
    config_keeper = None
    failed = 0

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Offer `predict`; predictions are written, not returned."""
        return {"predict": LightningCLI.subcommands()["predict"] | {"return_predictions"}}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the options of the writer."""
        assert isinstance(parser, OneLineParser)  # parser_class
        parser.command_help = PREDICT_HELP
        parser.add_lightning_class_args(PredictionWriter, "output")

    def resolve_checkpoint(self) -> None:
        """Choose the network where none is named: a `ckpt_path`, or the one that paints as `data.style` asks.

        A training's checkpoint holds another class than the model's, a small file none.
        """
        config = self.config[self.config.subcommand]
        settings, data = config.model.get("init_args"), config.data.get("init_args", {})
        if settings is None or "network" not in settings:
            return
        if config.ckpt_path is not None:
            settings.network, config.ckpt_path = str(config.ckpt_path), None
        elif settings.network is None and data.get("style"):
            settings.network = ANY_STYLE

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Let `build_predictor` make the Trainer from the parsed settings."""
        self.trainer_class = build_predictor
        trainer = LightningCLI.instantiate_trainer(self, **kwargs)
        check_launch(trainer)
        return trainer

    def subcommand_arguments(self, subcommand: str) -> dict[str, Any]:
        """Return no predictions: Lightning would keep all images in memory."""
        return {**super().subcommand_arguments(subcommand), "return_predictions": False}

    @property
    def writer(self) -> PredictionWriter:
        """Callback that writes the images and videos."""
        return next(callback for callback in callbacks_of(self.trainer) if isinstance(callback, PredictionWriter))

    def before_predict(self) -> None:
        """Log the styles; note what images are to say of themselves."""
        allow_idle_ranks()
        self.writer.describe = partial(
            image_settings, self.resolved_settings(), str(self.trainer.precision), names=self.names
        )
        if self.writer.path is not None and isinstance(self.datamodule, PredictData):
            self.writer.only(self.datamodule.files)
        if isinstance(self.model, FastStylizer):
            images = self.datamodule.styles if isinstance(self.datamodule, PredictData) else None
            self.model.check_styles(images)
            names = self.model.styles if images is None else images.names
            weights = self.model.weights_of(images).tolist()
            styles = [f"{name} {weight:.3g}" for name, weight in zip(names, weights, strict=True)]
            _log.info("in one pass, %s; style: %s", precision_and_device(self.trainer), ", ".join(styles))

    def after_predict(self) -> None:
        """Add up over all processes, and log where the results are."""
        counts = torch.tensor([self.writer.painted, len(self.writer.failed)], device=self.trainer.strategy.root_device)
        total = self.trainer.strategy.reduce(counts, reduce_op="sum")
        assert isinstance(total, torch.Tensor)
        self.conclude(*map(int, total.tolist()))

    def conclude(self, painted: int, failed: int) -> None:
        """Log where the results are.

        Args:
            painted: Number of images and videos that were painted now, over all processes.
            failed: Number of those that could not be.
        """
        self.failed = failed
        kinds = self.writer.kinds
        _log.info("%s painted: %d, in %s", kinds, painted, self.writer.path or self.writer.folder)
        if self.trainer.is_global_zero:
            found = [path for path in self.writer.targets if path.exists()]
            self.written = found[0] if len(found) == len(self.writer.targets) == 1 else self.writer.folder
        if self.failed:
            _log.error("%s that could not be painted: %d, for the reasons above", kinds, self.failed)


class InstantCommand(PredictCommand):
    """`nst predict` of one image, whose result is kept for Python too.

    Without an `output.path` it is written into a run folder of its own, as that of `nst fit`.

    Attributes:
        result: What was painted; set at the end.
    """

    result: Result

    def __init__(self, args: Sequence[str], callbacks: Sequence[Callback] = ()) -> None:
        self._kept = _LastPrediction()
        self._claimed: RunFolder | None = None
        super().__init__(args, [*callbacks, self._kept])

    def before_predict(self) -> None:
        """Find a place for the image."""
        files = self.datamodule.files if isinstance(self.datamodule, PredictData) else []
        if self.writer.path is None and (len(files) != 1 or files[0].is_video):
            raise UserError(
                "--instant paints one picture, but a folder or a video was given; use nst predict --data.images …, or "
                "name a video's result by -o painted.mp4."
            )
        super().before_predict()
        runs = RunFolder(runs_root(self.setting("trainer.default_root_dir")), _INSTANT)
        self._claimed = runs.claim() if self.writer.path is None and self.trainer.is_global_zero else None
        if self._claimed is not None:
            assert self._claimed.version is not None
            self.writer.path = self._claimed.group / self._claimed.version / FILE_NAME

    def run_subcommand(self, subcommand: str) -> None:
        """Run; of an image that could not be painted no folder is left."""
        self._begun = time.perf_counter()
        try:
            super().run_subcommand(subcommand)
        finally:
            if self._claimed is not None:
                folder = self._claimed.group / str(self._claimed.version)
                if not any(folder.iterdir()):
                    remove(folder)

    def after_predict(self) -> None:
        """Log where the image is."""
        if self.writer.failed or self._kept.image is None:
            raise UserError("the picture could not be painted, for the reason above; give another one.")
        path = self.writer.path
        assert path is not None
        folder = path.parent if self._claimed is not None else None
        self.written = path
        self.result = Result(
            self._kept.image, path, folder, True, alpha=self._kept.alpha, settings=self.writer.settings_text()
        )
        how = "painted in one pass; without --instant it is optimized, which takes longer"
        _log.info("picture: %s (%.1f s, %s)", path, time.perf_counter() - self._begun, how)


class _LastPrediction(Callback):
    """Keep the last image that was painted, and its opacity."""

    def __init__(self) -> None:
        self.image: torch.Tensor | None = None
        self.alpha: torch.Tensor | None = None

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: torch.Tensor,
        batch: PredictSample,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self.image, self.alpha = (outputs.cpu(), batch.alpha) if outputs.numel() else (None, None)


def run_predict(args: Sequence[str], report: Callable[[Path], object] = lambda path: None) -> int:
    """Run `nst predict …`.

    Args:
        args: Command and its options.
        report: Function that is told what was written: the one image or video, or the folder of several.

    Returns:
        0, 1 if an image or video could not be stylized, or 143 or 129 after SIGTERM or SIGHUP.

    Raises:
        UserError: If something the user gave can't be used.
        KeyboardInterrupt: If it was interrupted.
    """
    try:
        done = run_to_the_end(PredictCommand, args)
        if done.written is not None:
            report(done.written)
        # Lightning kills the first process when another ends with an error.
        return 1 if done.failed and done.trainer.is_global_zero else 0
    except SystemExit as stop:
        number = stop.code - 128 if isinstance(stop.code, int) else 0
        if number not in stop_signals():
            raise
        _log.warning("stopped by %s; the same command goes on", signal.Signals(number).name)
        return 128 + number
