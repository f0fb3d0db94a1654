"""The table of commands, and what is answered before torch is imported."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

from nst_lightning.cli.main import COMMANDS, HELP, main


def test_each_command_has_a_home_and_is_in_the_help() -> None:
    assert list(COMMANDS) == ["fit", "sweep", "batch", "video", "predict", "export", "compare", "app"]
    for name, command in COMMANDS.items():
        module, _, function = command.home.rpartition(".")
        assert callable(getattr(import_module(module), function))
        assert f"nst {name} {command.usage}\n" in HELP
        assert f"\n  {name:<12} {command.summary}\n" in HELP


def test_there_is_no_other_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["paint"]) == 2
    assert (
        capsys.readouterr().err
        == f"nst: there is no command 'paint'; the commands are {', '.join(COMMANDS)} (see nst --help).\n"
    )


SHOWN = {
    "sweep": [
        "--grid.OPTION VALUES",
        "--sheet.size PIXELS",
        "(256)",
        "seed (seed_everything)",
        "--jobs N",
        "Exit code: 0",
    ],
    "batch": [
        "--contents PLACES",
        "--match WAY",
        "torchrun --nproc-per-node 8",
        "seed (seed_everything)",
        "Exit code: 0",
    ],
    "video": ["--frame_steps N", "(40)", "(0.3)", "(100)", "(auto)", "--keep_frames", "Exit code: 0"],
    "app": ["--host ADDRESS", "(127.0.0.1: this machine only)", "(7860)", "(2048)", "(25000000)", "(30)"],
}


@pytest.mark.processes
@pytest.mark.parametrize("name", SHOWN)
def test_help_does_not_import_torch_and_wins_over_mistakes(name: str) -> None:
    program = (
        "import sys; from nst_lightning.cli.main import main\n"
        f"try:\n    main([{name!r}, '--config', '--help'])\n"
        "except SystemExit as stop:\n    assert not stop.code\n"
        "sys.exit('torch' in sys.modules or 'lightning' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: nst {name} ")
    assert all(part in done.stdout for part in SHOWN[name])
