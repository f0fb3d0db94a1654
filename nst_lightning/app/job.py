"""One job: a picture that is, or was, or will be painted."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal

from nst_lightning.app.limits import RefusalError
from nst_lightning.app.names import shown_name
from nst_lightning.app.order import PICTURE, PREVIEW, Order, Progress
from nst_lightning.app.recipe import command, result_name

Status = Literal["waiting", "painting", "stopping", "complete", "stopped", "failed"]
ACTIVE = ("waiting", "painting", "stopping")

_LONGEST = 10  # times the steps of its recipe, for which a picture may be painted on


@dataclass
class Job:
    """A picture that is, or was, or will be painted.

    Attributes:
        order: What to do.
        used: When the job was last asked for or ended, by `time.monotonic`.
        status: How it stands.
        message: Why it failed.
        progress: Of the run in progress or the last one.
        previews: That were written, over all its runs.
        version: Grows with each change.
        bytes: Of its folder when its last run ended.
    """

    order: Order
    used: float
    status: Status = "waiting"
    message: str = ""
    progress: Progress | None = None
    previews: int = 0
    version: int = 0
    bytes: int = 0

    @property
    def is_active(self) -> bool:
        """Whether it waits or is painted."""
        return self.status in ACTIVE

    def set(self, status: Status, message: str = "") -> None:
        """Say how it stands now."""
        self.status, self.message = status, message
        self.used = time.monotonic()
        self.version += 1

    def measure(self) -> None:
        """Note what its folder holds."""
        with suppress(OSError):  # deleted meanwhile, when the page ends
            self.bytes = sum(file.stat().st_size for file in self.order.folder.rglob("*") if file.is_file())

    def describe(self, position: int) -> dict[str, Any]:
        """Give what the visitor's page shows.

        Args:
            position: In the queue, 1 for the next; 0 if it does not wait.
        """
        order, progress = self.order, self.progress
        return {
            "id": order.id,
            "status": self.status,
            "position": position,
            "message": self.message,
            "names": [shown_name(name) for name in order.names],
            "is_instant": order.recipe.network is not None,
            "file": result_name(*order.arguments),
            "command": self._command(),
            "preview": self.previews if (order.folder / PREVIEW).exists() else 0,
            "picture": (order.folder / PICTURE).exists() and not self.is_active,
            "progress": None
            if progress is None
            else {
                "step": progress.step,
                "steps": sum(progress.steps),
                "level": progress.level + 1,
                "levels": len(progress.steps),
                "width": progress.width,
                "height": progress.height,
                "fraction": round(progress.fraction, 4),
                "seconds_left": None if progress.seconds_left is None else round(progress.seconds_left, 1),
            },
        }

    def _command(self) -> str:
        """Give the command that paints what there is of the picture, or what there is going to be."""
        order, progress, recipe = self.order, self.progress, self.order.recipe
        if self.status != "stopped" or progress is None:
            return command(recipe, *order.arguments)
        if recipe.prolonged and recipe.prolonged[-1] != progress.steps:  # stopped before it was gone on with
            return command(replace(recipe, prolonged=recipe.prolonged[:-1]), *order.arguments)
        return command(recipe, *order.arguments, stopped_after=progress.step)


def prolonged(order: Order, progress: Progress | None) -> Order:
    """Give a complete job's order with more to do at the last level: half as much again.

    Raises:
        RefusalError: If it would be more than ten times the recipe's steps.
    """
    if progress is None:
        return order
    steps = (*progress.steps[:-1], progress.steps[-1] + max(1, progress.steps[-1] // 2))
    if sum(steps) > _LONGEST * order.recipe.total_steps(len(steps)):
        raise RefusalError(
            409,
            f"this picture has had {sum(progress.steps)} steps; {_LONGEST} times those of its recipe is the most. "
            "Start a new one.",
        )
    return replace(order, recipe=replace(order.recipe, prolonged=(*order.recipe.prolonged, steps)))
