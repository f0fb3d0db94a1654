"""`nst sweep`: a grid of runs by one command."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from nst_lightning.cli.options import (
    FIT_OPTION,
    OptionParser,
    add_cluster,
    add_config,
    cluster_request,
    number_from,
    short_names,
)
from nst_lightning.errors import UserError, did_you_mean, one_line
from nst_lightning.jobs.grid import Sheet, option_args
from nst_lightning.jobs.processes import worker_context
from nst_lightning.utils.addresses import path_of
from nst_lightning.utils.bounded_yaml import read_yaml
from nst_lightning.utils.yaml_texts import read_values

if TYPE_CHECKING:
    from nst_lightning.jobs.sweep import SweepRequest

_FILE_KEYS = ("config", "options", "grid", "sheet")
_JOBS = 1
_REFUSED = {
    "--output.path": "each run writes stylized.png into its own folder.",
    "--animation.path": "all runs would write the same file; give it to nst fit.",
    "--print_config": "it has many; give it to nst fit.",
    "--ckpt_path": "a sweep that is started again goes on by itself.",
}


def run(args: Sequence[str]) -> int:
    """Run `nst sweep …`.

    Returns:
        0 if all runs are complete, 1 if one failed, 130, 143 or 129 after Ctrl-C, SIGTERM or SIGHUP.

    Raises:
        UserError: If what is asked for makes no sense, before anything runs.
    """
    own, rest = _split(args[1:])
    if own["cluster"] is None:
        worker_context()  # the workers' imports and ours take seconds: they go on at the same time
    from nst_lightning.jobs.sweep import run_sweep

    return run_sweep(_make_request(own, rest))


def read_sweep_request(args: Sequence[str]) -> SweepRequest:
    """Read a command line, and the sweep file it names if it names one.

    Options on the command line win over those of the file; its axes are added to the file's, and replace those of
    the same key.

    Args:
        args: Arguments of `nst sweep`.

    Returns:
        The request; `base` starts with configs that exist.

    Raises:
        UserError: If an option of the sweep itself, or the file, makes no sense. Options of `nst fit` are not read
            here.
    """
    return _make_request(*_split(args))


def make_parser() -> OptionParser:
    """Return the parser of the command's own options, but for the axes of the grid."""
    parser = OptionParser(
        "sweep",
        usage="[--config FILE] [--grid.OPTION VALUES ...] [--name NAME] [--jobs N] [options of nst fit]",
        description="Paint every combination of some settings, each a run as nst fit makes it, and lay the pictures "
        f"out on one sheet.\n{FIT_OPTION}, and holds for all runs.",
        epilog=f"""\
short names of options:
{short_names()}

example:
  nst sweep --config configs/starry.yaml --grid.style_weight '[2, 8, 32]' --data.size 256
  nst sweep --grid.style_weight '[6, 60]' --grid.style_layers '{{shallow: [relu1_1], deep: [relu1_1, relu4_1]}}'
  nst sweep --config configs/sweeps/content_layers.yaml --data.content me.jpg --jobs 2

The same command goes on where it was stopped or killed: complete runs are left alone, failed ones are tried again.
Exit code: 0 all runs are complete, 1 some failed, 2 a mistake in what was asked, 130, 143 or 129 stopped.""",
        refused=_REFUSED,
    )
    add_config(parser, "a config of nst fit, or a sweep file: keys config, options, grid and sheet")
    parser.add_argument(
        "--grid.OPTION",
        metavar="VALUES",
        help="an axis: an option of nst fit and a list of its values, or a mapping of titles to values; a second axis "
        "makes a table",
    )
    parser.add_argument("--name", help="everything lives in lightning_logs/NAME; the config's name if unset")
    parser.add_argument("--jobs", metavar="N", help=f"runs at a time on this machine ({_JOBS})")
    add_cluster(parser)
    parser.add_argument("--sheet.size", metavar="PIXELS", help=f"long side of a picture on the sheet ({Sheet.size})")
    parser.add_argument("--sheet.title", metavar="TEXT", help="stands above the pictures")
    parser.add_argument(
        "--sheet.steps",
        metavar="STEPS",
        help="columns are the pictures at these steps; needs --output.every_n_steps",
    )
    return parser


def _split(args: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Separate the sweep's own options from those of `nst fit`."""
    parser = make_parser()
    keys = dict.fromkeys(found[0] for arg in args if (found := re.match(r"--(grid|sheet)\.[^=]+", arg)))
    for key in keys:
        if key not in parser.names:
            parser.add_argument(key, dest=key[2:])
    options, rest = parser.split(args)
    given = vars(options)
    cluster = cluster_request(options)
    if cluster is not None and options.jobs is not None:
        raise UserError(
            "--jobs is for this machine, on a cluster --per_job.cpus says how many there are at a time; leave one."
        )
    jobs = _JOBS if options.jobs is None else int(number_from(options.jobs, "--jobs", is_whole=True, lowest=1))
    own: dict[str, Any] = {"config": options.config, "name": options.name, "jobs": jobs, "cluster": cluster}
    for section in ("grid", "sheet"):
        named = [key for key in keys if key.startswith(f"--{section}.")]
        own[section] = {key.partition(".")[2]: _read_yaml(key, given[key[2:]]) for key in named}
    return own, rest


def _read_yaml(key: str, text: str) -> Any:
    try:
        return read_values(text)
    except yaml.YAMLError as error:
        raise UserError(f"{key} is not valid YAML: {one_line(error)}.") from error


def _make_request(own: Mapping[str, Any], rest: Sequence[str]) -> SweepRequest:
    from nst_lightning.jobs.sweep import SweepRequest
    from nst_lightning.runs.config_files import find_config, is_sweep
    from nst_lightning.runs.resume import expand_name

    files = [find_config(given) for given in own["config"] or ["starry.yaml"]]
    sweeps = [path for path in files if is_sweep(path)]
    if len(sweeps) > 1:
        raise UserError(f"--config names two sweeps, {sweeps[0]} and {sweeps[1]}; give one.")
    asked = _read_file(sweeps[0]) if sweeps else {}
    bases = asked.get("config") or []
    bases = [find_config(str(base)) for base in ([bases] if isinstance(bases, str) else bases)]
    configs = [*bases, *(path for path in files if path not in sweeps)]
    return SweepRequest(
        name=expand_name(own["name"])
        if own["name"]
        else (Path(sweeps[0]).stem if sweeps else f"{Path(files[0]).stem}-sweep"),
        base=(*(f"--config={path}" for path in configs), *option_args(asked.get("options", {})), *rest),
        grid={**asked.get("grid", {}), **own["grid"]},
        sheet=_read_sheet({**asked.get("sheet", {}), **own["sheet"]}),
        jobs=own["jobs"],
        cluster=own["cluster"],
    )


def _read_file(path: str) -> dict[str, Any]:
    content: dict[str, Any] = read_yaml(path_of(path), path, load=read_values)
    for key, value in content.items():
        if key not in _FILE_KEYS:
            hint = did_you_mean(key, _FILE_KEYS, "Settings of nst fit belong under options.")
            keys = ", ".join(_FILE_KEYS)
            raise UserError(f"{path} has the key {key!r}; a sweep has {keys}. {hint[0].upper()}{hint[1:]}")
        if key == "config":
            if not isinstance(value, str | list) and value is not None:
                raise UserError(f"config in {path} wants a file or a list of files, but {value!r} was given.")
        elif not isinstance(value, dict):
            raise UserError(f"{key} in {path} wants a mapping, but {value!r} was given.")
    for key in content.get("options", {}):
        if f"--{key}" in _REFUSED:
            raise UserError(f"{key} can't be an option of {path}: {_REFUSED[f'--{key}']}")
    return content


def _read_sheet(settings: Mapping[str, Any]) -> Sheet:
    known = Sheet.__dataclass_fields__
    for key in settings:
        if key not in known:
            raise UserError(f"there is no setting sheet.{key}; there are {', '.join(f'sheet.{k}' for k in known)}.")
    steps = settings.get("steps") or ()
    if not isinstance(steps, list | tuple) or not all(isinstance(step, int) and step > 0 for step in steps):
        raise UserError(f"sheet.steps wants a list of steps, such as '[100, 200]', but {steps!r} was given.")
    size = number_from(str(settings.get("size", Sheet.size)), "sheet.size", is_whole=True, lowest=32)
    return Sheet(str(settings.get("title") or ""), int(size), tuple(steps))
