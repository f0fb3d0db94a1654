"""The settings that all pairs of a batch share: which make sense, and whether they are those it was begun with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock

from nst_lightning.errors import UserError
from nst_lightning.runs.saved_config import changed_settings
from nst_lightning.utils.atomic import atomic_path, check_writable
from nst_lightning.utils.locks import LOCK, check_locks

SETTINGS = "batch.yaml"

_OF_A_RUN = ("name", "ckpt_path", "weights_only")  # they say which run is meant, not what is painted
_NAMED = 3  # changes in a message


def check_settings(settings: Mapping[str, Any]) -> None:
    """Refuse what can't hold for many pictures.

    Args:
        settings: Of `nst fit`, as `resolve_settings` gives them.

    Raises:
        UserError: If all pairs would write the same file, or a picture would be painted on several devices.
    """
    if settings["animation"].get("path") is not None:
        raise UserError("all pairs would write the animation.path of the config; leave it out.")
    trainer = settings["trainer"]
    devices = trainer["devices"]
    if (devices not in (1, "1") and not (isinstance(devices, list) and len(devices) == 1)) or trainer["num_nodes"] != 1:
        raise UserError(
            "a batch paints each picture on one device; leave trainer.devices and trainer.num_nodes, and start a "
            "process for each device: torchrun --nproc-per-node 8 --no-python nst batch …"
        )


def keep_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Note what all pairs share, or refuse to go on with other settings under the same name.

    Args:
        folder: Of the batch's runs.
        settings: Of `nst fit`.

    Raises:
        UserError: If the folder holds another batch, or something else, or can't be written to or locked.
    """
    wanted = {key: value for key, value in settings.items() if key not in _OF_A_RUN}
    arguments = (wanted.get("data") or {}).get("init_args")
    if isinstance(arguments, dict):  # less the pictures, which the pairs set
        kept = {key: value for key, value in arguments.items() if key not in ("content", "style")}
        wanted["data"] = {**wanted["data"], "init_args": kept}
    # Processes started by hand may each be given a device.
    wanted["trainer"] = {key: value for key, value in wanted["trainer"].items() if key != "devices"}
    check_writable(folder / SETTINGS)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:  # such as a name that is too long below a folder that is not there yet
        raise UserError(f"cannot make the folder {folder} ({error.strerror}); give another --name.") from error
    check_locks(folder)
    with FileLock(folder / LOCK):  # another rank may be at it
        file = folder / SETTINGS
        if file.exists():
            changes = changed_settings(yaml.safe_load(file.read_text(encoding="utf-8")), wanted)
            refuse_changes(changes, folder)
        elif any(path.name[0] != "." for path in folder.iterdir()):
            raise UserError(f"{folder} holds runs that are not of a batch; give another --name, or remove {folder}.")
        else:
            with atomic_path(file) as temporary:
                text = yaml.safe_dump(wanted, sort_keys=False, allow_unicode=True)
                temporary.write_text(text, encoding="utf-8")


def refuse_changes(changes: Sequence[str], folder: Path) -> None:
    """Raise a UserError if there are changes, such as `seed_everything 0 → 1`, to the batch in a folder."""
    if changes:
        more = f" and {len(changes) - _NAMED} more" if len(changes) > _NAMED else ""
        raise UserError(
            f"{folder} holds a batch with other settings: {'; '.join(changes[:_NAMED])}{more}; give another --name and "
            f"--output, or remove {folder} to paint all anew."
        )
