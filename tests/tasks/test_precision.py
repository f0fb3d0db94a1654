"""What precision a run gets when none is asked for."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer

from nst_lightning import StyleTransfer, TransferData, UserError
from nst_lightning.callbacks.checkpoint import CheckpointWriter
from nst_lightning.callbacks.run_folder import RunFolder
from nst_lightning.runs.trainer import build_trainer
from nst_lightning.tasks import precision
from nst_lightning.tasks.precision import default_precision, native_bfloat16
from tests.tasks.test_style_transfer import QUIET, make_model, run


def test_a_precision_that_makes_no_sense_is_one_line_with_a_plain_trainer(
    encoder_file: str, content: str, style: str
) -> None:
    trainer = Trainer(accelerator="cpu", precision="bf16-true", logger=False, enable_checkpointing=False)
    with pytest.raises(UserError, match=r"trainer.precision: expected one of 32-true, .*, found bf16-true; change"):
        trainer.fit(make_model(encoder_file), TransferData(content, style, sizes=[24], steps=1))


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx512_bf16": True, "amx_bf16": False}, True),
        ({"avx512_bf16": False, "amx_bf16": True}, True),
        ({"avx512_bf16": False, "amx_bf16": False, "avx2": True}, False),
        ({}, False),
    ],
)
def test_native_bfloat16_is_what_the_processor_says(
    capabilities: dict[str, bool], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert native_bfloat16() is expected


@pytest.mark.parametrize(
    ("accelerator", "lbfgs", "native", "expected"),
    [
        ("cpu", False, True, "bf16-mixed"),
        ("cpu", False, False, "32-true"),
        ("cpu", True, True, "32-true"),
        ("cuda", False, True, "32-true"),
        ("mps", False, True, "32-true"),
    ],
)
def test_the_default(
    accelerator: str, lbfgs: bool, native: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "native_bfloat16", lambda: native)
    assert default_precision(accelerator, lbfgs=lbfgs) == expected


@pytest.mark.parametrize(("gpu", "expected"), [(False, "bf16-mixed"), (True, "32-true")])
def test_auto_is_the_cpu_where_there_is_nothing_else(gpu: bool, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "native_bfloat16", lambda: True)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: gpu)
    assert default_precision("auto", lbfgs=False) == expected


@pytest.fixture
def native(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(precision, "native_bfloat16", lambda: True)
    return monkeypatch


@pytest.mark.slow
@pytest.mark.usefixtures("native")
@pytest.mark.parametrize(
    ("changes", "settings", "expected"),
    [
        ({}, {}, torch.bfloat16),
        ({}, {"precision": "32-true"}, torch.float32),
        ({"optimizer": partial(torch.optim.LBFGS, max_iter=1), "clamp": "never", "average": 0.0}, {}, torch.float32),
    ],
)
def test_a_run_without_a_precision_takes_the_default(
    changes: dict[str, Any],
    settings: dict[str, Any],
    expected: torch.dtype,
    encoder_file: str,
    content: str,
    style: str,
    tmp_path: Path,
) -> None:
    model = make_model(encoder_file, **changes)
    run(model, TransferData(content, style, sizes=[24], steps=1), tmp_path, **settings)
    assert model.encoder.dtype == expected
    assert model.image.dtype == torch.float32


@pytest.mark.slow
def test_a_checkpoints_precision_is_kept_on_another_machine(
    encoder_file: str, content: str, style: str, tmp_path: Path, native: pytest.MonkeyPatch
) -> None:
    data = TransferData(content, style, sizes=[24], steps=4)
    whole = run(make_model(encoder_file), data, tmp_path, name="whole")
    run(make_model(encoder_file), data, tmp_path, name="cut", max_steps=2)
    native.setattr(precision, "native_bfloat16", lambda: False)
    model = make_model(encoder_file)
    assert torch.equal(run(model, data, tmp_path, name="cut", ckpt_path="last"), whole)
    assert model.encoder.dtype == torch.bfloat16


@pytest.mark.usefixtures("native")
def test_a_checkpoint_that_does_not_say_is_of_float32(encoder_file: str, tmp_path: Path) -> None:
    """Those of version 0.1, whose default that was."""
    torch.save({"style_transfer": {"level": 0}}, tmp_path / "old.ckpt")
    model: StyleTransfer = make_model(encoder_file)
    settings: dict[str, Any] = {**QUIET, "callbacks": [CheckpointWriter()], "default_root_dir": tmp_path}
    trainer: Trainer = build_trainer(model, RunFolder(tmp_path, "run"), checkpoint=tmp_path / "old.ckpt", **settings)
    assert trainer.precision == "32-true"
