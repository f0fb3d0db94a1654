"""Jobs on a Ray cluster: actors do them where Ray places these, and one process, the driver, deals them out.

Imported without torch and without Ray: a worker is prepared before either torch or Lightning is imported, and who names
no cluster needs no Ray.
"""

from __future__ import annotations

import gc
import importlib
import io
import logging
import math
import os
import pickle
import signal
import socket
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nst_lightning.errors import StorageError, UserError, one_line
from nst_lightning.jobs.processes import Listener, StopSignals, pop_launcher_env
from nst_lightning.utils.addresses import address, path_of

if TYPE_CHECKING:
    from nst_lightning.jobs.job import Job, Outcome, Report

_log = logging.getLogger(__name__)

LOCAL = "local"
"""Address of a cluster that is started on this machine, and ends with the command."""

_NAMESPACE = "nst-lightning"
_ATTEMPTS = 6  # at a job whose worker is lost each time
_FAILED_STARTS = 5  # of workers that were asked for one after another, before one has started
_POLL_INTERVAL = 0.2  # seconds
_REPORT_INTERVAL = 1.0
_GROW_INTERVAL = 2.0
_BUSY_INTERVAL = 1.0
_PATIENCE = 45.0  # a driver that was killed is gone after 30 seconds at most, those of Ray's client
_WITHOUT_ROOM = 15.0
_CONNECTION_TIMEOUT = 20.0
_MORE = 8  # workers that are asked for where there is no room yet, so that a cluster that can grow does
_OBJECT_STORE = 128 * 2**20  # bytes: nothing large is passed
_ARITHMETIC = ("OMP_", "MKL_", "ONEDNN_", "DNNL_", "ATEN_", "CUBLAS_", "NVIDIA_TF32_")
"""Beginnings of variables by which the last bits of a result differ."""


@dataclass(frozen=True)
class ClusterRequest:
    """A cluster, and what a job is given of it.

    Attributes:
        address: `local`, `auto` for the cluster that this machine belongs to, `HOST:PORT` of its head, or
            `ray://HOST:PORT` for another machine's.
        cpus: Number of cores of a job, which may be a fraction; `None` for one beside a GPU, else for as many as
            `nst fit` has threads.
        gpus: Number of GPUs of a job, at most 1; `None` for one where the cluster has any and the settings use it.
    """

    address: str
    cpus: float | None = None
    gpus: float | None = None


@dataclass(frozen=True)
class Task:
    """A job, and the function that does it.

    Attributes:
        job: Job, for who listens.
        do: Function that is pickled, and called on a worker. It returns `None` where another process is at the job.
    """

    job: Job
    do: Callable[[Report], Outcome | None]


@dataclass(frozen=True)
class _Surroundings:
    """What a worker has to have in common with the driver.

    Attributes:
        folder: Working folder.
        landmarks: Files and folders that a worker must see.
        threads: Number of torch's threads.
        variables: Variables of the environment.
        version: Version of this package.
    """

    folder: str
    landmarks: tuple[str, ...]
    threads: int
    variables: Mapping[str, str]
    version: str


@dataclass(frozen=True)
class _Reply:
    """What comes back from a worker.

    Attributes:
        outcome: Outcome of the job; `None` where another process is at it.
        warnings: Warnings of the run.
        storage: Reason why nothing can be written any more; empty if it can.
    """

    outcome: Outcome | None
    warnings: tuple[str, ...] = ()
    storage: str = ""


class JobWorker:
    """Does jobs one after another in a process of its own, an actor of Ray's, and keeps the encoder between them.

    Args:
        surroundings: What it has in common with the driver.
    """

    def __init__(self, surroundings: _Surroundings) -> None:
        self._surroundings = surroundings
        self._opened = ExitStack()

    def prepare(self) -> str | None:
        """Import everything; return the reason why this node can do no jobs, or `None` if it can."""
        wanted = self._surroundings
        for name in [name for name in os.environ if name.startswith(_ARITHMETIC)]:
            del os.environ[name]  # Ray sets the threads to the cores of the job
        os.environ.update(wanted.variables)
        pop_launcher_env()  # of the srun that started the node
        host = socket.gethostname()
        try:
            os.chdir(wanted.folder)
        except OSError as error:
            return f"{host} can't work in {wanted.folder} ({error.strerror}); use a file system that all nodes share."
        for landmark in wanted.landmarks:
            if not Path(landmark).exists():
                return f"{host} does not see {landmark}; use a file system that all nodes share."
        if wanted.folder not in sys.path:
            sys.path.append(wanted.folder)
        from nst_lightning import __version__

        if __version__ != wanted.version:
            return f"{host} has nst-lightning {__version__}, this machine {wanted.version}; install the same on both."
        import torch

        if torch.get_num_threads() != wanted.threads:
            torch.set_num_threads(wanted.threads)
        importlib.import_module("nst_lightning.jobs.batch")
        from nst_lightning.encoders.encoder_weights import weights_kept

        logging.getLogger("nst_lightning").setLevel(logging.INFO)
        self._opened.enter_context(weights_kept())
        gc.freeze()  # what was imported is not looked through after each job
        return None

    def do(self, task: bytes, label: str, progress: Any) -> _Reply:
        """Do a job.

        Args:
            task: The function that does it, pickled: what that refers to must not be imported before `prepare`.
            label: Name of the job.
            progress: Handle of the `ProgressStore`.
        """
        from nst_lightning.jobs.job import Outcome
        from nst_lightning.utils.atomic import storage_error
        from nst_lightning.utils.memory import release_memory

        report = _Reporter(label, progress)
        outcome: Outcome | None
        try:
            report("progress", 0.0)
            outcome = pickle.loads(task)(report)
        except StorageError as error:
            return _Reply(None, storage=str(error))
        except OSError as error:
            return _Reply(None, storage=str(storage_error(Path(error.filename or label), error)))
        except UserError as error:
            outcome = Outcome("failed", str(error))
        except (KeyboardInterrupt, SystemExit):
            outcome = Outcome("stopped")
        except Exception as error:  # one job must not take the others along
            traceback.print_exc()
            outcome = Outcome("failed", f"{type(error).__name__}: {one_line(error)}")
        release_memory()  # the next run must not need room beside this one's
        return _Reply(outcome, tuple(report.warnings))


class _Reporter:
    """Sends progress to the driver, and lets the driver's stop end the run as Ctrl-C does.

    Args:
        label: Name of the job.
        progress: Handle of the `ProgressStore`.

    Attributes:
        warnings: Warnings so far.
    """

    def __init__(self, label: str, progress: Any) -> None:
        self.warnings: list[str] = []
        self._label = label
        self._progress = progress
        self._sent_at = -math.inf
        self._is_stopped = False

    def __call__(self, kind: str, value: Any) -> None:
        if kind == "warning":  # from any thread
            self.warnings.append(value)
            return
        import ray

        now = time.monotonic()
        if now - self._sent_at >= _REPORT_INTERVAL:
            self._sent_at = now
            with suppress(ray.exceptions.RayError):
                self._progress.put.remote(self._label, value)
        if not self._is_stopped and ray.get_runtime_context().is_canceled():
            import _thread

            self._is_stopped = True
            _thread.interrupt_main()  # Ray blocks the signal itself


class ProgressStore:
    """Parts of jobs that are done, for the driver to fetch; its name on the cluster keeps other drivers away."""

    def __init__(self) -> None:
        self._parts: dict[str, float] = {}

    def put(self, label: str, part: float) -> None:
        """Take the part of a job that is done, from 0 to 1."""
        self._parts[label] = part

    def take(self) -> dict[str, float]:
        """Return what has come since the last call."""
        parts, self._parts = self._parts, {}
        return parts


class ClusterRunner:
    """Does jobs on a Ray cluster until all are done or a signal comes, as `JobRunner` does on this machine.

    A worker is an actor with the cores and the GPUs of one job, and does one job after another. As many are asked for
    as there is room, and some more, which start when nodes come. A worker that is lost, with its node or alone, is
    replaced by a new one, and its job is dealt out again: it goes on from its checkpoint.

    Ctrl-C, SIGTERM and SIGHUP stop the workers after the step in progress, with checkpoints; a second one kills them.
    Workers end with the driver, however that ends.

    Args:
        request: The cluster.
        owned: Folder that nobody else may work in at the same time; a second driver on the cluster is refused.
        landmarks: Files and folders that all nodes must see.
        accelerator: Setting of the Trainer, by which jobs use GPUs or not.
        listener: Hears of everything, in this thread.

    Attributes:
        outcomes: Outcome of each job that came to its end, by its label.
    """

    def __init__(
        self, request: ClusterRequest, owned: Path, landmarks: Sequence[Path], accelerator: str, listener: Listener
    ) -> None:
        self.request = request
        self.listener = listener
        self.outcomes: dict[str, Outcome] = {}
        self._owned = owned
        self._landmarks = landmarks
        self._accelerator = accelerator
        self._signals = StopSignals(lambda: None)

    @property
    def stopped_by(self) -> signal.Signals | None:
        """The signal that ended it; `None` if all jobs came to their end."""
        return self._signals.number

    def run(self, tasks: Sequence[Task]) -> None:
        """Do the jobs, those of the most work first.

        Raises:
            UserError: If there is no such cluster, another driver is at the same folder, or a node can do no jobs.
            StorageError: If a worker could not write; those that are at work are killed, and go on from their
                checkpoints another time.
        """
        with connected(self.request.address) as ray:
            needs = needs_of(self.request, ray.nodes(), self._accelerator)
            progress = _claim_name(ray, self._owned)
            dealer = _Dealer(ray, self.request.address == LOCAL, needs, self._surroundings(needs), progress, self)
            with suppress(KeyboardInterrupt), self._signals:  # of a second signal
                dealer.run(sorted(tasks, key=lambda task: -task.job.work))

    def _surroundings(self, needs: Needs) -> _Surroundings:
        import torch

        from nst_lightning import __version__

        variables = {name: value for name, value in os.environ.items() if name.startswith(_ARITHMETIC)}
        variables.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does
        if not needs.gpus:
            variables["CUDA_VISIBLE_DEVICES"] = ""
        threads = torch.get_num_threads()
        if not needs.gpus and threads > max(1, needs.cpus):
            _log.info(
                "a job has %d threads, as nst fit, but %g CPUs; OMP_NUM_THREADS=%d is faster, for other last bits",
                *(threads, needs.cpus, max(1, int(needs.cpus))),
            )
        landmarks = tuple(str(path) for path in self._landmarks if address(path) is None)  # a bucket is seen by all
        return _Surroundings(str(Path.cwd()), landmarks, threads, variables, __version__)


@dataclass(frozen=True)
class Needs:
    """What a job is given.

    Attributes:
        cpus: Number of cores.
        gpus: Number of GPUs.
    """

    cpus: float
    gpus: float

    def __str__(self) -> str:
        gpus = f" and {self.gpus:g} GPU{'s' * (self.gpus > 1)}" if self.gpus else ""
        return f"{self.cpus:g} CPU{'s' * (self.cpus > 1)}{gpus}"

    def fit(self, resources: Mapping[str, float]) -> int:
        """Return how many jobs a node has room for."""
        rooms = [int(resources.get("CPU", 0) / self.cpus + 1e-6)]
        if self.gpus:
            rooms.append(int(resources.get("GPU", 0)) * int(1 / self.gpus + 1e-6))
        return min(rooms)


def _alive(nodes: Sequence[Mapping[str, Any]]) -> list[Mapping[str, float]]:
    return [node["Resources"] for node in nodes if node["Alive"]]


def needs_of(request: ClusterRequest, nodes: Sequence[Mapping[str, Any]], accelerator: str) -> Needs:
    """Return what a job is given where the request leaves it open.

    Args:
        request: The cluster.
        nodes: Nodes of the cluster, as `ray.nodes` returns them.
        accelerator: Setting of the Trainer.
    """
    import torch

    resources = _alive(nodes)
    has_gpus = any(each.get("GPU", 0) >= 1 for each in resources)
    gpus = request.gpus
    if gpus is None:
        gpus = float(has_gpus and accelerator in ("auto", "gpu", "cuda"))
    cpus = request.cpus
    if cpus is None:
        most = max((each.get("CPU", 0) for each in resources), default=0)
        cpus = 1.0 if gpus else float(max(1, min(torch.get_num_threads(), int(most))))
    return Needs(cpus, gpus)


def check_one_device(settings: Mapping[str, Any]) -> None:
    """Refuse settings of a Trainer that Ray makes.

    Args:
        settings: Settings of the command, as `resolve_settings` returns them.

    Raises:
        UserError: If devices are chosen, or several.
    """
    trainer = settings["trainer"]
    if trainer["devices"] not in (1, "1", "auto") or trainer["num_nodes"] != 1:
        raise UserError(
            "a job on a cluster has one device, which Ray chooses; leave trainer.devices and trainer.num_nodes (see "
            "--per_job.gpus)."
        )


def import_ray() -> Any:
    """Return the module `ray`.

    Raises:
        UserError: If it is not installed.
    """
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise UserError("--cluster needs the extra cluster; pip install 'nst-lightning[cluster]'") from error


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Connect to a cluster, or start one, until the body ends.

    Args:
        address: As in `ClusterRequest`.

    Yields:
        The module `ray`.

    Raises:
        UserError: If Ray is not installed, or there is no such cluster.
    """
    ray = import_ray()
    check_answers(address)
    settings: dict[str, Any] = {"namespace": _NAMESPACE, "log_to_driver": False, "logging_level": "ERROR"}
    if address == LOCAL:
        settings |= {"include_dashboard": False, "object_store_memory": _OBJECT_STORE}
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    before = signal.getsignal(signal.SIGTERM)
    # Ray writes to standard output that a node was lost; that is for results.
    with redirect_stdout(io.StringIO()):
        try:
            with _hangups_blocked():
                ray.init(address=address, **settings)
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, before)  # Ray's own would end with code 15
            yield ray
        except (ImportError, OSError, RuntimeError, ValueError) as error:
            if isinstance(error, UserError) or ray.is_initialized():
                raise
            raise UserError(f"--cluster {address}: {_reason(error)}; {_REMEDIES.get(address, _REMEDY)}") from error
        finally:
            ray.shutdown()


def check_answers(address: str) -> None:
    """Refuse an address where nothing listens: Ray itself tries for minutes.

    Args:
        address: As in `ClusterRequest`.

    Raises:
        UserError: If there is nothing.
    """
    named = os.environ.get("RAY_ADDRESS", "") if address == "auto" else address
    host, _, port = named.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECTION_TIMEOUT).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        raise UserError(f"--cluster {address}: nothing answers at {host}:{port} ({reason}); {_REMEDY}") from error


@contextmanager
def _hangups_blocked() -> Iterator[None]:
    """Let processes that are started here outlive the terminal, as Ray does for Ctrl-C: the driver ends them."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_REMEDY = "check the address, and that the cluster runs the same versions of Python and Ray."
_REMEDIES = {
    "auto": "start one (ray start --head), or give --cluster local.",
    LOCAL: "see whether ray.init() starts in a Python of its own; a long TMPDIR is one reason.",
}


def _reason(error: BaseException) -> str:
    text = one_line(error)
    return text if len(text) <= 300 else f"{text[:300]} …"


def _claim_name(ray: Any, owned: Path) -> Any:
    """Return a new `ProgressStore`, whose name no other driver on the cluster can have until this one ends."""
    name = f"nst {address(owned) or owned.resolve()}"
    # Beside the driver: not on a node that may go.
    node = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
        ray.get_runtime_context().get_node_id(), soft=True
    )
    begun = time.monotonic()
    while True:
        try:
            return (
                ray.remote(ProgressStore)
                .options(name=name, num_cpus=0, max_restarts=-1, scheduling_strategy=node)
                .remote()
            )
        except ValueError as error:
            waited = time.monotonic() - begun
            if waited > _PATIENCE:
                raise UserError(f"another command is at work in {owned} on this cluster; let it end.") from error
            if waited < _BUSY_INTERVAL:
                _log.info("another command is at work in %s on this cluster; waiting for its end", owned)
        time.sleep(_BUSY_INTERVAL)


class _Pickler(pickle.Pickler):
    """Pickles a path of the mirror as its address: another machine has its own path for that."""

    def reducer_override(self, value: Any) -> Any:
        """Return how a path that stands for an address is made again; all else is pickled as ever."""
        if isinstance(value, Path) and (named := address(value)) is not None:
            return path_of, (named,)
        return NotImplemented


def pickled(value: Any) -> bytes:
    """Return something pickled for another machine."""
    buffer = io.BytesIO()
    _Pickler(buffer).dump(value)
    return buffer.getvalue()


@dataclass
class _Dealer:
    """Deals jobs out to the workers of one run.

    Args:
        ray: The module.
        is_local: Whether the cluster is this machine alone.
        needs: What a job is given.
        surroundings: What workers have in common with the driver.
        progress: Handle of the `ProgressStore`.
        runner: Runner that the jobs belong to; it hears of them.
    """

    ray: Any
    is_local: bool
    needs: Needs
    surroundings: _Surroundings
    progress: Any
    runner: ClusterRunner
    _waiting: deque[Task] = field(default_factory=deque)
    _busy: list[Task] = field(default_factory=list)  # where other processes are at the job
    _starting: dict[Any, tuple[Any, float]] = field(default_factory=dict)  # what `prepare` returns: worker, asked at
    _idle: list[Any] = field(default_factory=list)
    _running: dict[Any, tuple[Any, Task]] = field(default_factory=dict)  # the reply: worker and job
    _attempts: dict[str, int] = field(default_factory=dict)
    _failed_starts: set[float] = field(default_factory=set)  # when the workers were asked for
    _has_started: bool = False
    _is_cancelled: bool = False

    def __post_init__(self) -> None:
        self._worker = self.ray.remote(JobWorker).options(num_cpus=self.needs.cpus, num_gpus=self.needs.gpus)
        self._begun = self._grown_at = self._tried_at = time.monotonic()
        self._fetched: Any = None
        self._fetched_at = self._begun
        self._is_told = self._is_waiting = False

    def run(self, tasks: Sequence[Task]) -> None:
        self._waiting.extend(tasks)
        self._grow()
        try:
            while self._running or (self._is_wanted() and not self._is_cancelled):
                if self.runner.stopped_by is not None and not self._is_cancelled:
                    self._cancel()
                    continue
                self._deal()
                self._hear_all()
                self._hear_progress()
                now = time.monotonic()
                if now - self._grown_at >= _GROW_INTERVAL:
                    self._grow()
                if self._busy and now - self._tried_at >= _BUSY_INTERVAL:
                    self._tried_at = now
                    self._waiting.extend(self._busy)
                    self._busy.clear()
        finally:
            for worker, _ in (*self._starting.values(), *self._running.values()):
                self._end(worker)
            for worker in self._idle:
                self._end(worker)

    def _is_wanted(self) -> bool:
        return bool(self._waiting or self._busy)

    def _grow(self) -> None:
        """Ask for workers: as many as there is room for, or work."""
        self._grown_at = time.monotonic()
        room = sum(map(self.needs.fit, _alive(self.ray.nodes())))
        if self.is_local and not room:
            raise UserError(f"this machine has no room for a job of {self.needs}; lower --per_job.")
        if not room and not self._is_told and time.monotonic() - self._begun > _WITHOUT_ROOM:
            self._is_told = True
            _log.warning("no node of the cluster has room for a job of %s; waiting for one that has", self.needs)
        asked = room if self.is_local else 2 * room + _MORE
        left = len(self._waiting) + len(self._busy) + len(self._running)
        have = len(self._starting) + len(self._idle) + len(self._running)
        for _ in range(min(asked, left) - have):
            worker = self._worker.remote(self.surroundings)
            self._starting[worker.prepare.remote()] = worker, self._grown_at

    def _deal(self) -> None:
        while self._idle and self._waiting and not self._is_cancelled:
            worker, task = self._idle.pop(), self._waiting.popleft()
            reply = worker.do.remote(pickled(task.do), task.job.label, self.progress)
            self._running[reply] = worker, task
            self.runner.listener(task.job, "start", None)
        if not self._is_wanted():  # let others have the room
            while self._idle:
                self._end(self._idle.pop())

    def _hear_all(self) -> None:
        """Wait a moment, and take all that has come."""
        awaited = [*self._running, *self._starting]
        if not awaited:
            time.sleep(_POLL_INTERVAL)
            return
        ready, _ = self.ray.wait(awaited, num_returns=1, timeout=_POLL_INTERVAL)
        if ready:
            ready, _ = self.ray.wait(awaited, num_returns=len(awaited), timeout=0)
        for ref in ready:
            if ref in self._starting:
                self._hear_start(ref)
            else:
                self._hear_reply(ref)

    def _hear_start(self, ref: Any) -> None:
        worker, asked_at = self._starting.pop(ref)
        try:
            problem = self.ray.get(ref)
        except self.ray.exceptions.RayError as error:
            self._end(worker)
            self._failed_starts.add(asked_at)  # once for all that go with one node
            is_lost = isinstance(error, self.ray.exceptions.RayActorError)
            if not is_lost or (len(self._failed_starts) >= _FAILED_STARTS and not self._has_started):
                reason = f"workers can't be started: {_reason(error)}"
                raise UserError(f"{reason}; is nst-lightning installed on all nodes?") from error
            return
        if problem is not None:
            raise UserError(problem)
        self._has_started = True
        self._idle.append(worker)

    def _hear_reply(self, ref: Any) -> None:
        worker, task = self._running.pop(ref)
        try:
            reply: _Reply = self.ray.get(ref)
        except self.ray.exceptions.TaskCancelledError:
            self.runner.listener(task.job, "stopped", "")
            self._idle.append(worker)
            return
        except self.ray.exceptions.RayError as error:
            self._end(worker)
            self._try_again(task, f"its worker was lost ({type(error).__name__})")
            return
        if reply.storage:
            raise StorageError(reply.storage)
        for warning in reply.warnings:
            self.runner.listener(task.job, "warning", warning)
        if reply.outcome is not None and reply.outcome.status == "stopped":  # its node is told to end
            self._end(worker)
            self._try_again(task, "its worker was told to stop by someone else")
            return
        self._idle.append(worker)
        if reply.outcome is None:
            self._wait_for_others(task)
            return
        self.runner.outcomes[task.job.label] = reply.outcome
        self.runner.listener(task.job, reply.outcome.status, reply.outcome.message)

    def _try_again(self, task: Task, reason: str) -> None:
        if self._is_cancelled:
            self.runner.listener(task.job, "stopped", "")
            return
        attempts = self._attempts[task.job.label] = self._attempts.get(task.job.label, 0) + 1
        if attempts < _ATTEMPTS:
            self.runner.listener(task.job, "warning", f"{reason}; another goes on")
            self._waiting.appendleft(task)
            return
        from nst_lightning.jobs.job import Outcome

        message = f"{reason}, {attempts} times"
        self.runner.outcomes[task.job.label] = Outcome("failed", message)
        self.runner.listener(task.job, "failed", message)

    def _wait_for_others(self, task: Task) -> None:
        if not self._is_waiting:
            self._is_waiting = True
            _log.info("waiting for another process, which is at %s", task.job.label)
        self._busy.append(task)

    def _hear_progress(self) -> None:
        """Pass on what workers have said, at most every second; without the store nothing is known of it."""
        now = time.monotonic()
        if self._fetched is None:
            if now - self._fetched_at >= _REPORT_INTERVAL:
                self._fetched, self._fetched_at = self.progress.take.remote(), now
            return
        if not self.ray.wait([self._fetched], timeout=0)[0]:
            return
        parts: dict[str, float] = {}
        with suppress(self.ray.exceptions.RayError):
            parts = self.ray.get(self._fetched)
        self._fetched = None
        jobs = {task.job.label: task.job for _, task in self._running.values()}
        for label in parts.keys() & jobs.keys():
            self.runner.listener(jobs[label], "progress", parts[label])

    def _cancel(self) -> None:
        self._is_cancelled = True
        for ref in self._running:
            self.ray.cancel(ref)

    def _end(self, worker: Any) -> None:
        with suppress(self.ray.exceptions.RayError):
            self.ray.kill(worker)
