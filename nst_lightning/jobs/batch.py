"""Many images by optimization, one after another in one process, and shared by any number of processes."""

from __future__ import annotations

import gc
import json
import logging
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal, TextIO

import torch
import yaml
from tqdm import tqdm

from nst_lightning.callbacks.checkpoint import FOLDER, LAST
from nst_lightning.callbacks.image_writer import FILE_NAME
from nst_lightning.encoders.encoder_weights import weights_kept
from nst_lightning.errors import StorageError, UserError, named_in_errors, user_path
from nst_lightning.images.samples import SAMPLE, sample_path
from nst_lightning.jobs.cluster import ClusterRequest, ClusterRunner, Task, check_answers, check_one_device
from nst_lightning.jobs.grid import SHORT_NAMES, typed_args
from nst_lightning.jobs.job import FAILED, LOG, RESULT, Job, JobFolder, Outcome, Report, claimed, do_job
from nst_lightning.jobs.jobs_bar import JobsBar
from nst_lightning.jobs.pairs import (
    Pair,
    Source,
    check_outputs,
    find_sources,
    matched,
    product,
    read_manifest,
)
from nst_lightning.jobs.processes import Rank, StopSignals, claim
from nst_lightning.jobs.report import MOST_ON_A_SHEET, check_sheet, is_summary, write_pairs_sheet, write_summary
from nst_lightning.jobs.settings import OF_THE_RUN, KeptSettings, check_many, settings_locked, shared_settings
from nst_lightning.runs.config_files import takes_class
from nst_lightning.runs.fit_command import resolve_settings
from nst_lightning.runs.resume import runs_root
from nst_lightning.runs.saved_config import changed_settings
from nst_lightning.utils.addresses import address, path_of, shown
from nst_lightning.utils.atomic import atomic_file, check_writable, write_text
from nst_lightning.utils.bounded_yaml import load_yaml
from nst_lightning.utils.hashing import file_sha256
from nst_lightning.utils.memory import release_memory
from nst_lightning.utils.overwriting import ReadFile, WrittenFile, named_files
from nst_lightning.utils.records import read_json
from nst_lightning.utils.storage import fetch, look, remove
from nst_lightning.utils.streams import write_path
from nst_lightning.utils.yaml_texts import to_yaml

SETTINGS = "batch.yaml"
PAIR_SETTINGS = "pair.yaml"
PAINTED_FROM = "painted_from.json"
TABLE = "summary.csv"
SHEET = "contact-sheet.png"

Match = Literal["product", "pairs"]

_log = logging.getLogger(__name__)

_CHECKED_ROWS = 20  # of a manifest, before anything runs: half a second each


@dataclass(frozen=True)
class BatchRequest:
    """A batch.

    Attributes:
        configs: Files of settings that all pairs share.
        base: Further arguments of `nst fit` that all pairs share.
        contents: Places of the contents, as `find_sources` takes them; none for the config's content.
        styles: Places of the styles; none for the config's style.
        match: `product` for every content with every style, `pairs` for those of the same name.
        manifest: File of the pairs, in place of contents and styles.
        output: Folder of the images.
        name: Name of the folder of the runs.
        contact_sheet: File where all images are shown side by side; `None` for `contact-sheet.png` among them, if there
            is more than one and they fit on a sheet.
        keep_checkpoints: Whether those of finished pairs stay.
        cluster: Ray cluster where the pairs are painted, in place of this process; `None` for none.
    """

    configs: tuple[str, ...]
    base: tuple[str, ...]
    contents: tuple[str, ...]
    styles: tuple[str, ...]
    match: Match
    manifest: Path | None
    output: Path
    name: str
    contact_sheet: Path | None
    keep_checkpoints: bool
    cluster: ClusterRequest | None = None


class PairFolder(JobFolder):
    """The folder of a pair.

    `pair.yaml` holds the pair as settings for `nst fit`, and `painted_from.json` by what one knows its inputs again.

    Args:
        pair: The pair.
        batch: Folder of all runs of the batch.

    Attributes:
        problem: Reason why nothing is painted, though something was begun: an image is another one than then, or what
            was kept is damaged. Empty if all are the same; files of the same size and time of modification count as
            that, of others the contents are compared.
    """

    def __init__(self, pair: Pair, batch: Path) -> None:
        super().__init__(batch / pair.label)
        self.pair = pair
        self.problem = self._changed_input()
        self._failed_before = self._failure_stamp()

    def is_settled(self) -> bool:
        """Return whether nobody needs to paint the pair: it is done, or was tried in vain since we look."""
        return bool(self.problem) or self.is_complete() or self._failure_stamp() not in (None, self._failed_before)

    def is_complete(self) -> bool:
        """Return whether the pair was painted to the end, and the image is still where it belongs."""
        if not super().is_complete():
            return False
        output = self.pair.output
        return output.exists() or (address(output) is not None and user_path(shown(output)).exists())  # by another

    def changed_options(self) -> list[str]:
        """Return the options of its own in which the pair differs from what was begun."""
        known = None if self.problem else self._known()
        return [] if known is None else changed_settings(known["options"], dict(self.pair.options), self.pair.label)

    def begin(self) -> None:
        """Note what the pair is, unless that was done before.

        Raises:
            OSError: If an image can't be read.
        """
        pair = self.pair
        settings = {
            "data": {"init_args": {"content": pair.content.path, "style": pair.style.path}},
            "output": {"path": shown(pair.output)},
        }
        write_text(self.folder / PAIR_SETTINGS, to_yaml(settings))
        if self._known() is None:
            known = {"content": _stamp(_file(pair.content)), "style": _stamp(_file(pair.style))}
            text = json.dumps({**known, "options": dict(pair.options)}, indent=2) + "\n"
            write_text(self.folder / PAINTED_FROM, text)

    def outcome(self) -> Outcome:
        """Return how far the pair got."""
        outcome = super().outcome()
        return Outcome("failed", self.problem, seconds=outcome.seconds) if self.problem else outcome

    def put_back(self) -> bool:
        """Restore the image that was taken away from a finished pair; return whether no painting is needed for it."""
        kept = self.run / FILE_NAME
        if self.pair.output.suffix.lower() != kept.suffix or not kept.exists():
            return False
        with atomic_file(self.pair.output) as file:
            file.write(fetch(kept).read_bytes())  # the run wrote the same to both
        return True

    def _failure_stamp(self) -> tuple[int, int] | None:
        try:
            stat = (self.folder / FAILED).stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_ino

    def _known(self) -> dict[str, Any] | None:
        if not (self.run / RESULT).exists() and not (self.run / FOLDER / LAST).exists():
            return None  # nothing was painted that could be mixed with other images
        file = self.folder / PAINTED_FROM
        return read_json(file, ["content", "style", "options"]) if file.exists() else None

    def _changed_input(self) -> str:
        try:
            known = self._known()
            if (self.run / RESULT).exists():
                read_json(self.run / RESULT, ["loss"])
        except UserError as error:
            return str(error)
        if known is None:
            return ""
        for role, source in (("content", self.pair.content), ("style", self.pair.style)):
            if not _is_known(_file(source), known[role]):
                return f"the {role} {source.path} has changed since; remove {self.folder} to paint it anew."
        return ""


def _file(source: Source) -> Path:
    return sample_path(source.path.removeprefix(SAMPLE)) if source.path.startswith(SAMPLE) else path_of(source.path)


def _stamp(file: Path) -> dict[str, Any]:
    stat = file.stat()
    return {"bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": _sha256(file, stat.st_mtime_ns)}


def _is_known(file: Path, known: Mapping[str, Any]) -> bool:
    try:
        stat = file.stat()
        if stat.st_size != known.get("bytes"):
            return False
        is_same = stat.st_mtime_ns == known.get("mtime_ns")
        return is_same or _sha256(file, stat.st_mtime_ns) == known.get("sha256")
    except OSError:
        return False


@lru_cache(maxsize=4096)  # each content comes with every style
def _sha256(file: Path, mtime_ns: int) -> str:
    del mtime_ns
    return file_sha256(file)


class PairPainter:
    """Paints pairs in this process, each as `nst fit` does.

    What a run says goes into the pair's `log.txt`, which stays only if the run does not come through; warnings are
    shown as well.

    Args:
        request: The batch.
        settings: Settings in force for all pairs.
        rank: Rank of this process, by which it has one of several GPUs.
    """

    def __init__(self, request: BatchRequest, settings: Mapping[str, Any], rank: Rank) -> None:
        self._request = request
        self._device = device_args(settings, rank)

    def job(self, folder: PairFolder) -> Job:
        """Return a pair as a job."""
        request, pair = self._request, folder.pair
        images = {"content": pair.content.path, "style": pair.style.path}
        args = (
            *("fit", *(f"--config={path}" for path in request.configs), *request.base),
            *("--trainer.enable_progress_bar=false", *self._device, *typed_args(pair.options)),
            f"--name={request.name}/{pair.label}",
            # last, so that neither `--data FILE` nor anything else in the base replaces the images
            *(f"--data.init_args={to_yaml(images, on_one_line=True)}", f"--output.path={shown(pair.output)}"),
        )
        return Job(pair.label, args, folder.folder, dict(pair.options))

    def paint_if_free(self, folder: PairFolder, report: Report) -> Outcome | None:
        """Paint a pair as `paint` does; return `None` if another process is at it."""
        with claimed(folder.folder) as is_free:
            if not is_free:
                return None
            outcome = folder.outcome() if folder.is_settled() else self.paint(folder, report)
            return folder.outcome() if outcome.status == "complete" else outcome

    def paint(self, folder: PairFolder, report: Report | None = None) -> Outcome:
        """Paint a pair whose lock this process has; return status and message as `run_job` does.

        Args:
            folder: Folder of the pair.
            report: Hears of the progress, and of warnings; `None` for the terminal, which shows warnings.
        """
        report = report or partial(_show_warning, sys.stderr, folder.pair.title)
        if (folder.run / RESULT).exists():  # but the image has gone
            if folder.put_back():
                return Outcome("complete")
            remove(folder.run / RESULT)
        try:
            folder.begin()
        except StorageError:
            raise
        except (OSError, UserError) as error:
            message = str(error)
            if isinstance(error, OSError):
                message = f"{error.filename} can't be read ({error.strerror})."
            folder.fail(message)
            return Outcome("failed", message)
        return do_job(self.job(folder), report, keep_checkpoints=self._request.keep_checkpoints)


def device_args(settings: Mapping[str, Any], rank: Rank) -> list[str]:
    """Return the arguments that give each process of a launch a GPU of its own.

    There are none where the user chose one, or each process sees only its own.

    Args:
        settings: Settings of `nst fit`.
        rank: Rank of this process.
    """
    trainer = settings["trainer"]
    count = torch.cuda.device_count()
    is_shared = rank.world_size > 1 and count > 1
    if not is_shared or trainer["accelerator"] not in ("auto", "gpu", "cuda") or trainer["devices"] != 1:
        return []
    return [f"--trainer.devices=[{rank.local % count}]"]


def run_batch(request: BatchRequest, rank: Rank | None = None) -> int:
    """Paint a batch, or what is left of it.

    Each pair is a run of `nst fit` in `lightning_logs/NAME/LABEL/version_0`, with all in this process, so that
    imports and the encoder's weights are paid for once. Started again with the same request, pairs that are complete
    are left alone, those that were interrupted go on from their checkpoints, and those that failed are tried again.
    The list may have changed; other settings are refused, since the images would not belong together.

    Any number of processes may have the same request (`processes.claim`): those of a launch by torchrun or srun, or
    several started by hand. In a bucket, which has no locks, those of a launch have each its share, dealt out
    beforehand; otherwise one process at a time may own the folder of the runs.

    Args:
        request: The batch.
        rank: Rank of this process among those started together; alone if `None`.

    Returns:
        0 if all pairs are complete, 1 if one failed, 130, 143 or 129 after Ctrl-C, SIGTERM or SIGHUP.

    Raises:
        UserError: If what is asked for makes no sense, before anything runs.
    """
    rank = rank or Rank()
    shared = ["fit", *(f"--config={path}" for path in request.configs), *request.base]
    settings = resolve_settings(shared)
    if request.cluster is not None:
        check_one_device(settings)
        check_answers(request.cluster.address)
    root = runs_root(settings["trainer"].get("default_root_dir"))
    _look(request, root)
    folders = _find_folders(request, settings, shared, root)
    for folder in folders:
        folder.tidy(keep_checkpoints=request.keep_checkpoints)
    waiting = [folder for folder in folders if not folder.is_settled()]
    is_dealt = address(root) is not None  # a bucket has no locks
    if is_dealt:
        waiting = waiting[rank.index :: rank.world_size]
    finished = sum(folder.is_complete() and not folder.problem for folder in folders)
    if rank.index == 0:
        _log.info("%d pairs, %d of them complete; pictures in %s", len(folders), finished, request.output)
    painter, told = PairPainter(request, settings, rank), {}
    if request.cluster is not None and waiting:
        bar = JobsBar([painter.job(folder) for folder in waiting], len(folders), "picture", is_rated=True)
        accelerator = str(settings["trainer"]["accelerator"])
        request.output.mkdir(parents=True, exist_ok=True)
        landmarks = [root / request.name / SETTINGS, request.output]
        runner = ClusterRunner(request.cluster, root / request.name, landmarks, accelerator, bar)
        with closing(bar):
            runner.run([Task(painter.job(folder), partial(painter.paint_if_free, folder)) for folder in waiting])
        stopped_by, told = runner.stopped_by, runner.outcomes
    else:
        numbers = {folder.pair.label: number for number, folder in enumerate(folders, 1)}
        painted, stopped_by = _paint_all(waiting, numbers, painter, Rank() if is_dealt else rank)
    if request.cluster is not None or (is_dealt and rank.world_size > 1):
        _look(request, root)
    outcomes = [told.get(folder.pair.label) or folder.outcome() for folder in folders]
    write_summary(request.output / TABLE, [folder.pair for folder in folders], outcomes)
    sheet = _sheet(request, [folder.pair for folder in folders])
    if sheet is not None:
        write_pairs_sheet(sheet, [folder.pair for folder in folders], outcomes, request.name)
    if rank.world_size > 1:  # which has no cluster
        _log.info("rank %d painted %d pairs", rank.index, painted)
    if rank.index == 0:
        _log_outcomes(folders, outcomes, finished, request.output / TABLE, sheet)
        for path in filter(None, (request.output, request.contact_sheet)):
            write_path(path)
    statuses = {outcome.status for outcome in outcomes}
    if stopped_by is not None and statuses & {"stopped", "not run"}:
        _log.info("stopped; the same command goes on where this one was")
        return 128 + stopped_by
    return 1 if "failed" in statuses else 0


def _look(request: BatchRequest, root: Path) -> None:
    """Find what others have left in a bucket."""
    look(request.output)
    look(root / request.name)


def _find_folders(
    request: BatchRequest, settings: Mapping[str, Any], shared: Sequence[str], root: Path
) -> list[PairFolder]:
    """Find the pairs, and what there is of them, or refuse what would not end well."""
    check_many(
        settings,
        "pairs",
        "a batch paints each picture on one device; leave trainer.devices and trainer.num_nodes, and start a process "
        "for each device: torchrun --nproc-per-node 8 --no-python nst batch …",
    )
    check_writable(request.output / TABLE)
    pairs = _find_pairs(request, settings, shared, root)
    check_outputs(pairs, *_other_files(request, settings, pairs, root))
    if request.contact_sheet is not None:
        check_sheet([pair.content for pair in pairs], [pair.style for pair in pairs])
    if not (root / request.name / SETTINGS).exists():
        _check_first_start(request, pairs)
    kept = keep_settings(root / request.name, settings)
    folders = [PairFolder(pair, root / request.name) for pair in pairs]
    kept.refuse([change for folder in folders for change in folder.changed_options()])
    return folders


def _check_first_start(request: BatchRequest, pairs: Sequence[Pair]) -> None:
    """Refuse to write the table or the sheet of a new batch over a file that no batch has written."""
    table, sheet = request.output / TABLE, request.output / SHEET
    if is_summary(table):  # of a batch whose runs have been removed: the sheet beside it is its too
        return
    for path in (table, sheet) if _sheet(request, pairs) == sheet else (table,):
        if path.exists():
            raise UserError(f"{path} would be written over, which is of no batch; move it, or give another --output.")


def _sheet(request: BatchRequest, pairs: Sequence[Pair]) -> Path | None:
    """Return the file of the contact sheet; `None` where none was asked for, and one would show nothing or too much."""
    if request.contact_sheet is not None:
        return request.contact_sheet
    sheet = request.output / SHEET
    count = len({pair.content for pair in pairs}) * len({pair.style for pair in pairs})
    is_taken = any(pair.output.name == SHEET and pair.output.parent == request.output for pair in pairs)
    return sheet if 1 < count <= MOST_ON_A_SHEET and not is_taken else None


def _other_files(
    request: BatchRequest, settings: Mapping[str, Any], pairs: Sequence[Pair], root: Path
) -> tuple[list[WrittenFile], list[ReadFile]]:
    """Return what a batch writes beside its images, and what it reads beside theirs."""
    runs = root / request.name
    written = [
        WrittenFile(request.output / name, str(request.output / name), "would be written over", "give another --output")
        for name in (TABLE, *([SHEET] if request.contact_sheet is None and _sheet(request, pairs) else []))
    ]
    written += [
        WrittenFile(runs, f"the folder of the runs, {runs},", "holds", "give another --name", is_folder=True),
    ]
    if request.contact_sheet is not None:
        sheet = request.contact_sheet
        written.append(WrittenFile(sheet, f"--contact_sheet {sheet}", "would be written over"))
    cells = [_parsed(cell) for pair in pairs for cell in pair.options.values()]
    named = [settings, *cells, request.configs, request.manifest]
    return written, list(named_files(named, [*OF_THE_RUN, "data.init_args.content", "data.init_args.style"]))


def _parsed(cell: str) -> Any:
    try:
        return load_yaml(cell) if cell[0] in "[{" else cell
    except yaml.YAMLError:  # a text, such as [x].png
        return cell


def _find_pairs(request: BatchRequest, settings: Mapping[str, Any], shared: Sequence[str], root: Path) -> list[Pair]:
    if request.manifest is not None:
        rows = read_manifest(request.manifest, request.output)
        _refuse_classes(rows, settings)
        _check_values(rows, shared)
        return [pair for _, pair in rows]
    data = (settings.get("data") or {}).get("init_args") or {}
    sources: list[list[Source]] = []
    for option, asked, given in (
        ("--contents", request.contents, data.get("content")),
        ("--styles", request.styles, data.get("style")),
    ):
        places = asked or ((given,) if isinstance(given, str) else ())
        if not places:
            raise UserError(f"nst batch needs {option}: a folder, pictures or sample:NAME, or a --manifest of pairs.")
        sources.append(find_sources(places, option, [request.output, root]))
    return (product if request.match == "product" else matched)(sources[0], sources[1], request.output)


def _refuse_classes(rows: Sequence[tuple[str, Pair]], settings: Mapping[str, Any]) -> None:
    """Refuse options of the rows that choose a class: a table of images may come from anywhere."""
    takers: dict[str, bool] = {}
    for where, pair in rows:
        for name, cell in pair.options.items():
            option = SHORT_NAMES.get(name, name)
            if option not in takers:
                takers[option] = option.startswith(("model.", "data.")) and takes_class(settings, option)
            if takers[option] and not _is_number(cell):
                raise UserError(
                    f"{where} has {cell!r} for {name}, but a manifest chooses no classes; put it into a --config."
                )


def _is_number(cell: str) -> bool:
    """Return whether a cell is a number or a list of numbers, which no class is named by."""
    try:
        value = load_yaml(cell)
    except yaml.YAMLError:
        return False
    return all(isinstance(part, int | float) for part in (value if isinstance(value, list) else [value]))


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
        with named_in_errors(where):
            resolve_settings([*shared, *typed_args(pair.options)])


def keep_settings(folder: Path, settings: Mapping[str, Any]) -> KeptSettings:
    """Note what all pairs share, or refuse to go on with other settings under the same name.

    Args:
        folder: Folder of the batch's runs.
        settings: Settings of `nst fit`.

    Returns:
        The file.

    Raises:
        UserError: If the folder holds another batch, or something else, or can't be written to or locked.
    """
    wanted = shared_settings(settings)
    arguments = (wanted.get("data") or {}).get("init_args")
    if isinstance(arguments, dict):  # less the images, which the pairs set
        kept = {key: value for key, value in arguments.items() if key not in ("content", "style")}
        wanted["data"] = {**wanted["data"], "init_args": kept}
    # Processes started by hand may each be given a device.
    wanted["trainer"] = {key: value for key, value in wanted["trainer"].items() if key != "devices"}
    file = KeptSettings(
        folder / SETTINGS,
        content="a batch with",
        foreign="holds runs that are not of a batch",
        remedy=f"give another --name and --output, or remove {folder} to paint all anew",
        foreign_remedy="give another --name",
    )
    check_writable(file.file)
    with settings_locked(folder):
        file.keep(wanted)
    return file


def _paint_all(
    waiting: Sequence[PairFolder], numbers: Mapping[str, int], painter: PairPainter, rank: Rank
) -> tuple[int, signal.Signals | None]:
    """Paint what nobody else does; return how many pairs that were, and the signal that ended it, if one did."""
    begun = time.monotonic()
    prefix = f"rank {rank.index} " if rank.world_size > 1 else ""
    tried = painted = 0
    signals = StopSignals()
    gc.freeze()  # what was imported is not looked through after each pair
    try:
        with weights_kept(), signals:
            for folder in claim(waiting, rank):
                started = time.monotonic()
                outcome = painter.paint(folder)
                release_memory()  # the next run must not need room beside this one's
                if outcome.status == "stopped":
                    return painted, signals.number or signal.Signals[outcome.message or "SIGINT"]
                is_complete = outcome.status == "complete"
                now = time.monotonic()
                tried += 1
                painted += is_complete
                left = (len(waiting) / rank.world_size - tried) * (now - begun) / tried
                end = f"{now - started:.0f} s → {folder.pair.output}" if is_complete else f"failed: {outcome.message}"
                _log.info(
                    "%s[%d/%d] %s: %s%s",
                    *(prefix, numbers[folder.pair.label], len(numbers), folder.pair.title, end),
                    f", {tqdm.format_interval(left)} left" if left > 0 else "",
                )
    except KeyboardInterrupt:
        return painted, signals.number or signal.SIGINT
    finally:
        gc.unfreeze()
    return painted, None


def _show_warning(terminal: TextIO, title: str, kind: str, value: Any) -> None:
    if kind == "warning":
        terminal.write(f"{title}: {value}\n")


def _log_outcomes(
    folders: Sequence[PairFolder], outcomes: Sequence[Outcome], finished: int, table: Path, sheet: Path | None
) -> None:
    failed = [
        (folder, outcome) for folder, outcome in zip(folders, outcomes, strict=True) if outcome.status == "failed"
    ]
    complete = sum(outcome.status == "complete" for outcome in outcomes)
    _log.info(
        "%d of %d pairs complete: %d now, %d before; %d failed",
        *(complete, len(folders), complete - finished, finished, len(failed)),
    )
    for folder, outcome in failed:
        log = folder.folder / LOG
        _log.info("failed: %s: %s%s", folder.pair.title, outcome.message, f" ({log})" if log.exists() else "")
    _log.info("summary: %s", table)
    if sheet is not None:
        _log.info("sheet: %s", sheet)
