"""What the words of `nst fit` come to, without making or running anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from nst_lightning.runs.fit_command import NSTCommand, quieten


class _ParsedCommand(NSTCommand):
    """`nst fit` up to the point where something would be made or run."""

    def instantiate_classes(self) -> None:
        """Make nothing."""

    def _run_subcommand(self, subcommand: str) -> None:
        del subcommand

    def settings(self) -> dict[str, Any]:
        """Give every setting in force, as `config.yaml` would hold them."""
        subcommand = str(self.subcommand)
        text = self._parser(subcommand).dump(self.config[subcommand])
        settings: dict[str, Any] = yaml.safe_load(text)
        return settings


def resolve_settings(words: Sequence[str]) -> dict[str, Any]:
    """Read the words of `nst fit …` without making or running anything.

    Args:
        words: The command and its options.

    Returns:
        Every setting in force, as `config.yaml` would hold them.

    Raises:
        UserError: If an option or a config can't be read.
    """
    quieten()
    return _ParsedCommand(words).settings()
