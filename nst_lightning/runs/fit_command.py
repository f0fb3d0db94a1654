"""`nst fit`: one run from a config and a command line, or only the settings that they come to."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import yaml
from jsonargparse import Namespace
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import TensorBoardLogger

from nst_lightning._compat import (
    CLIHooks,
    callbacks_of,
    is_about_settings,
    is_peer_failure,
    is_second_interrupt,
    restrict_configs,
    silence_lightning,
)
from nst_lightning.callbacks.animation import FOLDER as FRAMES
from nst_lightning.callbacks.animation import Animation
from nst_lightning.callbacks.announcement import Announcement
from nst_lightning.callbacks.checkpoint import FOLDER, LAST, CheckpointWriter, restoring
from nst_lightning.callbacks.image_writer import FILE_NAME, STEPS, ImageWriter
from nst_lightning.callbacks.run_folder import RunFolder, keeper_of, run_folder
from nst_lightning.callbacks.tensorboard import TensorBoardImages
from nst_lightning.data.any_style_data import AnyStyleData
from nst_lightning.data.fast_transfer_data import FastTransferData
from nst_lightning.data.folder_images import FolderImages
from nst_lightning.data.predict_data import PredictData
from nst_lightning.data.transfer_data import TransferData
from nst_lightning.errors import StorageError, UserError, missing_packages_named, one_line, user_path
from nst_lightning.runs.config_files import OneLineParser, check_further_arguments, config_name, find_configs
from nst_lightning.runs.fit_help import FIT_HELP
from nst_lightning.runs.ranks import check_launch, exit_code, wait_for_rank_zero
from nst_lightning.runs.result import Result
from nst_lightning.runs.resume import RUNS, expand_name, find_checkpoint, runs_root
from nst_lightning.runs.saved_config import ConfigKeeper, image_settings, saved_configs
from nst_lightning.runs.trainer import TRAINER_DEFAULTS, build_trainer, check_memory, result_of
from nst_lightning.tasks.any_style_transfer import AnyStyleTransfer
from nst_lightning.tasks.distillation.encoder_distillation import EncoderDistillation
from nst_lightning.tasks.fast_style_transfer import FastStyleTransfer
from nst_lightning.tasks.style_transfer import StyleTransfer
from nst_lightning.utils.addresses import is_address
from nst_lightning.utils.atomic import check_writable
from nst_lightning.utils.memory import named_out_of_memory
from nst_lightning.utils.overwriting import WrittenFile, check_overwriting, named_files
from nst_lightning.utils.records import read_yaml

_log = logging.getLogger(__name__)

_LEARNS_FROM: dict[type[LightningModule], type[LightningDataModule]] = {
    StyleTransfer: TransferData,
    FastStyleTransfer: FastTransferData,
    AnyStyleTransfer: AnyStyleData,
    EncoderDistillation: FolderImages,
}
_WRITTEN = ("output.path", "animation.path", "model.init_args.output")  # options that name a file to be written
_FOLDERS = ("default_root_dir", "save_dir", "dirpath")  # options of Lightning's own classes
_OWN_DATA = (TransferData, FolderImages, AnyStyleData, PredictData)

_Command = TypeVar("_Command", bound="NSTCommand")


class NSTCommand(CLIHooks, LightningCLI):
    """LightningCLI with the project's defaults, run folders and one-line errors.

    Attributes:
        default_config: Name of the shipped config that is used if none is given.
        config_keeper: Callback that keeps the config beside what a run leaves; `None` where it leaves no run.
        written: File of the image; `None` before the end, and where this process has written none.
    """

    default_config = "starry"
    config_keeper: type[SaveConfigCallback] | None = ConfigKeeper
    written: Path | None = None

    def __init__(
        self, args: Sequence[str], callbacks: Sequence[Callback] = (), names: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        """Parse and instantiate; `fit` runs when `LightningCLI` calls it.

        Args:
            args: Command and its options, such as `["fit", "--config", "configs/starry.yaml"]`.
            callbacks: Callbacks beside those of the config.
            names: Names that the image's settings have in the place of files that only this machine has.
        """
        restrict_configs()
        self.names = names
        self.folder = RunFolder(Path(RUNS), "run")
        super().__init__(
            LightningModule,
            LightningDataModule,
            save_config_callback=self.config_keeper,
            save_config_kwargs={},
            trainer_defaults={**TRAINER_DEFAULTS, "callbacks": [Announcement(), *callbacks]},
            seed_everything_default=0,
            parser_class=OneLineParser,
            subclass_mode_model=True,
            subclass_mode_data=True,
            args=[args[0], *find_configs(args[1:], self.default_config, args[0])],
            auto_configure_optimizers=False,
        )

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Offer only what does something useful: there is nothing to validate or test."""
        return {"fit": LightningCLI.subcommands()["fit"]}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the options of our own callbacks, and the run's name."""
        assert isinstance(parser, OneLineParser)  # parser_class
        parser.command_help = FIT_HELP
        parser.add_argument(
            "--name",
            type=str | None,
            default=None,
            help="Runs live in lightning_logs/NAME; the config's name if unset.",
        )
        parser.add_lightning_class_args(ImageWriter, "output")
        parser.add_lightning_class_args(Animation, "animation")
        parser.add_lightning_class_args(TensorBoardImages, "tensorboard")
        parser.add_lightning_class_args(CheckpointWriter, "checkpoint")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse without the base's warning that `sys.argv` is not empty: the arguments come from there."""
        assert isinstance(args, list)  # __init__ makes it
        try:
            self.config = parser.parse_args(args)
        except OSError as error:  # of a file that an option names, such as --data settings.yaml
            raise UserError(f"{error.filename or 'a file of settings'} can't be read ({error.strerror}).") from error
        check_further_arguments(self.config.as_dict())
        is_kept = self.config_keeper is not None and not isinstance(self, _NothingMade)
        if is_kept and self.config[self.config.subcommand].trainer.logger is not False:  # TensorBoard is told of it
            self.save_config_kwargs["default"] = _default_settings()  # before the seed is set, which parsing sets too

    def resolve_checkpoint(self) -> None:
        """Find the checkpoint, whose run goes on in the same folder; settings come from the config alone."""
        config = self.config[self.config.subcommand]
        _expand_folders(config.trainer)
        root = runs_root(config.trainer.default_root_dir)
        config.name = expand_name(config.name or config_name(config.config), root)
        self.folder = RunFolder(root, config.name)
        if self.config_keeper is not None:
            try:
                check_writable(self.folder.root / config.name / "version_0" / "config.yaml")
            except StorageError:  # tells what to do
                raise
            except UserError as error:
                raise UserError(f"{error}: --trainer.default_root_dir says where runs are") from error
        if config.ckpt_path is not None:
            checkpoint, self.folder = find_checkpoint(str(config.ckpt_path), self.folder)
            config.ckpt_path = str(checkpoint)

    def check_files(self) -> None:
        """Refuse to write over a file that any of the settings names.

        Raises:
            UserError: If a file is both written and read.
        """
        settings = self.config[self.config.subcommand].as_dict()
        written = [
            WrittenFile(path, f"--{key.replace('init_args.', '')} {path}")
            for key in _WRITTEN
            if (path := _path_in(settings, key)) is not None
        ]
        if self.folder.version is not None:
            run = self.folder.group / self.folder.version
            remedy = "copy that elsewhere first"
            written.append(WrittenFile(run / FILE_NAME, f"the picture of the run, {run / FILE_NAME},", remedy=remedy))
            for name in (FRAMES, STEPS):
                subject = f"the folder of the run, {run / name},"
                written.append(WrittenFile(run / name, subject, "holds", remedy, is_folder=True))
        check_overwriting(written, named_files(settings, _WRITTEN))

    def set_seed(self) -> None:
        """Seed; an impossible seed is the user's mistake."""
        try:
            super().set_seed()
        except ValueError as error:
            raise UserError(f"seed_everything: {one_line(error)}.") from error

    def instantiate_classes(self) -> None:
        """Instantiate; a mistake that a class reports comes through as its own line."""
        self.check_files()
        try:
            super().instantiate_classes()
        except (TypeError, ValueError, RuntimeError, MisconfigurationException) as error:
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, UserError):
                cause = cause.__cause__
            if cause is not None:
                raise cause from None
            if is_about_settings(error):
                raise UserError(one_line(error)) from error
            raise

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Let `build_trainer` make the Trainer from the parsed settings."""
        checkpoint = self.setting("ckpt_path")
        checkpoint = None if checkpoint is None else Path(checkpoint)
        self.trainer_class = partial(build_trainer, self.model, self.folder, checkpoint=checkpoint)
        trainer = super().instantiate_trainer(**kwargs)
        check_launch(trainer)
        return trainer

    def run_subcommand(self, subcommand: str) -> None:
        """Run; of several processes that meet the same error, the first one alone reports it."""
        keeper = keeper_of(self.trainer)  # predict has none: it leaves no run
        occupied = nullcontext() if keeper is None else keeper.occupied(self.trainer)
        checkpoint = self.setting("ckpt_path")
        try:
            with occupied, restoring(None if checkpoint is None else Path(checkpoint)):
                super().run_subcommand(subcommand)
        except UserError:
            if wait_for_rank_zero(self.trainer):  # whose exit code is that of the run
                raise SystemExit(0) from None
            raise

    def resolved_settings(self) -> dict[str, Any]:
        """Return every setting in force, as `config.yaml` holds them."""
        if hasattr(self, "config_dump"):  # Lightning has it once the classes are made: a dump is a sixth of a short run
            return copy.deepcopy(self.config_dump)
        # With what is null: it is not the default everywhere, and a config of these settings has to say so.
        text = self.subcommand_parser().dump(self.config[str(self.subcommand)], skip_unset=False)
        settings: dict[str, Any] = yaml.safe_load(text)
        return settings

    def before_fit(self) -> None:
        """Refuse data that the model can't learn from; note the time, and what images are to say of themselves."""
        self._began = time.monotonic()
        check_compatible(self.model, self.datamodule)
        for callback in callbacks_of(self.trainer):
            if isinstance(callback, ImageWriter):
                callback.describe = partial(self._image_settings, self.resolved_settings())
        data, interval = self.datamodule, self.trainer.val_check_interval
        if isinstance(data, FastTransferData | AnyStyleData) and isinstance(interval, int):
            # Lightning refuses a training that is shorter.
            self.trainer.val_check_interval = min(interval, data.steps)
        if isinstance(self.model, StyleTransfer) and isinstance(self.datamodule, TransferData):
            self.datamodule.begin_where_large_enough(self.model.check_size)
            check_memory(self.trainer, self.model, self.datamodule)

    def _image_settings(self, settings: Mapping[str, Any], max_steps: int | None) -> str:
        """Return what an image holds: where no step was left, the settings that it was painted under before."""
        keepers = (callback for callback in callbacks_of(self.trainer) if isinstance(callback, ConfigKeeper))
        if any(not keeper.already_saved for keeper in keepers) and (kept := saved_configs(run_folder(self.trainer))):
            settings = read_yaml(kept[-1])
        return image_settings(settings, str(self.trainer.precision), max_steps, self.names)

    def after_fit(self) -> None:
        """Log where the image is, or the trained network."""
        if not isinstance(self.model, StyleTransfer) or not isinstance(self.datamodule, TransferData):
            if (last := run_folder(self.trainer) / FOLDER / LAST).exists() and self.trainer.is_global_zero:
                _log.info("checkpoint: %s", last)
            return
        if self.trainer.global_step == 0:
            raise UserError("not a step was done; leave trainer.max_steps, max_time and limit_train_batches.")
        result = result_of(self.trainer, self.model)
        if not result.complete:
            done, longer = self.trainer.global_step, ""
            if done >= self.trainer.max_steps > 0:
                longer = ", a higher trainer.max_steps"
            elif any(
                type(timer) is Timer and (timer.time_remaining() or 0) <= 0 for timer in callbacks_of(self.trainer)
            ):
                longer = ", a longer duration of Timer"
            total = self.datamodule.schedule.total_steps
            if self._keeps_checkpoints:
                remedy = f"continue with the same command{longer} and --ckpt_path last"
                _log.info("stopped at step %d of %d; %s", done, total, remedy)
            else:
                _log.info("stopped at step %d of %d, without a checkpoint to continue from", done, total)
        self.written = result.path
        if result.path is not None:
            _log.info("picture: %s (%s)", result.path, "; ".join(self._epilog(result)))

    @property
    def _keeps_checkpoints(self) -> bool:
        return any(isinstance(callback, CheckpointWriter) for callback in callbacks_of(self.trainer))

    def _epilog(self, result: Result) -> list[str]:
        """Return how long a run took, where it is, how it goes on, and how one looks at it."""
        assert isinstance(self.datamodule, TransferData)
        parts = [f"{time.monotonic() - self._began:.0f} s", f"run: {result.folder}"]
        if result.complete and self._keeps_checkpoints:
            *earlier, last = (level.steps for level in self.datamodule.schedule.levels)
            parts.append(f"more steps: the same command with --ckpt_path last --data.steps '{[*earlier, 2 * last]}'")
        if any(isinstance(logger, TensorBoardLogger) for logger in self.trainer.loggers):
            parts.append(f"charts: tensorboard --logdir {self.folder.root}")
        return parts


def _path_in(settings: Mapping[str, Any], key: str) -> Path | None:
    """Return the path that a dotted key of nested settings has; `None` if it has none."""
    value: Any = settings
    for name in key.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return user_path(value) if isinstance(value, str) else None


def _expand_folders(settings: Any) -> None:
    """Replace `~` and variables in folders that the Trainer, its loggers, callbacks and profiler are given."""
    if isinstance(settings, list):
        for part in settings:
            _expand_folders(part)
    elif isinstance(settings, Namespace):
        for name, value in vars(settings).items():
            if name in _FOLDERS and isinstance(value, str):
                settings[name] = value if is_address(value) else str(user_path(value))
            else:
                _expand_folders(value)


def check_compatible(model: LightningModule, data: LightningDataModule | None) -> None:
    """Refuse one of our models with data that are meant for another; those of the user's own are trusted.

    Args:
        model: Model to be fitted.
        data: Data that it is to be fitted to.

    Raises:
        UserError: With the name of the class that the model learns from.
    """
    for kind, wanted in _LEARNS_FROM.items():
        if isinstance(model, kind) and isinstance(data, _OWN_DATA) and not isinstance(data, wanted):
            raise UserError(
                f"{kind.__name__} learns from {wanted.__name__}, but data is {type(data).__name__}; set --data "
                f"{wanted.__name__}, or give the --config that belongs to the model."
            )


class _NothingMade:
    """A command up to the point where something would be made or run."""

    def instantiate_classes(self) -> None:
        """Make nothing."""

    def run_subcommand(self, subcommand: str) -> None:
        """Run nothing."""


def parsed(kind: type[_Command], args: Sequence[str]) -> _Command:
    """Return a command that has read its command line, without making or running anything.

    Args:
        kind: Class of the command.
        args: Command and its options.

    Raises:
        UserError: If an option or a config can't be read.
    """
    silence_lightning()
    command: _Command = type(kind.__name__, (_NothingMade, kind), {})(args)
    return command


def resolve_settings(args: Sequence[str]) -> dict[str, Any]:
    """Parse `nst fit …` without making or running anything.

    Args:
        args: Command and its options.

    Returns:
        Every setting in force, as `config.yaml` would hold them.

    Raises:
        UserError: If an option or a config can't be read.
    """
    return parsed(NSTCommand, args).resolved_settings()


@cache
def _default_settings() -> dict[str, Any] | None:
    """Return the settings of `nst fit` without an option; `None` where they can't be had, as in a read-only folder.

    They are not parsed by the command that needs them: what its parser is used for once more stays in memory.
    """
    with suppress(UserError):
        return resolve_settings(["fit"])
    return None


def run_command(
    args: Sequence[str], callbacks: Sequence[Callback] = (), names: Mapping[str, str] = MappingProxyType({})
) -> int:
    """Run `nst fit …`.

    Args:
        args: Command and its options.
        callbacks: Callbacks beside those of the config.
        names: Names that the image's settings have in the place of files that only this machine has.

    Returns:
        The exit code, see `exit_code`.

    Raises:
        UserError: If something the user gave can't be used.
    """
    command = run_to_the_end(partial(NSTCommand, names=names), args, callbacks)
    return exit_code(command.trainer)


def run_to_the_end(
    kind: Callable[[Sequence[str], Sequence[Callback]], _Command],
    args: Sequence[str],
    callbacks: Sequence[Callback] = (),
) -> _Command:
    """Parse a command line and run it; whatever ends it from outside becomes one of the errors below.

    Args:
        kind: Class of the command, or what makes it.
        args: Command and its options.
        callbacks: Callbacks beside those of the config.

    Raises:
        UserError: If something the user gave can't be used, memory does not suffice, or another process has died.
        KeyboardInterrupt: If it was interrupted.
    """
    silence_lightning()
    try:
        with missing_packages_named(), named_out_of_memory():
            return kind(args, callbacks)
    except RuntimeError as error:
        if not is_peer_failure(error):
            raise
        raise UserError("another process of the run has ended; go on with --ckpt_path last.") from error
    except SystemExit as stop:
        if is_second_interrupt(stop):
            raise KeyboardInterrupt from stop
        raise
