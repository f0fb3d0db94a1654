"""Limits of control groups, as the kernel writes them into files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from nst_lightning.errors import UserError
from nst_lightning.utils import memory
from nst_lightning.utils.memory import free_in_container, named_out_of_memory

V2 = ("memory.max", "memory.current", "inactive_file")
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def group(folder: Path, names: tuple[str, str, str], limit: str, used: int, cached: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 7\n{names[2]} {cached}\nactive_file 5\n")


@pytest.mark.parametrize(
    ("own", "free"),
    [
        ("0::/pod/box\n", 1000 - 300 + 50),  # the inner limit
        ("0::/pod/roomy\n", 5000 - 4000 + 0),  # that of the group around it
        ("0::/\n", float("inf")),
        ("0::/gone/elsewhere\n", float("inf")),  # a path of the host, seen from within
        ("3:cpu,cpuacct:/pod\n4:memory:/docker/box\n0::/\n", 2000 - 1900 + 100),
        ("4:memory:/another/hosts/path\n", 9000 - 2000),  # only the mount itself is there
        ("3:cpu,cpuacct:/docker/box\n", float("inf")),
    ],
)
def test_the_least_of_all_groups_without_their_idle_caches(own: str, free: float, tmp_path: Path) -> None:
    groups, membership = tmp_path / "cgroup", tmp_path / "self"
    group(groups / "pod", V2, "5000", 4000, 0)
    group(groups / "pod/box", V2, "1000", 300, 50)
    group(groups / "pod/roomy", V2, "max", 300, 50)
    group(groups / "memory", V1, "9000", 2000, 0)
    group(groups / "memory/docker", V1, str(2**63 - 4096), 2000, 0)
    group(groups / "memory/docker/box", V1, "2000", 1900, 100)
    membership.write_text(own)
    assert free_in_container(groups, membership) == free


def test_a_group_above_its_limit_has_nothing_left(tmp_path: Path) -> None:
    group(tmp_path, V2, "1000", 1500, 0)
    (tmp_path / "self").write_text("0::/\n")
    assert free_in_container(tmp_path, tmp_path / "self") == 0


def test_a_system_without_groups_has_no_limit(tmp_path: Path) -> None:
    assert free_in_container(tmp_path, tmp_path / "none") == float("inf")


def test_the_container_counts_where_it_has_less_than_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(memory, "free_in_container", lambda: 12345.0)
    assert memory.free_memory(cpu) == 12345
    monkeypatch.setattr(memory, "free_in_container", lambda: float("inf"))
    assert 12345 < memory.free_memory(cpu) <= psutil.virtual_memory().total


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        MemoryError("Unable to allocate 7. GiB for an array"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
        RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("Storage size calculation overflowed with sizes=[1, 3, 99999999999]"),
        torch.OutOfMemoryError("CUDA out of memory"),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_memory_that_runs_out_is_one_line_whoever_says_so(error: Exception) -> None:
    with pytest.raises(UserError, match=r"memory ran out; .*--model\.tile_size auto"), named_out_of_memory():
        raise error


@pytest.mark.parametrize("error", [RuntimeError("shape mismatch"), ValueError("no"), OSError(2, "No such file")])
def test_other_errors_pass(error: Exception) -> None:
    with pytest.raises(type(error), match=str(error).split("]")[-1].strip()), named_out_of_memory():
        raise error


def test_the_allocator_of_a_cpu_is_understood() -> None:
    """No machine has an exabyte."""
    with pytest.raises(UserError, match="memory ran out"), named_out_of_memory():
        torch.empty(2**60, dtype=torch.uint8)
    with pytest.raises(UserError, match="memory ran out"), named_out_of_memory():
        np.empty(2**60, dtype=np.uint8)
