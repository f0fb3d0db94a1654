"""Many processes: which of a launch this one is, who does which job, and jobs in worker processes.

Imported without torch: workers are prepared, and a launcher is hidden from Lightning, before that is imported.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from filelock import FileLock, Timeout

from nst_lightning.errors import StorageError, UserError
from nst_lightning.utils.atomic import storage_error
from nst_lightning.utils.locks import LOCK
from nst_lightning.utils.signals import leave_closed_terminal, stop_signals

if TYPE_CHECKING:
    from nst_lightning.jobs.job import Job, Outcome

_log = logging.getLogger(__name__)

_LAUNCHERS = (
    ("RANK", "WORLD_SIZE", "LOCAL_RANK"),  # torchrun, which may itself run under SLURM
    ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"),
)
# By these Lightning's cluster environments are detected, or take their ranks.
_DETECTED_BY = ("TORCHELASTIC_RUN_ID", "GROUP_RANK", "NODE_RANK", "LOCAL_WORLD_SIZE")

_CLAIM_INTERVAL = 1.0  # seconds
_POLL_INTERVAL = 0.2
_PRELOAD = ["nst_lightning.jobs.job"]
# Waiting threads that spin would take the cores from the other runs.
_ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE"}

Listener = Callable[["Job", str, Any], None]
"""Called with `"start"`, `"progress"` (part done, 0 to 1), `"warning"` (text), and how the job ended: `"complete"`,
`"failed"` (message) or `"stopped"`."""


@dataclass(frozen=True)
class Rank:
    """A process's place among those that were started together.

    Attributes:
        index: Rank, from 0 to `world_size - 1`.
        world_size: Number of processes.
        local: Rank among those on this machine.
    """

    index: int = 0
    world_size: int = 1
    local: int = 0


def pop_launcher_env(environment: MutableMapping[str, str] = os.environ) -> Rank:
    """Read the rank from what torchrun or srun set, and remove it.

    Each process paints whole images on one device. With the variables in place Lightning would see a cluster and
    refuse its one device, and only rank 0 would write what it logs; it reads them when it is imported and when a
    Trainer is made.

    Args:
        environment: Environment of the process; edited.

    Returns:
        The rank; 0 of 1 if there is no launch, or variables that are no numbers.
    """
    rank = Rank()
    for launcher in reversed(_LAUNCHERS):  # the first one wins
        values = [environment.get(name, "") for name in launcher]
        if values[0].isdigit() and values[1].isdigit():
            rank = Rank(int(values[0]), int(values[1]), int(values[2]) if values[2].isdigit() else 0)
    for name in (*(name for launcher in _LAUNCHERS for name in launcher), *_DETECTED_BY):
        environment.pop(name, None)
    return rank


class Claimable(Protocol):
    """A job that several processes may want to do."""

    folder: Path

    def is_settled(self) -> bool:
        """Return whether nobody needs to do it any more."""


_Claimable = TypeVar("_Claimable", bound=Claimable)


def claim(jobs: Sequence[_Claimable], rank: Rank) -> Iterator[_Claimable]:
    """Yield one after another the jobs that are this process's to do, until all are settled.

    Any number of processes may do so at the same time, on one machine or on many with a common file system, and
    come and go. They need not know of each other: who holds the lock of a job's folder does it. Dealing the list
    out beforehand, every n-th job to rank n, would need no locks, but the slowest rank would hold up the rest, and
    a dead one's jobs would stay undone. The system gives a lock back when its process ends, however it ends, so that
    nothing is left behind by `kill -9`.

    Each rank begins at a place of its own in the list, so that they seldom meet. A process that finds nothing left
    but what others are at waits for them: it takes over if they die, and the summary is complete whoever writes it.

    Args:
        jobs: All jobs that were not settled at the beginning.
        rank: Rank of this process.

    Yields:
        A job whose lock is held until the next one is asked for.

    Raises:
        UserError: If a job's folder can't be made or locked.
    """
    first = len(jobs) * rank.index // rank.world_size
    left = [*jobs[first:], *jobs[:first]]
    is_waiting = False
    while left:
        met = []
        for job in left:
            if job.is_settled():
                continue
            lock = FileLock(job.folder / LOCK)
            try:
                job.folder.mkdir(parents=True, exist_ok=True)
                lock.acquire(blocking=False)
            except Timeout:
                met.append(job)
                continue
            except OSError as error:
                raise UserError(f"cannot write to {job.folder} ({error.strerror}); look what is there.") from error
            try:
                if not job.is_settled():  # between the look and the lock
                    is_waiting = False
                    yield job
            finally:
                lock.release()
        left = met
        if left:
            if not is_waiting:
                _log.info("waiting for other processes, which are at %d of the pairs", len(left))
            is_waiting = True
            time.sleep(_CLAIM_INTERVAL)


class StopSignals:
    """Lets Ctrl-C, SIGTERM and SIGHUP end many runs.

    While an image is painted in this process `CheckpointWriter` has the signals: the step in progress is finished and
    kept. At any other time there is nothing to keep, and `KeyboardInterrupt` is raised at once.

    Args:
        first: Called at the first signal, in place of the exception.

    Attributes:
        number: The first signal that came; `None` if none has.
    """

    def __init__(self, first: Callable[[], None] | None = None) -> None:
        self.number: signal.Signals | None = None
        self._first = first
        self._handlers: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignals:
        """Take the signals over; only a program's main thread may."""
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._stop) for number in stop_signals()}
        return self

    def __exit__(self, *exception: object) -> None:
        """Restore the earlier handlers."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        del frame
        leave_closed_terminal(number)
        if self.number is not None or self._first is None:
            self.number = self.number or signal.Signals(number)
            raise KeyboardInterrupt
        self.number = signal.Signals(number)
        self._first()


def worker_context() -> ForkServerContext | SpawnContext:
    """Return the way workers are started, and begin to prepare it in the background.

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


@dataclass
class _Running:
    job: Job
    process: BaseProcess
    outcome: Outcome | None = None


class JobRunner:
    """Does jobs, some at a time, each in a process of its own, until all are done or a signal comes.

    Ctrl-C, SIGTERM and SIGHUP stop the workers after the step in progress, with checkpoints; a second one kills them.

    Args:
        at_once: Number of workers at a time.
        threads: Number of torch's threads in each worker.
        listener: Hears of everything, in this thread.
    """

    def __init__(self, at_once: int, threads: int, listener: Listener) -> None:
        self.at_once = at_once
        self.threads = threads
        self.listener = listener
        self._signals = StopSignals(self._terminate)
        self._running: dict[Connection, _Running] = {}
        self._context = worker_context()

    @property
    def stopped_by(self) -> signal.Signals | None:
        """The signal that ended it; `None` if all jobs came to their end."""
        return self._signals.number

    def run(self, jobs: Sequence[Job]) -> None:
        """Do the jobs, in their order.

        Raises:
            StorageError: If a worker could not write; those that are at work are killed, and go on from their
                checkpoints another time.
        """
        waiting = deque(jobs)
        with self._signals:
            try:
                while self._running or (waiting and self.stopped_by is None):
                    while waiting and len(self._running) < self.at_once and self.stopped_by is None:
                        self._start(waiting.popleft())
                    for pipe in wait(list(self._running), _POLL_INTERVAL):
                        assert isinstance(pipe, Connection)  # wait takes and gives other things as well
                        self._hear(pipe)
            finally:
                for running in self._running.values():
                    running.process.kill()

    def _terminate(self) -> None:
        for running in self._running.values():
            running.process.terminate()

    def _start(self, job: Job) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=run_worker, args=(job, self.threads, theirs), name=job.label)
        process.start()
        theirs.close()
        self._running[ours] = _Running(job, process)
        if self.stopped_by is not None:  # the signal came in between
            process.terminate()
        self.listener(job, "start", None)

    def _hear(self, pipe: Connection) -> None:
        running = self._running[pipe]
        try:
            kind, value = pipe.recv()
        except (EOFError, OSError):
            self._end(pipe, running)
            return
        if kind == "end":
            running.outcome = value
        elif kind == "storage":
            raise StorageError(value)
        else:
            self.listener(running.job, kind, value)

    def _end(self, pipe: Connection, running: _Running) -> None:
        from nst_lightning.jobs.job import JobFolder

        running.process.join()
        pipe.close()
        del self._running[pipe]
        if running.outcome is not None:
            status, message = running.outcome.status, running.outcome.message
        elif JobFolder(running.job.folder).is_complete():  # and the process was killed after that
            status, message = "complete", ""
        else:  # it did not get as far as saying so
            status = "failed" if self.stopped_by is None else "stopped"
            message = f"the process ended with {_describe(running.process.exitcode)}"
        if status == "stopped" and self.stopped_by is None:
            status, message = "failed", "the process was told to stop by someone else"
        if status == "failed":
            JobFolder(running.job.folder).fail(message)
        self.listener(running.job, status, message)


def _describe(code: int | None) -> str:
    if code is None or code >= 0:
        return f"code {code}"
    name = signal.Signals(-code).name
    return f"{name} (out of memory?)" if name == "SIGKILL" else name


def run_worker(job: Job, threads: int, pipe: Connection) -> None:
    """Do a job, or what is left of it; the body of a worker process.

    It ends with a checkpoint when it gets SIGTERM, and when the sweep's process is gone. What it says goes into
    `log.txt`, which stays only if the run does not come through.

    Args:
        job: The job.
        threads: Number of torch's threads.
        pipe: Gets `("progress", fraction)`, `("warning", text)` and in the end `("end", outcome)`, or `("storage",
            message)` if nothing can be written.
    """
    import torch

    from nst_lightning.jobs.job import LOG, do_job

    if sys.platform != "win32":
        os.setsid()  # Ctrl-C in the terminal is the sweep's, which passes it on
    lock = threading.Lock()  # warnings come from any thread

    def report(kind: str, value: Any) -> None:
        with lock:
            try:
                pipe.send((kind, value))
            except OSError:  # the sweep's process is gone
                return

    threading.Thread(target=_stop_without_parent, args=(pipe,), daemon=True).start()
    torch.set_num_threads(threads)
    logging.getLogger("nst_lightning").setLevel(logging.INFO)
    try:
        job.folder.mkdir(parents=True, exist_ok=True)
        # A worker of a sweep that was killed may still be busy with its last step.
        with FileLock(job.folder / LOCK):
            outcome = do_job(job, report, is_own_process=True)
        report("end", outcome)
    except (OSError, StorageError) as error:
        report("storage", str(storage_error(job.folder / LOG, error) if isinstance(error, OSError) else error))


def _stop_without_parent(pipe: Connection) -> None:
    """Wait for the end of the sweep's process, then ask this one to stop."""
    try:
        pipe.recv()  # nothing is ever sent
    except (EOFError, OSError):
        os.kill(os.getpid(), signal.SIGTERM)
