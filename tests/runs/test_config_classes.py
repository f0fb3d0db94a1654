"""A config makes objects of the expected kind, and calls nothing else: it may be a stranger's."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from nst_lightning.cli.main import main
from tests.helpers.callables import MARK

HERE = "tests.helpers.callables"
LAMBDA = "lightning.pytorch.callbacks.LambdaCallback"
SCHEDULE = "torch.optim.lr_scheduler.LambdaLR"
TOUCH = f"touch {MARK}"


def spec(path: str, **arguments: Any) -> dict[str, Any]:
    return {"class_path": path, "init_args": arguments}


def callback(**hooks: Any) -> str:
    return json.dumps([spec(LAMBDA, **hooks)])


SHELL = spec("os.system", command=TOUCH)
REFUSED = {
    "a shell": ("--model.optimizer", SHELL, "may not name os.system"),
    "a shell by another name": ("--model.optimizer", spec("torch.os.system", command=TOUCH), "may not name"),
    "a shell by its own module": ("--model.optimizer", spec("posix.system", command=TOUCH), "may not name"),
    "a shell, dotted": ("--model.init_args.optimizer", SHELL, "may not name os.system"),
    "eval": ("--model.optimizer", spec("builtins.eval", source="1"), "may not name builtins.eval"),
    "exec": (
        "--model.optimizer",
        {"class_path": "builtins.exec", "dict_kwargs": {"source": "1"}},
        "may not name builtins.exec",
    ),
    "a process": (
        "--model.optimizer",
        {"class_path": "subprocess.run", "dict_kwargs": {"args": TOUCH.split()}},
        "may not name subprocess.run",
    ),
    "a process's class": (
        "--model.lr_scheduler",
        spec("subprocess.Popen", args=TOUCH.split()),
        "may not name subprocess.Popen",
    ),
    "a partial": ("--model.optimizer", spec("functools.partial"), "may not name functools.partial"),
    "a hub": (
        "--model.optimizer",
        spec("torch.hub.load", repo_or_dir=".", model="x", source="local"),
        "expected Optimizer.*but torch.hub.load was given",
    ),
    "a pickle": ("--model.optimizer", spec("torch.load", f="x", weights_only=False), "but torch.load was given"),
    "a function": ("--model.optimizer", spec(f"{HERE}.anything"), "expected Optimizer.*anything was given"),
    "a function's name": ("--model.optimizer", f"{HERE}.unannotated", "expected Optimizer.*unannotated was given"),
    "a maker of functions": ("--model.optimizer", spec(f"{HERE}.make_maker"), "expected Optimizer.*was given"),
    "a callable": ("--model.optimizer", spec(f"{HERE}.Caller"), "expected Optimizer.*Caller was given"),
    "another class": ("--model.optimizer", "torch.nn.Linear", "expected Optimizer.*but torch.nn.Linear was given"),
    "a schedule": ("--model.lr_scheduler", SHELL, "model.lr_scheduler: a config may not name os.system"),
    "a schedule's function": ("--model.lr_scheduler", spec(SCHEDULE, lr_lambda=SHELL), "may not name os.system"),
    "a schedule's own function": (
        "--model.lr_scheduler",
        spec(SCHEDULE, lr_lambda=spec(f"{HERE}.anything")),
        "lr_lambda: expected float, or a function annotated to return it",
    ),
    "a schedule's callable": (
        "--model.lr_scheduler",
        spec(SCHEDULE, lr_lambda=spec(f"{HERE}.Caller")),
        "lr_lambda: expected float",
    ),
    "an abort": ("--model.lr_scheduler", spec(SCHEDULE, lr_lambda="os.abort"), "may not name os.abort"),
    "a setting": ("--model.optimizer", spec("torch.optim.Adam", lr=SHELL), "may not name os.system"),
    "a hook": ("--trainer.callbacks", callback(setup=SHELL), "setup: a config may not name os.system"),
    "a hook's function": ("--trainer.callbacks", callback(setup=spec(f"{HERE}.anything")), "nothing may be named here"),
    "a hook's name": ("--trainer.callbacks", callback(setup=f"{HERE}.anything"), "nothing may be named here"),
    "a callback": ("--trainer.callbacks", json.dumps([SHELL]), "may not name os.system"),
    "a logger": ("--trainer.logger", SHELL, "may not name os.system"),
    "a loss": ("--model.extra_losses", json.dumps([spec(f"{HERE}.anything")]), "not correspond to a subclass of Loss"),
    "an encoder": ("--model.encoder", SHELL, "may not name os.system"),
    "data": ("--data", spec(f"{HERE}.anything"), "not correspond to a subclass"),
    "a checkpoint": (
        "--model",
        spec("nst_lightning.StyleTransfer.load_from_checkpoint", checkpoint_path="x"),
        "not correspond to a subclass",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("option", "value", "message"), REFUSED.values(), ids=REFUSED)
def test_nothing_of_another_kind_is_called(
    nst: Callable[..., int], capsys: pytest.CaptureFixture[str], option: str, value: Any, message: str
) -> None:
    assert nst(option, value if isinstance(value, str) else json.dumps(value)) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert re.search(message, said[0])
    assert not MARK.exists()


@pytest.mark.slow
def test_nothing_is_called_from_a_file_a_grid_or_beside_other_arguments(
    nst: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("x.yaml").write_text(yaml.safe_dump({"model": {"init_args": {"optimizer": SHELL}}}))
    Path("optimizer.yaml").write_text(yaml.safe_dump(SHELL))
    assert nst("--config", "x.yaml") == 2
    assert nst("--model.optimizer=os.system", f"--model.optimizer.command={TOUCH}") == 2
    assert nst("--model.optimizer.class_path=os.system", f"--model.optimizer.init_args.command={TOUCH}") == 2
    assert main(["sweep", "--grid.model.optimizer", json.dumps([SHELL])]) == 2
    assert main(["predict", "--trainer.callbacks", callback(setup=SHELL)]) == 2
    assert capsys.readouterr().err.count("may not name os.system") == 5
    assert nst("--model.optimizer", "optimizer.yaml") == 2
    assert not MARK.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--model.optimizer", "Adam"),
        ("--model.optimizer", f"{HERE}.some_optimizer"),
        ("--model.optimizer", json.dumps(spec("torch.optim.SGD", lr=0.5))),
        ("--model.lr_scheduler", json.dumps(spec("CosineAnnealingLR", T_max=9))),
        ("--model.lr_scheduler", json.dumps(spec(SCHEDULE, lr_lambda=f"{HERE}.half"))),
    ],
)
def test_what_is_of_the_kind_is_made(nst: Callable[..., int], option: str, value: str) -> None:
    assert nst(option, value) == 0
    assert Path("lightning_logs/starry/version_0/stylized.png").exists()
