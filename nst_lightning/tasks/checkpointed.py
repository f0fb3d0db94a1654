"""What all tasks have in common: checkpoints are looked at before they are used, and metrics are their step's own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule
from typing_extensions import Self

from nst_lightning._compat import forget_step_metrics
from nst_lightning.utils.torch_files import check_checkpoint


class CheckpointedTask(LightningModule):
    """A LightningModule whose `load_from_checkpoint` refuses damaged and foreign files in a line."""

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, *args: Any, **kwargs: Any) -> Self:
        """Return the task in a checkpoint, as `LightningModule.load_from_checkpoint` does.

        Args:
            checkpoint_path: File, or what else Lightning reads.
            *args: Further arguments of Lightning's.
            **kwargs: Further arguments of Lightning's, and of the task.

        Raises:
            UserError: If the file is damaged or another program's.
        """
        if isinstance(checkpoint_path, (str, os.PathLike)) and Path(checkpoint_path).is_file():
            check_checkpoint(Path(checkpoint_path))
        return super().load_from_checkpoint(checkpoint_path, *args, **kwargs)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
        """Forget the metrics of the last logging step: a step at which the run stops is not to show them as its own."""
        del batch, batch_idx
        forget_step_metrics(self.trainer)
        return None
