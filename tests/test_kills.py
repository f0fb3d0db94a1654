"""Commands that are killed and started again come to the bytes of those that were not, and leave no file.

A few kills of each; `python -m tests.helpers.kill --kills 100` does more.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.kill import choose_events, compare, run


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize("command", ["fit", "batch", "sweep", "video", "predict", "any_style"])
def test_a_killed_command_comes_to_the_same_bytes(command: str, tmp_path: Path) -> None:
    if command in ("video", "any_style"):
        pytest.importorskip("av")
    if command == "video":
        pytest.importorskip("cv2")
    assert run([command], 2, tmp_path, seed=1) == {command: []}


def test_each_kind_of_event_is_chosen_before_any_twice() -> None:
    import random

    events = ["open a/.x-0123456789ab.partial.png", "open a/.x-ba9876543210.partial.png", "os.mkdir b", "os.rename c"]
    chosen = choose_events(events, 3, random.Random(0))
    assert {events[number - 1].split()[0] for number in chosen} == {"open", "os.mkdir", "os.rename"}
    assert sorted(choose_events(events, 9, random.Random(0))) == [1, 2, 3, 4]


def test_what_is_left_over_missing_or_different_is_named() -> None:
    found = compare({"a": b"1", "b": b"2"}, {"a": b"3", ".b-0.partial": b""})
    assert found == ["different: a", "left over: .b-0.partial", "missing: b"]
