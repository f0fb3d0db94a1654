"""The settings that many runs share: which make sense, and whether they are those that the runs were begun with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from nst_lightning.errors import UserError
from nst_lightning.runs.saved_config import changed_settings
from nst_lightning.utils.atomic import write_text
from nst_lightning.utils.bounded_yaml import BoundsError, check_yaml
from nst_lightning.utils.locks import LOCK, check_locks
from nst_lightning.utils.records import read_yaml
from nst_lightning.utils.yaml_texts import to_yaml

_OF_A_RUN = ("name", "ckpt_path", "weights_only")  # they say which run is meant, not what is painted
OF_THE_RUN = ("output.path", "animation.path")
"""Settings that name a file which a run of its own would write."""

_NAMED = 3  # changes in a message


def shared_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of `nst fit` that say what is painted, without those that say which run is meant.

    Whether image files hold their settings is left out too: version 0.1 had no such option, and its jobs go on.
    """
    output = {key: value for key, value in (settings.get("output") or {}).items() if key != "settings"}
    return {**{key: value for key, value in settings.items() if key not in _OF_A_RUN}, "output": output}


def check_many(settings: Mapping[str, Any], runs: str, one_device: str) -> None:
    """Refuse settings that can't hold for many runs in one process.

    Args:
        settings: Settings of `nst fit`, as `resolve_settings` returns them.
        runs: What the runs are called in a message, such as `pairs`.
        one_device: Message where several devices are asked for.

    Raises:
        UserError: If all runs would write the same file, or one would use several devices.
    """
    check_animation(settings, runs)
    devices, nodes = settings["trainer"]["devices"], settings["trainer"]["num_nodes"]
    if (devices not in (1, "1") and not (isinstance(devices, list) and len(devices) == 1)) or nodes != 1:
        raise UserError(one_device)


def check_animation(settings: Mapping[str, Any], runs: str) -> None:
    """Refuse an animation that all runs would write.

    Args:
        settings: As in `check_many`.
        runs: As there.

    Raises:
        UserError: If the settings name a file for one.
    """
    if settings["animation"].get("path") is not None:
        raise UserError(f"all {runs} would write the animation.path of the config; leave it out.")


@contextmanager
def settings_locked(folder: Path) -> Iterator[None]:
    """Make the folder of many runs, and keep others from its settings while they are compared and written.

    Args:
        folder: Folder of the runs.

    Raises:
        UserError: If it can't be made or locked.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:  # such as a name that is too long below a folder that is not there yet
        raise UserError(f"cannot make the folder {folder} ({error.strerror}); give another --name.") from error
    check_locks(folder)
    with FileLock(folder / LOCK):
        yield


@dataclass(frozen=True)
class KeptSettings:
    """The file beside many runs that says with which settings they were begun.

    Attributes:
        file: YAML file.
        content: What the folder holds, in a message, such as `a batch`.
        foreign: What is wrong with a folder without the file.
        remedy: What to do where the settings differ.
        foreign_remedy: What to do where the file is missing.
    """

    file: Path
    content: str
    foreign: str
    remedy: str
    foreign_remedy: str

    def read(self, keys: Sequence[str] = ()) -> dict[str, Any] | None:
        """Return what was kept; `None` if the folder is new.

        Args:
            keys: Keys whose values must be mappings.

        Raises:
            UserError: If the folder holds something else, or the file is damaged.
        """
        folder = self.file.parent
        if self.file.exists():
            return read_yaml(self.file, keys)
        if folder.is_dir() and any(path.name[0] != "." for path in folder.iterdir()):
            raise UserError(f"{folder} {self.foreign}; {self.foreign_remedy}, or remove {folder}.")
        return None

    def refuse(self, changes: Sequence[str], named: int = _NAMED) -> None:
        """Raise a UserError if there are changes.

        Args:
            changes: Differing settings, such as `seed_everything 0 → 1`.
            named: Largest number of them in the message.
        """
        if changes:
            more = f" and {len(changes) - named} more" if len(changes) > named else ""
            raise UserError(
                f"{self.file.parent} holds {self.content} other settings: {'; '.join(changes[:named])}{more}; "
                f"{self.remedy}."
            )

    def write(self, settings: Mapping[str, Any]) -> None:
        """Keep settings.

        Raises:
            UserError: If they are more than `read` would take again.
        """
        text = to_yaml(dict(settings))
        try:
            check_yaml(text)
        except BoundsError as error:
            content = self.content.removesuffix(" with")
            raise UserError(
                f"{content} of so many runs can't be kept in {self.file} ({error}); give it in parts, each with its "
                "own --name."
            ) from error
        write_text(self.file, text)

    def keep(self, settings: Mapping[str, Any]) -> None:
        """Keep the settings of new runs, or refuse to go on with others.

        Args:
            settings: Settings, nested.

        Raises:
            UserError: If the folder holds runs of other settings, or something else.
        """
        kept = self.read()
        if kept is None:
            self.write(settings)
        else:
            self.refuse(changed_settings(kept, dict(settings)))
