"""Jobs for a worker of a Ray cluster, which imports them by name."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path

from nst_lightning.jobs.job import Outcome, Report


def look_around(report: Report) -> Outcome:
    """Return as a message what a job finds."""
    import torch

    from nst_lightning.encoders.encoder_weights import load_weights

    found = {
        "process": os.getpid(),
        "weights": id(load_weights("random")),
        "threads": torch.get_num_threads(),
        "is_main": threading.current_thread() is threading.main_thread(),
        "folder": str(Path.cwd()),
        "passed": os.environ.get("ONEDNN_MAX_CPU_ISA"),
        "launcher": os.environ.get("SLURM_NTASKS"),
    }
    report("warning", "seen")
    return Outcome("complete", json.dumps(found))


def die(report: Report) -> Outcome:
    """Kill the worker."""
    del report
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def be_busy(file: str, report: Report) -> Outcome | None:
    """Return `None` the first time, as where another process is at the job."""
    del report
    if Path(file).exists():
        return Outcome("complete")
    Path(file).touch()
    return None


def fail(report: Report) -> Outcome:
    """Raise what no job expects."""
    raise RuntimeError("two\nlines")
