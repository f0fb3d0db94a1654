"""The step loader: one epoch, one batch for each optimizer step, resumable in the middle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from nst_lightning.data.schedule import Schedule
from nst_lightning.data.transfer_batch import TransferBatch


class StepLoader:
    """An iterable that yields a batch for each optimizer step.

    The first batch of a level, after a resume too, has the level's images; those of its further steps come without:
    nothing is resized, copied to the device or kept in memory for longer than it takes to measure it. Lightning keeps
    `state_dict` in the checkpoint and hands it back on resume.

    Args:
        schedule: Levels and steps.
        make_batch: Function that makes the batch of a level, given its index.
    """

    def __init__(self, schedule: Schedule, make_batch: Callable[[int], TransferBatch]) -> None:
        self.schedule = schedule
        self._make_batch = make_batch
        self._step = 0

    def __len__(self) -> int:
        return self.schedule.total_steps

    def __iter__(self) -> Iterator[TransferBatch]:
        batch: TransferBatch | None = None
        while self._step < len(self):
            level = self.schedule.level_at(self._step)
            batch = self._make_batch(level) if batch is None or batch.level != level else batch.without_images()
            self._step += 1
            yield batch
        self._step = 0

    def state_dict(self) -> dict[str, Any]:
        """Return the number of batches handed out and the schedule that they belong to."""
        levels = [[level.height, level.width, level.steps] for level in self.schedule.levels]
        return {"step": self._step, "levels": levels}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on after `state["step"]` batches.

        Raises:
            UserError: If those were handed out under another schedule.
        """
        self.schedule.check_resumable(state["step"], state["levels"])
        self._step = state["step"]
