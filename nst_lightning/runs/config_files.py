"""How command lines and configs are read, and how their mistakes are told."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml
from lightning.pytorch.cli import LightningArgumentParser

from nst_lightning.errors import UserError
from nst_lightning.runs.error_messages import explain

_PACKAGE = Path(__file__).parents[1]


class OneLineParser(LightningArgumentParser):
    """A parser that tells a mistake in one line, with the nearest valid name, instead of a page of usage."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise what is wrong as a `UserError`."""
        if not self.exit_on_error:  # of a nested class: the outer parser explains
            super().error(message, ex)
        options = [option.lstrip("-") for action in self._actions for option in action.option_strings]
        raise UserError(explain(message, options)) from ex


def shipped_configs() -> Path:
    """Give the folder of the configs that come with the package.

    In a checkout they lie beside the package, in a wheel inside it.
    """
    inside = _PACKAGE / "configs"
    return inside if inside.is_dir() else _PACKAGE.parent / "configs"


def find_configs(args: Sequence[str], default: str = "starry") -> list[str]:
    """Replace `--config NAME` by a shipped config of that name where no such file exists here.

    Args:
        args: Of `nst fit` or `nst predict`, without the command itself.
        default: The shipped config that stands for none.

    Returns:
        The same, with paths that exist and configs first, so that options win wherever they stand.

    Raises:
        UserError: If a config is neither a file nor shipped.
    """
    configs: list[str] = []
    options: list[str] = []
    expects_path = False
    for arg in args:
        if expects_path or arg.startswith("--config="):
            configs.append("--config=" + _settings_only(find_config(arg.removeprefix("--config="))))
        elif arg not in ("--config", "-c"):
            options.append(arg)
        expects_path = arg in ("--config", "-c")
    if expects_path:
        raise UserError("--config wants a file; give for example --config configs/starry.yaml")
    if not configs and not {"--help", "-h"} & set(args):
        configs = [f"--config={shipped_configs() / default}.yaml"]
    return [*configs, *options]


def find_config(given: str) -> str:
    """Give the file that a `--config` means.

    Args:
        given: A file, or a shipped config's name: `starry`, `configs/starry.yaml`, `configs/sweeps/inits.yaml`.

    Returns:
        The path of a YAML file that holds a mapping.

    Raises:
        UserError: If there is no such file or it holds none.
    """
    if Path(given).is_file():
        return _check_yaml(given)
    shipped = shipped_configs()
    files = {path.stem: path for path in [*shipped.glob("sweeps/*.yaml"), *shipped.glob("*.yaml")]}
    name = Path(given).with_suffix("").name
    if Path(given).parent.name in ("", "configs", "sweeps") and name in files:
        return str(files[name])
    nearest = difflib.get_close_matches(name, files, n=1, cutoff=0.6)
    names = ", ".join(sorted(path.name for path in files.values()))
    hint = f"did you mean configs/{files[nearest[0]].relative_to(shipped)}?" if nearest else f"shipped are {names}."
    raise UserError(f"--config {given} is not a file; {hint}")


def is_sweep(config: str) -> bool:
    """Tell whether a config is that of a sweep: whether it has a grid."""
    return "grid" in yaml.safe_load(Path(config).read_text(encoding="utf-8"))


def _settings_only(config: str) -> str:
    if is_sweep(config):
        raise UserError(f"--config {config} is a sweep of many runs; start it by nst sweep --config {config}")
    return config


def _check_yaml(path: str) -> str:
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"--config {path} is not valid YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(content, dict):
        raise UserError(f"--config {path} holds no settings; configs/starry.yaml is an example.")
    return path


def config_name(configs: Sequence[Any] | None) -> str:
    """Give the name that runs of a config are grouped under: the stem of the first file.

    Args:
        configs: Paths as jsonargparse holds them; entries may be `None`.
    """
    paths = [Path(str(config)) for config in configs or () if config is not None]
    return paths[0].stem if paths else "run"
