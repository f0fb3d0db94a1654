"""Jobs on Ray against `nst batch` in one process, `nst predict` on 1, 2 and 4 nodes, and a model of 64 GPUs.

    python benchmarks/cluster.py [--sizes 128 512] [--jobs 6] [--images 200] [--nodes 1 2 4] [--rounds 3] [--steps 60]
        [--encoder compact]

Nodes are Ray's on this machine (`ray.cluster_utils.Cluster`), each kept to one core, its jobs to one thread; more nodes
than cores share these. Times are from the first result to the last, without starts. `cpu` is the same of processor
seconds, those of Ray and of the driver included: on a machine that others use as well it says more than a clock. Rounds
alternate between the two, and medians are compared.

The model takes from these the driver's time for a job, a worker's start, and the requests of a job to a bucket; what it
assumes of GPUs and buckets stands with its table.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported, here and by all that is started
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import psutil
from ray.cluster_utils import Cluster

from nst_lightning.images.files import read_image, write_image
from nst_lightning.images.resize import cover
from nst_lightning.jobs.cluster import ClusterRequest, ClusterRunner, Task
from nst_lightning.jobs.job import Job, Outcome, Report

_LOOK_INTERVAL = 0.1  # seconds: looking takes time from the nodes
STORE = 100 * 2**20  # bytes; Ray's smallest is 75 MiB

GPUS, PICTURES = 64, 100_000
# Requests to a bucket, counted at an S3 server as the difference of 12 jobs and 4: of `nst batch` all at 128 pixels,
# checkpoints included, and of an image of `nst predict`; of which puts.
REQUESTS, PUTS = 56, 14
IMAGE_REQUESTS, IMAGE_PUTS = 3, 1
LATENCY = 0.03  # seconds of a request to a bucket in the same region
PUT_RATE, GET_RATE = 3500, 5500  # a second and prefix, as Amazon says of S3
KINDS = {  # seconds of a GPU for a job, pictures in a job
    "nst predict, 512 pixels, shares of 256": (256 * 0.02, 256),
    "nst batch, 128 pixels": (2.0, 1),
    "nst batch, 512 pixels": (8.0, 1),
    "nst batch, 2048 pixels": (90.0, 1),
}


@dataclass
class Measured:
    """Work that is going on, looked at when the first result is there and at the end.

    Args:
        seconds: Seconds between the first result and the last, for each result after the first.
        cpu: Processor seconds likewise.
    """

    seconds: float
    cpu: float


@contextmanager
def cluster_of(nodes: int) -> Iterator[str]:
    """Start nodes of one core, and a head that does no jobs; yield the address."""
    cores = sorted(os.sched_getaffinity(0))
    folder = tempfile.mkdtemp(prefix="nst-ray-", dir="/tmp")  # names of sockets have at most 107 bytes
    head = {"num_cpus": 0, "include_dashboard": False, "temp_dir": folder, "object_store_memory": STORE}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        for number in range(nodes):
            os.sched_setaffinity(0, {cores[number % len(cores)]})  # which the node's processes inherit
            cluster.add_node(num_cpus=1, object_store_memory=STORE)
        os.sched_setaffinity(0, cores)
        yield str(cluster.address)
    finally:
        os.sched_setaffinity(0, cores)
        cluster.shutdown()  # type: ignore[no-untyped-call]


class CpuTime:
    """Processor time of all processes that this one has started, themselves and their children."""

    def __init__(self) -> None:
        self._seconds: dict[tuple[int, float], float] = {}

    def look(self) -> float:
        """Return the seconds up to now, those of ended processes as they last were."""
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                times = process.cpu_times()
                self._seconds[process.pid, process.create_time()] = times.user + times.system
        return sum(self._seconds.values())


def measure(command: Sequence[str], results: Path, suffix: str, *, pinned: bool, skip: int = 1) -> Measured:
    """Run `nst` and measure from the result number *skip* to the last."""
    cores = os.sched_getaffinity(0)
    if pinned:
        os.sched_setaffinity(0, {min(cores)})
    argv = [sys.executable, "-m", "nst_lightning", *command]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    os.sched_setaffinity(0, cores)
    cpu = CpuTime()
    begun = last = (0.0, 0.0, 0)  # when, after what processor time, and how many results there were
    while process.poll() is None:
        time.sleep(_LOOK_INTERVAL)
        found = _count(results, suffix)
        if found >= skip and found > last[2]:
            last = time.perf_counter(), cpu.look(), found
            begun = begun if begun[2] else last
    if process.returncode:
        raise RuntimeError(process.stderr.read() if process.stderr else "")
    done = max(1, last[2] - begun[2])
    return Measured((last[0] - begun[0]) / done, (last[1] - begun[1]) / done)


def _count(folder: Path, suffix: str) -> int:
    try:
        with os.scandir(folder) as entries:
            return sum(entry.name.endswith(suffix) for entry in entries)
    except FileNotFoundError:
        return 0


def make_photos(folder: Path, count: int, size: int) -> None:
    """Write JPEGs of 4:3."""
    folder.mkdir(parents=True)
    image = cover(read_image("sample:town").pixels, (size * 3 // 4, size))
    for number in range(count):
        write_image(folder / f"{number:05d}.jpg", image, quality=90)


def overhead(address: str, size: int, options: argparse.Namespace, folder: Path) -> None:
    """Print the time of a job on one node over that in one process."""
    make_photos(folder / "photos", options.jobs, size)
    words = ["batch", "--contents", str(folder / "photos"), "--styles", "sample:starry", "--data.size", str(size)]
    words += ["--model.encoder.weights", options.encoder, "--trainer.accelerator", "cpu"]
    words += ["--data.steps", str(options.steps), "--data.first_steps", "null"]
    words += ["--trainer.default_root_dir", str(folder)]
    seconds, cpu = [], []
    for number in range(options.rounds):
        rounds = []
        for kind in ("alone", "ray"):
            name = f"{kind}{number}"
            more = [] if kind == "alone" else ["--cluster", address]
            output = folder / name
            command = [*words, "--name", name, "--output", str(output), *more]
            rounds.append(measure(command, output, "_starry.png", pinned=kind == "alone"))
        seconds.append(rounds[1].seconds / rounds[0].seconds)
        cpu.append(rounds[1].cpu / rounds[0].cpu)
        print(f"  {size} px: alone {rounds[0].seconds:.2f} s, Ray {rounds[1].seconds:.2f} s a job", flush=True)
    print(f"overhead {size} px: ratio {statistics.median(seconds):.3f}, cpu {statistics.median(cpu):.3f}", flush=True)


def scaling(options: argparse.Namespace, folder: Path) -> None:
    """Print the pictures a second of `nst predict` on some nodes over one."""
    make_photos(folder / "photos", options.images, 256)
    rates: dict[int, list[float]] = {nodes: [] for nodes in options.nodes}
    for number in range(options.rounds):
        for nodes in options.nodes:
            output = folder / f"out{nodes}-{number}"
            with cluster_of(nodes) as address:
                command = ["predict", "--data.images", str(folder / "photos"), "--output.folder", str(output)]
                command += ["--trainer.accelerator", "cpu", "--data.num_workers", "0", "--cluster", address]
                found = measure(command, output, ".jpg", pinned=False, skip=16 * nodes)
            rates[nodes].append(1 / found.seconds)
            print(f"  {nodes} nodes: {1 / found.seconds:.2f} pictures/s, {found.cpu:.3f} cpu s each", flush=True)
    first = statistics.median(rates[options.nodes[0]])
    for nodes, found_rates in rates.items():
        rate = statistics.median(found_rates)
        ideal = nodes / options.nodes[0]
        print(f"predict on {nodes} nodes: {rate:.2f} pictures/s, {rate / first / ideal:.2f} of ideal", flush=True)


def dealing(address: str, folder: Path, jobs: int = 1000) -> tuple[float, float]:
    """Return the driver's seconds for a job, and a worker's start."""
    ends: list[float] = []

    def hear(job: Job, kind: str, value: Any) -> None:
        del job, value
        if kind == "complete":
            ends.append(time.perf_counter())

    started = time.perf_counter()
    runner = ClusterRunner(ClusterRequest(address), folder, [], "cpu", hear)
    # Returns the outcome, whatever it is called with: a function of this file could not be imported by a worker.
    empty: Callable[[Report], Outcome] = partial(getattr, SimpleNamespace(outcome=Outcome("complete")), "outcome")
    runner.run([Task(Job(str(number), (), folder), empty) for number in range(jobs)])
    return (ends[-1] - ends[0]) / (jobs - 1), ends[0] - started


def model(deal: float, start: float) -> None:
    """Print how long 64 GPUs take for 100,000 pictures, and what bounds them."""
    print(f"model of {GPUS} GPUs and {PICTURES:,} pictures, from {deal * 1000:.1f} ms a job and {start:.0f} s a start")
    print("| command | ideal, h | driver, h | bucket's latency, h | bucket's rate, h | starts, h | together, h |")
    print("|---|---|---|---|---|---|---|")
    for kind, (seconds, pictures) in KINDS.items():
        jobs = PICTURES / pictures
        requests = PICTURES * (REQUESTS if pictures == 1 else IMAGE_REQUESTS)
        puts = PICTURES * (PUTS if pictures == 1 else IMAGE_PUTS)
        ideal = jobs * seconds / GPUS
        driver = jobs * deal  # beside the GPUs: bounds, does not add
        latency = requests * LATENCY / GPUS
        rate = max(puts / PUT_RATE, (requests - puts) / GET_RATE)
        together = max(ideal + latency, driver, rate) + start
        cells = (ideal, driver, latency, rate, start, together)
        print(f"| {kind} | {' | '.join(f'{cell / 3600:.2f}' for cell in cells)} |")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="*", default=[128, 512])
    parser.add_argument("--jobs", type=int, default=6)
    parser.add_argument("--steps", type=int, default=60, help="of each level")
    parser.add_argument("--encoder", default="compact")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--nodes", type=int, nargs="*", default=[1, 2, 4])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with cluster_of(1) as address:
            deal, start = dealing(address, folder)
            for size in options.sizes:
                overhead(address, size, options, folder / str(size))
        if options.nodes:
            scaling(options, folder / "predict")
    model(deal, start)


if __name__ == "__main__":
    main()
