"""`nst --print_completion SHELL`: a script that lets the shell complete commands, options and files."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any

from nst_lightning.cli.options import OptionParser
from nst_lightning.errors import UserError, check_choice

_OWN_PARSERS = ("sweep", "batch", "predict", "video", "export", "compare", "app")
_TAKE_FIT_OPTIONS = ("sweep", "batch", "video")
_CONFIG_OPTIONS = ("--config", "-c")
_BOTH_NAMES = {  # the command is called nst-lightning as well: what names it in a script, and what names both
    "bash": (r"^complete (.*)-F _shtab_nst nst$", r"complete -o default \1-F _nst nst nst-lightning"),
    "zsh": (r"^(#compdef|  compdef .*) nst$", r"\1 nst nst-lightning"),
    "fish": (r"\Z", "complete --command nst-lightning --wraps nst\n"),
}

_PICTURES = "PHOTO"  # parser of the command lines that begin with a picture; no command is called so
_BASH = f"""
# A first word that is no command is a picture, and what follows are pictures and the options of nst fit.
_nst() {{
  local first="${{COMP_WORDS[1]}}" line
  if (( COMP_CWORD > 1 )) && [[ $first != -* && " COMMANDS " != *" $first "* ]]; then
    COMP_WORDS[1]={_PICTURES}
  fi
  _shtab_nst
  (( COMP_CWORD == 1 )) || return 0
  local words=("${{COMPREPLY[@]}}")
  COMPREPLY=()
  for line in "${{words[@]}}"; do [[ $line == {_PICTURES} ]] || COMPREPLY+=("$line"); done
  [[ $first == -* ]] && return 0
  compopt -o filenames 2>/dev/null || :
  while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -f -- "$first")
}}
"""


def completion_script(shell: str, summaries: Mapping[str, str]) -> str:
    """Return the script for a shell.

    Args:
        shell: `bash`, `zsh`, `fish`, `tcsh` or `powershell`.
        summaries: Names of the commands, and what each of them does.

    Raises:
        UserError: If the shell is another, or the package shtab is missing.
    """
    try:
        import shtab
    except ImportError as error:
        raise UserError("--print_completion needs one more package; pip install shtab.") from error
    check_choice(shell, tuple(shtab.SUPPORTED_SHELLS), "--print_completion")
    parser = argparse.ArgumentParser("nst", add_help=False)
    for option in (*_own_parser("pictures").names, "--version", "--print_completion"):
        parser.add_argument(option)
    commands = parser.add_subparsers()
    fit_options = _options_of_fit()
    options = {"fit": fit_options, "predict": _options_of_predict()}
    for name in _OWN_PARSERS:
        more = fit_options if name in _TAKE_FIT_OPTIONS else options.get(name, ())
        options[name] = list(dict.fromkeys([*_own_parser(name).names, *more]))
    lines = dict(summaries)
    if shell == "bash":
        lines[_PICTURES] = "pictures"
        options[_PICTURES] = list(dict.fromkeys([*_own_parser("pictures").names, *fit_options]))
    for name, summary in lines.items():
        command = commands.add_parser(name, help=_plain(summary), add_help=False)
        for option in options[name]:
            setattr(command.add_argument(option), "complete", shtab.FILE)  # noqa: B010 - no attribute of argparse's
        setattr(command.add_argument("files", nargs="*"), "complete", shtab.FILE)  # noqa: B010
    script: str = shtab.complete(parser, shell)
    if shell == "bash":
        script = script.replace("\ncomplete ", f"{_BASH.replace('COMMANDS', ' '.join(summaries))}\ncomplete ")
    return re.sub(*_BOTH_NAMES[shell], script, flags=re.MULTILINE) if shell in _BOTH_NAMES else script


def _plain(text: str) -> str:
    return text.replace("%", "%%").replace(":", ",")  # the colon parts name and help in zsh


def _own_parser(command: str) -> OptionParser:
    make: Callable[[], OptionParser] = import_module(f"nst_lightning.cli.{command}").make_parser
    return make()


def _options_of_fit() -> list[str]:
    from nst_lightning.runs.fit_command import NSTCommand, parsed

    return _options(parsed(NSTCommand, ["fit"]))


def _options_of_predict() -> list[str]:
    from nst_lightning.runs.fit_command import parsed
    from nst_lightning.runs.predict_command import PredictCommand

    return _options(parsed(PredictCommand, ["predict"]))


def _options(command: Any) -> list[str]:
    """Return the options of a command whose default config was parsed, with those of the classes in that."""
    from nst_lightning._compat import option_names

    settings = command.resolved_settings()
    of_classes = [name for section in ("model", "data") for name in _dotted(section, settings[section])]
    names = [name for name in option_names(command.subcommand_parser()) if name not in ("c", "h")]
    return [*_CONFIG_OPTIONS[1:], *(f"--{name}" for name in dict.fromkeys([*of_classes, *names]))]


def _dotted(prefix: str, section: Mapping[str, Any]) -> Iterable[str]:
    """Yield the dotted names of a class's arguments, without `init_args`, and of the classes among them."""
    for name, value in section.get("init_args", {}).items():
        yield f"{prefix}.{name}"
        if isinstance(value, dict) and "class_path" in value:
            yield from _dotted(f"{prefix}.{name}", value)
