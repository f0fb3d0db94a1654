"""YAML read within bounds: a text of a few lines can stand for gigabytes, and a damaged one must cost a line only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from nst_lightning.errors import UserError, one_line
from nst_lightning.utils.storage import fetch

MOST_CHARACTERS = 1_000_000
MOST_NODES = 100_000
"""Most values and keys, those that an alias stands for counted wherever it is."""
DEEPEST = 50
LONGEST_NUMBER = 300  # digits; a float has 309 at most, and Python refuses integers of more than 4,300

LONGEST_LIST = 500
"""Most entries of a list of settings: jsonargparse takes seconds for that many, and four times as long for twice."""

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NAME = "\\uDC"  # the escape of a byte of a file name that isn't UTF-8, which libyaml refuses
_resolver: Any = yaml.resolver.Resolver()


class BoundsError(yaml.YAMLError):
    """A document that is YAML, but more than anybody would write."""


def load_yaml(text: str, loader: Any = _Loader) -> Any:
    """Return the content of a YAML document.

    Args:
        text: The document.
        loader: Subclass of PyYAML's `SafeLoader` that tells the values apart.

    Raises:
        yaml.YAMLError: If it is none, has a key twice in one mapping, an alias inside of what it stands for, or more
            than the limits above.
    """
    check_yaml(text)
    try:
        return yaml.load(text, yaml.SafeLoader if _NAME in text and loader is _Loader else loader)
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
        # PyYAML's own on a date of the 13th month, !!int of a word, and the like
        raise yaml.YAMLError(one_line(error)) from error


def read_yaml(path: Path, name: str = "", load: Callable[[str], Any] = load_yaml) -> Any:
    """Return the content of a YAML file.

    Args:
        path: File.
        name: Name of the file in messages; its path if empty.
        load: Function that returns the content of a document, and raises a `yaml.YAMLError` if it is none.

    Raises:
        UserError: If it can't be read, is no text in UTF-8, or `load` refuses it.
    """
    name = name or str(path)
    try:
        with fetch(path).open("rb") as file:
            content = file.read(MOST_CHARACTERS + 1)
    except OSError as error:
        raise UserError(f"{name} can't be read ({error.strerror}); check the file and its permissions.") from error
    if len(content) > MOST_CHARACTERS:
        raise UserError(f"{name} has more than {MOST_CHARACTERS:,} bytes, too many for settings; check the file.")
    try:
        return load(content.decode("utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = one_line(error).replace('"<unicode string>", ', "")
        raise UserError(f"{name} is not valid YAML: {reason}.") from error


@dataclass
class _Open:
    """A list or mapping whose end has not come yet.

    Attributes:
        anchor: Name by which aliases repeat it; `None` for none.
        is_mapping: Whether it is a mapping.
        nodes: Number of nodes in it so far, itself included.
        depth: Depth of what it holds so far.
        entries: Number of entries so far, keys and values.
        keys: Line of each of its keys.
    """

    anchor: str | None
    is_mapping: bool
    nodes: int = 1
    depth: int = 1
    entries: int = 0
    keys: dict[tuple[str, bool], int] = field(default_factory=dict)


def check_yaml(text: str, longest: int = MOST_NODES) -> None:
    """Refuse a YAML document that would take more than a moment, or that says two things at once.

    The document is only parsed, in time proportional to its length; nothing is built of it.

    Args:
        text: The document.
        longest: Most entries of a list.

    Raises:
        yaml.YAMLError: As `load_yaml` says; a `BoundsError` if it is the document's size.
    """
    if len(text) > MOST_CHARACTERS:
        raise BoundsError(f"more than {MOST_CHARACTERS:,} characters")
    try:
        _check_events(text.replace(_NAME, "\\u00"), longest)
    except yaml.scanner.ScannerError as error:
        if "nesting depth" in str(error):  # libyaml looks ahead, and has a limit of its own
            raise BoundsError(f"more than {DEEPEST} lists or mappings in each other") from error
        raise


def _check_events(text: str, longest: int) -> None:
    open_nodes: list[_Open] = []
    finished: dict[str, tuple[int, int]] = {}  # nodes and depth of what an anchor names
    for event in yaml.parse(text, _Loader):
        line = event.start_mark.line + 1 if event.start_mark is not None else 0
        if isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append(_Open(event.anchor, isinstance(event, yaml.MappingStartEvent)))
            _check_size(open_nodes, 0, line)
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            node = open_nodes.pop()
            nodes, depth, anchor = node.nodes, node.depth, node.anchor
        elif isinstance(event, yaml.ScalarEvent):
            _check_scalar(event, line)
            _check_key(open_nodes, event, line)
            nodes, depth, anchor = 1, 0, event.anchor
        elif isinstance(event, yaml.AliasEvent):
            if any(node.anchor == event.anchor for node in open_nodes):
                raise BoundsError(f"*{event.anchor} in line {line} stands for something that it is part of")
            (nodes, depth), anchor = finished.get(str(event.anchor), (1, 0)), None
        else:
            continue
        if anchor is not None:
            finished[anchor] = nodes, depth
        if open_nodes:
            open_nodes[-1].nodes += nodes
            open_nodes[-1].depth = max(open_nodes[-1].depth, depth + 1)
            open_nodes[-1].entries += 1
            if open_nodes[-1].entries > longest and not open_nodes[-1].is_mapping:
                raise BoundsError(f"a list of more than {longest:,} entries in line {line}")
            _check_size(open_nodes, depth, line)


def _check_size(open_nodes: list[_Open], depth: int, line: int) -> None:
    if len(open_nodes) + depth > DEEPEST:
        raise BoundsError(f"more than {DEEPEST} lists or mappings in each other in line {line}")
    if open_nodes[-1].nodes > MOST_NODES:
        raise BoundsError(f"more than {MOST_NODES:,} values, aliases followed, by line {line}")


def _check_scalar(event: yaml.ScalarEvent, line: int) -> None:
    is_plain = bool(event.implicit[0]) and len(event.value) > LONGEST_NUMBER
    if is_plain and _resolver.resolve(yaml.ScalarNode, event.value, (True, False)).endswith((":int", ":float")):
        raise BoundsError(f"a number of {len(event.value):,} digits in line {line}")


def _check_key(open_nodes: list[_Open], event: yaml.ScalarEvent, line: int) -> None:
    if not open_nodes or not open_nodes[-1].is_mapping or open_nodes[-1].entries % 2:
        return
    key = (event.value, bool(event.implicit[0]))  # 1 and "1" are two keys
    keys = open_nodes[-1].keys
    if key in keys and event.value != "<<":
        where = f"twice in line {line}" if keys[key] == line else f"in line {keys[key]} and again in line {line}"
        raise yaml.YAMLError(f"the key {event.value[:50]!r} stands {where}; leave one of them out")
    keys[key] = line
