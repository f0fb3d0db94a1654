"""Which of the processes of a launch this one is; read, and hidden from Lightning, before that is imported."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from dataclasses import dataclass

_FAMILIES = (
    ("RANK", "WORLD_SIZE", "LOCAL_RANK"),  # torchrun, which may itself run under SLURM
    ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"),
)
# By these Lightning's cluster environments are detected, or take their ranks.
_DETECTED_BY = ("TORCHELASTIC_RUN_ID", "GROUP_RANK", "NODE_RANK", "LOCAL_WORLD_SIZE")


@dataclass(frozen=True)
class Launch:
    """A process's place among those that were started together.

    Attributes:
        rank: From 0 to `size - 1`.
        size: How many there are.
        local_rank: Among those on this machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0


def take_launch(environment: MutableMapping[str, str] = os.environ) -> Launch:
    """Read the place from what torchrun or srun set, and remove it.

    Each process paints whole pictures on one device. With the variables in place Lightning would see a cluster and
    refuse its one device, and only rank 0 would write what it logs; it reads them when it is imported and when a
    Trainer is made.

    Args:
        environment: The process's; edited.

    Returns:
        The place; rank 0 of 1 if there is no launch, or variables that are no numbers.
    """
    found = Launch()
    for family in reversed(_FAMILIES):  # the first one wins
        values = [environment.get(name, "") for name in family]
        if values[0].isdigit() and values[1].isdigit():
            found = Launch(int(values[0]), int(values[1]), int(values[2]) if values[2].isdigit() else 0)
    for name in (*(name for family in _FAMILIES for name in family), *_DETECTED_BY):
        environment.pop(name, None)
    return found
