"""Another encoder from a level's size on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nst_lightning import VGG19, ContentLoss, GramStyleLoss, StyleTransfer, TransferData, UserError
from nst_lightning.data.schedule import Level
from nst_lightning.encoders.topology import CONVOLUTIONS
from nst_lightning.losses.objective import References
from nst_lightning.tasks.image_optimization import resize_iterate
from tests.helpers.inputs import make_encoder
from tests.tasks.test_style_transfer import make_model, run

SIZES: dict[str, Any] = {"sizes": [24, 34, 48], "steps": [3, 2, 2]}


@pytest.fixture
def other_file(tmp_path: Path) -> str:
    return make_encoder(tmp_path / "other.safetensors", seed=1)


def model(encoder_file: str, other_file: str, **changes: Any) -> StyleTransfer:
    return make_model(encoder_file, encoder_by_size={34: VGG19(other_file, padding="replicate")}, **changes)


@pytest.mark.slow
def test_each_level_is_that_of_a_run_with_its_encoder_alone(
    encoder_file: str, other_file: str, content: str, style: str, tmp_path: Path
) -> None:
    """The coarse level by one network; then, from its enlarged image and moments, the finer ones by the other."""
    finished: list[Tensor] = []

    class Watched(StyleTransfer):
        def on_train_batch_end(self, *_: Any) -> None:
            finished.append(self.image.detach().clone())

    losses: dict[str, Any] = {"content": ContentLoss(["relu3_2"]), "style": GramStyleLoss(["relu1_1", "relu2_1"])}
    by_size = {34: VGG19(other_file, padding="replicate")}
    sgd = torch.optim.SGD
    watched = Watched(
        VGG19(encoder_file, padding="replicate"),
        encoder_by_size=by_size,
        average=0.0,
        decay=1.0,
        full_lr_size=None,
        optimizer=lambda params: sgd(params, lr=0.5),
        **losses,
    )
    data = TransferData(content, style, **SIZES)
    run(watched, data, tmp_path)
    image = data.batch(0).initial
    assert image is not None
    for step in range(7):
        level = data.schedule.level_at(step)
        batch = data.batch(level)
        if step in (3, 5):
            image = resize_iterate(image, (batch.size.height, batch.size.width), clamp=True)
        alone = StyleTransfer(VGG19(encoder_file if level == 0 else other_file, padding="replicate"), **losses)
        targets = alone.objective.measure(References(batch.content, batch.styles, batch.style_weights))
        image = image.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(alone.objective(image, targets)[0], image)
        image = (image.detach() - 0.5 * gradient).clamp(0, 1)
        torch.testing.assert_close(finished[step], image, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("step", [2, 3, 4, 5, 7])
def test_resume_is_exact(
    step: int, encoder_file: str, other_file: str, content: str, style: str, tmp_path: Path
) -> None:
    data = TransferData(content, style, **SIZES)
    whole = run(model(encoder_file, other_file), data, tmp_path, name="whole")
    run(model(encoder_file, other_file), data, tmp_path, name="cut", max_steps=step)
    assert torch.equal(run(model(encoder_file, other_file), data, tmp_path, name="cut", ckpt_path="last"), whole)


@pytest.mark.slow
@pytest.mark.parametrize("by_size", [{}, {48: 1}, {34: 0}])
def test_other_networks_or_sizes_are_refused_on_resume(
    by_size: dict[int, int],
    encoder_file: str,
    other_file: str,
    content: str,
    style: str,
    tmp_path: Path,
) -> None:
    data = TransferData(content, style, **SIZES)
    run(model(encoder_file, other_file), data, tmp_path, name="cut", max_steps=2)
    files = [make_encoder(tmp_path / "third.safetensors", seed=2), other_file]
    changed = {size: VGG19(files[index], padding="replicate") for size, index in by_size.items()}
    with pytest.raises(UserError, match="painted with other encoder weights"):
        run(make_model(encoder_file, encoder_by_size=changed), data, tmp_path, name="cut", ckpt_path="last")


@pytest.mark.slow
def test_tiles_give_the_untiled_image_in_float64(
    encoder_file: str, other_file: str, content: str, style: str, tmp_path: Path
) -> None:
    data = TransferData(content, style, **SIZES)
    plain = run(model(encoder_file, other_file), data, tmp_path, precision="64-true", name="plain")
    tiled = run(model(encoder_file, other_file, tile_size=16), data, tmp_path, precision="64-true", name="tiled")
    torch.testing.assert_close(tiled, plain, rtol=0, atol=1e-9)


def test_a_level_has_the_encoder_of_the_largest_size_that_it_reaches(encoder_file: str, other_file: str) -> None:
    by_size = {size: VGG19(other_file, padding="replicate") for size in (48, 34)}
    objectives = make_model(encoder_file, encoder_by_size=by_size).objectives
    first, second, third = objectives.all()
    assert second.encoder is by_size[34]
    assert third.encoder is by_size[48]
    for height, width, expected in ((24, 33, first), (34, 20, second), (47, 47, second), (20, 48, third)):
        assert objectives.at(Level(height, width, 1)) is expected
    assert objectives.description.endswith("(48)")


def test_a_level_has_the_layers_that_are_compared_at_its_size(encoder_file: str, other_file: str) -> None:
    losses: dict[str, Any] = {
        "content": ContentLoss(["relu3_2", "relu2_1"], up_to={"relu3_2": 47}),
        "style": GramStyleLoss(["relu1_1", "relu2_1", "relu4_1"], up_to={"relu4_1": 33, "relu1_1": 47}),
    }
    plain = make_model(encoder_file, **losses)
    expected = {
        33: ["relu1_1", "relu2_1", "relu3_2", "relu4_1"],
        34: ["relu1_1", "relu2_1", "relu3_2"],
        47: ["relu1_1", "relu2_1", "relu3_2"],
        48: ["relu2_1"],
    }
    for side, taps in expected.items():
        assert plain.objectives.at(Level(20, side, 1)).taps("content", "style") == taps
    settings = plain.settings()
    assert settings["style/layers"] == "relu1_1:0.333 relu2_1:0.333 relu4_1:0.333"
    assert settings["style/up_to"] == "relu4_1:33 relu1_1:47"
    # Whose encoders they are, and so what may be resumed, does not depend on it.
    assert plain.objectives.digest == make_model(encoder_file).objectives.digest
    assert plain.objectives.description == make_model(encoder_file).objectives.description
    both = model(encoder_file, other_file, **losses)
    assert both.objectives.digest == model(encoder_file, other_file).objectives.digest
    at_edge = both.objectives.at(Level(20, 34, 1))
    assert at_edge.encoder.digest == VGG19(other_file).digest
    assert at_edge.taps("style") == ["relu1_1", "relu2_1"]


@pytest.mark.slow
def test_levels_of_other_layers_are_resumed_and_tiled_exactly(
    encoder_file: str, content: str, style: str, tmp_path: Path
) -> None:
    losses: dict[str, Any] = {"style": GramStyleLoss(["relu1_1", "relu2_1", "relu3_1"], up_to={"relu3_1": 30})}
    data = TransferData(content, style, **SIZES)

    def paint(name: str, **changes: Any) -> Tensor:
        settings = {key: changes.pop(key) for key in ("tile_size",) if key in changes}
        model = make_model(encoder_file, **losses, **settings)
        return run(model, data, tmp_path, precision="64-true", name=name, **changes)

    whole = paint("whole")
    for step in (2, 3, 5):
        paint(f"cut{step}", max_steps=step)
        assert torch.equal(paint(f"cut{step}", ckpt_path="last"), whole)
    torch.testing.assert_close(paint("tiled", tile_size=16), whole, rtol=0, atol=1e-9)


def test_a_size_below_one_is_a_users_error(encoder_file: str, other_file: str) -> None:
    with pytest.raises(UserError, match=r"model\.encoder_by_size: expected long sides of at least 1"):
        make_model(encoder_file, encoder_by_size={0: VGG19(other_file)})


def test_a_layer_that_one_of_them_lacks_is_a_users_error(encoder_file: str, tmp_path: Path) -> None:
    short = make_encoder(tmp_path / "short.safetensors", seed=1, convolutions=CONVOLUTIONS[:4])
    with pytest.raises(UserError, match="end before conv3_1"):
        make_model(encoder_file, encoder_by_size={34: VGG19(short)})
