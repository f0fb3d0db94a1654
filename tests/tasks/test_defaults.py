"""One set of defaults: those of the classes, the default config, the page and the short command."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nst_lightning import ContentLoss, GramStyleLoss, StyleTransfer, TransferData, fit
from nst_lightning.app.job_request import PaintOptions
from nst_lightning.cli.main import main
from nst_lightning.cli.pictures import read_pictures
from nst_lightning.data.schedule import FIRST_STEPS, STEPS
from nst_lightning.encoders import VGG19
from nst_lightning.runs.fit_command import resolve_settings

PICTURES = ("sample:town", "sample:starry")


def class_defaults(kind: type) -> dict[str, Any]:
    """Return the defaults of a constructor's arguments, of those that have one."""
    parameters = inspect.signature(kind).parameters
    return {name: p.default for name, p in parameters.items() if p.default is not inspect.Parameter.empty}


@pytest.mark.slow
def test_the_page_and_the_short_command_paint_as_the_default_config_does() -> None:
    default = resolve_settings(["fit"])
    assert resolve_settings(read_pictures(PICTURES)[0]) == default
    page = resolve_settings(PaintOptions().argv(*PICTURES, "picture.png"))
    assert page.pop("output") == {**default.pop("output"), "path": "picture.png"}
    assert page == default


def test_the_classes_have_the_numbers_of_the_default_config() -> None:
    settings = resolve_settings(["fit"])
    model, data = settings["model"]["init_args"], settings["data"]["init_args"]
    task = StyleTransfer()
    assert (task.encoder.weights_name, task.encoder.padding) == ("vgg19", "replicate")
    written = {"weights": "vgg19", "padding": "replicate"}
    assert model["encoder"]["init_args"] == {**class_defaults(VGG19), **written}
    losses = {loss.name: loss for loss in task.objective.losses}
    for name, key in (("content", "content"), ("style", "style"), ("tv", "variation")):
        assert type(losses[name]).__name__ == model[key]["class_path"].rsplit(".", 1)[1]
        for setting, value in model[key]["init_args"].items():
            if setting == "layers":
                equal = {layer: 1 / len(value) for layer in value} if isinstance(value, list) else value
                assert losses[name].layer_weights == pytest.approx(equal)
            else:
                assert getattr(losses[name], setting) == ({} if setting == "up_to" and value is None else value)
    optimizer = task.optimizer([task.image])
    assert type(optimizer).__name__ == model["optimizer"]["class_path"].rsplit(".", 1)[1]
    for setting, value in model["optimizer"]["init_args"].items():
        assert np.array_equal(optimizer.param_groups[0][setting], value)
    signature = class_defaults(StyleTransfer)
    for setting in set(model) - {"encoder", "content", "style", "variation", "optimizer"}:
        assert signature[setting] == model[setting]
    steps = {"steps": STEPS, "first_steps": FIRST_STEPS}
    assert {**class_defaults(TransferData), **steps, "content": PICTURES[0], "style": PICTURES[1]} == data


def test_none_is_no_loss_and_one_loss_is_alone(encoder_file: str) -> None:
    encoder = VGG19(encoder_file)
    assert [loss.name for loss in StyleTransfer(encoder).objective.losses] == ["content", "style", "tv"]
    assert StyleTransfer(encoder).settings()["content/loss"] == "ContentLoss relative"  # whatever the encoder's scale
    by_size = StyleTransfer(encoder_by_size={512: encoder})
    assert by_size.settings()["content/loss"] == "ContentLoss relative"
    assert [loss.name for loss in StyleTransfer(encoder, style=GramStyleLoss()).objective.losses] == ["style"]
    assert [loss.name for loss in StyleTransfer(encoder, ContentLoss()).objective.losses] == ["content"]
    with pytest.raises(ValueError, match="nothing to optimize"):
        StyleTransfer(encoder, None)


@pytest.mark.slow
def test_python_paints_what_the_command_paints(
    content: str, style: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    small: dict[str, Any] = {"sizes": [24, 32], "steps": 3}
    options = ["--data.sizes", "[24, 32]", "--data.steps", "3", "--data.first_steps", "null"]
    assert main(["fit", "--data.content", content, "--data.style", style, *options, "--output.path", "a.png"]) == 0
    result = fit(StyleTransfer(), TransferData(content, style, **small), output="b.png")
    assert np.array_equal(np.asarray(Image.open("a.png")), np.asarray(Image.open("b.png")))
    assert result.complete
