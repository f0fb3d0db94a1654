"""Every touch of what other libraries keep private or may reword, in one place.

Each function says which version it was read in. pyproject.toml bounds those libraries from above: a new release is let
in when tests/test_compat.py passes with it. Lightning, uvicorn and the like are imported inside the functions, so that
folders which have no use for them stay free of them.
"""

from __future__ import annotations

import ast
import asyncio
import logging
import os
import re
import sys
import traceback
import urllib.request
import warnings
from argparse import ArgumentParser
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from enum import Enum
from functools import cache, wraps
from importlib import import_module
from os import PathLike
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin, get_type_hints
from urllib.error import URLError

import torch
import torch.distributed as dist
import yaml
from jsonargparse import Namespace
from jsonargparse._loaders_dumpers import get_yaml_default_loader
from jsonargparse._typehints import ActionTypeHint
from jsonargparse._util import NestedArg
from torch import Tensor

from nst_lightning.utils.yaml_texts import hide_surrogates, show_surrogates

if TYPE_CHECKING:
    from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
    from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
    from lightning.pytorch.strategies import DDPStrategy
    from PIL.Image import Image
    from torch.utils.tensorboard import SummaryWriter

    _CLI = LightningCLI
else:
    _CLI = object


class CLIHooks(_CLI):
    """Public names for private methods of `LightningCLI`, which commands override or call; to be named before it.

    Read in Lightning 2.6.6 (`lightning/pytorch/cli.py`): `__init__` calls, in this order, `_parse_ckpt_path`,
    `_set_seed`, `instantiate_classes` and `_run_subcommand`, which calls `_prepare_subcommand_kwargs`.
    """

    def _parse_ckpt_path(self) -> None:
        self.resolve_checkpoint()

    def resolve_checkpoint(self) -> None:
        """Prepare the setting `ckpt_path`; Lightning's own lets a checkpoint override the command line."""

    def _set_seed(self) -> None:
        self.set_seed()

    def set_seed(self) -> None:
        """Seed the random generators as `seed_everything` says."""
        super()._set_seed()

    def _run_subcommand(self, subcommand: str) -> None:
        self.run_subcommand(subcommand)

    def run_subcommand(self, subcommand: str) -> None:
        """Call the hook before the subcommand, the Trainer's method of that name, and the hook after it."""
        super()._run_subcommand(subcommand)

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        return self.subcommand_arguments(subcommand)

    def subcommand_arguments(self, subcommand: str) -> dict[str, Any]:
        """Return the arguments of the Trainer's method: model, data and the subcommand's own settings."""
        return super()._prepare_subcommand_kwargs(subcommand)

    def setting(self, key: str) -> Any:
        """Return a setting of the subcommand; `None` if it has none of that name."""
        return self._get(self.config, key)

    def subcommand_parser(self) -> LightningArgumentParser:
        """Return the parser of the subcommand that was given."""
        return self._parser(self.subcommand)


def bound_yaml(check: Callable[[str], None], change: Callable[[str, Any], Any]) -> None:
    """Let jsonargparse check each text before it loads it as YAML, a config as well as a string within one.

    A string within a config it loads by a function of its own, which `set_loader` does not replace (jsonargparse 4.53,
    `_loaders_dumpers.yaml_load`).

    Args:
        check: Function that raises a `yaml.YAMLError` if a text is not to be loaded.
        change: Function of a config's text and what was loaded from it, which returns what is used in its place.
    """
    import jsonargparse
    import jsonargparse._loaders_dumpers as loaders

    load = loaders.yaml_load

    def checked(text: str) -> Any:
        check(text)
        try:
            if "\\uDC" in text:
                return yaml.load(text, ConfigLoader)  # a SafeLoader
            return load(text)  # type: ignore[no-untyped-call]
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:  # as of `!!int x`
            raise yaml.YAMLError(str(error)) from error

    loaders.yaml_load = checked
    jsonargparse.set_loader("yaml", lambda text: change(text, checked(text)), (yaml.YAMLError,))


class ConfigLoader(yaml.SafeLoader):
    """Loader that tells YAML's scalars apart as jsonargparse 4.53 does; in Python, to read surrogates in file names."""

    yaml_implicit_resolvers = get_yaml_default_loader().yaml_implicit_resolvers  # type: ignore[no-untyped-call]


class _Word(str):
    """A value of the command line whose option's type is not known yet."""

    __slots__ = ()


class _Text(str):
    """A value that is a text already: jsonargparse parses `str` itself as YAML, but no subclass."""

    __slots__ = ()


def keep_texts() -> None:
    """Let options whose type is a text keep it, whatever YAML would read in it: `#1.png`, `a: b.png`, `007`, `~`.

    jsonargparse 4.53 parses each value as YAML before it looks at the type (`_typehints.ActionTypeHint`), those that
    a config has in quotes once more. On a command line `null` is nothing where the type allows that, `[a, b]` is a
    list where it allows one, with texts in it that are kept too, and `!!str "null"` is the text. In a config YAML's
    own quotes say what is a text.
    """
    action: Any = ActionTypeHint
    check, call = action._check_type, action.__call__

    def check_type(self: Any, value: Any, append: bool = False, cfg: Any = None, mode: Any = None) -> Any:
        if isinstance(value, NestedArg) and isinstance(value.val, str):
            is_structure = value.key in ("class_path", "init_args", "dict_kwargs")
            value = NestedArg(value.key, (str if is_structure else _Word)(value.val))
        elif isinstance(value, str) and not isinstance(value, Enum):  # as the default of Timer's interval is
            value = _typed(value, self._typehint)
        return _plain(check(self, value, append, cfg, mode))

    def call_with_word(self: Any, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 4 and isinstance(args[2], str):
            args = (*args[:2], _Word(args[2]), args[3])
        return call(self, *args, **kwargs)

    action._check_type, action.__call__ = check_type, call_with_word


def _typed(value: str, hint: Any) -> Any:
    """Return what a value of the command line, or a string of a config, is for a type."""
    kinds = _alternatives(hint)
    lists = [kind for kind in kinds if _elements(kind)]
    has_text = any(_is_text(kind) for kind in kinds)
    if not isinstance(value, _Word):
        return _Text(value) if has_text else value
    if value.startswith("!!str "):
        value = str(yaml.safe_load(value))
        return _Text(value) if has_text else _typed(_Word(value), hint)
    if (has_text or lists) and value == "null" and type(None) in kinds:
        return None
    if not (lists or has_text):
        return str(value)
    with suppress(yaml.YAMLError):
        text = hide_surrogates(value)
        node = yaml.compose(text, ConfigLoader)
        if isinstance(node, yaml.SequenceNode) and (node.flow_style or len(node.value) > 1 or not has_text):
            if lists:
                return [_element(part, _elements(lists[0]), text) for part in node.value]
            if any(_is_a(kind, Collection) and not _is_a(kind, Mapping) for kind in kinds):
                return str(value)
        if isinstance(node, yaml.MappingNode) and (_is_class(node) or any(_is_a(kind, Mapping) for kind in kinds)):
            return str(value)
        if isinstance(node, yaml.ScalarNode) and node.tag.endswith((":int", ":float", ":bool")):
            return str(value)  # jsonargparse leaves numbers to the type
    return _Text(value) if has_text else str(value)


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _is_text(kind: Any) -> bool:
    return _is_class_itself(kind) and issubclass(kind, str | PathLike)


def _is_class_itself(kind: Any) -> bool:
    return isinstance(kind, type) and get_origin(kind) is None  # to Python 3.10 list[str] is a type too


def _is_a(kind: Any, wanted: type) -> bool:
    origin = get_origin(kind)
    return isinstance(origin, type) and issubclass(origin, wanted)


def _elements(kind: Any) -> tuple[Any, ...]:
    """Return the alternatives of a list's elements, if texts are among them."""
    is_list = _is_a(kind, Collection) and not _is_a(kind, Mapping)
    kinds = _alternatives(get_args(kind)[0]) if is_list else ()
    return kinds if any(_is_text(kind) for kind in kinds) else ()


def _element(node: yaml.Node, kinds: tuple[Any, ...], text: str) -> Any:
    if isinstance(node, yaml.ScalarNode):
        is_nothing = type(None) in kinds and node.style is None and node.value == "null"
        return None if is_nothing else show_surrogates(node.value)
    within = text[node.start_mark.index : node.end_mark.index]
    return yaml.safe_load(within) if _is_class(node) else show_surrogates(within.strip())


def _is_class(node: yaml.Node) -> bool:
    return isinstance(node, yaml.MappingNode) and any(key.value == "class_path" for key, _ in node.value)


def _plain(value: Any) -> Any:
    """Return a parsed value with `str` in the place of its subclasses above."""
    if isinstance(value, _Word | _Text):
        return str(value)
    if type(value) in (list, tuple):
        return type(value)(map(_plain, value))
    if isinstance(value, Namespace):
        for name, part in vars(value).items():
            vars(value)[name] = _plain(part)
    elif type(value) is dict:
        return {name: _plain(part) for name, part in value.items()}
    return value


def let_tensorboard_name_any_file() -> None:
    """Let TensorBoard 2.21 write below a folder whose name is not UTF-8: it encodes paths as it does texts.

    It is imported here first, without boto3, which it would import to write into buckets (`gfile.py`).
    """
    hidden = [name for name in ("botocore", "boto3") if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type] # None: an import fails
    try:
        from tensorboard.compat.tensorflow_stub import compat  # type: ignore[import-untyped]
    finally:
        for name in hidden:
            sys.modules.pop(name, None)

    def as_bytes(text: str | bytes, encoding: str = "utf-8") -> bytes:
        return text.encode(encoding, "surrogateescape") if isinstance(text, str) else text

    def as_text(text: str | bytes, encoding: str = "utf-8") -> str:
        return text.decode(encoding, "surrogateescape") if isinstance(text, bytes) else text

    compat.as_bytes, compat.as_text, compat.as_str = as_bytes, as_text, as_text


def ask_no_store_of_local_files() -> None:
    """Let Lightning 2.6 take a local file system for one without importing those of all stores that are installed.

    It compares the class of each file system with theirs (`cloud_io.py`, `_is_object_storage`).
    """
    from fsspec.implementations.local import LocalFileSystem
    from lightning.fabric.utilities import cloud_io

    before = cloud_io._is_object_storage
    if before.__module__ != __name__:
        cloud_io._is_object_storage = _unless(LocalFileSystem, before)  # type: ignore[assignment]


def _unless(kind: type, function: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda argument: not isinstance(argument, kind) and function(argument)


def option_names(parser: ArgumentParser) -> list[str]:
    """Return the names of a parser's options, without dashes (argparse of Python 3.10 to 3.13, `_actions`)."""
    return [option.lstrip("-") for action in parser._actions for option in action.option_strings]


def move_group_last(parser: ArgumentParser, prefix: str) -> None:
    """Show the group of options of a prefix as the last one (argparse of Python 3.10 to 3.13, `_action_groups`)."""
    parser._action_groups.sort(key=lambda group: any(action.dest.startswith(prefix) for action in group._group_actions))


def unknown_option(message: str) -> str | None:
    """Return the option that a parser does not know, without dashes (argparse and jsonargparse 4.53)."""
    found = re.search(r"[Uu]nrecognized arguments?: --?([\w.-]+)", message)
    return found.group(1) if found else None


def refused_key(message: str) -> str:
    """Return the dotted key of the setting that jsonargparse refuses, or nothing (jsonargparse 4.53)."""
    return ".".join(dict.fromkeys(re.findall(r'Parser key "([^"]+)"', message)))


def unknown_setting(message: str) -> str | None:
    """Return the key of a config, or argument of a class, that does not exist (jsonargparse 4.53)."""
    found = re.search(r"Option '([\w.]+)' is not accepted|Key '([\w.]+)' is not expected", message)
    return (found.group(1) or found.group(2)).removeprefix("init_args.") if found else None


def missing_module(message: str) -> str | None:
    """Return the module of a class path that can't be imported, because it is not there (jsonargparse 4.53)."""
    found = re.search(r"No module named '([\w.]+)'", message)
    return found.group(1) if found else None


def given_value(message: str) -> str:
    """Return the value that jsonargparse refuses, or nothing (jsonargparse 4.53)."""
    found = re.search(r"Given value: (.+)|Got value: (.+)", message)
    value = (found.group(1) or found.group(2)).split(". Got value: ")[0].strip() if found else ""
    nested = re.fullmatch(r"NestedArg\(key='[^']*', val=(['\"])(.*)\1\)", value)
    return nested.group(2) if nested else value


def type_mismatches(message: str) -> list[str]:
    """Return what jsonargparse says of each type that it tried, such as `expected int` (jsonargparse 4.53).

    Args:
        message: Tree of all types that were tried, over many lines.
    """
    return list(dict.fromkeys(filter(None, map(_type_mismatch, message.splitlines()))))


def _type_mismatch(line: str) -> str:
    """Return what a line of the tree says about the mistake, or nothing."""
    noise = (
        *("Does not validate", "Subtypes:", "Errors:", "Given value", "Problem with given", "Expected a path"),
        *("Not a valid subclass", "Subclass types expect", "a class path", "a dict with"),
    )
    text = re.sub(
        r'^(?:- |Parser key "[^"]+":\s*|Type typing\.Callable.* expects a function or a callable class:\s*)+',
        "",
        line.strip(),
    )
    if not text or text.startswith(noise) or "NoneType" in text:
        return ""
    text = re.sub(r"\. Got value: .*", "", text)
    text = re.sub(r"^Importing '(.*)' is not allowed, denied by .*", r"a config may not name \1", text)
    text = re.sub(r"typing\.Literal\[(.*)\]", lambda m: "one of " + m.group(1).replace("'", ""), text)
    text = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", text)
    return re.sub(r"^Expected (?:a )?", "expected ", text)


def literal_choices(message: str) -> list[str]:
    """Return the choices of the `Literal` types that jsonargparse tried (jsonargparse 4.53)."""
    literals = re.findall(r"typing\.Literal(\[[^\]]*\])", message)
    return [str(choice) for literal in literals for choice in ast.literal_eval(literal)]


@cache
def restrict_configs() -> None:
    """Let configs call only what makes the kind of object that is expected where they name it.

    Of a class, and of a function in an object's place, jsonargparse 4.52 and 4.53 check that before they call it; but
    where a callable is expected (`Callable[[Iterable], Optimizer]`) they call any function with the arguments that the
    config has for it, and where anything is (`Any`) they call anything. From here on, in this process, they do neither,
    and import nothing that is on jsonargparse's own list of what runs programs.
    """
    import jsonargparse

    jsonargparse.set_parsing_settings(instantiate_subclass_spec_in_any=False, import_path_denylist=[])
    typehints: Any = import_module("jsonargparse._typehints")
    callables = tuple(typehints.callable_origin_types)
    adapt = typehints.adapt_typehints

    @wraps(adapt)
    def adapt_checked(val: Any, typehint: Any, *args: Any, **kwargs: Any) -> Any:
        origin = typehints.get_typehint_origin(typehint) or typehint
        if origin in callables or typehints.is_instance_factory_protocol(typehint):
            _check_callable(typehints, val, typehint)
        return adapt(val, typehint, *args, **kwargs)

    typehints.adapt_typehints = adapt_checked


def _check_callable(typehints: Any, value: Any, typehint: Any) -> None:
    """Raise a ValueError if a setting names what does not make what its `Callable` is annotated to return."""
    if isinstance(value, typehints.NestedArg):  # one entry, given after the others
        value = {value.key: value.val}
    is_called = not isinstance(value, str)  # by jsonargparse, to make the callable
    path = value if isinstance(value, str) else value.get("class_path") if hasattr(value, "get") else None
    if not isinstance(path, str):
        return
    expected = typehints.get_callable_return_type(typehint)
    try:
        named = typehints.import_object(typehints.resolve_class_path_by_name(expected, path))
    except (ImportError, AttributeError, ValueError) as error:
        if isinstance(error, ImportError) and "denylist" in str(error):
            raise
        return  # jsonargparse says what is wrong with the name
    kinds = tuple(kind for kind in get_args(expected) or (expected,) if _is_class_itself(kind) and kind is not object)
    if isinstance(named, type):
        is_fit = issubclass(named, kinds) or _returns(getattr(named, "__call__", None), kinds)  # noqa: B004
    else:
        is_fit = not is_called and _returns(named, kinds)
    if not is_fit:
        names = " or ".join(kind.__name__ for kind in kinds)
        wanted = f"Expected {names}, or a function annotated to return it" if names else "nothing may be named here"
        raise ValueError(f"{wanted}. Got value: {path}")


def _returns(function: Any, kinds: tuple[type, ...]) -> bool:
    """Return whether a function is annotated to return one of some kinds."""
    try:
        returned = get_type_hints(function).get("return")
    except (TypeError, NameError, AttributeError):  # no function, or one of C; a name that is not there
        return False
    returned = get_args(returned) if get_origin(returned) in (Union, UnionType) else (returned,)
    return all(_is_class_itself(kind) and issubclass(kind, kinds) for kind in returned)


def is_about_settings(error: Exception) -> bool:
    """Return whether Lightning refused what the user asked of a Trainer when it was made.

    Lightning 2.6.6 refuses settings with errors of any kind; these are the files that do so.
    """
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    places = (
        "lightning/pytorch/trainer",
        "lightning/fabric/accelerators",
        "lightning/fabric/utilities/device_parser",
        "lightning/fabric/plugins/environments",
    )
    last = traceback.extract_tb(error.__traceback__)[-1].filename
    return isinstance(error, MisconfigurationException) or any(place in last for place in places)


def is_about_checkpoint(error: BaseException) -> bool:
    """Return whether something could not be restored from a checkpoint (Lightning 2.6.6, `checkpoint_connector.py`)."""
    frames = traceback.extract_tb(error.__traceback__)
    return any("checkpoint_connector" in frame.filename and "restore" in frame.name for frame in frames)


def silence_lightning() -> None:
    """Silence Lightning's greetings, tips and false alarms; to be called after its import, which sets log levels.

    They would bury the one line that says where the image is. Of several processes only the first reports anything.
    Names of loggers, texts of warnings and `rank_zero_only.rank` were read in Lightning 2.6.6.
    """
    from lightning.pytorch.utilities import rank_zero_only

    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    if getattr(rank_zero_only, "rank", 0):
        logging.getLogger("nst_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # Lightning 2.6 on torch 2.9 and later
    warnings.filterwarnings("ignore", message="The number of training batches .* is smaller than the logging interval")
    warnings.filterwarnings("ignore", message="The `srun` command is available")  # at each run


def allow_idle_ranks() -> None:
    """Silence the warning of Lightning 2.6.6 that a process has nothing to predict: there may be few images."""
    warnings.filterwarnings("ignore", message="Total length of `DataLoader` across ranks is zero")


_OUT_OF_MEMORY = (
    "out of memory|not enough memory|can't allocate memory|cannot allocate memory|bad_alloc|alloc_failed|"
    "insufficient shared memory|unable to allocate|unable to mmap|storage size calculation overflowed"
)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory did not suffice, a CPU's or an accelerator's.

    The words of torch 2.14's allocators (a CPU's raises a plain `RuntimeError`), cuDNN, cuBLAS and MPS.
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    is_known = isinstance(error, RuntimeError | OSError | ValueError)
    return is_known and re.search(_OUT_OF_MEMORY, str(error), re.IGNORECASE) is not None


def is_second_interrupt(stop: SystemExit) -> bool:
    """Return whether a second Ctrl-C ended a run: Lightning 2.6.6 (`trainer/call.py`) exits with code 1 then."""
    return stop.code == 1


def callbacks_of(trainer: Trainer) -> list[Callback]:
    """Return a Trainer's callbacks: an attribute that a connector sets, unknown to type checkers (Lightning 2.6.6)."""
    return list(getattr(trainer, "callbacks"))  # noqa: B009


def is_attached(module: LightningModule) -> bool:
    """Return whether a Trainer works with a module: `trainer` raises an error without one (`_trainer`, 2.6.6)."""
    return module._trainer is not None


def is_dev_run(trainer: Trainer) -> bool:
    """Return whether a Trainer makes a few steps for a test alone: another attribute unknown to type checkers."""
    return bool(getattr(trainer, "fast_dev_run"))  # noqa: B009


def datamodule_of(trainer: Trainer) -> LightningDataModule | None:
    """Return a Trainer's data module: an attribute that a connector sets when it runs (Lightning 2.6.6)."""
    found: LightningDataModule | None = getattr(trainer, "datamodule", None)
    return found


def keep_buffers_local(strategy: DDPStrategy) -> None:
    """Stop DDP from broadcasting buffers at every step.

    `_ddp_kwargs` of Lightning 2.6.6: not an argument of the Trainer where Lightning itself chooses the strategy.
    """
    strategy._ddp_kwargs.setdefault("broadcast_buffers", False)


def set_timeout(strategy: DDPStrategy, timeout: timedelta) -> None:
    """Let processes wait that long for each other (`_timeout` of Lightning 2.6.6; see `keep_buffers_local`)."""
    strategy._timeout = timeout


def start_method(strategy: DDPStrategy) -> Any:
    """Return how a strategy starts its processes: `popen`, `spawn`, `fork` (`_start_method` of Lightning 2.6.6)."""
    return strategy._start_method


def rebuild_optimizers(trainer: Trainer) -> None:
    """Make a Trainer ask the module for its optimizer in the middle of a fit, after its parameter was replaced.

    `setup_optimizers` of Lightning 2.6.6 is public, but nothing promises that it may be called more than once.
    """
    trainer.strategy.setup_optimizers(trainer)


def forget_step_metrics(trainer: Trainer) -> None:
    """Let what an earlier step has logged not be logged again by a step that logs nothing.

    Lightning keeps the values of `self.log`, and writes them at the step where a run is stopped, or is complete, as if
    they were that step's. Read in Lightning 2.6 (`logger_connector.py`: `should_update_logs`; `result.py`:
    `_ResultMetric.has_reset`).

    Args:
        trainer: Trainer, in a step. Metrics of the whole epoch stay.
    """
    for metric in (trainer._results or {}).values():
        if not metric.meta.on_epoch:
            metric.reset()


def leave_epoch_open(checkpoint: dict[str, Any]) -> None:
    """Mark a checkpoint's last batch as not the epoch's last, so that a resumed run with more steps goes on with it.

    Read in Lightning 2.6.6, whose loops keep their progress under `loops`.

    Args:
        checkpoint: Checkpoint as `on_save_checkpoint` gets it; changed in place.
    """
    checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["is_last_batch"] = False


def guard_event_file(writer: SummaryWriter, explain: Callable[[str, OSError], Exception]) -> None:
    """Let a TensorBoard writer raise one error for a file that can't be written, and leave whole events in the file.

    Its thread would print a traceback, and leave half an event. Read in TensorBoard 2.21 (`event_file_writer.py`):
    the thread notes what it raises, and the next call of the writer raises it; and in torch 2.14 (`writer.py`).

    Args:
        writer: Writer; its file is there.
        explain: Function that makes the error from the file's path and the system's error.
    """
    file_writer: Any = writer._get_file_writer()  # type: ignore[no-untyped-call]
    events = file_writer.event_writer
    file, path, thread = events._general_file_writer, Path(events._file_name), events._async_writer._worker
    write = file.write
    refused: list[OSError] = []

    def write_whole(record: bytes) -> None:
        if refused:
            return
        size = path.stat().st_size if path.exists() else 0
        try:
            write(record)
        except OSError as error:
            refused.append(error)
            with suppress(OSError):
                error.missing = size + len(record) - path.stat().st_size  # type: ignore[attr-defined]
                os.truncate(path, size)
            thread.exception = explain(str(path), error)

    file.write = write_whole


def add_hparams_session(writer: SummaryWriter, params: Mapping[str, Any], metrics: Mapping[str, Any]) -> None:
    """Add a run to TensorBoard's table of hyper-parameters, and leave the order of its columns to TensorBoard.

    `SummaryWriter.add_hparams` and Lightning fix the columns of all runs to the first run's. Without that TensorBoard
    looks at all runs, and shows what differs first. Read in TensorBoard 2.21 (`hparams/backend_context.py`:
    `experiment_from_metadata`) and torch 2.14 (`tensorboard/summary.py`: `hparams`).

    Args:
        writer: Writer of the run.
        params: Settings by name: numbers, texts, truth values.
        metrics: Results by name; only their names are used.
    """
    from torch.utils.tensorboard.summary import hparams

    _, start, end = hparams(dict(params), dict(metrics))  # type: ignore[no-untyped-call]
    for summary in (start, end):
        writer._get_file_writer().add_summary(summary)  # type: ignore[no-untyped-call]


def rendezvous_store() -> Any:
    """Return the store by which the processes of the default group found each other (torch 2.14, private)."""
    return dist.distributed_c10d._get_default_store()


def is_peer_failure(error: RuntimeError) -> bool:
    """Return whether an exchange between processes failed because another process is gone.

    The words of gloo, of NCCL 2.27 and of torch 2.14's store; there is no class of error for it.
    """
    words = "by (remote )?peer|broken pipe|connection was likely closed|remote process exited|communicator was aborted"
    return re.search(words, str(error), re.IGNORECASE) is not None


@contextmanager
def https_stays_https() -> Iterator[None]:
    """Let no server that was asked by https send `urllib` on to an address without it, from which anything may come.

    `urllib.request` follows such redirects, and `torch.hub`, which uses it, takes no opener of its own: meanwhile this
    one is everybody's in this process. `_opener` of Python 3.10 to 3.13 (`urllib/request.py`).
    """
    before = urllib.request._opener  # type: ignore[attr-defined]
    urllib.request.install_opener(urllib.request.build_opener(_SecureRedirects))
    try:
        yield
    finally:
        urllib.request.install_opener(before)


class _SecureRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if req.type == "https" and not newurl.lower().startswith("https:"):
            raise URLError(f"{req.full_url} redirects to {newurl}, which is not encrypted")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def winograd_convolution(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int) -> Tensor:
    """Convolve by Winograd's algorithm of NNPACK, which torch 2.14 has but does not choose by itself.

    Args:
        x: Contiguous maps `(N, inputs, H, W)`, float32, on the CPU.
        weight: Weights `(outputs, inputs, 3, 3)`, contiguous.
        bias: Bias `(outputs,)`.
        padding: Rows and columns of zeros at each side.

    Returns:
        `(N, outputs, H - 2 + 2 * padding, W - 2 + 2 * padding)`.
    """
    return torch._nnpack_spatial_convolution(x, weight, bias, [padding, padding], [1, 1])


def cpu_capabilities() -> dict[str, Any]:
    """Return what a CPU can do by name, such as `avx512_bf16` (torch 2.14); nothing where torch is too old to say."""
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return capabilities


def hold_pixels(image: Image, source: Image) -> None:
    """Let an object of a subclass of Pillow's image hold the pixels of another, without a copy.

    `_size`, `_mode` and `im` as Pillow 13.0's own file formats set them.
    """
    image._size, image._mode, image.im = source.size, source.mode, source.im


def http_protocol_with_deadline(patience: Callable[[], float]) -> type[asyncio.Protocol]:
    """Return uvicorn's HTTP/1.1 that closes connections which bring no whole head of a request.

    Uvicorn itself waits for one for ever, and counts idle connections: some hundreds would keep everybody out. Read in
    uvicorn 0.54 (`protocols/http/h11_impl.py`): `cycle`, `loop`, `timeout_keep_alive_handler`.

    Args:
        patience: Function that returns the seconds to wait.
    """
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class ImpatientProtocol(H11Protocol):
        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._forget()

        def _watch(self) -> None:
            if self.cycle is not None and not self.cycle.response_complete:
                self._forget()
            elif self._deadline is None:
                self._deadline = self.loop.call_later(patience(), self.timeout_keep_alive_handler)

        def _forget(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

    return ImpatientProtocol
