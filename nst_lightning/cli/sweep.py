"""`nst sweep`: a grid of runs by one command, which can be killed and started again."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from nst_lightning.data.schedule import pyramid_sizes, steps_per_level
from nst_lightning.errors import UserError
from nst_lightning.jobs.grid import Axis, Choice, Run, axis_name, expand, make_axes, option_words
from nst_lightning.jobs.progress import SweepBar
from nst_lightning.jobs.report import SHEET, TABLE, Outcome, read_outcome, write_sheet, write_table
from nst_lightning.jobs.request import Request, Sheet, read_request
from nst_lightning.jobs.runner import JobRunner
from nst_lightning.jobs.worker import Job
from nst_lightning.runs.fit_command import resolve_settings
from nst_lightning.runs.run_folder import RUNS
from nst_lightning.runs.saved_config import changed_settings
from nst_lightning.utils.atomic import atomic_path
from nst_lightning.utils.locks import check_locks

MANIFEST = "sweep.yaml"

_log = logging.getLogger(__name__)

_OF_A_RUN = ("name", "ckpt_path", "weights_only")
"""Settings of `nst fit` that say which run is meant, not what is painted."""

_OF_ALL_RUNS = ("trainer.default_root_dir", "trainer.logger")


def run_sweep(words: Sequence[str]) -> int:
    """Run `nst sweep …`.

    Each run is one of `nst fit`, in `lightning_logs/NAME/LABEL/version_0`. Started again with the same words, runs
    that are complete are left alone, those that were interrupted go on from their checkpoints, and those that failed
    are tried again. The grid may have grown; anything else that differs is refused, since the pictures could not be
    compared.

    The result of a run depends, in its last bits, on the threads it has: those of the machine divided by `--jobs`.

    Args:
        words: After `nst sweep`.

    Returns:
        0 if all runs are complete, 1 if one failed, 130 or 143 after Ctrl-C or SIGTERM.

    Raises:
        UserError: If what is asked for makes no sense, before anything runs.
    """
    request = read_request(words)
    axes = make_axes(request.grid)
    runs = expand(axes)
    _check_place(runs)
    settings = resolve_settings(["fit", *request.base])
    for run in _covering(runs):  # a mistyped last value must not show after hours
        resolve_settings(["fit", *request.base, *option_words(run.options)])
    _check_steps(request.sheet, settings)
    folder = Path(settings["trainer"].get("default_root_dir") or ".") / RUNS / request.name
    _keep_manifest(folder, settings, runs)
    outcomes = [read_outcome(run, folder) for run in runs]
    missing = [outcome.run for outcome in outcomes if outcome.status != "complete"]
    _log.info("%d runs in %s, %d of them complete", len(runs), folder, len(runs) - len(missing))
    stopped_by = None
    if missing:
        check_locks(folder)
        jobs = [_job(run, axes, request, settings, folder) for run in missing]
        stopped_by = _run(jobs, len(runs), request.jobs)
        outcomes = [read_outcome(run, folder) for run in runs]
    _report(folder, axes, outcomes, request, settings)
    if stopped_by is not None:
        _log.info("stopped; the same command goes on where this one was")
        return 128 + stopped_by
    return 1 if any(outcome.status == "failed" for outcome in outcomes) else 0


def _check_place(runs: Sequence[Run]) -> None:
    for key in {key for run in runs for key in run.options if key in _OF_ALL_RUNS}:
        raise UserError(f"{key} can't be an axis of the grid: it says where the runs are, all of them; leave it out.")


def _check_steps(sheet: Sheet, settings: Mapping[str, Any]) -> None:
    every = settings["output"].get("every_n_steps")
    if sheet.steps and (not every or any(step % every for step in sheet.steps)):
        raise UserError(
            f"the sheet shows the pictures at steps {', '.join(map(str, sheet.steps))}, but output.every_n_steps is "
            f"{every or 'not set'}; set it to a number that divides them."
        )


def _covering(runs: Sequence[Run]) -> list[Run]:
    """Give few runs in which every choice of every axis appears."""
    seen: list[Choice] = []
    chosen = []
    for run in runs:
        new = [choice for choice in run.choices if choice not in seen]
        if new:
            seen += new
            chosen.append(run)
    return chosen


def _run(jobs: Sequence[Job], total: int, at_once: int) -> int | None:
    """Do the jobs; give the number of the signal that ended it, if one did."""
    bar = SweepBar(jobs, total)
    runner = JobRunner(at_once, max(1, torch.get_num_threads() // at_once), bar)
    try:
        runner.run(jobs)
    finally:
        bar.close()
    return None if runner.stopped_by is None else int(runner.stopped_by)


def _job(run: Run, axes: Sequence[Axis], request: Request, settings: Mapping[str, Any], folder: Path) -> Job:
    words = ["fit", *request.base, *option_words(run.options), "--trainer.enable_progress_bar=false"]
    return Job(
        label=run.label,
        words=(*words, f"--name={request.name}/{run.label}"),
        folder=folder / run.label,
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


def _keep_manifest(folder: Path, settings: Mapping[str, Any], runs: Sequence[Run]) -> None:
    """Note what the sweep is, or refuse to go on with another under the same name."""
    base = {key: value for key, value in settings.items() if key not in _OF_A_RUN}
    wanted = {run.label: {axis_name(key): value for key, value in run.options.items()} for run in runs}
    file = folder / MANIFEST
    other = f"give another --name, or remove {folder}."
    if file.exists():
        known = yaml.safe_load(file.read_text(encoding="utf-8"))
        changes = changed_settings(known["settings"], base)
        for label in wanted.keys() & known["runs"].keys():
            changes += changed_settings(known["runs"][label], wanted[label], label)
        if changes:
            raise UserError(f"{folder} holds a sweep with other settings: {'; '.join(sorted(changes))}; {other}")
        wanted = {**known["runs"], **wanted}
        if wanted == known["runs"]:
            return
    elif folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"{folder} holds runs that are not of a sweep; {other}")
    with atomic_path(file) as temporary:
        text = yaml.safe_dump({"settings": base, "runs": wanted}, sort_keys=False, allow_unicode=True)
        temporary.write_text(text, encoding="utf-8")


def _report(
    folder: Path, axes: Sequence[Axis], outcomes: Sequence[Outcome], request: Request, settings: Mapping[str, Any]
) -> None:
    look = request.sheet
    sheet = Sheet(look.title or request.name, look.size, look.steps)
    write_table(folder / TABLE, axes, outcomes)
    write_sheet(folder / SHEET, axes, outcomes, sheet, _data(settings))
    complete = sum(outcome.status == "complete" for outcome in outcomes)
    _log.info("%d of %d runs complete", complete, len(outcomes))
    for outcome in outcomes:
        if outcome.status == "failed":
            _log.info("failed: %s (%s)", outcome.run.label, folder / outcome.run.label / "log.txt")
    _log.info("table: %s", folder / TABLE)
    _log.info("sheet: %s", folder / SHEET)
