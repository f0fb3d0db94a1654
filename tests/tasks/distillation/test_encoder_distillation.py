import os
from functools import partial

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from torch.utils.data import DataLoader
from torchvision.models import squeezenet1_1

from nst_lightning.data.folder_images import FolderImages
from nst_lightning.encoders.topology import CONVOLUTIONS
from nst_lightning.encoders.vgg19 import VGG19
from nst_lightning.errors import UserError
from nst_lightning.tasks.distillation.encoder_distillation import EncoderDistillation
from nst_lightning.tasks.distillation.teacher_student import Teacher, fold, normalize_activations

WIDTHS = (4, 4, 4, 4, 4)
PAIRS = {"relu1_2": {"input": 0.5}, "relu2_2": {"features.1": 1.0, "input": 2.0}, "relu3_4": {"features.4.cat": 3.0}}
TERMS = ["relu1_2-input", "relu2_2-features.1", "relu2_2-input", "relu3_4-features.4.cat"]
RELUS = [f"relu{name[4:]}" for name in CONVOLUTIONS[:8]]  # the deepest pair has the last


@pytest.fixture
def teacher(tmp_path):
    torch.manual_seed(0)
    torch.save(squeezenet1_1().state_dict(), tmp_path / "teacher.pth")
    layers = ["features.1", "features.4.cat"]
    return partial(Teacher, "squeezenet1_1", layers, str(tmp_path / "teacher.pth"))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    for index in range(6):
        pixels = rng.integers(0, 256, (12, 15, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((150, 120), Image.Resampling.BICUBIC).save(tmp_path / f"photos/{index}.png")
    return str(tmp_path / "photos")


def trainer(tmp_path, **options):
    return Trainer(
        accelerator="cpu",
        devices=1,
        max_steps=2,
        limit_val_batches=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
        default_root_dir=tmp_path,
        **options,
    )


def photos(count=2, side=64):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def test_from_pictures_to_an_encoder(teacher, folder, tmp_path, recwarn):
    output = tmp_path / "made" / "encoder.safetensors"
    model = EncoderDistillation(
        teacher(padding=1),
        PAIRS,
        str(output),
        WIDTHS,
        optimizer=partial(torch.optim.AdamW, lr=0.01),
        lr_scheduler=partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.1),
        normalization_batches=2,
    )
    before = {key: value.clone() for key, value in model.state_dict().items()}
    data = FolderImages(folder, crop=64, batch_size=2, holdout_every=6)
    lightning = trainer(tmp_path)
    lightning.fit(model, datamodule=data)

    metrics = lightning.callback_metrics
    assert {name for name in metrics if "/" in name} == {
        f"{kind}/{term}" for kind in ("train", "val") for term in TERMS
    }
    assert all(torch.isfinite(value) for value in metrics.values())
    assert lightning.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.0001)
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert any(key.startswith("projections") for key in changed)
    assert any(key.startswith("student.convolutions") for key in changed)
    assert any(key.startswith("variance") for key in changed)
    assert not any(key.startswith("teacher") for key in changed)
    assert not [warning for warning in recwarn if "batch" in str(warning.message) and "size" in str(warning.message)]
    assert_is_an_encoder(output, model)


def assert_is_an_encoder(output, model):
    assert [path.name for path in output.parent.iterdir()] == [output.name]  # no temporary file is left
    with safe_open(output, "pt") as file:
        assert {file.get_tensor(key).dtype for key in file.keys()} == {torch.float16}  # noqa: SIM118
        assert file.metadata() == {"preprocessing": "imagenet"}
    maps = VGG19(str(output), padding="replicate")(photos(), RELUS)
    with pytest.raises(UserError, match="end before conv4_1"):  # which has learned nothing
        VGG19(str(output))(photos(), ["relu4_1"])
    with torch.no_grad():
        expected = model.student.eval()(photos(), RELUS)
    for name, value in maps.items():
        factor = (value * expected[name]).sum(dim=(0, 2, 3)) / expected[name].square().sum(dim=(0, 2, 3))
        reference = expected[name] * factor.nan_to_num().view(1, -1, 1, 1)
        torch.testing.assert_close(value, reference, rtol=0, atol=0.02 * float(value.max()))  # float16 weights


def test_the_export_is_normalised_over_training_pictures_without_a_data_module(teacher, tmp_path):
    """Two batches are all that training and normalisation see, so the second can be computed again here."""
    output = tmp_path / "made" / "encoder.safetensors"
    model = EncoderDistillation(teacher(), PAIRS, str(output), WIDTHS, normalization_batches=1)
    loader = DataLoader(photos(4), batch_size=2)
    trainer(tmp_path).fit(model, train_dataloaders=loader)
    expected = normalize_activations(dict(list(fold(model.student).items())[:16]), [photos(4)[:2]])
    with safe_open(output, "pt") as file:
        assert set(file.keys()) == set(expected)
        for key, value in expected.items():
            assert torch.equal(file.get_tensor(key), value.half()), key
    assert next(model.student.parameters()).requires_grad


def test_an_earlier_file_survives_a_failed_export(teacher, tmp_path, monkeypatch):
    output = tmp_path / "made" / "encoder.safetensors"
    output.parent.mkdir()
    output.write_bytes(b"an earlier network")

    def fail(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    model = EncoderDistillation(teacher(), PAIRS, str(output), WIDTHS)
    with pytest.raises(UserError, match="No space left on device"):
        trainer(tmp_path).fit(model, train_dataloaders=DataLoader(photos(4), batch_size=2))
    assert [path.read_bytes() for path in output.parent.iterdir()] == [b"an earlier network"]


def unshuffled(images, factor):
    """Pixel unshuffling by slices: channel c's offsets (i, j) become channels c·f² + i·f + j."""
    count, _, height, width = images.shape
    channels = [images[:, c, i::factor, j::factor] for c in range(3) for i in range(factor) for j in range(factor)]
    assert channels[0].shape == (count, height // factor, width // factor)
    return np.stack(channels, axis=1)


def bilinear(maps, size):
    """Half-pixel centres, edges repeated; one axis after the other."""
    for axis, length in ((2, size[0]), (3, size[1])):
        old = maps.shape[axis]
        places = np.clip((np.arange(length) + 0.5) * old / length - 0.5, 0, old - 1)
        low = np.floor(places).astype(int)
        high = np.minimum(low + 1, old - 1)
        share = (places - low).reshape([-1 if a == axis else 1 for a in range(4)])
        maps = np.take(maps, low, axis) * (1 - share) + np.take(maps, high, axis) * share
    return maps


def unexplained(predicted, target):
    """Against the target, standardized by its own mean and deviation."""
    mean, variance = target.mean(axis=(0, 2, 3)), target.var(axis=(0, 2, 3), ddof=1)
    deviation = np.sqrt(np.maximum(variance, 1e-3 * variance.mean()))
    return ((predicted - (target - mean.reshape(-1, 1, 1)) / deviation.reshape(-1, 1, 1)) ** 2).mean()


@pytest.mark.parametrize("padding", [0, 1])  # without it the grids differ, and the student's map is resampled
def test_the_unexplained_variance(teacher, padding):
    torch.manual_seed(0)
    model = EncoderDistillation(teacher(padding=padding), PAIRS, "unused.safetensors", WIDTHS).train()
    images = photos(3)
    errors = [error.item() for error in model.unexplained_variances(images)]
    with torch.no_grad():
        student = {name: value.double().numpy() for name, value in model.student(images, list(PAIRS)).items()}
        maps = {name: value.double().numpy() for name, value in model.teacher(images).items()}
    assert (maps["features.1"].shape[-1] == 32) == (padding == 1)
    pairs = [term.split("-") for term in TERMS]
    for (s, t), projection, error in zip(pairs, model.projections.values(), errors, strict=True):
        factor = {"relu1_2": 1, "relu2_2": 2}.get(s)
        target = unshuffled(images.double().numpy(), factor) if t == "input" else maps[t]
        weight = projection.weight.detach().double().numpy()[:, :, 0, 0]
        predicted = np.einsum("dc,nchw->ndhw", weight, student[s]) + projection.bias.detach().numpy().reshape(-1, 1, 1)
        if predicted.shape == target.shape:  # in training every so many positions are enough
            stride = max(1, target.shape[-1] // 32)
            predicted, target = predicted[..., ::stride, ::stride], target[..., ::stride, ::stride]
        else:
            predicted = bilinear(predicted, target.shape[-2:])
        expected = unexplained(predicted, target)
        assert error == pytest.approx(expected, rel=1e-4), (s, t)


def test_each_position_has_its_turn(teacher, monkeypatch):
    model = EncoderDistillation(teacher(), {"relu1_1": {"input": 1.0}}, "unused.safetensors", WIDTHS).train()
    seen = torch.zeros(96, 96)
    for step in range(9):
        monkeypatch.setattr(EncoderDistillation, "global_step", step)
        seen[model.compared_positions(seen)] += 1
    assert torch.equal(seen, torch.ones(96, 96))
    model.eval()
    assert torch.equal(seen[model.compared_positions(seen)], seen)


def test_a_vgg19_may_teach(tmp_path, encoder_file):
    pairs = {"relu1_1": {"relu1_1": 1.0}, "relu3_1": {"relu3_1": 1.0}}
    teacher = VGG19(encoder_file, padding="replicate")
    model = EncoderDistillation(teacher, pairs, str(tmp_path / "made.safetensors"), WIDTHS).eval()
    errors = [error.item() for error in model.unexplained_variances(photos(3))]
    for (name, projection), error in zip(zip(pairs, model.projections.values(), strict=True), errors, strict=True):
        with torch.no_grad():
            predicted = projection(model.student(photos(3), [name])[name])
            target = teacher(photos(3), [name])[name]
        assert error == pytest.approx(float((predicted - target).square().mean()), rel=1e-5)  # not yet standardized
    with pytest.raises(UserError, match="no layer 'relu9_9'"):
        EncoderDistillation(teacher, {"relu1_1": {"relu9_9": 1.0}}, "unused.safetensors", WIDTHS)


def test_going_on_from_an_earlier_checkpoint(teacher, tmp_path):
    """Its student, and the projections and moments of the pairs that both have."""
    earlier = EncoderDistillation(teacher(), PAIRS, "unused.safetensors", WIDTHS)
    earlier.train().unexplained_variances(photos())
    torch.save({"state_dict": earlier.state_dict()}, tmp_path / "earlier.ckpt")
    pairs = {"relu1_2": {"input": 4.0}, "relu2_1": {"features.1": 1.0}}
    later = EncoderDistillation(teacher(), pairs, "x.safetensors", WIDTHS, initial=str(tmp_path / "earlier.ckpt"))
    before, after = earlier.state_dict(), later.state_dict()
    shared = {key for key in after if key in before}
    assert {key for key in after if "relu1_2_input" in key} <= shared
    assert sum("relu2_1_features_1" in key for key in set(after) - shared) == 4
    assert all(torch.equal(after[key], before[key]) for key in shared)


def test_going_on_from_an_encoder(teacher, tmp_path):
    """Its maps are the encoder's, also in training: there is no batch norm any more; nor in a checkpoint after it."""
    earlier = EncoderDistillation(teacher(), PAIRS, "unused.safetensors", WIDTHS)
    file = str(tmp_path / "earlier.safetensors")
    save_file({k: v.contiguous() for k, v in fold(earlier.student).items()}, file, {"preprocessing": "imagenet"})
    later = EncoderDistillation(teacher(), PAIRS, "x.safetensors", WIDTHS, initial=file).train()
    torch.save({"state_dict": later.state_dict()}, tmp_path / "later.ckpt")
    last = EncoderDistillation(teacher(), PAIRS, "x.safetensors", WIDTHS, initial=str(tmp_path / "later.ckpt"))
    expected = VGG19(file, padding="replicate")(photos(), RELUS)
    for student in (later.student, last.train().student):
        for name, value in student(photos(), RELUS).items():
            torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-5 * float(expected[name].abs().max()))


def test_an_encoder_of_other_widths_is_a_line(teacher, tmp_path):
    file = tmp_path / "other.safetensors"
    earlier = EncoderDistillation(teacher(), PAIRS, "x.safetensors", WIDTHS)
    save_file({k: v.contiguous() for k, v in fold(earlier.student).items()}, file)
    with pytest.raises(UserError, match=r"the same widths, found .*other\.safetensors \(.*conv1_1") as caught:
        EncoderDistillation(teacher(), PAIRS, "x.safetensors", (3, *WIDTHS[1:]), initial=str(file))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"no checkpoint", None])
def test_an_initial_that_is_none_is_a_line(content, teacher, tmp_path):
    if content is None:
        torch.save({"state_dict": {"image": torch.zeros(1)}}, tmp_path / "other.ckpt")
    else:
        (tmp_path / "other.ckpt").write_bytes(content)
    with pytest.raises(UserError, match=r"model\.initial a checkpoint of a distillation.*other\.ckpt") as caught:
        EncoderDistillation(teacher(), PAIRS, "unused.safetensors", WIDTHS, initial=str(tmp_path / "other.ckpt"))
    assert "\n" not in str(caught.value)


def test_projections_may_learn_faster(teacher):
    schedule = partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=[0.003, 0.02], total_steps=10)
    model = EncoderDistillation(
        teacher(),
        PAIRS,
        "unused.safetensors",
        WIDTHS,
        optimizer=partial(torch.optim.AdamW, lr=1.0),
        lr_scheduler=schedule,
    )
    configured = model.configure_optimizers()
    students, projections = configured["optimizer"].param_groups
    assert [group["max_lr"] for group in (students, projections)] == [0.003, 0.02]
    assert {id(p) for p in students["params"]} == {id(p) for p in model.student.parameters()}
    assert {id(p) for p in projections["params"]} == {id(p) for p in model.projections.parameters()}


def test_the_moments_follow_the_batches_slowly(teacher, monkeypatch):
    pairs = {"relu1_1": {"input": 1.0}}
    model = EncoderDistillation(teacher(), pairs, "unused.safetensors", WIDTHS).train()
    first, second = photos(), photos() * 0.3
    model.unexplained_variances(first)
    monkeypatch.setattr(EncoderDistillation, "global_step", 1)
    model.unexplained_variances(second)
    # Of the positions that are compared: every second, at the second step one to the right.
    compared = [first.double().numpy()[..., ::2, ::2], second.double().numpy()[..., ::2, 1::2]]
    for name, moments in (
        ("variance", [images.var(axis=(0, 2, 3), ddof=1) for images in compared]),
        ("mean", [images.mean(axis=(0, 2, 3)) for images in compared]),
    ):
        expected = 0.99 * moments[0] + 0.01 * moments[1]
        np.testing.assert_allclose(model.get_buffer(f"{name}_relu1_1_input"), expected, rtol=1e-5)


def test_validation_keeps_the_variances(teacher):
    model = EncoderDistillation(teacher(), PAIRS, "unused.safetensors", WIDTHS).train()
    model.unexplained_variances(photos())
    before = {name: value.clone() for name, value in model.named_buffers() if name.startswith(("variance", "mean_"))}
    model.eval()
    model.unexplained_variances(photos() * 0.5)
    assert len(before) == 8
    assert all(torch.equal(model.get_buffer(name), value) for name, value in before.items())


def test_sides_that_the_poolings_round_down(teacher):
    """31 pixels leave 3 positions of 8 pixels each after three poolings; the margin is left out."""
    pairs = {"relu4_1": {"input": 1.0}}
    model = EncoderDistillation(teacher(), pairs, "unused.safetensors", WIDTHS)
    (error,) = model.unexplained_variances(photos(side=31))
    assert torch.isfinite(error)
    assert model.projections["relu4_1_input"].weight.shape[0] == 3 * 8 * 8


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        ({"relu11": {"input": 1.0}}, "no layer 'relu11'; did you mean 'relu1_1'"),
        ({"relu1_1": {"features.2": 1.0}}, r"does not tap 'features\.2'; its layers are features\.1, features\.4\.cat"),
        ({"input": {"input": 1.0}}, "model.pairs must give"),
        ({}, "model.pairs must give"),
        ({"relu1_1": {}}, "model.pairs must give"),
    ],
)
def test_pairs_that_do_not_exist(teacher, pairs, said):
    with pytest.raises(UserError, match=said) as caught:
        EncoderDistillation(teacher(), pairs, "unused.safetensors", WIDTHS)
    assert "\n" not in str(caught.value)
