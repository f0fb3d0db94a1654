"""Home folders, variables and classes of the current folder: what is written in one place is found there again."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nst_lightning.runs.resume import expand_name


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PROJECT", "birds")
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.mark.slow
def test_a_run_is_found_again_where_it_was_written(nst: Callable[..., int], home: Path) -> None:
    (home / "mine.yaml").write_text("trainer: {default_root_dir: ~/runs}\nname: $PROJECT-1\n")
    options = ("--config=~/mine.yaml", "--output.path", "$HOME/${PROJECT}.png")
    assert nst(*options, "--trainer.max_steps", "2") == 0
    run = home / "runs/lightning_logs/birds-1/version_0"
    assert {path.name for path in run.iterdir()} >= {"stylized.png", "checkpoints", "config.yaml"}
    assert list(run.glob("events*"))
    assert (home / "birds.png").exists()
    assert nst(*options, "--ckpt_path", "last") == 0
    assert [path.name for path in run.parent.iterdir()] == ["version_0"]
    assert not list(Path().glob("*"))  # nothing in the working folder


@pytest.mark.slow
def test_loggers_and_callbacks_find_home_too(nst: Callable[..., int], home: Path) -> None:
    logger = "{class_path: CSVLogger, init_args: {save_dir: ~/logs, name: $PROJECT}}"
    assert nst("--trainer.logger", logger, "--trainer.log_every_n_steps", "1") == 0
    assert list((home / "logs").rglob("metrics.csv"))
    assert not Path("~").exists()


@pytest.mark.slow
def test_a_folder_with_a_dollar_sign_in_its_name_is_what_it_is(nst: Callable[..., int], home: Path) -> None:
    Path("$PROJECT").mkdir()
    assert nst("--trainer.default_root_dir", "$PROJECT", "--output.path", "$PROJECT/out.png") == 0
    assert Path("$PROJECT/out.png").exists()
    run = Path("$PROJECT/lightning_logs/starry/version_0")
    assert (run / "stylized.png").exists()
    assert list(run.glob("events*"))


def test_a_name_stays_below_the_folder_of_runs(home: Path) -> None:
    assert expand_name("$PROJECT/a") == "birds/a"
    for name in ("~/x", "$HOME", "../x", "a/../../x"):
        with pytest.raises(ValueError, match="leads out of lightning_logs"):
            expand_name(name)


@pytest.mark.slow
@pytest.mark.parametrize(
    "place", ["--model.extra_losses+=own.Tint", "--model own.Task", "--trainer.callbacks+=own.Bell"]
)
def test_classes_of_the_current_folder_are_found(
    place: str, nst: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("own.py").write_text(
        "from lightning.pytorch import Callback\n"
        "from nst_lightning import StyleTransfer, TotalVariationLoss\n"
        "class Tint(TotalVariationLoss):\n"
        "    def __init__(self) -> None:\n"
        "        super().__init__(weight=0.1)\n"
        "        self.name = 'tint'\n"
        "class Task(StyleTransfer):\n    '''Mine.'''\n"
        "class Bell(Callback):\n    '''Mine.'''\n"
    )
    here = str(Path.cwd())
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", here)])  # as of a script
    monkeypatch.delitem(sys.modules, "own", raising=False)
    assert nst(*place.split(), "--trainer.max_steps", "1") == 0, capsys.readouterr().err
    assert sys.path[-1] == here  # last: it takes no installed module's place
    monkeypatch.delitem(sys.modules, "own")
