"""YAML in which texts stay what they are, written and read where nothing says what is a text and what a number."""

from __future__ import annotations

import re
from enum import Enum
from typing import Any

import yaml

from nst_lightning.utils.bounded_yaml import load_yaml

_SURROGATES = {0xDC00 + byte: 0x10FF00 + byte for byte in range(0x80, 0x100)}
_BACK = {private: surrogate for surrogate, private in _SURROGATES.items()}


def hide_surrogates(text: str) -> str:
    """Replace what stands for the bytes of a file name that isn't UTF-8, and YAML refuses, by private characters."""
    return text.translate(_SURROGATES)


def show_surrogates(text: str) -> str:
    """Undo `hide_surrogates`."""
    return text.translate(_BACK)


class _Dumper(yaml.SafeDumper):
    """Puts texts such as `1e3` in quotes, which jsonargparse takes for a float, though PyYAML does not."""


_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d[\d_]*\.?[\d_]*|\.[\d_]+)([eE][-+]?\d+)?$"), list("-+.0123456789")
)


def _represent(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style: Any = None if text.isprintable() else '"'  # others fold unusual line breaks, and read them as blanks
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent)
# Defaults of Lightning's own, such as that of Timer's interval, may be members of an Enum.
_Dumper.add_multi_representer(Enum, lambda dumper, member: dumper.represent_data(member.value))


def to_yaml(value: Any, *, on_one_line: bool = False) -> str:
    """Return plain values as YAML; characters that can't be encoded, as of file names that aren't UTF-8, are escaped.

    Args:
        value: Nested mappings, lists and scalars.
        on_one_line: Whether to write no line breaks, as for a command line.
    """
    style: Any = {"default_flow_style": True, "width": 10**9} if on_one_line else {"default_flow_style": False}
    text: str = yaml.dump(value, Dumper=_Dumper, allow_unicode=True, sort_keys=False, **style)
    return text.removesuffix("...\n").strip() if on_one_line else text


class _Loader(yaml.SafeLoader):
    """Reads a number, truth value or nothing as one only where the same text would be written for it."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        value = super().construct_object(node, deep)
        if isinstance(value, str):
            return show_surrogates(value)
        if not isinstance(node, yaml.ScalarNode) or node.style is not None or not node.value:
            return value
        text = node.value.lower() if isinstance(value, bool) else node.value
        is_as_written = isinstance(value, int | None) and text == to_yaml(value, on_one_line=True)
        is_float = isinstance(value, float) and not set("_:") & set(text)
        return value if is_as_written or is_float else node.value


def read_values(text: str) -> Any:
    """Return what YAML holds, for values whose type is not known: `007`, `0x10`, `yes`, `~` and dates are texts.

    Raises:
        yaml.YAMLError: If it is not valid, or beyond the bounds of `load_yaml`.
    """
    return load_yaml(hide_surrogates(text), _Loader)
