"""The config that each run keeps beside its images, and how it differs from another."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.loggers import TensorBoardLogger

from nst_lightning.callbacks.run_folder import run_folder
from nst_lightning.errors import UserError
from nst_lightning.utils.atomic import write_text
from nst_lightning.utils.records import read_yaml
from nst_lightning.utils.renamed import with_current_paths

_log = logging.getLogger(__name__)


class ConfigKeeper(SaveConfigCallback):
    """Write `config.yaml` into the run's folder; a resumed run keeps the earlier one and logs what changed.

    Which checkpoint a run goes on from is no setting of its image, and is not written.
    """

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
            count = len(_configs(run_folder(trainer)))
            self._save(trainer, f"config-{count + 1}.yaml" if count else self.config_filename)
        self.already_saved = True

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say which settings have had no effect, where no step was left."""
        del pl_module
        if not self.already_saved and trainer.is_global_zero and (changes := self._changes(trainer)):
            _log.warning("no step was left to be done with changed settings: %s", "; ".join(changes))

    def _changes(self, trainer: Trainer) -> list[str]:
        """Return how the settings differ from those that the run had so far; something where it has none."""
        earlier = _configs(run_folder(trainer))
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
        """Write the file, and show it as text in TensorBoard."""
        self.already_saved = True
        if not trainer.is_global_zero:
            return
        folder, text = run_folder(trainer), self._text()
        write_text(folder / name, text)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_text("config", f"```yaml\n{text}\n```", len(_configs(folder)) - 1)


def _configs(folder: Path) -> list[Path]:
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
