"""Processes that start in a fraction of a second, instead of importing torch and Lightning each on its own."""

from __future__ import annotations

import multiprocessing
import os
import sys
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, SpawnContext

_PRELOAD = ["nst_lightning.jobs.worker"]
# Waiting threads that spin would take the cores from the other runs.
_ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE"}


def worker_context() -> ForkServerContext | SpawnContext:
    """Give the way workers are started, and begin to prepare it in the background.

    On Linux a server process imports everything once, and each worker is a fork of it. Elsewhere forks are unsafe
    with the system's libraries, and each worker starts anew.

    Returns:
        A context of `multiprocessing`.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    before = dict(os.environ)
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        forkserver.ensure_running()  # once in a process: later calls find it running
    finally:
        for name in _ENVIRONMENT.keys() - before.keys():
            del os.environ[name]
    return context
