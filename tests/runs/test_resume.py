"""Interrupted and resumed equals never interrupted, to the byte."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from nst_lightning.images.files import read_image
from tests.helpers.processes import Command
from tests.runs.conftest import fit_words

RUNS = Path("lightning_logs")


def picture(name: str) -> bytes:
    return next((RUNS / name).glob("version_*/stylized.png")).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("config", ["starry", "lbfgs"])
@pytest.mark.parametrize("step", [1, 3, 4, 5, 7], ids=lambda step: f"step{step}")
def test_resume_is_exact_from_any_step(config: str, step: int, nst: Callable[..., int]) -> None:
    """Level 1 ends with step 4; 7 is the last step of all."""
    assert nst("--name", "whole", config=config) == 0
    assert nst("--name", "cut", "--trainer.max_steps", str(step), config=config) == 0
    assert nst("--name", "cut", "--ckpt_path", "last", config=config) == 0
    assert picture("cut") == picture("whole")
    assert [path.name for path in (RUNS / "cut").iterdir()] == ["version_0"]  # the same run goes on


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 4, 5])
def test_resume_is_exact_from_a_painting_in_one_pass(step: int, nst: Callable[..., int]) -> None:
    init = ["--data.init", "one_pass"]
    assert nst(*init, "--name", "whole") == 0
    assert nst(*init, "--name", "again") == 0
    assert nst(*init, "--name", "cut", "--trainer.max_steps", str(step)) == 0
    assert nst(*init, "--name", "cut", "--ckpt_path", "last") == 0
    assert picture("cut") == picture("whole") == picture("again")
    assert "init: one_pass" in next((RUNS / "cut").glob("version_*/config.yaml")).read_text()
    assert nst("--name", "plain") == 0
    assert picture("plain") != picture("whole")


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize("config", ["starry", "lbfgs"])
def test_kill_9_and_resume_is_exact(
    config: str, nst: Callable[..., int], encoder_file: str, content: str, style: str
) -> None:
    """All three runs are processes of their own with one thread each: the order of sums depends on the threads."""
    del nst  # for its folder
    words = fit_words(config, encoder_file, content, style)
    words += ["--model.decay", "1"]  # else the learning rate follows the length of the level, which is changed below
    checkpoint = RUNS / "killed" / "version_0" / "checkpoints" / "last.ckpt"
    start = [*words, "--data.steps", "[40, 3000]", "--checkpoint.every_n_steps", "7", "--name", "killed"]
    killed = Command(start)
    deadline = time.monotonic() + 60
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.2)
    killed.process.kill()
    assert killed.end()[0] == -signal.SIGKILL
    reached = torch.load(checkpoint, weights_only=True)["global_step"]
    assert 0 < reached < 3040
    # Long enough that the kill hits the middle, short enough for a test: the level's end is moved closer.
    rest = [*words, "--data.steps", f"[40, {reached + 5}]", "--checkpoint.every_n_steps", "1000"]
    for options in (["--name", "killed", "--ckpt_path", "last"], ["--name", "whole"]):
        code, said = Command([*rest, *options]).end()
        assert code == 0, said
    assert picture("killed") == picture("whole")


@pytest.mark.slow
def test_from_an_earlier_checkpoint_a_new_run_begins_and_what_came_after_it_stays(nst: Callable[..., int]) -> None:
    assert nst("--name", "whole", "--checkpoint.keep_all", "true", "--checkpoint.every_n_steps", "2") == 0
    run = RUNS / "whole" / "version_0"
    made = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name[0] != "."}
    checkpoint = run / "checkpoints" / "step000004.ckpt"
    assert nst("--name", "whole", "--ckpt_path", str(checkpoint)) == 0
    assert {path: path.read_bytes() for path in made} == made
    assert (RUNS / "whole" / "version_1" / "stylized.png").read_bytes() == made[run / "stylized.png"]
    (run / "checkpoints" / "last.ckpt").unlink()  # nothing came after it
    assert nst("--name", "whole", "--ckpt_path", str(checkpoint)) == 0
    assert not (RUNS / "whole" / "version_2").exists()


def test_without_the_average_the_result_is_the_last_iterate(nst: Callable[..., int]) -> None:
    assert nst("--model.average", "0.99", "--trainer.max_steps", "5") == 0
    assert nst("--model.average", "0", "--ckpt_path", "last") == 0
    run = RUNS / "starry" / "version_0"
    last = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]["image"]
    difference = read_image(str(run / "stylized.png")).pixels - last
    assert float(difference.abs().max()) <= 0.5001 / 255


@pytest.mark.slow
def test_a_precision_that_was_changed_holds(nst: Callable[..., int]) -> None:
    assert nst("--trainer.precision", "64-true", "--trainer.max_steps", "5", "--model.average", "0.9") == 0
    assert nst("--model.average", "0.9", "--trainer.precision", "32-true", "--ckpt_path", "last") == 0
    checkpoint = torch.load(RUNS / "starry/version_0/checkpoints/last.ckpt", weights_only=True)
    kinds = {tensor.dtype for tensor in tensors(checkpoint) if tensor.is_floating_point()}
    assert kinds == {torch.float32}


@pytest.mark.slow
def test_a_refused_resume_leaves_no_config_behind(nst: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    """The latest config says what the picture was painted with."""
    assert nst("--trainer.max_steps", "5") == 0
    assert nst("--data.style", "sample:mosaic", "--model.style.weight", "7", "--ckpt_path", "last") == 2
    assert "changed settings" not in capsys.readouterr().err
    assert [path.name for path in (RUNS / "starry/version_0").glob("config*")] == ["config.yaml"]


def test_checkpoint_holds_primitives_and_the_pictures_state_only(nst: Callable[..., int]) -> None:
    assert nst("--name", "run") == 0
    checkpoint = torch.load(RUNS / "run/version_0/checkpoints/last.ckpt", weights_only=True)
    assert list(checkpoint["state_dict"]) == ["image"]
    assert "hyper_parameters" not in checkpoint
    floats = sum(t.numel() for t in tensors(checkpoint))
    assert floats <= 5 * checkpoint["state_dict"]["image"].numel() + 10  # image, average, last good, two moments


def tensors(value: object) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [tensor for part in parts for tensor in tensors(part)]


@pytest.mark.slow
def test_the_learning_rate_typed_on_resume_is_used(nst: Callable[..., int]) -> None:
    assert nst("--trainer.max_steps", "5") == 0
    assert nst("--ckpt_path", "last", "--model.optimizer.lr", "0.005") == 0
    checkpoint = torch.load(RUNS / "starry/version_0/checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["optimizer_states"][0]["param_groups"][0]["lr"] == 0.005


@pytest.mark.slow
def test_changed_settings_are_said_and_the_earlier_config_is_kept(
    nst: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert nst("--trainer.max_steps", "5") == 0
    before = (RUNS / "starry/version_0/config.yaml").read_bytes()
    assert nst("--ckpt_path", "last", "--model.style.weight", "7") == 0
    said = capsys.readouterr().err
    assert "model.style.weight 20.0 → 7.0" in said
    assert (RUNS / "starry/version_0/config.yaml").read_bytes() == before
    assert (RUNS / "starry/version_0/config-2.yaml").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--ckpt_path", "last", "--name", "other"], "found no checkpoint below"),
        (["--ckpt_path", "lightning_logs/starry/version_0/checkpoints/lost.ckpt"], "did you mean .*last.ckpt"),
        (["--ckpt_path", "last", "--model.encoder.weights", "random"], "other encoder weights"),
        (["--ckpt_path", "last", "--data.content", "sample:town"], "other content or style pictures"),
        (["--ckpt_path", "last", "--data.sizes", "[20, 34]"], "restore data.size and data.steps"),
        (["--ckpt_path", "last", "--model.optimizer", "torch.optim.LBFGS"], "state of OpponentAdam.*asks for LBFGS"),
    ],
)
def test_what_cannot_be_resumed_is_refused(
    options: list[str], message: str, nst: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert nst("--trainer.max_steps", "3") == 0
    before = (RUNS / "starry/version_0/checkpoints/last.ckpt").read_bytes()
    capsys.readouterr()
    assert nst(*options) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("nst: ")]
    assert len(lines) == 1
    import re

    assert re.search(message, lines[0])
    assert (RUNS / "starry/version_0/checkpoints/last.ckpt").read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize("options", [["--data.content", "sample:town"], ["--data.preserve_color", "luminance"]])
def test_a_finished_run_is_not_written_over_with_other_pictures(options: list[str], nst: Callable[..., int]) -> None:
    assert nst() == 0
    before = picture("starry")
    assert nst(*options, "--ckpt_path", "last") == 2
    assert picture("starry") == before


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_run_after_its_step_and_it_resumes_exactly(
    number: signal.Signals, nst: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from nst_lightning.tasks import StyleTransfer

    assert nst("--name", "whole") == 0
    plain = StyleTransfer.training_step

    def interrupted(self: StyleTransfer, batch: object, batch_idx: int) -> torch.Tensor:
        if batch_idx == 2:
            signal.raise_signal(number)
        return plain(self, batch, batch_idx)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(StyleTransfer, "training_step", interrupted)
        assert nst("--name", "cut") == 128 + number
    assert "stopped at step 3 of 7; continue with the same command and --ckpt_path last" in capsys.readouterr().err
    assert nst("--name", "cut", "--ckpt_path", "last") == 0
    assert picture("cut") == picture("whole")


@pytest.mark.slow
@pytest.mark.parametrize("listens", [False, True], ids=["alone", "within a program that listens"])
def test_a_signal_during_the_last_step_finds_a_complete_run(
    listens: bool, nst: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only who has a handler for it, as `nst batch` has, is told: it has more to stop."""
    from nst_lightning.tasks import StyleTransfer

    plain = StyleTransfer.training_step

    def interrupted(self: StyleTransfer, batch: object, batch_idx: int) -> torch.Tensor:
        if batch_idx == 6:
            signal.raise_signal(signal.SIGTERM)
        return plain(self, batch, batch_idx)  # type: ignore[arg-type]

    monkeypatch.setattr(StyleTransfer, "training_step", interrupted)
    handler = (lambda *_: None) if listens else signal.SIG_DFL
    before = signal.signal(signal.SIGTERM, handler)
    try:
        assert nst() == (143 if listens else 0)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert "stopped" not in capsys.readouterr().err
    assert torch.load(RUNS / "starry/version_0/checkpoints/last.ckpt", weights_only=True)["global_step"] == 7


@pytest.mark.slow
@pytest.mark.parametrize(
    "longer", [["--data.steps", "[4, 9]"], ["--data.sizes", "[24, 34, 48]", "--data.steps", "[4, 3, 2]"]]
)
def test_a_finished_run_can_be_continued_under_a_longer_schedule(longer: list[str], nst: Callable[..., int]) -> None:
    """As if it had been longer from the start, where the rate depends neither on a level's length nor on the finest."""
    even = ["--model.decay", "1.0", "--model.full_lr_size", "null"]
    assert nst("--name", "whole", *even, *longer) == 0
    assert nst("--name", "grown", *even) == 0
    assert nst("--name", "grown", *even, *longer, "--ckpt_path", "last") == 0
    assert picture("grown") == picture("whole")


@pytest.mark.slow
def test_a_finished_run_resumed_writes_its_picture_where_asked(nst: Callable[..., int]) -> None:
    assert nst() == 0
    assert nst("--ckpt_path", "last", "--output.path", "again.png") == 0
    assert Path("again.png").read_bytes() == picture("starry")


@pytest.mark.slow
def test_another_name_forks_the_run(nst: Callable[..., int]) -> None:
    assert nst("--trainer.max_steps", "5") == 0
    before = picture("starry")
    checkpoint = RUNS / "starry/version_0/checkpoints/last.ckpt"
    assert nst("--name", "fork", "--ckpt_path", str(checkpoint)) == 0
    assert picture("starry") == before
    assert picture("fork") != before


@pytest.mark.slow
def test_the_settings_in_force_are_not_a_change(nst: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    weight = ["--model.style.weight", "7"]
    assert nst("--trainer.max_steps", "5") == 0
    assert nst("--trainer.max_steps", "6", *weight, "--ckpt_path", "last") == 0
    capsys.readouterr()
    assert nst("--trainer.max_steps", "6", *weight, "--ckpt_path", "last") == 0
    assert "changed settings" not in capsys.readouterr().err
    assert nst("--trainer.max_steps", "6", "--ckpt_path", "last") == 0
    assert "weight 7.0 → 20.0" in capsys.readouterr().err
