"""What is kept beside many runs, damaged from outside: a line, or the pair alone fails."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from nst_lightning.errors import UserError
from nst_lightning.jobs.batch import SETTINGS
from nst_lightning.jobs.job import JobFolder
from nst_lightning.jobs.settings import KeptSettings
from nst_lightning.utils.records import read_json, read_seconds, read_yaml

DAMAGES = {
    "empty": b"",
    "cut": b'{"settings": {"a": ',
    "binary": bytes(range(256)),
    "a list": b"[1, 2]",
    "a number": b"3",
    "text": b"hello",
    "other keys": b'{"steps": 7}',
    "other types": b'{"loss": 3, "steps": "x", "settings": [], "runs": 4, "content": 1, "style": 2, "options": 3}',
    "brackets": b"[" * 100_000,
}


@pytest.mark.parametrize("name", DAMAGES)
@pytest.mark.parametrize("read", [read_json, read_yaml])
def test_a_damaged_file_is_one_line(name: str, read: Callable[..., object], tmp_path: Path) -> None:
    if name == "brackets" and read is read_yaml:
        pytest.skip("the YAML reader's own limit")
    file = tmp_path / "result.json"
    file.write_bytes(DAMAGES[name])
    with pytest.raises(UserError, match=r"result\.json is damaged \(.*\); put it back, or remove it\.") as caught:
        read(file, ["loss"])
    assert len(str(caught.value)) < 300


def test_seconds_that_cant_be_read_are_none(tmp_path: Path) -> None:
    assert read_seconds(tmp_path / "none.txt") is None
    for content in (b"", b"x", b"\xff\xfe"):
        (tmp_path / "seconds.txt").write_bytes(content)
        assert read_seconds(tmp_path / "seconds.txt") is None


@pytest.mark.parametrize("name", DAMAGES)
def test_kept_settings_that_are_damaged_are_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / SETTINGS).write_bytes(DAMAGES[name] if name != "brackets" else b"{")
    kept = KeptSettings(tmp_path / SETTINGS, "a batch with", "holds no batch", "give another", "give another --name")
    with pytest.raises(UserError, match=r"batch\.yaml is damaged"):
        kept.read(["settings", "runs"])


@pytest.mark.parametrize("name", DAMAGES)
def test_a_run_whose_result_is_damaged_has_failed(name: str, tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    folder.run.mkdir()
    (folder.run / "result.json").write_bytes(DAMAGES[name])
    (folder.run / "seconds.txt").write_bytes(b"\xff")
    outcome = folder.outcome()
    assert (outcome.status, outcome.seconds) == ("failed", None)
    assert "result.json is damaged" in outcome.message


@pytest.mark.slow
def test_of_a_batch_the_pair_alone_fails(batch: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--contents", "photos", "--styles", "paintings"]
    assert batch(*words) == 0
    runs = Path("lightning_logs/many")
    damaged = {"me_waves/version_0/result.json": b"{", "me_dots/painted_from.json": bytes(range(256))}
    for name, content in damaged.items():
        (runs / name).write_bytes(content)
    (runs / "trip/sea_dots/version_0/seconds.txt").write_bytes(b"x")
    (runs / "trip/sea_dots/version_0/config.yaml").write_bytes(b"{")
    Path("out/summary.csv").write_bytes(b"\0\xff")
    capsys.readouterr()
    assert batch(*words) == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said
    with Path("out/summary.csv").open(newline="") as file:
        rows = {Path(row["output"]).name: row for row in csv.DictReader(file)}
    assert [name for name, row in rows.items() if row["status"] == "failed"] == ["me_dots.png", "me_waves.png"]
    assert "painted_from.json is damaged" in rows["me_dots.png"]["message"]
    for name in damaged:
        (runs / name).unlink()
    assert batch(*words) == 0
    (runs / SETTINGS).write_bytes(yaml.safe_dump({"a": 1}).encode()[:-3] + b"{")
    assert batch(*words) == 2
    assert "batch.yaml is damaged" in capsys.readouterr().err
