"""Jobs on a Ray cluster: two nodes of one core each on this machine, one of which goes and comes."""

from __future__ import annotations

import json
import logging
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import torch

from nst_lightning.cli.main import main
from nst_lightning.data.predict_data import MediaFile
from nst_lightning.errors import UserError
from nst_lightning.jobs import cluster
from nst_lightning.jobs.cluster import (
    ClusterRequest,
    ClusterRunner,
    Needs,
    Task,
    check_one_device,
    needs_of,
    pickled,
)
from nst_lightning.jobs.cluster_predict import shares_of
from nst_lightning.jobs.job import Job, claimed
from nst_lightning.networks.network_file import save_network
from nst_lightning.networks.transformer import TransformerNet
from nst_lightning.utils.addresses import path_of
from tests.helpers.cluster_jobs import be_busy, die, fail, look_around
from tests.helpers.inputs import make_image
from tests.helpers.processes import Command

PAIRS = ["--contents", "photos", "--styles", "paintings/dots.png"]
SLOWER = ["--data.steps", "[4, 30]", "--checkpoint.every_n_steps", "3"]
CHILD = Path(__file__).parents[2]


# What needs no cluster


def test_another_machine_has_its_own_path_for_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = path_of("memory://bucket/painted")
    sent = pickled((here / "a.png", tmp_path))
    assert os.fsencode(here) not in sent
    (there := tmp_path / "there").mkdir()
    monkeypatch.setenv("NST_LIGHTNING_MIRROR", str(there))
    assert pickle.loads(sent) == (there / "memory" / "bucket" / "painted" / "a.png", tmp_path)


@pytest.mark.parametrize("command", ["batch", "sweep", "predict"])
def test_without_ray_a_line_says_how_it_is_installed(
    command: str, pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main([command, "--cluster", "local"]) == 2
    assert capsys.readouterr().err == ("nst: --cluster needs the extra cluster; pip install 'nst-lightning[cluster]'\n")
    assert sorted(path.name for path in pictures.iterdir()) == ["paintings", "photos"]


REFUSED = {
    "gpus alone": (["--per_job.gpus", "1"], "--per_job.gpus is of a job on a cluster; give --cluster as well"),
    "cpus alone": (["--per_job.cpus=0.5"], "--per_job.cpus is of a job on a cluster; give --cluster as well"),
    "no cores": (["--cluster", "auto", "--per_job.cpus", "0"], "--per_job.cpus wants a number above 0, but 0"),
    "many gpus": (["--cluster", "auto", "--per_job.gpus", "2"], "wants a number from 0 up and at most 1, but 2"),
    "crumbs": (["--cluster", "auto", "--per_job.cpus", "0.00001"], "--per_job.cpus wants 0.0001 or more, but 1e-05"),
    "text": (["--cluster", "auto", "--per_job.cpus", "all"], "--per_job.cpus wants a number above 0, but all"),
    "mistyped": (["--cluster", "locla"], "found 'locla'; did you mean --cluster local?"),
    "no port": (["--cluster", "ray://head"], "expected auto, local, HOST:PORT or ray://HOST:PORT, found 'ray://head'"),
    "no address": (["--cluster"], "--cluster wants a value"),
}


@pytest.mark.parametrize("command", ["batch", "sweep", "predict"])
@pytest.mark.parametrize("given", REFUSED)
@pytest.mark.usefixtures("pictures")
def test_options_that_make_no_sense_are_refused_in_a_line(
    command: str, given: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options, message = REFUSED[given]
    assert main([command, *options]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert message in said[0]
    assert not Path("lightning_logs").exists()


def test_a_launcher_starts_one_driver(
    pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv("SLURM_PROCID", "1")
    monkeypatch.setenv("SLURM_NTASKS", "4")
    assert main(["batch", *PAIRS, "--cluster", "local"]) == 2
    assert "another process of 4 that a launcher was to start; start one (srun --ntasks 1)" in capsys.readouterr().err
    assert sorted(path.name for path in pictures.iterdir()) == ["paintings", "photos"]


def test_a_sweep_has_its_runs_at_a_time_from_the_cluster_or_from_the_machine(
    sweep: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ray")
    assert sweep("--grid.seed", "[1, 2]", "--cluster", "local", "--jobs", "2") == 2
    assert "--jobs is for this machine" in capsys.readouterr().err


@pytest.mark.parametrize("settings", [{"devices": [1]}, {"devices": 2}, {"num_nodes": 2}])
def test_a_job_has_the_device_that_ray_gives_it(settings: dict[str, Any]) -> None:
    check_one_device({"trainer": {"devices": 1, "num_nodes": 1}})
    with pytest.raises(UserError, match=r"has one device, which Ray chooses; leave trainer\.devices"):
        check_one_device({"trainer": {"devices": 1, "num_nodes": 1, **settings}})


def node(cpus: float, gpus: float = 0, *, alive: bool = True) -> dict[str, Any]:
    return {"Alive": alive, "Resources": {"CPU": cpus, "GPU": gpus, "memory": 1e9}}


@pytest.mark.parametrize(
    ("request_", "nodes", "accelerator", "expected"),
    [
        (ClusterRequest("auto"), [node(1), node(1)], "auto", Needs(1, 0)),
        (ClusterRequest("auto"), [node(64)], "auto", Needs(2, 0)),  # the threads that nst fit has
        (ClusterRequest("auto"), [], "cpu", Needs(1, 0)),
        (ClusterRequest("auto"), [node(8), node(8, 4)], "auto", Needs(1, 1)),
        (ClusterRequest("auto"), [node(8), node(8, 4)], "cpu", Needs(2, 0)),
        (ClusterRequest("auto"), [node(8), node(8, 4, alive=False)], "auto", Needs(2, 0)),
        (ClusterRequest("auto", 0.5, 0.25), [node(8, 1)], "auto", Needs(0.5, 0.25)),
        (ClusterRequest("auto", gpus=0), [node(8, 1)], "gpu", Needs(2, 0)),
    ],
)
def test_a_job_is_given_what_nst_fit_would_take(
    request_: ClusterRequest,
    nodes: list[dict[str, Any]],
    accelerator: str,
    expected: Needs,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert needs_of(request_, nodes, accelerator) == expected


@pytest.mark.parametrize(
    ("needs", "resources", "count"),
    [
        (Needs(1, 0), {"CPU": 4}, 4),
        (Needs(0.1, 0), {"CPU": 1}, 10),
        (Needs(3, 0), {"CPU": 4}, 1),
        (Needs(1, 0.4), {"CPU": 64, "GPU": 2}, 4),  # a fraction is of one GPU
        (Needs(4, 1), {"CPU": 6, "GPU": 8}, 1),
        (Needs(1, 1), {"CPU": 8}, 0),
        (Needs(1, 0), {}, 0),
    ],
)
def test_a_node_has_room_for_whole_jobs(needs: Needs, resources: dict[str, float], count: int) -> None:
    assert needs.fit(resources) == count


@pytest.mark.slow
@pytest.mark.parametrize(("images", "sizes"), [(3, {3}), (40, {16, 8}), (20_000, {78, 32}), (200_000, {256, 64})])
def test_shares_hold_each_file_once_and_videos_come_first(images: int, sizes: set[int]) -> None:
    names = [f"{number}.png" for number in range(images)] + ["a.mp4", "b.mkv"]
    targets = {MediaFile(f"in/{name}", PurePosixPath(name)): Path(f"out/{name}") for name in names}
    shares = shares_of(targets)
    assert [list(share.values()) for share in shares[:2]] == [[Path("out/a.mp4")], [Path("out/b.mkv")]]
    assert {len(share) for share in shares[2:]} == sizes
    assert sum(len(share) for share in shares) == len(targets)
    assert {file: path for share in shares for file, path in share.items()} == targets


def test_a_job_that_another_process_is_at_is_left_to_it(tmp_path: Path) -> None:
    with claimed(tmp_path / "job") as first, claimed(tmp_path / "job") as second:
        assert (first, second) == (True, False)
    with claimed(tmp_path / "job") as again:
        assert again


@pytest.mark.slow
def test_without_a_cluster_ray_is_not_imported() -> None:
    code = (
        "import sys; from nst_lightning.cli.main import main\n"
        "import nst_lightning.cli.batch, nst_lightning.jobs.batch, nst_lightning.jobs.sweep\n"
        "import nst_lightning.jobs.cluster_predict\n"
        "try: main(['fit', '--print_config'])\n"
        "except SystemExit: pass\n"
        "sys.exit('ray' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=CHILD, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# On two nodes


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A Ray cluster of two nodes with a core each; its head does no jobs."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    folder = tempfile.mkdtemp(prefix="nst-ray-", dir="/tmp")  # names of sockets have at most 107 bytes
    # Where `Cluster` notes its address: in the machine's own folder a cluster in use would be overwritten, and the
    # oldest Ray doesn't make it.
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_TMPDIR": folder}
    Path(folder, "ray").mkdir()
    head = {"num_cpus": 0, "include_dashboard": False, "temp_dir": folder, "object_store_memory": 100 * 2**20}
    made = Cluster(initialize_head=True, head_node_args=head)
    for _ in range(2):
        add_node(made)
    yield made
    made.shutdown()
    del os.environ["RAY_TMPDIR"]
    shutil.rmtree(folder, ignore_errors=True)


def add_node(nodes: Any) -> None:
    nodes.add_node(num_cpus=1, object_store_memory=100 * 2**20)


@pytest.fixture
def photos(pictures: Path) -> Path:
    """A dozen photos."""
    for number in range(10):
        make_image(pictures / f"photos/p{number}.png", 40, 30, seed=10 + number)
    return pictures


def outputs(folder: str = "out") -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*_dots.png")}


def stamps() -> dict[str, tuple[int, int]]:
    """What tells the pictures of complete runs from others at the same place; a run that is killed after its picture is
    written, and before it is complete, writes it again."""
    complete = {path.parts[-3] for path in Path("lightning_logs").rglob("result.json")}
    pictures = [path for path in Path("out").rglob("*_dots.png") if path.stem in complete]
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in pictures}


def wait_for(condition: Callable[[], bool], command: Command) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert command.process.is_alive(), command.end()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.processes
def test_a_node_goes_the_driver_is_killed_and_all_are_painted_once_as_alone(
    nodes: Any, photos: Path, batch: Callable[..., int], batch_words: list[str]
) -> None:
    torch.set_num_threads(1)  # as the other process has
    assert batch(*PAIRS, *SLOWER) == 0
    alone = outputs()
    assert len(alone) == 12
    Path("out").rename("alone")
    shutil.rmtree("lightning_logs")

    words = [*batch_words, *PAIRS, *SLOWER, "--cluster", nodes.address]
    driver = Command(words)
    wait_for(lambda: len(stamps()) >= 2, driver)
    before = stamps()
    nodes.remove_node(next(iter(nodes.worker_nodes)), allow_graceful=False)
    wait_for(lambda: len(stamps()) >= len(before) + 2, driver)
    add_node(nodes)
    before |= stamps()
    driver.process.kill()
    assert driver.end()[0] == -signal.SIGKILL
    code, said = Command(words).end(300)
    assert code == 0, said
    assert "12 of 12 pairs complete" in said
    assert outputs() == alone
    after = stamps()
    assert {path: after[path] for path in before} == before  # painted once
    assert len(Path("out/summary.csv").read_text().splitlines()) == 13
    assert Path("out/contact-sheet.png").exists()
    assert not list(Path("lightning_logs").rglob("log.txt"))
    assert not list(Path("lightning_logs").rglob("version_1"))


@pytest.mark.slow
@pytest.mark.processes
def test_a_signal_stops_the_jobs_with_checkpoints(nodes: Any, pictures: Path, batch_words: list[str]) -> None:
    words = [*batch_words, *PAIRS, "--data.steps", "[4, 100000]", "--checkpoint.every_n_steps", "10"]
    driver = Command([*words, "--cluster", nodes.address])
    checkpoints = [pictures / f"lightning_logs/many/{name}/version_0/checkpoints/last.ckpt" for name in NAMES]
    wait_for(lambda: any(path.exists() for path in checkpoints), driver)
    os.kill(driver.process.pid, signal.SIGTERM)
    code, said = driver.end()
    assert code == 128 + signal.SIGTERM, said
    assert said.splitlines()[-1] == "stopped; the same command goes on where this one was"
    steps = [torch.load(path, weights_only=True)["global_step"] for path in checkpoints if path.exists()]
    assert steps
    assert all(0 < step < 100_004 for step in steps)
    assert any(step % 10 for step in steps)  # after the step in progress


NAMES = ["me_dots", "trip/sea_dots"]


@pytest.mark.slow
@pytest.mark.processes
def test_a_sweep_and_a_folder_in_one_pass_are_as_on_this_machine(
    nodes: Any, sweep: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    torch.set_num_threads(1)
    grid = ["--grid.seed", "[1, 2]", "--data.init", "noise"]
    for options in (["--name", "here"], ["--name", "there", "--cluster", nodes.address]):
        assert sweep(*grid, *options) == 0
    assert "sheet.png" in capsys.readouterr().out
    for seed in (1, 2):
        here, there = (Path(f"lightning_logs/{name}/seed={seed}/version_0/stylized.png") for name in ("here", "there"))
        assert here.read_bytes() == there.read_bytes()

    save_network(TransformerNet(styles=2, width=4, blocks=1), "tiny.safetensors", ["dawn", "dusk"], "none")
    Path("in/deep").mkdir(parents=True)
    for number in range(20):
        make_image(Path(f"in/{'deep/' * (number % 2)}{number}.png"), 30, 20, seed=number)
    Path("in/4.png").write_text("no picture")
    words = ["predict", "--ckpt_path", "tiny.safetensors", "--data.images", "in", "--trainer.accelerator", "cpu"]
    words += ["--output.settings", "true", "--data.num_workers", "0"]
    assert main(words) == 1
    alone = {path.relative_to("painted"): path.read_bytes() for path in Path("painted").rglob("*.png")}
    assert len(alone) == 19
    shutil.rmtree("painted")
    capsys.readouterr()
    assert main([*words, "--cluster", nodes.address]) == 1
    said = capsys.readouterr()
    assert said.out == "painted\n"
    assert "not painted: in/4.png: expected a picture (" in said.err
    assert "pictures painted: 19, in painted" in said.err
    assert {path.relative_to("painted"): path.read_bytes() for path in Path("painted").rglob("*.png")} == alone


@pytest.mark.slow
@pytest.mark.processes
def test_a_worker_is_as_the_driver_and_serves_many_jobs(
    nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "ALL")
    monkeypatch.setattr(cluster, "_ATTEMPTS", 2)
    torch.set_num_threads(2)
    heard: list[tuple[str, str, Any]] = []
    tasks = [Task(Job(f"look {n}", (), tmp_path), look_around) for n in range(6)]
    tasks += [Task(Job("die", (), tmp_path), die), Task(Job("fail", (), tmp_path), fail)]
    tasks += [Task(Job("busy", (), tmp_path), partial(be_busy, str(tmp_path / "busy")))]
    request = ClusterRequest(nodes.address)
    runner = ClusterRunner(request, tmp_path, [tmp_path], "auto", lambda job, *rest: heard.append((job.label, *rest)))
    with caplog.at_level(logging.INFO, "nst_lightning"):
        runner.run(tasks)
    found = [json.loads(runner.outcomes[f"look {n}"].message) for n in range(6)]
    assert len({(each["process"], each["weights"]) for each in found}) == len({each["process"] for each in found}) <= 4
    assert {each["threads"] for each in found} == {2}
    assert {each["folder"] for each in found} == {str(tmp_path)}
    assert {each["passed"] for each in found} == {"ALL"}
    assert {each["launcher"] for each in found} == {None}
    assert all(each["is_main"] for each in found)
    assert ("look 0", "warning", "seen") in heard
    assert "a job has 2 threads, as nst fit, but 1 CPUs; OMP_NUM_THREADS=1 is faster" in caplog.text
    assert runner.outcomes["busy"].status == "complete"
    assert "waiting for another process, which is at busy" in caplog.text
    assert runner.outcomes["fail"].message == "RuntimeError: two lines"
    assert runner.outcomes["die"].status == "failed"
    assert runner.outcomes["die"].message.startswith("its worker was lost (")
    assert runner.stopped_by is None

    elsewhere = ClusterRunner(request, tmp_path, [tmp_path / "not there"], "auto", lambda *said: None)
    with pytest.raises(UserError, match=r" does not see .*not there; use a file system that all nodes share"):
        elsewhere.run(tasks[:1])


@pytest.mark.slow
@pytest.mark.processes
def test_a_second_driver_waits_and_is_refused(nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setattr(cluster, "_PATIENCE", 1.0)
    with cluster.connected(nodes.address):
        first = cluster._claim_name(ray, tmp_path)
        assert ray.get(first.take.remote()) == {}
        with pytest.raises(UserError, match=r"another command is at work in .* on this cluster; let it end"):
            cluster._claim_name(ray, tmp_path)
    with cluster.connected(nodes.address):  # that one has ended
        cluster._claim_name(ray, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["batch", "sweep", "predict"])
def test_a_refused_cluster_leaves_nothing_behind(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ray")
    monkeypatch.chdir(tmp_path)
    words = {
        "batch": ["--contents=sample:town", "--styles=sample:starry", "--output=painted"],
        "sweep": ["--grid.seed=[1]"],
        "predict": ["--data.images=sample:town", "--output.folder=painted"],
    }[command]
    with socket.socket() as taken:  # but not listening
        taken.bind(("127.0.0.1", 0))
        assert main([command, *words, f"--cluster=127.0.0.1:{taken.getsockname()[1]}"]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "nothing answers" in line
    assert list(tmp_path.iterdir()) == []


def test_an_address_where_nothing_is_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    import ray

    with socket.socket() as taken:  # but not listening
        taken.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{taken.getsockname()[1]}"
        for address in (nobody, f"ray://{nobody}"):
            with pytest.raises(UserError, match=rf"^--cluster {address}: nothing answers at {nobody} \(Connection ref"):
                cluster.connected(address).__enter__()

    def refuse(**settings: Any) -> None:
        assert threading.current_thread() is threading.main_thread()
        raise ConnectionError("Could not find any running Ray instance.\nPlease specify the one to connect to")

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(UserError, match=r"^--cluster auto: Could not find any running.* start one \(ray start --head"):
        cluster.connected("auto").__enter__()


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize("deaths", [9, 1000])
def test_workers_that_go_with_their_node_are_asked_for_again_but_not_for_ever(
    nodes: Any, deaths: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FragileWorker(cluster.JobWorker):  # of this function, so that Ray sends the class itself
        def prepare(self) -> str | None:
            with (tmp_path / "deaths").open("ab") as file:
                file.write(b".")
            if (tmp_path / "deaths").stat().st_size <= deaths:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().prepare()

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cluster, "JobWorker", FragileWorker)
    tasks = [Task(Job(f"look {n}", (), tmp_path), look_around) for n in range(12)]
    runner = ClusterRunner(ClusterRequest(nodes.address), tmp_path, [tmp_path], "cpu", lambda *_: None)
    if deaths == 9:  # all that are asked for at first
        runner.run(tasks)
        assert {outcome.status for outcome in runner.outcomes.values()} == {"complete"}
    else:
        with pytest.raises(UserError, match=r"workers can't be started: .* is nst-lightning installed on all nodes\?"):
            runner.run(tasks)
