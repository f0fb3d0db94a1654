"""The coarse-to-fine schedule: which sizes, and how many steps at each."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from nst_lightning.errors import UserError


@dataclass(frozen=True)
class Level:
    """One size of the pyramid.

    Attributes:
        height: Height of the image, pixels.
        width: Width of the image, pixels.
        steps: Optimizer steps at this size.
    """

    height: int
    width: int
    steps: int


def pyramid_sizes(size: int, smallest: int) -> list[int]:
    """Return the long sides of the levels, coarse to fine, √2 apart and ending in `size`.

    The rule of crowsonkb/style-transfer-pytorch (`gen_scales`): `size / 2^(i/2)` rounded, as long as it is not
    below `smallest`; equal sizes count once.

    Args:
        size: Long side of the result, pixels.
        smallest: Lower bound for the first level, pixels; a `size` below it makes a single level.

    Returns:
        At least one size, ascending.

    Raises:
        UserError: If a size is below 1.

    Example:
        >>> pyramid_sizes(512, 128)
        [128, 181, 256, 362, 512]
    """
    if min(size, smallest) < 1:
        raise UserError(f"data.size and data.min_size must be at least 1, but {size} and {smallest} were given.")
    sizes = [size]
    while (below := round(size / 2 ** (len(sizes) / 2))) >= smallest:
        sizes.append(below)
    return sorted(set(sizes))


STEPS, FIRST_STEPS = 36, 110
"""Steps at each level, and at the first one, where none are given: those of configs/starry.yaml."""


def steps_per_level(steps: int | Sequence[int] | None, first_steps: int | None, levels: int) -> list[int]:
    """Return the steps of each level from the numbers that the user gave.

    Args:
        steps: Optimizer steps at each level, or one number for each of them; `None` for `STEPS`.
        first_steps: Steps at the first level where `steps` is one number; `None` for the same, or for `FIRST_STEPS`
            where `steps` is `None` too.
        levels: Number of levels.

    Returns:
        One positive number for each level.

    Raises:
        UserError: If a list has another length than there are levels, or a number is below 1.
    """
    if steps is None:
        steps, first_steps = STEPS, FIRST_STEPS if first_steps is None else first_steps
    counts = [steps] * levels if isinstance(steps, int) else list(steps)
    # The number that the first level's takes the place of is looked at too.
    lowest = min([*counts, *([] if first_steps is None else [first_steps])], default=1)
    if lowest < 1:
        raise UserError(f"data.steps and data.first_steps must be at least 1, but {lowest} was given.")
    if isinstance(steps, int) and first_steps is not None:
        counts[0] = first_steps
    if len(counts) != levels:
        raise UserError(f"data.steps lists {len(counts)} numbers for {levels} levels; give one number for each level.")
    return counts


class Schedule:
    """Levels in order, and which of them a step belongs to.

    Args:
        levels: Levels, coarse to fine; at least one.

    Attributes:
        levels: Levels as given.
        ends: Number of steps until the end of each level.

    Example:
        >>> schedule = Schedule([Level(96, 128, steps=150), Level(192, 256, steps=100)])
        >>> schedule.total_steps, schedule.level_at(149), schedule.level_at(150)
        (250, 0, 1)
        >>> schedule.part_done(200), schedule.remaining_work(200)
        (0.5, 50.0)
    """

    def __init__(self, levels: Sequence[Level]) -> None:
        self.levels = tuple(levels)
        self.ends = tuple(accumulate(level.steps for level in self.levels))

    @property
    def total_steps(self) -> int:
        """Steps of all levels together."""
        return self.ends[-1]

    def level_at(self, step: int) -> int:
        """Return the index of the level that a step, counted from 0, belongs to."""
        return bisect_right(self.ends, step)

    def part_done(self, step: int) -> float:
        """Return the part of a step's level that is done before it, in [0, 1); 1 after the last step.

        Args:
            step: Number of the step among those of all levels, from 0.
        """
        level = min(self.level_at(step), len(self.levels) - 1)
        steps = self.levels[level].steps
        return 1 - (self.ends[level] - step) / steps

    def remaining_work(self, done: int, last: int | None = None) -> float:
        """Return the work that is left, in steps at the finest level.

        A step's cost is taken as proportional to its pixels, as that of convolutions is.

        Args:
            done: Steps that are done.
            last: Step that the run ends with; `None` for the schedule's last.
        """
        finest = self.levels[-1].height * self.levels[-1].width
        work = 0.0
        for level, end in zip(self.levels, self.ends, strict=True):
            left = min(level.steps, max(0, end - done)) - min(level.steps, max(0, end - last if last else 0))
            work += left * level.height * level.width / finest
        return work

    def check_resumable(self, reached: int, other: list[list[int]]) -> None:
        """Refuse to go on under a schedule that differs in what is already done.

        Args:
            reached: Steps that are done.
            other: Schedule that they were done under, as rows of height, width, steps.

        Raises:
            UserError: If a level before the one of the last step differs, or that one has another size.
        """
        if not reached:
            return
        mine = [[level.height, level.width, level.steps] for level in self.levels]
        # The last level may be cut below what is done: then nothing is left to do.
        now = self.level_at(min(reached, self.total_steps) - 1)
        before = bisect_right(list(accumulate(steps for _, _, steps in other)), reached - 1)
        if now != before or mine[:now] != other[:now] or mine[now][:2] != other[now][:2]:
            raise UserError(
                f"the checkpoint's first {reached} steps were done at sizes and steps {_describe(other)}, the "
                f"config says {_describe(mine)}; restore data.size and data.steps, or start without --ckpt_path."
            )


def _describe(rows: Sequence[Sequence[int]]) -> str:
    return ", ".join(f"{width}×{height}: {steps}" for height, width, steps in rows)
