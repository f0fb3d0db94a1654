"""How command lines and configs are read: shipped configs by name, old class paths, mistakes in one line."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from pydoc import locate
from typing import Any, NoReturn

import yaml
from jsonargparse import set_dumper
from lightning.pytorch.cli import LightningArgumentParser

from nst_lightning._compat import bound_yaml, keep_texts, move_group_last, option_names
from nst_lightning.errors import UserError, did_you_mean, one_line, user_path
from nst_lightning.images.embedded_settings import read_settings
from nst_lightning.images.files import OUTPUT_FORMATS
from nst_lightning.runs.command_help import CommandHelp
from nst_lightning.runs.error_messages import explain
from nst_lightning.runs.fit_help import FIT_HELP
from nst_lightning.utils.addresses import path_of, shown
from nst_lightning.utils.bounded_yaml import LONGEST_LIST, BoundsError, check_yaml, load_yaml, read_yaml
from nst_lightning.utils.renamed import with_current_arguments, with_current_paths
from nst_lightning.utils.yaml_texts import hide_surrogates, to_yaml

_PACKAGE = Path(__file__).parents[1]

_SHIPPED_FOLDERS = (".", "configs", "sweeps", "configs/sweeps")  # what a shipped config may be called with
_SAVED = "# lightning.pytorch=="  # the first line of a config that a run has kept


def _current_settings(text: str, settings: Any) -> Any:
    settings = with_current_paths(settings)
    if text.startswith(_SAVED) and isinstance(settings, dict):
        settings.pop("ckpt_path", None)  # of version 0.1: where that run went on from, no setting of its image
    return settings


bound_yaml(partial(check_yaml, longest=LONGEST_LIST), _current_settings)
set_dumper("yaml", to_yaml)
keep_texts()


class OneLineParser(LightningArgumentParser):
    """A parser that reports a mistake in one line, with the nearest valid name, instead of a page of usage.

    Attributes:
        command_help: What the help begins with; `None` for jsonargparse's own.
    """

    command_help: CommandHelp | None = None

    def format_help(self, *args: Any) -> str:
        """Return the help; the Trainer's options, which fit has three hundred lines of, stand last."""
        if self.command_help is None:
            return str(super().format_help(*args))
        move_group_last(self, "trainer.")
        return self.command_help.text(OneLineParser, super().format_help(*args))

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise what is wrong as a `UserError`."""
        if not self.exit_on_error:  # a nested class's parser: the outer one explains
            super().error(message, ex)
        options = (*option_names(self), *option_names((self.command_help or FIT_HELP).class_options(OneLineParser)))
        raise UserError(explain(message, options)) from ex


def shipped_configs() -> Path:
    """Return the folder of the configs that come with the package.

    In a checkout they lie beside the package, in a wheel inside it.
    """
    inside = _PACKAGE / "configs"
    return inside if inside.is_dir() else _PACKAGE.parent / "configs"


def check_further_arguments(settings: Any, key: str = "") -> None:
    """Refuse `dict_kwargs`, which jsonargparse passes on unchecked, that a class doesn't take.

    Args:
        settings: All settings, nested.
        key: Dotted key of these.

    Raises:
        UserError: If a class has no parameter of that name, and takes none of any name.
    """
    if isinstance(settings, list):
        for part in settings:
            check_further_arguments(part, key)
    if not isinstance(settings, dict):
        return
    for name, part in settings.items():
        check_further_arguments(part, f"{key}.{name}" if key else name)
    further = settings.get("dict_kwargs")
    if not isinstance(further, dict):
        return
    kind: Any = locate(str(settings.get("class_path")))
    if not callable(kind):
        return
    parameters = inspect.signature(kind).parameters
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for name in further:
        if name not in parameters:
            hint = did_you_mean(name, parameters, f"{kind.__name__} has {', '.join(parameters) or 'none'}.")
            option = f"{key.partition('.')[2]}.dict_kwargs.{name}".replace(".init_args", "")
            raise UserError(f"--{option}: {kind.__name__} has no parameter {name}; {hint}")


def find_configs(args: Sequence[str], default: str = "starry", command: str = "fit") -> list[str]:
    """Replace `--config NAME` by a shipped config of that name where no such file exists here.

    Args:
        args: Arguments of `nst fit` or `nst predict`, without the command itself.
        default: Shipped config that is used if none is given.
        command: The command itself.

    Returns:
        The arguments, with paths that exist and present class paths; configs come first, so that options win wherever
        they are.

    Raises:
        UserError: If a config is neither a file nor shipped, or a value is larger than anybody would type.
    """
    for arg in args:
        _check_word(arg)
    configs: list[str] = []
    options: list[str] = []
    expects_path = False
    _check_strays(args)
    for arg in _with_class_for_help(with_current_arguments(args), default):
        if expects_path or arg.startswith(("--config=", "-c=")):
            given = arg if expects_path else arg.partition("=")[2]
            path = str(path_of(_settings_only(find_config(given))))
            configs += _config_args(path, command, is_first=not configs)
        elif arg not in ("--config", "-c"):
            options.append(arg)
        expects_path = arg in ("--config", "-c")
    if expects_path:
        raise UserError("--config wants a file; give for example --config configs/starry.yaml")
    if not configs and not {"--help", "-h"} & set(args):
        configs = [f"--config={shipped_configs() / default}.yaml"]
    return [*configs, *options]


def _check_strays(args: Sequence[str]) -> None:
    """Refuse values that no option stands before: of a list without brackets, or of a name with blanks."""
    option, value = "", ""
    for arg in args:
        if arg.startswith("-"):
            option, equals, value = arg.partition("=")
            value = value if equals else ""
            is_open = not equals
        elif option and is_open:
            value, is_open = arg, False
        elif option:
            raise UserError(
                f"{arg} belongs to no option; several values are a list, such as {option} '[{value}, {arg}]', and a "
                "text with blanks stands in quotes."
            )
        else:
            raise UserError(f"{arg} belongs to no option; name one, such as --data.content {arg}")


def _with_class_for_help(args: Sequence[str], default: str) -> list[str]:
    """Complete `--model.help` by the class of the last config that names one."""
    pairs = [(arg, after[0] if (after := args[n + 1 : n + 2]) else "") for n, arg in enumerate(args)]
    named = [arg.partition("=")[2] or after for arg, after in pairs if arg.partition("=")[0] in ("--config", "-c")]
    completed = []
    for arg, after in pairs:
        key = arg.removeprefix("--").removesuffix(".help")
        if arg in ("--model.help", "--data.help") and (not after or after.startswith("-")):
            for config in (*named[::-1], str(shipped_configs() / f"{default}.yaml")):
                settings = config_content(find_config(config)).get(key)
                if isinstance(settings, dict) and "class_path" in settings:
                    arg = f"{arg}={settings['class_path']}"
                    break
        completed.append(arg)
    return completed


def _config_args(path: str, command: str, *, is_first: bool) -> list[str]:
    """Return the argument for a config; one that is an image is given as text, and its name as the run's."""
    if not _is_image(path):
        return [f"--config={path}"]
    named = [f"--name={Path(path).stem}"] if is_first and command == "fit" else []
    return [f"--config={_settings_in(path, command)}", *named]


def _is_image(path: str) -> bool:
    return Path(path).suffix.lower() in OUTPUT_FORMATS


def _settings_in(image: str, command: str | None = None) -> str:
    """Return the settings that an image holds.

    Args:
        image: File.
        command: Command that is to paint it again; `None` for any.

    Raises:
        UserError: If it holds none, or those of another command.
    """
    text = read_settings(image)
    if text is None:
        raise UserError(f"--config {image} is a picture without settings; give one that nst fit has painted, or YAML.")
    if command in ("fit", "predict") and _painted_by(text) != command:
        raise UserError(f"--config {image} was painted by nst {_painted_by(text)}, not by nst {command}; use that.")
    return text


def _painted_by(text: str) -> str:
    try:
        data = load_yaml(text).get("data", {})
    except (yaml.YAMLError, AttributeError):  # which the parser reports
        return "fit"
    data = data.get("init_args", data) if isinstance(data, dict) else {}
    return "predict" if "images" in data else "fit"


def config_content(path: str) -> Any:
    """Return the content of a config.

    Args:
        path: YAML file, or an image that `nst fit` has painted, which holds its settings.

    Raises:
        UserError: If it can't be read, or is an image without settings.
    """
    if not _is_image(path):
        return read_yaml(path_of(path), f"--config {path}")
    try:
        return load_yaml(_settings_in(path))
    except yaml.YAMLError as error:
        raise UserError(f"--config {path} is not valid YAML: {one_line(error)}.") from error


def find_config(given: str) -> str:
    """Return the path, or the address, of the file that a `--config` means, which holds a mapping.

    Args:
        given: YAML file, an image that `nst fit` has painted, or a shipped config's name: `starry`,
            `configs/starry.yaml`, `configs/sweeps/inits.yaml`.

    Raises:
        UserError: If there is no such file or it holds none.
    """
    if (path := user_path(given)).is_file():
        return _check_yaml(shown(path))
    shipped = shipped_configs()
    files = {path.stem: path for path in [*shipped.glob("sweeps/*.yaml"), *shipped.glob("*.yaml")]}
    name = Path(given).stem
    is_shipped = Path(given).parent.as_posix() in _SHIPPED_FOLDERS and Path(given).suffix in ("", ".yaml")
    if is_shipped and name in files:
        return str(files[name])
    names = ", ".join(sorted(path.name for path in files.values()))
    hint = did_you_mean(
        name, files, f"shipped are {names}.", shown=lambda near: f"configs/{files[near].relative_to(shipped)}"
    )
    raise UserError(f"--config {given} is not a file; {hint}")


def _check_word(arg: str) -> None:
    option, _, value = arg.partition("=") if arg.startswith("--") else ("", "", arg)
    try:
        check_yaml(hide_surrogates(value), LONGEST_LIST)
    except BoundsError as error:
        raise UserError(f"{option or 'a value'}: {error}, found {value[:40]}…; give less.") from error
    except yaml.YAMLError:
        return  # a text


def is_sweep(config: str) -> bool:
    """Return whether a config is that of a sweep, with a grid."""
    return "grid" in config_content(config)


def _settings_only(config: str) -> str:
    if is_sweep(config):
        raise UserError(f"--config {config} is a sweep of many runs; start it by nst sweep --config {config}")
    return config


def _check_yaml(path: str) -> str:
    content = config_content(path)
    if not isinstance(content, dict):
        raise UserError(f"--config {path} holds no settings; configs/starry.yaml is an example.")
    return path


def takes_class(settings: Mapping[str, Any], option: str) -> bool:
    """Return whether an option's value may name a class; `True` as well where that can't be known.

    Args:
        settings: Settings in force, as `resolve_settings` returns them.
        option: Dotted option, with or without `init_args`.
    """
    *parents, name = [part for part in option.removesuffix("+").split(".") if part != "init_args"]
    holder: Any = settings
    for part in parents:
        holder = holder.get("init_args", holder).get(part) if isinstance(holder, dict) else None
    if not isinstance(holder, dict) or "class_path" not in holder or name in ("class_path", "dict_kwargs"):
        return True
    parser = LightningArgumentParser()
    parser.add_class_arguments(locate(holder["class_path"]), "of", fail_untyped=False)
    return f"of.{name}.help" in option_names(parser)  # jsonargparse adds it wherever a class can be chosen


def config_name(configs: Sequence[Any] | None) -> str:
    """Return the name that runs of a config are grouped under: the stem of the first file.

    Args:
        configs: Paths as jsonargparse holds them; entries may be `None`.
    """
    paths = [Path(str(config)) for config in configs or () if config is not None]
    return paths[0].stem if paths else "run"
