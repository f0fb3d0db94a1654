"""`nst batch`: many pictures by optimisation, one after another, by any number of processes."""

from __future__ import annotations

import gc
import logging
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from nst_lightning.encoders.encoder_weights import weights_kept
from nst_lightning.errors import UserError
from nst_lightning.jobs.batch_launch import Launch
from nst_lightning.jobs.batch_manifest import read_manifest
from nst_lightning.jobs.batch_painter import Painter, StopSignals
from nst_lightning.jobs.batch_pairs import Pair, Source, check_outputs, find_sources, matched, product
from nst_lightning.jobs.batch_place import Outcome, Place
from nst_lightning.jobs.batch_report import TABLE, check_sheet, write_batch_sheet, write_summary
from nst_lightning.jobs.batch_request import BatchRequest, read_batch_request
from nst_lightning.jobs.batch_settings import check_settings, keep_settings, refuse_changes
from nst_lightning.jobs.batch_share import claim
from nst_lightning.jobs.grid import option_words
from nst_lightning.jobs.worker import LOG
from nst_lightning.runs.fit_command import resolve_settings
from nst_lightning.runs.run_folder import RUNS
from nst_lightning.utils.atomic import check_writable

_log = logging.getLogger(__name__)

_CHECKED_ROWS = 20  # of a manifest, before anything runs: half a second each


def run_batch(words: Sequence[str], launch: Launch | None = None) -> int:
    """Run `nst batch …`.

    Each pair is a run of `nst fit` in `lightning_logs/NAME/LABEL/version_0`, with all in this process, so that
    imports and the encoder's weights are paid for once. Started again with the same words, pairs that are complete
    are left alone, those that were interrupted go on from their checkpoints, and those that failed are tried again.
    The list may have changed; other settings are refused, since the pictures would not belong together.

    Any number of processes may have the same words (`batch_share.claim`): those of a launch by torchrun or srun, or
    several started by hand.

    Args:
        words: After `nst batch`.
        launch: This process's place among those started together; alone if `None`.

    Returns:
        0 if all pairs are complete, 1 if one failed, 130 or 143 after Ctrl-C or SIGTERM.

    Raises:
        UserError: If what is asked for makes no sense, before anything runs.
    """
    launch = launch or Launch()
    request = read_batch_request(words)
    shared = ["fit", *(f"--config={path}" for path in request.configs), *request.base]
    settings = resolve_settings(shared)
    root = Path(settings["trainer"].get("default_root_dir") or ".") / RUNS
    places = _find_places(request, settings, shared, root)
    waiting = [place for place in places if not place.is_settled()]
    finished = sum(place.is_complete() and not place.problem for place in places)
    if launch.rank == 0:
        _log.info("%d pairs, %d of them complete; pictures in %s", len(places), finished, request.output)
    numbers = {place.pair.label: number for number, place in enumerate(places, 1)}
    painted, stopped_by = _paint_all(waiting, numbers, Painter(request, settings, launch), launch)
    outcomes = [place.outcome() for place in places]
    write_summary(request.output / TABLE, places, outcomes)
    if request.contact_sheet is not None:
        write_batch_sheet(request.contact_sheet, places, outcomes, request.name)
    if launch.size > 1:
        _log.info("rank %d painted %d pairs", launch.rank, painted)
    if launch.rank == 0:
        _say_outcomes(places, outcomes, finished, request)
    statuses = {outcome.status for outcome in outcomes}
    if stopped_by is not None and statuses & {"stopped", "not run"}:
        _log.info("stopped; the same command goes on where this one was")
        return 128 + stopped_by
    return 1 if "failed" in statuses else 0


def _find_places(request: BatchRequest, settings: Mapping[str, Any], shared: Sequence[str], root: Path) -> list[Place]:
    """Find the pairs, and what there is of them, or refuse what would not end well."""
    check_settings(settings)
    check_writable(request.output / TABLE)
    pairs = _find_pairs(request, settings, shared, root)
    check_outputs(pairs)
    if request.contact_sheet is not None:
        check_sheet([pair.content for pair in pairs], [pair.style for pair in pairs])
    folder = root / request.name
    keep_settings(folder, settings)
    places = [Place(pair, folder) for pair in pairs]
    refuse_changes([change for place in places for change in place.changed_options()], folder)
    return places


def _find_pairs(request: BatchRequest, settings: Mapping[str, Any], shared: Sequence[str], root: Path) -> list[Pair]:
    if request.manifest is not None:
        rows = read_manifest(request.manifest, request.output)
        _check_values(rows, shared)
        return [pair for _, pair in rows]
    data = (settings.get("data") or {}).get("init_args") or {}
    sources: list[list[Source]] = []
    for option, words, given in (
        ("--contents", request.contents, data.get("content")),
        ("--styles", request.styles, data.get("style")),
    ):
        places = words or ((given,) if isinstance(given, str) else ())
        if not places:
            raise UserError(f"nst batch needs {option}: a folder, pictures or sample:NAME, or a --manifest of pairs.")
        sources.append(find_sources(places, option, [request.output, root]))
    return (product if request.match == "product" else matched)(sources[0], sources[1], request.output)


def _check_values(rows: Sequence[tuple[str, Pair]], shared: Sequence[str]) -> None:
    """Read the options of the rows that bring a new value: a mistyped one must not show after hours."""
    seen: set[tuple[str, str]] = set()
    checked = 0
    for where, pair in rows:
        new = set(pair.options.items()) - seen
        if not new or checked == _CHECKED_ROWS:  # the others are read when their turn comes
            continue
        seen |= new
        checked += 1
        try:
            resolve_settings([*shared, *option_words(pair.options)])
        except UserError as error:
            raise UserError(f"{where}: {error}") from error


def _paint_all(
    waiting: Sequence[Place], numbers: Mapping[str, int], painter: Painter, launch: Launch
) -> tuple[int, signal.Signals | None]:
    """Paint what nobody else does; give how many pairs that were, and the signal that ended it, if one did."""
    begun = time.monotonic()
    rank = f"rank {launch.rank} " if launch.size > 1 else ""
    tried = painted = 0
    signals = StopSignals()
    gc.freeze()  # what was imported is not looked through after each pair
    try:
        with weights_kept(), signals:
            for place in claim(waiting, launch):
                started = time.monotonic()
                status, message = painter.paint(place)
                gc.collect()  # Trainer and module refer to each other: the next run must not need room beside theirs
                if status == "stopped":
                    return painted, signals.number or signal.Signals[message or "SIGINT"]
                now = time.monotonic()
                tried += 1
                painted += status == "complete"
                left = (len(waiting) / launch.size - tried) * (now - begun) / tried
                end = f"{now - started:.0f} s → {place.pair.output}" if status == "complete" else f"failed: {message}"
                _log.info(
                    "%s[%d/%d] %s: %s%s",
                    *(rank, numbers[place.pair.label], len(numbers), place.pair.title, end),
                    f", {tqdm.format_interval(left)} left" if left > 0 else "",
                )
    except KeyboardInterrupt:
        return painted, signals.number or signal.SIGINT
    finally:
        gc.unfreeze()
    return painted, None


def _say_outcomes(places: Sequence[Place], outcomes: Sequence[Outcome], finished: int, request: BatchRequest) -> None:
    failed = [(place, outcome) for place, outcome in zip(places, outcomes, strict=True) if outcome.status == "failed"]
    complete = sum(outcome.status == "complete" for outcome in outcomes)
    _log.info(
        "%d of %d pairs complete: %d now, %d before; %d failed",
        *(complete, len(places), complete - finished, finished, len(failed)),
    )
    for place, outcome in failed:
        log = place.folder / LOG
        _log.info("failed: %s: %s%s", place.pair.title, outcome.message, f" ({log})" if log.exists() else "")
    _log.info("summary: %s", request.output / TABLE)
    if request.contact_sheet is not None:
        _log.info("sheet: %s", request.contact_sheet)
