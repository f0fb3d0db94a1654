"""Completion of commands and options by the shell."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from nst_lightning.cli.completion import completion_script
from nst_lightning.cli.main import COMMANDS, main

pytest.importorskip("shtab")


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Script for bash, in a file."""
    text = completion_script("bash", {name: command.summary for name, command in COMMANDS.items()})
    file = tmp_path_factory.mktemp("completion") / "nst.bash"
    file.write_text(text)
    return str(file)


def completed(script: str, *words: str, folder: Path) -> set[str]:
    """Return what bash offers for the last word."""
    program = (
        f"source {script}; COMP_WORDS=(nst {' '.join(map(repr, words))}); COMP_CWORD={len(words)}; "
        "_nst; printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True, cwd=folder)
    return set(done.stdout.split())


@pytest.mark.processes
@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash_completes_commands_options_and_files(script: str, tmp_path: Path) -> None:
    (tmp_path / "photo.png").touch()
    assert completed(script, "", folder=tmp_path) == {*COMMANDS, "photo.png"}  # or a picture
    assert completed(script, "sw", folder=tmp_path) == {"sweep"}
    assert completed(script, "pho", folder=tmp_path) == {"photo.png"}
    assert completed(script, "photo.png", "", folder=tmp_path) == {"photo.png"}  # no command comes after one
    assert completed(script, "photo.png", "s", folder=tmp_path) == set()
    assert completed(script, "photo.png", "photo.png", "--data.siz", folder=tmp_path) == {"--data.size", "--data.sizes"}
    assert completed(script, "photo.png", "photo.png", "--qual", folder=tmp_path) == {"--quality"}
    assert completed(script, "fit", "--data.siz", folder=tmp_path) == {"--data.size", "--data.sizes"}
    assert "--model.style.weight" in completed(script, "batch", "--model.style.", folder=tmp_path)
    assert {"--trainer.max_steps", "--trainer.max_time"} <= completed(script, "fit", "--trainer.max_", folder=tmp_path)
    assert completed(script, "predict", "--model.stre", folder=tmp_path) == {"--model.strength"}
    assert completed(script, "video", "--keep", folder=tmp_path) == {"--keep_frames"}
    assert completed(script, "--qual", folder=tmp_path) == {"--quality"}
    assert completed(script, "fit", "--data.content", "pho", folder=tmp_path) == {"photo.png"}
    assert completed(script, "compare", "pho", folder=tmp_path) == {"photo.png"}


@pytest.mark.processes
@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
@pytest.mark.parametrize("name", ["nst", "nst-lightning"])
def test_bash_completes_by_both_names(name: str, script: str) -> None:
    done = subprocess.run(["bash", "-c", f"source {script}; complete -p {name}"], capture_output=True, text=True)
    assert done.stdout.split()[-1] == name
    assert "-o default" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "tcsh", "powershell"])
def test_there_is_a_script_for_each_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"--print_completion={shell}"]) == 0
    shown = capsys.readouterr().out
    assert "--data.size" in shown
    assert all(name in shown for name in COMMANDS)


def test_another_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--print_completion", "bsh"], ["--print_completion"]):
        assert main(words) == 2
        assert "--print_completion: expected one of bash, zsh" in capsys.readouterr().err
