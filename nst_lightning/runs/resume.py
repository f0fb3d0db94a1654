"""Where runs live, and which checkpoint a run goes on from."""

from __future__ import annotations

import os
from pathlib import Path

from nst_lightning.callbacks.checkpoint import FOLDER, LAST
from nst_lightning.callbacks.run_folder import RunFolder, is_locked, numbered_runs
from nst_lightning.errors import UserError, did_you_mean, user_path
from nst_lightning.utils.storage import look
from nst_lightning.utils.torch_files import check_checkpoint

RUNS = "lightning_logs"


def runs_root(folder: str | os.PathLike[str] | None) -> Path:
    """Return the folder of all runs.

    Args:
        folder: `trainer.default_root_dir`, a path or an address; `None` for the working folder.
    """
    return user_path(folder or ".") / RUNS


def expand_name(name: str, root: Path = Path(RUNS)) -> str:
    """Return a `--name` with its variables replaced, as `user_path` does it.

    Args:
        name: Name as it was given.
        root: Folder of all runs.

    Raises:
        UserError: If it leads out of that folder.
    """
    place = user_path(name, root)
    name_in_root = place.relative_to(root) if place.is_relative_to(root) else None
    if name_in_root is None or ".." in name_in_root.parts:
        raise UserError(f"--name {name} leads out of {RUNS}; give a plain name.")
    return name_in_root.as_posix()


def find_checkpoint(wanted: str, runs: RunFolder) -> tuple[Path, RunFolder]:
    """Find the checkpoint that `--ckpt_path` means, and the run folder that goes on.

    Args:
        wanted: `last` for the checkpoint of the newest run of the same name, the one with the highest number; or a
            file.
        runs: Folder that this run would have if it were new.

    Returns:
        The checkpoint, and the folder of the run that wrote it; `runs` if that run has another name, or has gone on
        since: what it made after the checkpoint is kept.

    Raises:
        UserError: If there is no such checkpoint.
    """
    if wanted == "last":
        look(runs.group)
        checkpoint = _last_of(runs.group)
    else:
        checkpoint = user_path(wanted)
        if not checkpoint.is_file():
            raise UserError(f"--ckpt_path {wanted} is not a file; {_hint(checkpoint, runs.group)}")
    step = check_checkpoint(checkpoint).get("global_step", 0)
    run = checkpoint.resolve().parent.parent
    if wanted != "last" and checkpoint.parent.name == FOLDER:
        look(run)
    if checkpoint.parent.name == FOLDER and run.parent == runs.group.resolve() and not _has_gone_on(checkpoint, step):
        return checkpoint, RunFolder(runs.root, runs.name, run.name)
    return checkpoint, runs


def _has_gone_on(checkpoint: Path, step: int) -> bool:
    """Return whether there is a later checkpoint of the run beside this one."""
    last = checkpoint.with_name(LAST)
    if last == checkpoint or not last.is_file():
        return False
    try:
        return bool(check_checkpoint(last).get("global_step", 0) > step)
    except UserError:  # it is damaged, which may be why another one is given
        return False


def _last_of(group: Path) -> Path:
    """Return the checkpoint of the newest run by number; times say nothing: clocks are set, files are copied."""
    found = sorted(group.glob(f"*/{FOLDER}/{LAST}"), key=lambda path: (path.stat().st_mtime_ns, path))
    runs = [folder for _, folder in numbered_runs(group)]
    if not runs and found:  # of loggers with names of their own, as before version 0.2
        return found[-1]
    newest = runs[-1] if runs else group / "version_0"
    checkpoint = newest / FOLDER / LAST
    if checkpoint.is_file():
        return checkpoint
    if newest.is_dir() and is_locked(newest):
        raise UserError(f"--ckpt_path last: the newest run, {newest}, is still going on; let it end.")
    if not found:
        raise UserError(f"--ckpt_path last found no checkpoint below {group}; run once without --ckpt_path.")
    earlier = [folder / FOLDER / LAST for folder in reversed(runs) if (folder / FOLDER / LAST).is_file()]
    raise UserError(
        f"--ckpt_path last: the newest run, {newest}, ended before its first checkpoint; start it anew without "
        f"--ckpt_path, or go on with the run before by --ckpt_path {(earlier or found[::-1])[0]}."
    )


def _hint(checkpoint: Path, group: Path) -> str:
    beside = [path.name for path in checkpoint.parent.glob("*.ckpt")] if checkpoint.parent.is_dir() else []
    otherwise = f"give last, or a file such as {group / 'version_0' / FOLDER / LAST}."
    return did_you_mean(
        checkpoint.name, beside, otherwise, shown=lambda name: str(checkpoint.parent / name), cutoff=0.0
    )
