"""What visitors call their files."""

from __future__ import annotations

import pytest

from nst_lightning.app.names import as_argument, base_name, shown_name


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("me.png", "me.png"),
        ("..%2F..%2Fetc%2Fpasswd", "passwd"),
        ("C%3A%5Cpictures%5Cme.png", "me.png"),
        ("%E7%8C%AB.jpg", "猫.jpg"),
        ("%E2%80%AEgpj.exe", "gpj.exe"),  # a mark that turns the direction of writing
        ("a%0A%00b.png", "ab.png"),
        ("", "picture"),
        ("..", "picture"),
        ("x" * 300 + ".jpeg", "x" * 70 + ".jpeg"),
        ("%ff%fe.png", "\ufffd\ufffd.png"),
    ],
)
def test_names_are_fit_to_be_shown(header: str, name: str) -> None:
    assert shown_name(base_name(header)) == name


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("x" * 240 + ".jpeg", "x" * 240 + ".jpeg"),
        ("%E8%AA%9E" * 80 + ".png", "語" * 80 + ".png"),
        ("%F0%9F%91%A9%E2%80%8D%F0%9F%8E%A8.png", "👩\u200d🎨.png"),  # a painter: two letters and a joiner
        ("a%0A%00%1B%E2%80%A8b.png", "ab.png"),
    ],
)
def test_a_command_has_the_whole_name_without_control_characters(header: str, name: str) -> None:
    assert base_name(header) == name


def test_a_file_of_a_samples_name_is_not_the_sample() -> None:
    assert as_argument("sample:town", "sample:town") == "sample:town"
    assert as_argument("/tmp/page/uploads/abc", "sample:town") == "./sample:town"
    assert as_argument("/tmp/page/uploads/abc", "me.png") == "me.png"
