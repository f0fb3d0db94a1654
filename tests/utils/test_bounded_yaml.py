"""YAML that stands for gigabytes, or is no YAML at all, costs a line and no time."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from nst_lightning.errors import UserError
from nst_lightning.utils.bounded_yaml import MOST_CHARACTERS, load_yaml, read_yaml

LAUGHS = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
NESTED_ALIASES = "b0: &b0 [x]\n" + "".join(f"b{i}: &b{i} [*b{i - 1}]\n" for i in range(1, 80))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (LAUGHS, "more than 100,000 values, aliases followed, by line 6"),
        (NESTED_ALIASES, "more than 50 lists or mappings in each other in line 50"),
        ("a: &a [*a]", r"\*a in line 1 stands for something that it is part of"),
        ("a: &a {b: {c: *a}}", "something that it is part of"),
        ("[" * 2000, "more than 50 lists"),
        ("- " * 2000, "more than 50 lists"),
        ("a: " + "9" * 10_000, "a number of 10,000 digits in line 1"),
        ("a: 0x" + "f" * 10_000, "a number of"),
        ("a: 1" + ":1" * 4000, "a number of"),
        ("a: 1\nb: 2\na: 3", "the key 'a' stands in line 1 and again in line 3"),
        ("{a: 1, a: 1}", "twice in line 1"),
        ("a: 1\n---\nb: 2", "another document"),
        ("\ta: 1", "cannot start any token"),
        ("a: *b", "undefined alias"),
        ("a\0: 1", "control characters"),
        ("? [a]\n: 1", "unhashable"),
        ("a: 2020-13-45", "month must be in"),
        ("a: !!int x", "invalid literal"),
        ("a: !!timestamp x", "NoneType"),
        ("a: !!python/object/apply:os.system [true]", "could not determine a constructor"),
        ("<<: [1]", "expected a mapping"),
        ("#" * (MOST_CHARACTERS + 1), "more than 1,000,000 characters"),
    ],
)
def test_what_is_unbounded_or_says_two_things_is_refused(text: str, reason: str) -> None:
    with pytest.raises(yaml.YAMLError, match=reason):
        load_yaml(text)


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [1, 2]\nb: *a\nc: {<<: {d: 1}, e: *a}",
        "{1: a, '1': b}",
        "a: '" + "9" * 1000 + "'",
        "<<: {a: 1}\nb: 2",
        "",
    ],
)
def test_everything_else_is_what_pyyaml_makes_of_it(text: str) -> None:
    assert load_yaml(text) == yaml.safe_load(text)


def test_numbers_of_a_float_are_read() -> None:
    assert load_yaml(f"a: {10**299}\nb: 1.5\nc: 1e999") == {"a": 10**299, "b": 1.5, "c": "1e999"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\x89PNG\r\n\x1a\n\0", "a.yaml is not valid YAML: 'utf-8' codec"),
        ("a: 1".encode("utf-16"), "not valid YAML"),
        (b"a: [1,", "not valid YAML: while parsing .* in line 2, column"),
        (b"#" * (MOST_CHARACTERS + 1), "more than 1,000,000 bytes"),
    ],
)
def test_a_file_that_is_none_is_a_line(content: bytes, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes(content)
    with pytest.raises(UserError, match=reason):
        read_yaml(file)


def test_a_file_that_cannot_be_read_is_a_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"can't be read \(Is a directory\)"):
        read_yaml(tmp_path)


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read_yaml(file) == {"a": 1}
