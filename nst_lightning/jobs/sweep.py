"""A grid of runs, each in a worker process, which can be killed and started again."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from nst_lightning.data.schedule import pyramid_sizes, steps_per_level
from nst_lightning.errors import UserError
from nst_lightning.jobs.cluster import ClusterRequest, ClusterRunner, Task, check_answers, check_one_device
from nst_lightning.jobs.grid import Axis, Choice, Run, Sheet, axis_name, expand, make_axes, option_args
from nst_lightning.jobs.job import Job, JobFolder, Outcome, do_if_free
from nst_lightning.jobs.jobs_bar import JobsBar
from nst_lightning.jobs.processes import JobRunner
from nst_lightning.jobs.report import write_grid_sheet, write_grid_table
from nst_lightning.jobs.settings import OF_THE_RUN, KeptSettings, check_animation, settings_locked, shared_settings
from nst_lightning.runs.fit_command import resolve_settings
from nst_lightning.runs.resume import runs_root
from nst_lightning.runs.saved_config import changed_settings
from nst_lightning.utils.overwriting import WrittenFile, check_overwriting, named_files
from nst_lightning.utils.storage import look
from nst_lightning.utils.streams import write_path

SETTINGS = "sweep.yaml"
TABLE = "results.csv"
SHEET = "sheet.png"

_log = logging.getLogger(__name__)

_OF_ALL_RUNS = ("trainer.default_root_dir", "trainer.logger")


@dataclass(frozen=True)
class SweepRequest:
    """A sweep.

    Attributes:
        name: Name of its folder.
        base: Arguments of `nst fit` that all runs share, configs first.
        grid: Axes, as `make_axes` reads them.
        sheet: Look of the contact sheet.
        jobs: Number of runs at a time.
        cluster: Ray cluster where the runs are done, in place of this machine; `None` for none.
    """

    name: str
    base: tuple[str, ...]
    grid: Mapping[str, Any]
    sheet: Sheet = field(default_factory=Sheet)
    jobs: int = 1
    cluster: ClusterRequest | None = None


def run_sweep(request: SweepRequest) -> int:
    """Paint a grid, or what is left of it.

    Each run is one of `nst fit`, in `lightning_logs/NAME/LABEL/version_0`. Started again with the same request, runs
    that are complete are left alone, those that were interrupted go on from their checkpoints, and those that failed
    are tried again. The grid may have grown; anything else that differs is refused, since the images could not be
    compared.

    The result of a run depends, in its last bits, on the threads it has: those of the machine divided by `jobs`.

    Args:
        request: The sweep.

    Returns:
        0 if all runs are complete, 1 if one failed, 130, 143 or 129 after Ctrl-C, SIGTERM or SIGHUP.

    Raises:
        UserError: If what is asked for makes no sense, before anything runs.
    """
    axes = make_axes(request.grid)
    runs = expand(axes)
    for key in {key for run in runs for key in run.options if key in _OF_ALL_RUNS}:
        raise UserError(f"{key} can't be an axis of the grid: it says where the runs are, all of them; leave it out.")
    settings = resolve_settings(["fit", *request.base])
    check_animation(settings, "runs")
    for run in _covering(runs):  # a mistyped last value must not show after hours
        of_run = resolve_settings(["fit", *request.base, *option_args(run.options)])
        if request.cluster is not None:
            check_one_device(of_run)
    if request.cluster is not None:
        check_answers(request.cluster.address)
    _check_steps(request.sheet, settings)
    sweep = runs_root(settings["trainer"].get("default_root_dir")) / request.name
    look(sweep)
    configs = [word.partition("=")[2] for word in request.base if word.startswith("--config=")]
    check_overwriting(
        [WrittenFile(sweep, f"the folder of the sweep, {sweep},", "holds", "give another --name", is_folder=True)],
        named_files([settings, *(run.options for run in runs), configs], OF_THE_RUN),
    )
    with settings_locked(sweep) if request.cluster is None else nullcontext():  # else one process starts all runs
        _keep_settings(sweep, settings, runs)
    folders = [JobFolder(sweep / run.label) for run in runs]
    for folder in folders:
        folder.tidy()
    missing = [run for run, folder in zip(runs, folders, strict=True) if not folder.is_complete()]
    _log.info("%d runs in %s, %d of them complete", len(runs), sweep, len(runs) - len(missing))
    stopped_by = None
    told: dict[str, Outcome] = {}
    if missing:
        jobs = [_job(run, axes, request, settings, sweep) for run in missing]
        bar = JobsBar(jobs, len(runs), "run", is_rated=request.cluster is not None)
        with closing(bar):
            if request.cluster is not None:
                cluster = ClusterRunner(
                    request.cluster, sweep, [sweep / SETTINGS], str(settings["trainer"]["accelerator"]), bar
                )
                cluster.run([Task(job, partial(do_if_free, job)) for job in jobs])
                stopped_by, told = cluster.stopped_by, cluster.outcomes
            else:
                runner = JobRunner(request.jobs, max(1, torch.get_num_threads() // request.jobs), bar)
                runner.run(jobs)
                stopped_by = runner.stopped_by
    look(sweep)  # at what other processes have put there
    outcomes = [told.get(run.label) or folder.outcome() for run, folder in zip(runs, folders, strict=True)]
    _report(sweep, axes, runs, outcomes, request, settings)
    if stopped_by is not None:
        _log.info("stopped; the same command goes on where this one was")
        return 128 + stopped_by
    return 1 if any(outcome.status == "failed" for outcome in outcomes) else 0


def _covering(runs: Sequence[Run]) -> list[Run]:
    """Return few runs in which every choice of every axis appears."""
    seen: list[Choice] = []
    chosen = []
    for run in runs:
        new = [choice for choice in run.choices if choice not in seen]
        if new:
            seen += new
            chosen.append(run)
    return chosen


def _check_steps(sheet: Sheet, settings: Mapping[str, Any]) -> None:
    every = settings["output"].get("every_n_steps")
    if sheet.steps and (not every or any(step % every for step in sheet.steps)):
        raise UserError(
            f"the sheet shows the pictures at steps {', '.join(map(str, sheet.steps))}, but output.every_n_steps is "
            f"{every or 'not set'}; set it to a number that divides them."
        )


def _keep_settings(sweep: Path, settings: Mapping[str, Any], runs: Sequence[Run]) -> None:
    """Note what the sweep is, or refuse to go on with another under the same name; the grid may grow."""
    remedy = "give another --name"
    file = KeptSettings(
        sweep / SETTINGS,
        content="a sweep with",
        foreign="holds runs that are not of a sweep",
        remedy=f"{remedy}, or remove {sweep}",
        foreign_remedy=remedy,
    )
    base = shared_settings(settings)
    wanted = {run.label: {axis_name(key): value for key, value in run.options.items()} for run in runs}
    kept = file.read(["settings", "runs"])
    if kept is not None:
        changes = changed_settings(kept["settings"], base)
        for label in wanted.keys() & kept["runs"].keys():
            changes += changed_settings(kept["runs"][label], wanted[label], label)
        file.refuse(sorted(changes), named=len(changes))
        wanted = {**kept["runs"], **wanted}
    if kept is None or wanted != kept["runs"]:
        file.write({"settings": base, "runs": wanted})


def _job(run: Run, axes: Sequence[Axis], request: SweepRequest, settings: Mapping[str, Any], sweep: Path) -> Job:
    no_output = "--output.path=null"  # a config that a run has kept names that run's own
    own = (*option_args(run.options), "--trainer.enable_progress_bar=false", f"--name={request.name}/{run.label}")
    return Job(
        label=run.label,
        args=("fit", *request.base, no_output, *own),
        folder=sweep / run.label,
        settings={axis.name: choice.text for axis, choice in zip(axes, run.choices, strict=True)},
        work=_work(_data(settings), run.options),
    )


def _data(settings: Mapping[str, Any]) -> dict[str, Any]:
    return dict((settings.get("data") or {}).get("init_args") or {})


def _work(data: Mapping[str, Any], options: Mapping[str, Any]) -> float:
    """Estimate a run's work in pixels times steps, up to a factor that the runs share."""
    data = {**data, **{axis_name(key): value for key, value in options.items()}}
    try:
        sizes = data.get("sizes") or pyramid_sizes(data["size"], data["min_size"])
        steps = steps_per_level(data["steps"], data.get("first_steps"), len(sizes))
        return float(sum(count * size**2 for count, size in zip(steps, sizes, strict=True)))
    except (KeyError, TypeError, ValueError):  # of a data module of the user's own, or values that fit will refuse
        return 1.0


def _report(
    sweep: Path,
    axes: Sequence[Axis],
    runs: Sequence[Run],
    outcomes: Sequence[Outcome],
    request: SweepRequest,
    settings: Mapping[str, Any],
) -> None:
    sheet = Sheet(request.sheet.title or request.name, request.sheet.size, request.sheet.steps)
    write_grid_table(sweep / TABLE, axes, runs, outcomes)
    write_grid_sheet(sweep / SHEET, axes, runs, outcomes, sheet, _data(settings))
    complete = sum(outcome.status == "complete" for outcome in outcomes)
    _log.info("%d of %d runs complete", complete, len(outcomes))
    for run, outcome in zip(runs, outcomes, strict=True):
        if outcome.status == "failed":
            _log.info("failed: %s (%s)", run.label, sweep / run.label / "log.txt")
    _log.info("table: %s", sweep / TABLE)
    _log.info("sheet: %s", sweep / SHEET)
    write_path(sweep / SHEET)
