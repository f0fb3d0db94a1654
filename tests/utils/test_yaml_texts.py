"""Texts go through YAML unchanged, whatever they look like."""

from __future__ import annotations

import random

import pytest
import yaml
from jsonargparse import get_loader

import nst_lightning.runs.config_files  # noqa: F401 - sets jsonargparse's loader
from nst_lightning.utils.yaml_texts import read_values, to_yaml

_CHARACTERS = "aeE.0123_:-+#'\"[]{},&*!|>%@` \n\t\udcff\u0085\u2028\ufeff😀ü~?=<"


@pytest.mark.slow
@pytest.mark.parametrize("on_one_line", [False, True])
def test_any_text_is_read_as_it_was_written(on_one_line: bool) -> None:
    random_generator = random.Random(0)
    texts = ["".join(random_generator.choices(_CHARACTERS, k=length % 8)) for length in range(2000)]
    texts += ["1e3", "1e-3", ".5e3", "null", "true", "yes", "007", "0x10", "2024-01-01", "~", "1:30", "", "=", "<<"]
    lists = {str(start): texts[start : start + 500] for start in range(0, len(texts), 500)}  # as long as they may be
    value = {"lists": lists, **dict.fromkeys(texts, 1)}
    written = to_yaml(value, on_one_line=on_one_line)
    assert yaml.safe_load(written) == value
    assert get_loader("yaml")(written) == value
    assert ("\n" in written) != on_one_line


@pytest.mark.parametrize("text", ["007", "0x10", "1_000", "yes", "Off", "~", "2024-01-01", "1:30", "+1", "x\udcff.png"])
def test_what_may_be_a_name_is_a_text(text: str) -> None:
    assert read_values(f"[{text}, '3', 3]") == [text, "3", 3]


def test_numbers_and_truth_values_are_what_they_are() -> None:
    assert read_values("[1, -2, 0.5, 1.50, 1.0e-5, true, False, null, {a: [8]}]") == [
        *(1, -2, 0.5, 1.5, 1e-5, True, False, None, {"a": [8]})
    ]
