"""Memory that a container leaves to a process, and that a process leaves to others."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import torch

from nst_lightning._compat import is_out_of_memory
from nst_lightning.errors import UserError

OUT_OF_MEMORY = (
    "memory ran out; lower --data.size, or set --model.tile_size auto, which paints in tiles that fit (on a GPU also "
    "--trainer.accelerator cpu)."
)

_V2 = ("memory.max", "memory.current", "inactive_file")
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def release_memory() -> None:
    """Return to the system what nobody uses any more.

    Trainer and module of a run that has ended refer to each other, until the garbage collector finds them. And what is
    freed glibc keeps, in pieces of up to 32 MB: run after run they come to lie farther apart.
    """
    gc.collect()
    with suppress(OSError, AttributeError, TypeError):  # another system's C library
        ctypes.CDLL(None).malloc_trim(0)


@contextmanager
def named_out_of_memory(message: str = OUT_OF_MEMORY) -> Iterator[None]:
    """Raise a `UserError` where memory does not suffice, whichever library says so.

    Args:
        message: Message of the error.
    """
    try:
        yield
    except UserError:
        raise
    except (MemoryError, RuntimeError, OSError, ValueError) as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(message) from error


def free_memory(device: torch.device) -> int:
    """Return a device's free memory, bytes; for a CPU `free_on_cpu`."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory())
    return free_on_cpu()


def free_on_cpu() -> int:
    """Return the machine's free memory, bytes, or the container's if that is less."""
    return int(min(psutil.virtual_memory().available, free_in_container()))


def free_in_container(groups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> float:
    """Return the memory that Linux control groups leave to this process.

    Each group that it is in, and each around that, has a limit and what is used of it; file caches that nobody uses
    are given up when memory is wanted, and count as free. Version 2 and version 1 (kernel.org, cgroup-v2.html and
    cgroup-v1/memory.html) are told apart by their files.

    Args:
        groups: Folder that control groups are mounted at.
        own: File that names the process's groups.

    Returns:
        Bytes, the least of all groups; infinite where there is no limit, or no control group at all.
    """
    if not own.exists():  # another system than Linux
        return float("inf")
    folders = [found for membership in own.read_text().splitlines() for found in _folders(membership, groups)]
    return min((_free(folder, *names) for folder, names in folders), default=float("inf"))


def _folders(membership: str, groups: Path) -> Iterator[tuple[Path, tuple[str, str, str]]]:
    """Yield a group's folder, and those around it up to the mount, which in a container may be all that there is."""
    _, _, rest = membership.partition(":")
    controllers, _, path = rest.partition(":")
    if controllers and "memory" not in controllers.split(","):
        return
    mount, names = (groups / "memory", _V1) if controllers else (groups, _V2)
    inner = mount / path.lstrip("/")
    for folder in (inner, *inner.parents):
        yield folder, names
        if folder == mount:
            return


def _free(folder: Path, limit: str, used: str, reclaimable: str) -> float:
    try:
        most, now = (folder / limit).read_text().strip(), int((folder / used).read_text())
        statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # not there, or of a kind that we do not know
        return float("inf")
    return float("inf") if most == "max" else max(0, int(most) - now + int(statistics.get(reclaimable, 0)))
