"""The config that each run keeps beside its images, and how it differs from another."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.loggers import TensorBoardLogger

from nst_lightning.callbacks.run_folder import run_folder
from nst_lightning.errors import UserError, encodable
from nst_lightning.utils.atomic import write_text
from nst_lightning.utils.records import read_yaml
from nst_lightning.utils.renamed import with_current_paths

_log = logging.getLogger(__name__)

_IMAGES = ("content", "style")
_NOT_OF_AN_IMAGE = ("name", "ckpt_path", "weights_only", "config", "animation", "checkpoint", "tensorboard")
_LEFT_OUT = {
    "output": ("path", "every_n_steps", "settings"),
    "data": ("max_pixels",),  # a limit that a stranger's file must not lift
    "trainer": (
        *("accelerator", "devices", "num_nodes", "strategy"),
        *("default_root_dir", "logger", "log_every_n_steps", "enable_progress_bar", "enable_checkpointing", "max_time"),
    ),
}


class ConfigKeeper(SaveConfigCallback):
    """Write `config.yaml` into the run's folder; a resumed run keeps the earlier one and logs what changed.

    Which checkpoint a run goes on from is no setting of its image, and is not written.

    Args:
        *args: Arguments of Lightning's.
        default: All settings of the default config, from which TensorBoard's text says what differs; `None` for no such
            words.
        **settings: Further arguments of Lightning's.
    """

    def __init__(self, *args: Any, default: Mapping[str, Any] | None = None, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._default = default

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Save; a resumed run waits until a step was done under its settings."""
        del pl_module, stage
        if not self.config.ckpt_path:
            self._save(trainer, self.config_filename)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Save the config of a resumed run, once, if it differs from the one before."""
        del pl_module
        if not self.already_saved and trainer.is_global_zero and (changes := self._changes(trainer)):
            _log.info("continuing with changed settings: %s", "; ".join(changes))
            count = len(saved_configs(run_folder(trainer)))
            self._save(trainer, f"config-{count + 1}.yaml" if count else self.config_filename)
        self.already_saved = True

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say which settings have had no effect, where no step was left."""
        del pl_module
        if not self.already_saved and trainer.is_global_zero and (changes := self._changes(trainer)):
            _log.warning("no step was left to be done with changed settings: %s", "; ".join(changes))

    def _changes(self, trainer: Trainer) -> list[str]:
        """Return how the settings differ from those that the run had so far; something where it has none."""
        earlier = saved_configs(run_folder(trainer))
        if not earlier:
            return ["all"]
        try:
            return changed_settings(read_yaml(earlier[-1]), yaml.safe_load(self._text()))
        except UserError as error:
            return [f"all that can't be compared: {error}"]

    def _text(self) -> str:
        config = self.config.clone()
        config.pop("ckpt_path", None)
        return str(self.parser.dump(config, skip_none=False))

    def _save(self, trainer: Trainer, name: str) -> None:
        """Write the file, and show it as text in TensorBoard, what is special about the run first."""
        self.already_saved = True
        if not trainer.is_global_zero:
            return
        folder, text = run_folder(trainer), self._text()
        write_text(folder / name, text)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                described = encodable(f"{summary(yaml.safe_load(text), self._default)}```yaml\n{text}\n```")
                logger.experiment.add_text("config", described, len(saved_configs(folder)) - 1)


def summary(settings: Mapping[str, Any], default: Mapping[str, Any] | None) -> str:
    """Return what one wants to know first of a run, as Markdown: its images, and the settings that are not the default.

    Args:
        settings: All settings of `nst fit`, as `config.yaml` holds them.
        default: Those of the default config; `None` if they are not known.

    Returns:
        Lines, an empty one last; no settings where the model is of another class, and nothing but its name is the same.
    """
    data = (settings.get("data") or {}).get("init_args") or {}
    images = [(name, data.get(name)) for name in _IMAGES]
    lines = [f"- **{name}**: {_code(', '.join(_listed(given)))}" for name, given in images if given is not None]
    if default is not None and settings["model"]["class_path"] == default["model"]["class_path"]:
        of_images = tuple(f"data.{name} " for name in _IMAGES)
        changes = [change for change in changed_settings(default, settings) if not change.startswith(of_images)]
        changes = [change for change in changes if change.partition(" ")[0] not in _NOT_OF_AN_IMAGE]
        lines += ["", "Settings other than the default:" if changes else "All settings are the default.", ""]
        lines += [f"- {_code(change)}" for change in changes]
    return "".join(f"{line}\n" for line in [*lines, ""])


def _listed(value: Any) -> list[str]:
    return [str(part) for part in value] if isinstance(value, list) else [str(value)]


def _code(text: str) -> str:
    return f"`{' '.join(text.replace('`', chr(39)).split())}`"


def image_settings(
    settings: Mapping[str, Any],
    precision: str,
    max_steps: int | None = None,
    names: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Return the settings that an image is painted again by, as YAML in ASCII.

    Left out is what changes no pixel: which run it was, where it lived, on which devices, and what else it wrote.

    Args:
        settings: All settings of `nst fit`, as `config.yaml` holds them.
        precision: Precision that the run had, for where the settings leave it open.
        max_steps: Number of steps after which the image was written; `None` for all of them.
        names: Names to write in the place of files that only this machine has.
    """
    kept = copy.deepcopy({key: value for key, value in settings.items() if key not in _NOT_OF_AN_IMAGE})
    for section, keys in _LEFT_OUT.items():
        holder = kept.get(section) or {}
        holder = holder.get("init_args", holder)
        for key in keys:
            holder.pop(key, None)
    trainer = kept["trainer"]
    trainer["precision"] = trainer.get("precision") or precision
    trainer["max_steps"] = -1 if max_steps is None else max_steps
    return str(yaml.safe_dump(_renamed(kept, names), sort_keys=False, width=10**9))


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _renamed(part, names) for key, part in value.items()}
    if isinstance(value, list):
        return [_renamed(part, names) for part in value]
    return names.get(value, value) if isinstance(value, str) else value


def saved_configs(folder: Path) -> list[Path]:
    """Return the configs of a run, the first one and those of its resumptions, in order."""
    return sorted(folder.glob("config*.yaml"), key=lambda path: (len(path.name), path.name))


def changed_settings(before: Any, after: Any, key: str = "") -> list[str]:
    """Return what differs between two configs, apart from the checkpoint they start from and old class paths.

    Args:
        before: Earlier settings, nested.
        after: Later settings, nested.
        key: Dotted key of both, where they are part of something.

    Returns:
        Changes such as `model.average 0.99 → 0.9`, sorted.
    """
    before, after = with_current_paths(before), with_current_paths(after)
    if isinstance(before, dict) and isinstance(after, dict):
        found = []
        for name in before.keys() | after.keys():
            found += changed_settings(before.get(name), after.get(name), f"{key}.{name}" if key else str(name))
        return sorted(found)
    option = key.replace(".init_args", "").removesuffix(".class_path")  # as one types it
    return [] if before == after or key == "ckpt_path" else [f"{option} {before} → {after}"]
