"""What command lines and sweep files ask for, and how their mistakes are told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nst_lightning.cli.main import main
from nst_lightning.cli.sweep import read_sweep_request
from nst_lightning.errors import UserError
from nst_lightning.runs.config_files import shipped_configs

SHIPPED = sorted(path.name for path in (shipped_configs() / "sweeps").glob("*.yaml"))


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_plain_config_with_axes() -> None:
    words = ["--grid.seed", "[1, 2]", "--config", "lbfgs", "--data.size=64", "--grid.style_weight=[3]", "--jobs=2"]
    request = read_sweep_request(words)
    assert request.name == "lbfgs-sweep"
    assert request.base == (f"--config={shipped_configs() / 'lbfgs.yaml'}", "--data.size=64")
    assert list(request.grid.items()) == [("seed", [1, 2]), ("style_weight", [3])]
    assert request.jobs == 2


def test_without_a_config_it_is_starry() -> None:
    assert read_sweep_request(["--grid.seed", "[1]"]).name == "starry-sweep"


def test_a_sweep_file_and_what_wins_over_it() -> None:
    Path("mine.yaml").write_text(
        "config: [texture.yaml, more.yaml]\noptions: {size: 64, data.steps: [1, 2]}\n"
        "grid: {style_weight: [1], seed: [5]}\nsheet: {title: Mine, size: 100, steps: [10, 20]}\n"
    )
    Path("more.yaml").write_text("data: {init_args: {size: 48}}\n")
    Path("last.yaml").write_text("data: {init_args: {size: 32}}\n")
    words = ["--config", "mine.yaml", "--config=last.yaml", "--data.size", "80"]
    request = read_sweep_request([*words, "--grid.seed", "[6, 7]", "--sheet.size", "50", "--name", "other"])
    assert request.base == (
        f"--config={shipped_configs() / 'texture.yaml'}",
        "--config=more.yaml",
        "--config=last.yaml",
        "--data.size=64",
        "--data.steps=[1, 2]",
        "--data.size",
        "80",
    )
    assert request.grid == {"style_weight": [1], "seed": [6, 7]}
    assert (request.sheet.title, request.sheet.size, request.sheet.steps) == ("Mine", 50, (10, 20))
    assert request.name == "other"
    assert read_sweep_request(["--config", "mine.yaml"]).name == "mine"


@pytest.mark.parametrize("config", ["inits", "sweeps/inits.yaml", "configs/sweeps/inits.yaml"])
def test_shipped_sweeps_are_found_from_any_folder(config: str) -> None:
    assert read_sweep_request(["--config", config]).name == "inits"


def test_six_sweeps_are_shipped() -> None:
    assert {"content_layers.yaml", "style_layers.yaml", "weight_ratio.yaml", "content_weight.yaml"} <= set(SHIPPED)
    assert {"inits.yaml", "optimizers.yaml"} <= set(SHIPPED)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "a sweep needs an axis"),
        (["--grid.seed"], "--grid.seed wants a value"),
        (["--grid.seed", "[1"], "--grid.seed is not valid YAML"),
        (["--grid.seed", "[1]", "--jobs", "0"], "--jobs wants a whole number from 1 up, but 0"),
        (["--grid.seed", "[1]", "--jobs", "two"], "--jobs wants a whole number from 1 up, but two"),
        (["--grid.seed", "[1]", "--name", "../out"], "leads out of lightning_logs"),
        (["--grid.seed", "[1]", "--output.path", "x.png"], "--output.path can't be given to a sweep"),
        (["--grid.seed", "[1]", "--ckpt_path", "last"], "--ckpt_path can't be given to a sweep"),
        (["--grid.seed", "[1]", "--sheet.sise", "3"], "no setting sheet.sise; there are sheet.title, sheet.size"),
        (["--grid.seed", "[1]", "--sheet.size", "8"], "sheet.size wants a whole number from 32 up, but 8"),
        (["--grid.seed", "[1]", "--sheet.steps", "10"], "sheet.steps wants a list of steps"),
        (["--grid.seed", "[1]", "--sheet.steps", "[10]"], "steps 10, but output.every_n_steps is not set"),
        (["--config", "stary", "--grid.seed", "[1]"], "did you mean configs/starry.yaml"),
        (["--config", "sweeps/init", "--grid.seed", "[1]"], "did you mean configs/sweeps/inits.yaml"),
        (["--config", "inits", "--config", "optimizers"], "names two sweeps"),
        (["--config", "key.yaml"], "key.yaml has the key 'option'; .*Did you mean options"),
        (["--config", "list.yaml"], "grid in list.yaml wants a mapping"),
        (["--config", "number.yaml"], "config in number.yaml wants a file or a list of files, but 2024 was given"),
        (["--config", "path.yaml"], "output.path can't be an option of path.yaml"),
        (["--gird.seed", "[1]", "--grid.seed", "[1]"], "there is no option --gird.seed"),
        (["--grid.style-weight", "[2, 8]"], "did you mean style_weight"),
        (["--grid.model.style.wieght", "[1]"], "did you mean weight"),
        (["--grid.seed", "[1]", "--data.steps", "many"], "data.steps: expected int"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_written(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("key.yaml").write_text("grid: {seed: [1]}\noption: {size: 3}\n")
    Path("number.yaml").write_text("grid: {seed: [1]}\nconfig: 2024\n")
    Path("list.yaml").write_text("grid: [seed]\n")
    Path("path.yaml").write_text("grid: {seed: [1]}\noptions: {output.path: x.png}\n")
    assert main(["sweep", *words]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("nst: ")]
    assert re.search(message, line)
    assert not Path("lightning_logs").exists()


def test_fit_sends_a_sweep_to_its_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--config", "inits"]) == 2
    assert "start it by nst sweep --config" in capsys.readouterr().err


def test_a_broken_file_is_a_users_mistake() -> None:
    Path("broken.yaml").write_text("grid: {seed: [1")
    with pytest.raises(UserError, match="not valid YAML"):
        read_sweep_request(["--config", "broken.yaml"])
