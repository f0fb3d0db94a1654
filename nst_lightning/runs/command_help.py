"""The help of a command of Lightning's: what it is for and its main options first, and the Trainer's options last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lightning.pytorch.cli import LightningArgumentParser


@dataclass(frozen=True)
class CommandHelp:
    """What the help of a command begins with.

    Attributes:
        command: Words of the command.
        purpose: What it does.
        examples: Main options, each with a value, and what they mean.
        classes: Class of each key, and what its options are about: the parser of the command does not know them before
            the classes are chosen.
        further: What is to be known of the options that follow.
    """

    command: str
    purpose: str
    examples: Mapping[str, str]
    classes: Mapping[str, tuple[type, str]]
    further: str

    def class_options(self, kind: type[LightningArgumentParser]) -> LightningArgumentParser:
        """Return a parser of the options of the classes.

        Args:
            kind: Class of the parser.
        """
        parser = kind(prog=self.command, add_help=False, description="")
        for key, (of, title) in self.classes.items():
            nested = {name.removeprefix(f"{key}.") for name in self.classes if name.startswith(f"{key}.")}
            parser.add_class_arguments(of, key, skip=nested)
            assert parser.groups is not None
            parser.groups[key].title = f"--{key}.… of {of.__name__}, {title}"
        return parser

    def text(self, kind: type[LightningArgumentParser], rest: str) -> str:
        """Return the help.

        Args:
            kind: Class of parsers.
            rest: Help of the command's other options, with its usage first.
        """
        options = self.class_options(kind).format_help().partition("\n\n")[2].strip()
        _, _, rest = rest.partition("\n\n")
        width = max(map(len, self.examples))
        examples = "\n".join(f"  {option:<{width}}  {text}" for option, text in self.examples.items())
        return f"""\
usage: {self.command} [--config FILE] [options]

{self.purpose} Main options, with examples:
{examples}

{self.further}

{options}

{rest.strip()}
"""
