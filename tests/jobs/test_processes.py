"""Processes that share a batch: who they are, who paints what, and what Lightning sees of it."""

from __future__ import annotations

import csv
from pathlib import Path, PurePosixPath

import pytest
import torch
from lightning.fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from lightning.fabric.utilities.rank_zero import _get_rank

from nst_lightning.errors import UserError
from nst_lightning.jobs.batch import PairFolder, device_args, keep_settings
from nst_lightning.jobs.job import FAILED, RESULT
from nst_lightning.jobs.pairs import Pair, Source
from nst_lightning.jobs.processes import Rank, claim, pop_launcher_env
from tests.helpers.processes import Command

TORCHRUN = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "TORCHELASTIC_RUN_ID": "none", "GROUP_RANK": "2"}
SLURM = {"SLURM_PROCID": "3", "SLURM_NTASKS": "4", "SLURM_LOCALID": "1", "SLURM_JOB_NAME": "paint"}


@pytest.mark.parametrize(
    ("environment", "launch"),
    [
        ({}, Rank(0, 1, 0)),
        (TORCHRUN, Rank(5, 8, 1)),
        (SLURM, Rank(3, 4, 1)),
        ({**SLURM, **TORCHRUN}, Rank(5, 8, 1)),
        ({"RANK": "first", "WORLD_SIZE": "8"}, Rank(0, 1, 0)),
        ({"RANK": "0"}, Rank(0, 1, 0)),
    ],
)
def test_a_launch_is_recognised_and_hidden_from_lightning(
    environment: dict[str, str], launch: Rank, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if "TORCHELASTIC_RUN_ID" in environment:
        assert TorchElasticEnvironment.detect()
    if "SLURM_NTASKS" in environment:
        assert SLURMEnvironment.detect()
    assert pop_launcher_env() == launch
    assert not TorchElasticEnvironment.detect()
    assert not SLURMEnvironment.detect()
    assert _get_rank() is None


@pytest.mark.parametrize(
    ("words", "launch", "gpus", "given"),
    [
        ([], Rank(5, 8, 1), 4, ["--trainer.devices=[1]"]),
        ([], Rank(5, 8, 5), 4, ["--trainer.devices=[1]"]),  # more processes than devices
        ([], Rank(5, 8, 1), 1, []),  # srun shows each task its own
        ([], Rank(), 4, []),
        (["accelerator"], Rank(5, 8, 1), 4, []),
        (["devices"], Rank(5, 8, 1), 4, []),
    ],
)
def test_each_process_has_a_gpu_of_its_own(
    words: list[str], launch: Rank, gpus: int, given: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    settings = {
        "accelerator": "cpu" if "accelerator" in words else "auto",
        "devices": [2] if "devices" in words else 1,
    }
    assert device_args({"trainer": settings}, launch) == given


def places(folder: Path, count: int) -> list[PairFolder]:
    """Give a process's view of the pairs."""
    source = Source("sample:town", PurePosixPath("town"))
    return [PairFolder(Pair(source, source, f"p{n}", folder / f"out/p{n}.png"), folder / "runs") for n in range(count)]


def finish(place: PairFolder) -> None:
    for path in (place.run / RESULT, place.pair.output):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")


def test_each_pair_goes_to_one_process_and_a_dead_ones_to_the_others(tmp_path: Path) -> None:
    """Two processes, taking turns; the first one dies with its third pair undone."""
    first, second = claim(places(tmp_path, 6), Rank(0, 2)), claim(places(tmp_path, 6), Rank(1, 2))
    taken: list[list[str]] = [[], []]
    for turn, process in [(0, first), (1, second), (0, first), (1, second), (0, first)]:
        place = next(process)
        taken[turn].append(place.pair.label)
        if len(taken[0]) < 3:
            finish(place)
    assert taken == [["p0", "p1", "p2"], ["p3", "p4"]]
    finish(places(tmp_path, 6)[4])
    assert next(second).pair.label == "p5"
    finish(places(tmp_path, 6)[5])
    first.close()  # as the system does with a dead process's locks
    place = next(second)
    assert place.pair.label == "p2"
    finish(place)
    with pytest.raises(StopIteration):
        next(second)


def test_what_failed_is_tried_once_more_when_started_again_and_not_by_everybody(tmp_path: Path) -> None:
    (tmp_path / "runs/p0").mkdir(parents=True)
    (tmp_path / "runs/p0" / FAILED).write_text("yesterday\n")
    first, second = claim(places(tmp_path, 2), Rank()), claim(places(tmp_path, 2), Rank())
    place = next(first)
    assert place.pair.label == "p0"
    place.fail("today")
    assert next(first).pair.label == "p1"
    first.close()
    assert next(second).pair.label == "p1"  # not p0
    assert place.outcome().message == "today"


def test_a_file_where_a_folder_should_be_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    with pytest.raises(UserError, match=r"expected a folder that can be written to, found .*/runs for batch.yaml"):
        keep_settings(tmp_path / "runs/many", {"trainer": {}})
    with pytest.raises(UserError, match=r"cannot make the folder .*/new/x+ \(File name too long\)"):
        keep_settings(tmp_path / "new" / ("x" * 300), {"trainer": {}})
    with pytest.raises(UserError, match=r"cannot write to .*/runs/p0 \(Not a directory\)"):
        next(claim(places(tmp_path, 1), Rank()))


@pytest.mark.slow
@pytest.mark.processes
def test_ranks_of_a_launch_share_the_list(pictures: Path, batch_words: list[str]) -> None:
    words = [*batch_words, "--contents", "photos/me.png", "--styles", "paintings"]
    # Lightning would wait for the other ranks, or refuse one device for a world of two.
    shared = {**TORCHRUN, **SLURM, "WORLD_SIZE": "2"}
    ends = [end.end() for end in [Command(words, {**shared, "RANK": rank, "LOCAL_RANK": rank}) for rank in "01"]]
    said = [lines for _, lines in ends]
    assert [code for code, _ in ends] == [0, 0], said
    told = [line for lines in said for line in lines.splitlines() if " s → " in line]
    assert len(told) == 2
    assert {line.split(":")[0].split("] ")[1] for line in told} == {"me × dots", "me × waves"}
    assert all(line.startswith(("rank 0 [", "rank 1 [")) for line in told)
    with (pictures / "out/summary.csv").open(newline="", encoding="utf-8") as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["complete"] * 2
    assert len(list(pictures.glob("lightning_logs/many/**/result.json"))) == 2
    assert not list(pictures.glob("lightning_logs/many/**/version_1"))
    assert not list(pictures.glob("lightning_logs/many/**/log.txt"))
    # Lightning's loggers write nothing on ranks other than 0.
    assert len(list(pictures.glob("lightning_logs/many/**/events.*"))) == 2
