"""Configs, sweeps, manifests and values of a command line that mean harm or have come to it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from nst_lightning.cli.main import main
from tests.hostile.conftest import WORDS, Refused, bounded

LAUGHS = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
CONFIGS: dict[str, bytes | str] = {
    "laughs": LAUGHS,
    "laughs in quotes": f"data: {{class_path: TransferData, init_args: {{sizes: {json.dumps(LAUGHS)}}}}}",
    "part of itself": "data: &a {x: *a}",
    "part of itself, deep": "model: &a {init_args: {style: [{x: *a}]}}",
    "deep brackets": "data: " + "[" * 2000,
    "deep braces": "data: " + "{a: " * 2000,
    "deep dashes": "- " * 2000,
    "deep and closed": "data: " + "[" * 200 + "]" * 200,
    "10,000 digits": "seed_everything: " + "9" * 10_000,
    "10,000 hexadecimal digits": "seed_everything: 0x" + "f" * 10_000,
    "a base of 60": "seed_everything: 1" + ":59" * 3000,
    "a long list": "data: {class_path: TransferData, init_args: {sizes: [" + "1, " * 5000 + "1]}}",
    "a million lines": "# nothing\n" * 200_000,
    "a key twice": "data: {}\ndata: {}",
    "a key twice, deep": "data: {class_path: TransferData, init_args: {size: 1, size: 2}}",
    "a number for a key": "1: 2",
    "a number for a key, deep": "data: {class_path: TransferData, init_args: {1: 2}}",
    "nothing for a key": "~: 1",
    "a list for a key": "? [a]\n: 1",
    "two documents": "data: {}\n---\ndata: {}",
    "a tab": "\tdata: {}",
    "a tab inside": "data:\n\tsize: 3",
    "no such alias": "data: *a",
    "13th month": "name: 2020-13-45",
    "no number": "seed_everything: !!int x",
    "a program": "data: !!python/object/apply:os.system [touch harm]",
    "another program": "!!python/object/new:subprocess.Popen [[touch, harm]]",
    "merged with a list": "<<: [1]",
    "an image": b"\x89PNG\r\n\x1a\n\0\0\0",
    "UTF-16": "data: {}".encode("utf-16"),
    "Latin-1": "name: caf\xe9".encode("latin-1"),
    "a null character": "data: a\0b",
    "nothing": "",
    "null": "null",
    "a list": "- data",
    "a word": "data",
    "a number": "3",
    "a list for data": "data: [1, 2]",
    "a number for data": "data: 3",
    "a word for the model": "model: hello",
    "a number for the trainer": "trainer: 3",
    "not a number": "seed_everything: .nan",
    "infinity": "seed_everything: .inf",
    "a long word": "trainer: {devices: " + "x" * 5000 + "}",
    "a surrogate": 'seed_everything: "\\ud800"',
    "open quotes": "name: 'x",
    "a module that is not there": "trainer: {callbacks: [{class_path: gone.Away}]}",
    "a class of another kind": "trainer: {callbacks: [{class_path: subprocess.Popen, init_args: {args: [a]}}]}",
    "a package that is not there": "trainer: {logger: {class_path: lightning.pytorch.loggers.WandbLogger}}",
}
SWEEPS: dict[str, str] = {
    "a number for the grid": "grid: 3",
    "a list for the grid": "grid: [1]",
    "nothing for the grid": "grid: null",
    "an empty grid": "grid: {}",
    "a number for an axis": "grid: {1: [2]}",
    "a number for an option": "grid: {x: {a: {1: 2}}}",
    "no values": "grid: {size: []}",
    "a value twice": "grid: {size: [8, 8]}",
    "laughs": LAUGHS + "grid: *a11",
    "a mapping for the config": "config: {a: 1}\ngrid: {size: [16]}",
    "an unknown key": "grid: {size: [16]}\nnothing: 1",
    "a number for a setting of the sheet": "sheet: {1: 2}\ngrid: {size: [16]}",
    "a number for the options": "options: 3\ngrid: {size: [16]}",
}
MANIFESTS: dict[str, bytes | str] = {
    "nothing": "",
    "a header alone": "content,style\n",
    "no such columns": "a,b\n1,2\n",
    "an image": b"\x89PNG\r\n\x1a\n\0\0\0",
    "null characters": "content,style\n\0,\0\n",
    "UTF-16": "content,style\na.png,b.png\n".encode("utf-16"),
    "a field without an end": 'content,style\n"' + "x" * 300_000,
    "a long field": "content,style\n" + "x" * 300_000 + ",b.png\n",
    "a column twice": "content,content,style\na,b,c\n",
    "too many fields": "content,style\na,b,c,d,e\n",
    "images that are not there": "content,style\na.png,b.png\n",
    "the same output twice": "content,style,output\nsample:town,sample:starry,x.png\nsample:town,sample:starry,x.png\n",
    "a setting that is none": "content,style,data.sizee\nsample:town,sample:starry,3\n",
    "laughs for a setting": 'content,style,data.sizes\nsample:town,sample:starry,"' + LAUGHS + '"\n',
}
VALUES: dict[str, tuple[str, str]] = {
    "brackets": ("--data.size", "[" * 2000),
    "digits": ("--data.size", "9" * 10_000),
    "laughs": ("--data.sizes", LAUGHS),
    "part of itself": ("--model", "&a {x: *a}"),
    "a long list": ("--data.sizes", "[" + "1," * 20_000 + "1]"),
    "more pixels than there is memory for": ("--data.sizes", "[99999]"),
    "more pixels than there are bytes on earth": ("--data.sizes", "[99999999999999]"),
    "a negative size": ("--data.sizes", "[-1]"),
    "not a number": ("--data.color_strength", ".nan"),
    "a file of settings that can't be read": ("--data", "/proc/self/mem" if sys.platform == "linux" else "."),
    "a TPU": ("--trainer.accelerator", "tpu"),
    "a strategy of a package that is not there": ("--trainer.strategy", "deepspeed"),
    "a bar of a package that is not there": ("--trainer.callbacks", "RichProgressBar"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_is_a_line(name: str, refused: Refused, tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    content = CONFIGS[name]
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    if name in ("a package that is not there", "a class of another kind", "not a number", "infinity"):
        refused("fit", "FIT", "--config", "starry", "--config", str(file))
    else:
        refused("fit", "--config", str(file))
    assert not Path("harm").exists()
    assert not Path("lightning_logs").exists()


@pytest.mark.parametrize("name", ["laughs", "deep brackets", "10,000 digits", "an image"])
@pytest.mark.parametrize("command", ["sweep", "batch", "predict", "video --video x.mp4"])
def test_so_it_is_for_every_command(name: str, command: str, refused: Refused, tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    content = CONFIGS[name]
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert "not valid YAML" in refused(*command.split(), "--config", str(file))


@pytest.mark.parametrize("name", SWEEPS)
def test_a_sweep_is_a_line(name: str, refused: Refused, tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(SWEEPS[name])
    refused("sweep", "--config", str(file))


@pytest.mark.slow
@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_is_a_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    content = MANIFESTS[name]
    Path("a.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with bounded():
        code = main(["batch", "--manifest", "a.csv", "--output", "painted", *WORDS])
    shown = capsys.readouterr().err
    assert "Traceback" not in shown
    assert code in (1, 2), shown
    assert shown.count("\n") < 12
    assert not list(Path().rglob("*.png"))


@pytest.mark.slow
@pytest.mark.parametrize("name", VALUES)
def test_a_value_is_a_line(name: str, refused: Refused) -> None:
    refused("fit", "FIT", *VALUES[name])
    assert not list(Path().rglob("*.png"))


@pytest.mark.parametrize("place", ["/proc/self/mem", ".", "/", "/dev/null/x", "nothing\0here"])
def test_a_config_that_cannot_be_read_is_a_line(place: str, refused: Refused) -> None:
    if place == "/proc/self/mem" and sys.platform != "linux":
        pytest.skip("a file that Linux has")
    refused("fit", "--config", place)


@pytest.mark.parametrize("option", ["--grid.size"])
@pytest.mark.parametrize("value", ["[" * 2000, LAUGHS, "[" + "9" * 10_000 + "]", "{", "&a [*a]", "3"])
def test_an_axis_is_a_line(option: str, value: str, refused: Refused) -> None:
    refused("sweep", option, value)
