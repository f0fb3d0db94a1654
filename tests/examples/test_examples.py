"""Notebooks and example scripts run, at a tiny size."""

from __future__ import annotations

import ast
import doctest
import json
import logging
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

EXAMPLES = Path(__file__).parents[2] / "examples"
CPU = {"trainer.accelerator": "cpu", "trainer.enable_progress_bar": False, "data.min_size": 32}
TINY: dict[str, dict[str, Any]] = {
    "first_picture": {"SIZE": 64, "OPTIONS": {**CPU, "data.first_steps": 1, "steps": 1}},
    "layers_and_losses": {
        "SIZE": 32,
        "STEPS": 1,
        "ENCODER": "compact",
        "TRAINER": {"accelerator": "cpu", "enable_progress_bar": False},
        "CONTENT_LAYERS": ["relu1_2", "relu3_2"],
        "STYLE_LAYERS": ["relu1_1", "relu2_1"],
    },
}


def run_cell(source: str, names: dict[str, Any]) -> Any:
    """Run a cell's code as a notebook does, and return the value of the expression that it ends with."""
    parsed = ast.parse(source)
    last = parsed.body.pop() if isinstance(parsed.body[-1], ast.Expr) else None
    exec(compile(parsed, "cell", "exec"), names)
    return None if last is None else eval(compile(ast.Expression(last.value), "cell", "eval"), names)


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.INFO, logger="lightning.pytorch")
    names: dict[str, Any] = {"__name__": "__main__"}
    shown = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] != "code":
            continue
        assert cell["outputs"] == []
        assert cell["execution_count"] is None
        value = run_cell("".join(cell["source"]), names)
        shown.append(value)
        if "parameters" in cell["metadata"].get("tags", []):
            assert set(TINY[path.stem]) <= set(names)
            names.update(TINY[path.stem])
    assert sum(hasattr(value, "_repr_png_") for value in shown) >= 3  # pictures
    assert path.stem in TINY
    assert not logging.getLogger("lightning.pytorch").isEnabledFor(logging.INFO)  # of each run a page of greetings


def load(name: str) -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name=name)


@pytest.mark.slow
def test_two_paintings_in_their_own_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = load("masks")["main"](64, quality="draft", progress=False, steps=1, **CPU)
    assert result.path == Path("masks.png")
    assert Image.open("masks.png").size == (64, 48)
    mask = np.asarray(Image.open("sky.png"))
    assert mask[0].min() == 255
    assert mask[-1].max() == 0


@pytest.mark.slow
def test_a_poster_in_tiles_has_16_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load("poster")["main"](96, 64, quality="draft", progress=False, steps=1, **CPU).complete
    assert Path("poster.png").read_bytes()[24] == 16
    assert Image.open("poster.png").size == (96, 72)


@pytest.mark.slow
def test_a_loss_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = load("own_loss")
    assert module["main"](64, steps=1).complete
    assert Image.open("own_loss.png").size == (64, 48)
    loss = module["LaplacianLoss"](weight=1.0, pool=1)
    image = torch.rand(1, 3, 7, 9)
    padded = image[0].numpy()
    expected = 4 * padded[:, 1:-1, 1:-1] - padded[:, :-2, 1:-1] - padded[:, 2:, 1:-1]
    expected = expected - padded[:, 1:-1, :-2] - padded[:, 1:-1, 2:]
    np.testing.assert_allclose(loss.laplacian(image)[0].numpy(), expected, atol=1e-6)


def test_the_docstrings_of_the_examples() -> None:
    module = load("own_loss")
    runner = doctest.DocTestRunner()
    for test in doctest.DocTestFinder().find(module["LaplacianLoss"], "LaplacianLoss", globs=module, module=False):
        runner.run(test)
    assert runner.failures == 0
    assert runner.tries > 0


def test_every_example_has_a_test() -> None:
    assert {path.stem for path in EXAMPLES.iterdir() if path.suffix in (".py", ".ipynb")} == {
        *TINY,
        *("masks", "poster", "own_loss"),
    }
