"""TensorBoard's logger of a run, for which a full disk is one line, and any folder a place."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.core.saving import save_hparams_to_yaml
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from nst_lightning._compat import add_hparams_session, guard_event_file, let_tensorboard_name_any_file
from nst_lightning.utils.atomic import atomic_path, storage_error

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class RunLogger(TensorBoardLogger):
    """TensorBoard's logger: after an event that can't be written the file ends with the one before.

    It writes into the folder as it is called: Lightning's own would replace `$VARIABLE` in the name once more. There is
    no curve of the epoch, which is one for the whole schedule.

    Raises:
        UserError: From any method that logs, if the events can't be written.
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        let_tensorboard_name_any_file()

    @property
    def log_dir(self) -> str:
        """Folder of the run."""
        version = self.version if isinstance(self.version, str) else f"version_{self.version}"
        return str(Path(self.root_dir) / version)

    @property
    @rank_zero_experiment
    def experiment(self) -> SummaryWriter:
        """Writer of events, made when it is first asked for."""
        if self._experiment is None:
            try:
                guard_event_file(super().experiment, storage_error)
            except OSError as error:
                raise storage_error(error.filename or Path(self.log_dir) / "events.out.tfevents", error) from error
        assert self._experiment is not None
        return self._experiment

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log numbers, without the epoch that Lightning adds to them."""
        super().log_metrics({name: value for name, value in metrics.items() if name != "epoch"}, step)

    @rank_zero_only
    def log_hyperparams(
        self, params: dict[str, Any] | Namespace, metrics: dict[str, Any] | None = None, step: int | None = None
    ) -> None:
        """Log settings, and the results they are compared by, so that TensorBoard shows first what varies.

        Args:
            params: Settings by name: numbers, texts, truth values.
            metrics: Results by name; without them nothing is compared.
            step: Step that the results belong to.
        """
        super().log_hyperparams(params)
        if metrics:
            self.log_metrics(metrics, step)
            add_hparams_session(self.experiment, self._sanitize_params(dict(self.hparams)), metrics)

    @rank_zero_only
    def save(self) -> None:
        """Write `hparams.yaml`, once, whole or not at all."""
        file = Path(self.log_dir) / self.NAME_HPARAMS_FILE
        if file.parent.is_dir() and not file.is_file():
            with atomic_path(file) as temporary:
                save_hparams_to_yaml(temporary, self.hparams)
        super().save()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Close the file; the error that ended a run is not hidden by one more."""
        try:
            super().finalize(status)
        except Exception:
            if status == "success":
                raise
