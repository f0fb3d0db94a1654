"""Old class paths in configs, on command lines and in Python."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from nst_lightning.runs.fit_command import resolve_settings
from nst_lightning.runs.saved_config import changed_settings
from nst_lightning.utils import renamed
from nst_lightning.utils.renamed import RENAMED, current_path, with_current_arguments, with_current_paths

TEACHER, OLD_TEACHER = "nst_lightning.tasks.distillation.Teacher", "nst_lightning.encoders.Teacher"
SHOWN = "nst_lightning.callbacks.tensorboard.StylizedImages"
OLD_SHOWN = "nst_lightning.callbacks.stylized.StylizedPictures"


@pytest.fixture(autouse=True)
def _renamed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if TransferData had once been called ImageData."""
    monkeypatch.setitem(RENAMED, "nst_lightning.data.ImageData", "nst_lightning.data.TransferData")
    renamed._warn_once.cache_clear()
    yield
    renamed._warn_once.cache_clear()


def test_every_new_path_exists() -> None:
    for new in RENAMED.values():
        module, _, name = new.rpartition(".")
        assert hasattr(importlib.import_module(module), name) or importlib.import_module(new)


def test_a_moved_module_and_a_renamed_class_follow_each_other() -> None:
    assert "nst_lightning.callbacks.stylized" in RENAMED
    assert current_path(OLD_SHOWN) == SHOWN
    assert current_path("torch.optim.Adam") == "torch.optim.Adam"


def test_an_old_path_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "nst_lightning"):
        for _ in range(2):
            assert current_path(OLD_TEACHER) == TEACHER
    assert caplog.messages == [f"{OLD_TEACHER} is now called {TEACHER}; the old name goes with the next release."]


def test_settings_are_renamed_wherever_they_are_nested() -> None:
    old = {
        "model": {"class_path": "EncoderDistillation", "init_args": {"teacher": {"class_path": OLD_TEACHER}}},
        "data": "ImageData",
        "trainer": {"callbacks": [{"class_path": OLD_SHOWN}, OLD_SHOWN], "max_steps": 3},
        "name": "ImageData",
    }
    assert with_current_paths(old) == {
        "model": {"class_path": "EncoderDistillation", "init_args": {"teacher": {"class_path": TEACHER}}},
        "data": "nst_lightning.data.TransferData",
        "trainer": {"callbacks": [{"class_path": SHOWN}, SHOWN], "max_steps": 3},
        "name": "ImageData",  # no class
    }


def test_arguments_are_renamed_in_both_forms() -> None:
    data = "nst_lightning.data.TransferData"
    old = ["--data", "ImageData", "--data=ImageData", "--data.class_path", "ImageData", "--name", "ImageData"]
    assert with_current_arguments(old) == [
        *("--data", data, f"--data={data}", "--data.class_path", data, "--name", "ImageData")
    ]
    assert with_current_arguments(["--data.help=ImageData", "--help"]) == [f"--data.help={data}", "--help"]
    assert with_current_arguments([f"--model.teacher={OLD_TEACHER}", f"--trainer.callbacks+={OLD_SHOWN}"]) == [
        *(f"--model.teacher={TEACHER}", f"--trainer.callbacks+={SHOWN}")
    ]


def test_a_kept_config_with_old_paths_is_unchanged() -> None:
    before = {"data": {"class_path": "nst_lightning.data.ImageData", "init_args": {"size": 96}}}
    after = {"data": {"class_path": "nst_lightning.data.TransferData", "init_args": {"size": 96}}}
    assert changed_settings(before, after) == []
    after["data"]["init_args"]["size"] = 128
    assert changed_settings(before, after) == ["data.size 96 → 128"]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["config", "option", "name alone", "mapping"])
def test_a_run_takes_old_paths(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = {
        "config": ["--config", "old.yaml"],
        "option": ["--data=nst_lightning.data.ImageData", "--data.size=96"],
        "name alone": ["--data", "ImageData", "--data.size", "96"],
        "mapping": ["--data", "{class_path: nst_lightning.data.ImageData, init_args: {size: 96}}"],
    }
    settings = resolve_settings(["fit", "--config", "starry"])
    settings_path = settings["data"]["class_path"]  # as this jsonargparse shortens it
    settings["data"]["class_path"] = "nst_lightning.data.ImageData"
    settings["data"]["init_args"]["size"] = 96
    settings["trainer"]["callbacks"] = [{"class_path": OLD_SHOWN}]
    Path("old.yaml").write_text(yaml.safe_dump(settings))
    found = resolve_settings(["fit", *options[form], f"--trainer.callbacks+={OLD_SHOWN}"])
    assert found["data"]["class_path"] == settings_path
    assert found["data"]["init_args"]["size"] == 96
    assert {callback["class_path"] for callback in found["trainer"]["callbacks"]} == {SHOWN}


@pytest.mark.slow
def test_a_nested_class_may_have_an_old_path() -> None:
    teacher = f"{{class_path: {OLD_TEACHER}, init_args: {{model: squeezenet1_1, layers: [features.1]}}}}"
    settings = resolve_settings(["fit", "--config", "distill_compact", "--model.teacher", teacher])
    found = settings["model"]["init_args"]["teacher"]
    assert found["class_path"] == TEACHER
    assert found["init_args"]["layers"] == ["features.1"]


def test_from_python() -> None:
    import nst_lightning.encoders
    from nst_lightning.tasks.distillation import Teacher

    with pytest.warns(DeprecationWarning, match="is now nst_lightning.tasks.distillation.Teacher"):
        assert nst_lightning.encoders.Teacher is Teacher
    with pytest.raises(AttributeError, match="no attribute 'Pupil'"):
        _ = nst_lightning.encoders.Pupil
