"""Bars keep what matters most where a terminal is narrow, and messages are written above them."""

from __future__ import annotations

import io
import logging
from unittest.mock import Mock

import pytest

from nst_lightning.callbacks.progress_bars import FittedBar, PredictProgressBar, _ways
from nst_lightning.cli.main import _MessageHandler


def drawn(columns: int | None) -> str:
    ways = _ways("{desc}", "{loss}", "{speed}", "{left}")
    parts = {"loss": ", loss 1.234", "speed": ", 12.3 steps/s", "left": ", 01:23 left"}
    return FittedBar.format_meter(
        *(336, 800, 83.0), ncols=columns, bar_format=ways, prefix="level 5/5 512×384", **parts
    )


@pytest.mark.parametrize("columns", [120, 100, 80, 72, 60, 50, 40, 30, 22, 12, 8, 5])
def test_a_narrow_bar_keeps_the_count_and_then_the_time_left(columns: int) -> None:
    text = drawn(columns)
    assert len(text) <= columns
    assert ("336/800" in text) == (columns >= 8)
    assert ("01:23 left" in text) == (columns >= 20)
    assert ("level 5/5 512×384" in text) == (columns >= 50)
    assert ("loss 1.234" in text) == (columns >= 80)


def test_where_there_is_no_terminal_all_of_it_is_shown() -> None:
    assert drawn(None) == drawn(500)
    assert "| 336/800 [01:23, loss 1.234, 12.3 steps/s, 01:23 left]" in drawn(None)


def test_a_rate_below_one_is_still_one_of_pictures_per_second(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    progress = PredictProgressBar()
    progress.on_predict_start(Mock(num_predict_batches=[4]), Mock())
    assert progress.bar is not None
    shown = {**progress.bar.format_dict, "n": 1, "elapsed": 10.0, "ncols": None}
    assert "1/4 [00:10,  0.10 pictures/s, 00:30 left]" in progress.bar.format_meter(**shown)
    progress.bar.close()


def test_a_message_stands_on_a_line_of_its_own() -> None:
    stream = io.StringIO()
    handler = _MessageHandler(stream)
    bar = FittedBar(total=3, bar_format="{n_fmt}/{total_fmt}", file=stream)
    handler.emit(logging.LogRecord("x", logging.INFO, "", 0, "hello", (), None))
    bar.close()
    assert "\rhello\n" in stream.getvalue().replace(" ", "")
