"""The folder that a run writes into, whatever its loggers: claimed by making it, locked as long as the run goes on."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from nst_lightning._compat import callbacks_of, is_dev_run
from nst_lightning.errors import UserError
from nst_lightning.utils.addresses import shown
from nst_lightning.utils.atomic import refuses, storage_error
from nst_lightning.utils.locks import LOCK, check_locks
from nst_lightning.utils.storage import claim, look, push, remove

_log = logging.getLogger(__name__)

_ELSEWHERE = "give another --trainer.default_root_dir, in which all runs are"
_ATTEMPTS = 10_000  # to make a folder: one for each run that is begun at the same moment


@dataclass(frozen=True)
class RunFolder:
    """One run: `ROOT/NAME/VERSION`.

    Attributes:
        root: Folder of all runs, `lightning_logs` by default.
        name: Name that runs are grouped under, by default the config's.
        version: Name of the run's own folder, `version_N`; `None` for a run that is yet to be begun.
    """

    root: Path
    name: str
    version: str | None = None

    @property
    def group(self) -> Path:
        """Folder of all runs of this name."""
        return self.root / self.name

    def claim(self) -> RunFolder:
        """Make the folder of a new run, which is nobody else's: of processes that try one alone succeeds.

        In a bucket as well, where the store can refuse to put an object that exists.

        Returns:
            The run, its number one above the highest.

        Raises:
            UserError: If the folder can't be made.
        """
        look(self.group, deep=False)
        number = max((number for number, _ in numbered_runs(self.group)), default=-1) + 1
        try:
            for _ in range(_ATTEMPTS):
                self.group.mkdir(parents=True, exist_ok=True)
                try:
                    claim(self.group / f"version_{number}")
                except FileExistsError:
                    number += 1
                except FileNotFoundError:  # another process has removed the group, which was empty
                    continue
                else:
                    return replace(self, version=f"version_{number}")
        except OSError as error:
            if refuses(error):
                raise storage_error(self.group, error) from error
            raise UserError(f"cannot make a folder in {self.group} ({error.strerror}); {_ELSEWHERE}.") from error
        raise UserError(f"cannot make a folder in {self.group}; {_ELSEWHERE}.")


def numbered_runs(group: Path) -> list[tuple[int, Path]]:
    """Return number and folder of all runs of one name, the oldest first."""
    found = ((re.fullmatch(r"version_(\d+)", path.name), path) for path in group.glob("version_*"))
    return sorted((int(match[1]), path) for match, path in found if match and path.is_dir())


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from going on with a run; on a file system without locks nothing is kept.

    Args:
        folder: Folder of the run.

    Raises:
        UserError: If another process is still at it.
    """
    lock = FileLock(folder / LOCK)
    try:
        check_locks(folder)
        lock.acquire(blocking=False)
    except Timeout as error:
        raise UserError(
            f"the run in {folder} is still going on, in another process; let it end, or start a new one without "
            "--ckpt_path."
        ) from error
    except UserError:
        yield
        return
    try:
        yield
    finally:
        lock.release()


def is_locked(folder: Path) -> bool:
    """Return whether a process is at a run."""
    try:
        with locked(folder):
            return False
    except UserError:
        return True


class InRunFolder(Callback):
    """Keep a run in its own folder, whatever its loggers, and say which run goes on.

    Args:
        folder: Folder of the run, or of a new one without a version yet.
        logger: Class of the logger that writes into the folder; `None` for loggers of the Trainer's own, or none.

    Attributes:
        path: Folder of the run; `None` before it is claimed, and before `setup` on processes other than the first.
    """

    def __init__(self, folder: RunFolder, logger: type[TensorBoardLogger] | None) -> None:
        self.path: Path | None = None
        self._folder = folder
        self._logger = logger

    @contextmanager
    def occupied(self, trainer: Trainer) -> Iterator[None]:
        """Claim the folder of a new run, or lock that of one that goes on, until the body ends.

        A new run that ends with an error before its first step leaves nothing behind.

        Args:
            trainer: Trainer of the run.

        Raises:
            UserError: If the folder can't be made, or another process is at the run.
        """
        if not trainer.is_global_zero or is_dev_run(trainer):
            yield
            return
        is_new = self._folder.version is None
        self.path = self._claim()
        try:
            with locked(self.path):
                yield
            push(self.path)
        except BaseException:
            if is_new and trainer.global_step == 0:
                with suppress(OSError, UserError):  # must not hide what ended the run
                    remove(self.path)
                with suppress(OSError):  # there are other runs
                    self._folder.group.rmdir()
                    self._folder.root.rmdir()
            else:
                with suppress(UserError):
                    push(self.path)
            raise

    def _claim(self) -> Path:
        if self._folder.version is None:
            self._folder = self._folder.claim()
        assert self._folder.version is not None
        return self._folder.group / self._folder.version

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Let all processes know the folder, and log into it.

        Raises:
            UserError: If processes that were started together go on from different checkpoints.
        """
        del pl_module, stage
        if is_dev_run(trainer):
            return
        if self.path is None and trainer.is_global_zero:
            self.path = self._claim()
        checkpoint = shown(str(trainer.ckpt_path))
        self.path, first = trainer.strategy.broadcast((self.path, checkpoint))
        if first != checkpoint:
            raise UserError(
                f"one process goes on from {first}, another from {checkpoint}; give the file as --ckpt_path."
            )
        if self._logger is not None:
            assert self.path is not None
            place = (self._folder.root, self._folder.name, self.path.name)
            trainer.logger = self._logger(*place, default_hp_metric=False)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say which run goes on, and from where; or that there is nothing left of it."""
        del pl_module
        if not trainer.ckpt_path or not trainer.is_global_zero:
            return
        done, total = trainer.global_step, trainer.num_training_batches * max(1, trainer.max_epochs or 1)
        if done >= total:
            _log.info("%s is complete: all its %s steps were done before, none is made now", trainer.ckpt_path, done)
        elif self.path is not None and self.path.resolve() in Path(trainer.ckpt_path).resolve().parents:
            _log.info("going on with %s, after step %s of %s", self.path, done, total)
        else:
            _log.info("going on from %s, after step %s of %s, in %s", trainer.ckpt_path, done, total, self.path)


def keeper_of(trainer: Trainer) -> InRunFolder | None:
    """Return the callback that knows the run's folder; `None` if the Trainer is the user's own."""
    return next((callback for callback in callbacks_of(trainer) if isinstance(callback, InRunFolder)), None)


def run_folder(trainer: Trainer) -> Path:
    """Return the folder that a run writes into; only the first of several processes writes.

    That of a Trainer of the user's own is its first logger's. Unlike `trainer.log_dir` it does not wait for the other
    processes.
    """
    keeper = keeper_of(trainer)
    if keeper is not None and keeper.path is not None:
        return keeper.path
    logger = trainer.loggers[0] if trainer.loggers else None
    folder = logger.log_dir or logger.save_dir if logger is not None else None
    return Path(folder or trainer.default_root_dir)
