"""The config that each run keeps beside its images, and how it differs from another."""

from __future__ import annotations

import logging
from typing import Any

import yaml
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.loggers import TensorBoardLogger

from nst_lightning.callbacks.checkpoint import run_folder
from nst_lightning.utils.renamed import with_current_paths

_log = logging.getLogger(__name__)


class ConfigKeeper(SaveConfigCallback):
    """Write `config.yaml` into the run's folder; a resumed run keeps the earlier one and logs what changed."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Save; a resumed run waits until its checkpoint has been accepted."""
        if not self.config.ckpt_path:
            super().setup(trainer, pl_module, stage)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Save the config of a resumed run, once: a step was done under it."""
        self._save_resumed(trainer, pl_module)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the config of a resumed run that had no step left."""
        self._save_resumed(trainer, pl_module)

    def _save_resumed(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Choose a free name, then save."""
        if not self.config.ckpt_path or self.already_saved:
            return
        name = self._free_name(trainer) if trainer.is_global_zero else None
        name = trainer.strategy.broadcast(name)  # the base class waits for all processes, or for none
        self.already_saved = name is None
        self.config_filename = name or self.config_filename
        super().setup(trainer, pl_module, "fit")

    def _free_name(self, trainer: Trainer) -> str | None:
        """Return the file to write; `None` if the latest one holds the same settings."""
        earlier = sorted(run_folder(trainer).glob("config*.yaml"), key=lambda path: (len(path.name), path.name))
        if not earlier:
            return self.config_filename
        now = self.parser.dump(self.config, skip_none=False)
        changes = changed_settings(yaml.safe_load(earlier[-1].read_text()), yaml.safe_load(now))
        if not changes:
            return None
        _log.info("continuing with changed settings: %s", "; ".join(changes))
        return f"config-{len(earlier) + 1}.yaml"

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Show the config as text in TensorBoard; called where it was written to the run's folder."""
        text = self.parser.dump(self.config, skip_none=False)
        version = len(list(run_folder(trainer).glob("config*.yaml"))) - 1
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_text("config", f"```yaml\n{text}\n```", version)


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
    return [] if before == after or key == "ckpt_path" else [f"{key} {before} → {after}"]
