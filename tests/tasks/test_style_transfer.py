"""StyleTransfer against loops written by hand, and what it keeps and does when things go wrong."""

from __future__ import annotations

import contextlib
import math
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, Trainer
from torch import Tensor

from nst_lightning import (
    VGG19,
    ContentLoss,
    GramStyleLoss,
    Loss,
    StyleTransfer,
    TotalVariationLoss,
    TransferData,
    UserError,
    fit,
)
from nst_lightning.data import TransferBatch
from nst_lightning.losses.loss import Features, Measured
from nst_lightning.losses.objective import References

STYLE_LAYERS = ["relu1_1", "relu2_1", "relu3_1"]
QUIET: dict[str, Any] = {"accelerator": "cpu", "enable_progress_bar": False}


def make_model(encoder_file: str, **changes: Any) -> StyleTransfer:
    settings: dict[str, Any] = {
        "content": ContentLoss(["relu3_2"]),
        "style": GramStyleLoss(STYLE_LAYERS, weight=5.0),
        "variation": TotalVariationLoss(weight=0.5),
        "optimizer": partial(torch.optim.Adam, lr=0.02, betas=(0.9, 0.99), fused=True),
        "decay": 1.0,
        "full_lr_size": None,
        "average": 0.99,
    }
    return StyleTransfer(VGG19(encoder_file, padding="replicate"), **{**settings, **changes})


def run(model: StyleTransfer, data: TransferData, folder: Path, **settings: Any) -> Tensor:
    return fit(model, data, default_root_dir=folder, **{**QUIET, **settings}).picture


def objective_by_hand(encoder: VGG19, image: Tensor, batch: TransferBatch) -> Tensor:
    """The default losses written out: energies of differences over energies of targets."""

    def gram(x: Tensor) -> Tensor:
        flat = x.flatten(2)[0]
        return flat @ flat.T / flat.shape[1]

    taps = [*STYLE_LAYERS, "relu3_2"]
    now = encoder(image, taps)
    with torch.no_grad():
        assert batch.content is not None
        content, style = encoder(batch.content, taps), encoder(batch.styles[0], taps)
    loss = (now["relu3_2"] - content["relu3_2"]).square().sum() / content["relu3_2"].square().sum()
    for layer in STYLE_LAYERS:
        a, g = gram(style[layer]), gram(now[layer])
        loss = loss + 5 / 3 * (g - a).square().sum() / a.square().sum()
    return loss + 0.5 * (
        (image[..., 1:, :] - image[..., :-1, :]).square().mean() + (image[..., 1:] - image[..., :-1]).square().mean()
    )


@pytest.mark.slow
def test_equals_a_loop_by_hand_over_two_levels(encoder_file: str, content: str, style: str, tmp_path: Path) -> None:
    """Adam, clamp, average, enlargement of picture and moments: crowsonkb's procedure in twenty lines."""
    data = TransferData(content, style, sizes=[24, 34], steps=[5, 4])
    result = run(make_model(encoder_file, average=0.9), data, tmp_path)

    encoder = VGG19(encoder_file, padding="replicate")
    image, average, m, v, t = data.batch(0).initial, torch.zeros(()), None, None, 0
    assert image is not None
    for level in range(2):
        batch = data.batch(level)
        if m is not None and v is not None:
            size = (batch.size.height, batch.size.width)
            image = F.interpolate(average, size, mode="bicubic", antialias=True).clamp(0, 1)
            m = F.interpolate(m, size, mode="bicubic", antialias=True)
            v = F.interpolate(v, size, mode="bilinear", antialias=True).clamp_min(0)
        else:
            m, v = torch.zeros_like(image), torch.zeros_like(image)
        iterates = []
        for _ in range(batch.size.steps):
            image = image.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(objective_by_hand(encoder, image, batch), image)
            t += 1
            m, v = 0.9 * m + 0.1 * gradient, 0.99 * v + 0.01 * gradient**2
            step = (m / (1 - 0.9**t)) / ((v / (1 - 0.99**t)).sqrt() + 1e-8)
            image = (image.detach() - 0.02 * step).clamp(0, 1)
            iterates.append(image)
        weights = [0.9 ** (len(iterates) - 1 - i) for i in range(len(iterates))]
        average = torch.stack([w * x for w, x in zip(weights, iterates, strict=True)]).sum(0) / sum(weights)
    torch.testing.assert_close(result, average.clamp(0, 1), rtol=0, atol=2e-4)


def test_the_picture_is_the_only_parameter_and_state(encoder_file: str) -> None:
    model = make_model(encoder_file)
    assert [name for name, _ in model.named_parameters()] == ["image"]
    assert list(model.state_dict()) == ["image"]


@pytest.mark.slow
def test_lbfgs_equals_torch_lbfgs_by_hand(encoder_file: str, content: str, style: str, tmp_path: Path) -> None:
    lbfgs = partial(torch.optim.LBFGS, lr=1.0, max_iter=1, history_size=5, tolerance_grad=0.0, tolerance_change=0.0)
    data = TransferData(content, style, sizes=[24], steps=6)
    result = run(make_model(encoder_file, optimizer=lbfgs, average=0.0, clamp="never"), data, tmp_path)

    encoder, batch = VGG19(encoder_file, padding="replicate"), data.batch(0)
    assert batch.initial is not None
    image = batch.initial.clone().requires_grad_()
    optimizer = lbfgs([image])

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = objective_by_hand(encoder, image, batch)
        loss.backward()
        return loss

    for _ in range(6):
        optimizer.step(closure)
    torch.testing.assert_close(result, image.detach().clamp(0, 1), rtol=0, atol=1e-3)


@pytest.mark.slow
def test_sgd_schedule_goes_on_across_levels(encoder_file: str, content: str, style: str, tmp_path: Path) -> None:
    model = make_model(
        encoder_file,
        optimizer=partial(torch.optim.SGD, lr=0.1),
        lr_scheduler=partial(torch.optim.lr_scheduler.StepLR, step_size=2, gamma=0.5),
    )
    run(model, TransferData(content, style, sizes=[24, 34], steps=[3, 4]), tmp_path)
    assert model.trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.1 * 0.5**3)  # 7 steps


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["content", "style"])
def test_texture_synthesis_and_feature_inversion(
    missing: str, encoder_file: str, content: str, style: str, tmp_path: Path
) -> None:
    pictures = {"content": content, "style": style}
    pictures.pop(missing)
    data = TransferData(**pictures, sizes=[32], steps=40, init="noise")  # type: ignore[arg-type]
    model = make_model(encoder_file, **{missing: None}, average=0.5)
    first = model.objective
    run(model, data, tmp_path)
    batch = data.batch(0)
    assert batch.initial is not None
    with torch.no_grad():
        before, after = (float(first(image, model.targets)[0]) for image in (batch.initial, model.result()))
    assert after < 0.25 * before


@pytest.mark.slow
def test_same_seed_same_bytes(encoder_file: str, content: str, style: str, tmp_path: Path) -> None:
    pictures = []
    for _ in range(2):
        torch.manual_seed(5)
        data = TransferData(content, style, sizes=[24, 34], steps=4, init="noise")
        pictures.append(run(make_model(encoder_file), data, tmp_path))
    assert torch.equal(*pictures)


def test_two_styles_blend_their_statistics(encoder_file: str, content: str, style: str) -> None:
    model = make_model(encoder_file, content=None, variation=None)
    data = TransferData(None, [content, style], style_weights=[1, 3], sizes=[32], steps=1, init="noise")
    batch = data.batch(0)
    targets = model.objective.measure(References(None, batch.styles, batch.style_weights))
    image = torch.rand(1, 3, 32, 32)
    _, terms = model.objective(image, targets)
    for layer in STYLE_LAYERS:

        def gram(x: Tensor, layer: str = layer) -> Tensor:
            flat = model.encoder(x, [layer])[layer].flatten(2)[0]
            return flat @ flat.T / flat.shape[1]

        target = 0.25 * gram(batch.styles[0]) + 0.75 * gram(batch.styles[1])
        expected = 5 / 3 * (gram(image) - target).square().sum() / target.square().sum()
        torch.testing.assert_close(terms[f"style/{layer}"], expected, rtol=1e-5, atol=0)


class Poisoned(Loss):
    """A loss whose gradient or value is not a number at chosen evaluations."""

    reference = "none"

    def __init__(self, at: set[int], *, in_gradient: bool = False) -> None:
        super().__init__(layers=["input"], name="poison")
        self.at = at
        self.in_gradient = in_gradient
        self.calls = 0

    def forward(self, features: Features, targets: Measured) -> dict[str, Tensor]:
        del targets
        self.calls += 1
        value = features["input"].mean() * 0
        if self.calls in self.at:
            value = value.sqrt() if self.in_gradient else value * float("nan")
        return {"poison": value}


@pytest.mark.slow
@pytest.mark.parametrize("in_gradient", [False, True])
def test_a_non_finite_step_goes_back_and_slows_down(
    in_gradient: bool, encoder_file: str, content: str, style: str, tmp_path: Path
) -> None:
    model = make_model(encoder_file, extra_losses=[Poisoned({4}, in_gradient=in_gradient)])
    result = run(model, TransferData(content, style, sizes=[24], steps=8), tmp_path)
    assert result.isfinite().all()
    assert model.guard.learning_rate_scale == 0.5
    # The failed step restarts Adam: its clock counts the steps since.
    assert float(model.trainer.optimizers[0].state[model.image]["step"]) == 4


@pytest.mark.slow
def test_divergence_without_end_stops_and_keeps_the_picture(
    encoder_file: str, content: str, style: str, tmp_path: Path
) -> None:
    model = make_model(encoder_file, extra_losses=[Poisoned(set(range(3, 99)))])
    with pytest.raises(UserError, match=r"not finite 6 times.*lower the learning rate"):
        run(model, TransferData(content, style, sizes=[24], steps=50), tmp_path)
    assert model.result().isfinite().all()
    assert list(tmp_path.rglob("stylized.png"))


@pytest.mark.slow
def test_an_exploding_run_goes_back_to_a_sound_picture(
    encoder_file: str, content: str, style: str, tmp_path: Path
) -> None:
    """SGD far too fast without clamping: it overflows, and comes back to where the loss was low."""
    model = make_model(encoder_file, optimizer=partial(torch.optim.SGD, lr=3e4), average=0.0, clamp="never")
    data = TransferData(content, style, sizes=[24], steps=30)
    with contextlib.suppress(UserError):  # whether it recovers within the steps is not the point
        run(model, data, tmp_path)
    assert model.image.abs().max() < 10
    assert model.guard.learning_rate_scale < 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"content": None, "style": None, "variation": None}, "nothing to optimize"),
        ({"average": 1.0}, "decay from 0"),
        ({"decay": 0.0}, "decay is above 0"),
        ({"full_lr_size": 0}, "full_lr_size is at least 1 pixel or null, but 0"),
        ({"style": GramStyleLoss(["relu9_1"])}, "did you mean 'relu"),
        ({"style": GramStyleLoss(STYLE_LAYERS, name="content")}, "two losses are named 'content'"),
    ],
)
def test_mistakes_are_told_in_a_line(changes: dict[str, Any], message: str, encoder_file: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        make_model(encoder_file, **changes)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_half_precision_with_lbfgs_is_refused_with_the_remedy(
    encoder_file: str, content: str, style: str, tmp_path: Path
) -> None:
    from lightning.pytorch.plugins import MixedPrecision

    model = make_model(encoder_file, optimizer=partial(torch.optim.LBFGS, lr=1.0), clamp="never")
    plugin = MixedPrecision("16-mixed", "cpu")  # asked for by name, Lightning turns it into bf16 on a CPU
    with pytest.raises(UserError, match="bf16-mixed or 32-true"):
        run(model, TransferData(content, style, sizes=[24], steps=2), tmp_path, plugins=[plugin])


@pytest.mark.slow
def test_half_precision_with_tiles_is_refused_with_the_remedy(
    encoder_file: str, content: str, style: str, tmp_path: Path
) -> None:
    """Their gradients would underflow before the scaler sees them."""
    from lightning.pytorch.plugins import MixedPrecision

    plugin = MixedPrecision("16-mixed", "cpu")
    with pytest.raises(UserError, match=r"tiles can't be painted with .*16-mixed; use bf16-mixed"):
        run(
            make_model(encoder_file, tile_size=16),
            TransferData(content, style, sizes=[24], steps=2),
            tmp_path,
            plugins=[plugin],
        )


@pytest.mark.slow
def test_bfloat16_paints_nearly_the_same(encoder_file: str, content: str, style: str, tmp_path: Path) -> None:
    results = [
        run(
            make_model(encoder_file),
            TransferData(content, style, sizes=[32], steps=10),
            tmp_path / precision,
            precision=precision,
        )
        for precision in ("32-true", "bf16-mixed")
    ]
    assert (results[0] - results[1]).abs().mean() < 0.02
    assert not torch.equal(*results)


@pytest.mark.slow
def test_a_model_can_be_used_again(encoder_file: str, content: str, style: str, tmp_path: Path) -> None:
    first = TransferData(content, style, sizes=[24], steps=3)
    second = TransferData(style, content, sizes=[24], steps=3)
    used = make_model(encoder_file)
    run(used, first, tmp_path)
    assert torch.equal(run(used, second, tmp_path), run(make_model(encoder_file), second, tmp_path))


@pytest.mark.slow
def test_a_recovered_run_averages_sound_pictures_only(
    encoder_file: str, content: str, style: str, tmp_path: Path
) -> None:
    sgd = partial(torch.optim.SGD, lr=3e4)
    model = make_model(encoder_file, optimizer=sgd, average=0.9, clamp="never")
    with contextlib.suppress(UserError):
        run(model, TransferData(content, style, sizes=[24], steps=60), tmp_path)
    value = model.iterate_average.value()
    assert value is not None
    assert value.abs().max() < 10


@pytest.mark.slow
def test_lbfgs_with_clamping_names_the_remedy(encoder_file: str, content: str, style: str, tmp_path: Path) -> None:
    model = make_model(encoder_file, optimizer=partial(torch.optim.LBFGS, lr=1.0))
    with pytest.raises(UserError, match=r"model\.clamp to never"):
        run(model, TransferData(content, style, sizes=[24], steps=2), tmp_path)


@pytest.mark.slow
def test_one_cycle_schedule_resumes_exactly(encoder_file: str, content: str, style: str, tmp_path: Path) -> None:
    """Its optimiser's settings are not those that were configured: they must not be put back on resume."""
    schedule = partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=0.05, total_steps=20)
    data = TransferData(content, style, sizes=[24, 34], steps=[5, 4])
    whole = run(make_model(encoder_file, lr_scheduler=schedule), data, tmp_path / "whole")
    run(make_model(encoder_file, lr_scheduler=schedule), data, tmp_path / "cut", max_steps=3)
    resumed = make_model(encoder_file, lr_scheduler=schedule)
    assert torch.equal(run(resumed, data, tmp_path / "cut", ckpt_path="last"), whole)


class Watch(Callback):
    """What a schedule changes, at each step: the learning rate, and the first of the betas."""

    def __init__(self) -> None:
        self.found: list[tuple[float, float]] = []

    def on_before_optimizer_step(self, trainer: Trainer, *_: Any) -> None:
        (group,) = trainer.optimizers[0].param_groups
        self.found.append((group["lr"], group["betas"][0]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        (partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.8), [0.8**step for step in range(7)]),
        (partial(torch.optim.lr_scheduler.StepLR, step_size=2, gamma=0.5), [1, 1, 0.5, 0.5, 0.25, 0.25, 0.125]),
        (
            partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=7),
            [(1 + math.cos(math.pi * step / 7)) / 2 for step in range(7)],
        ),
    ],
)
def test_another_learning_rate_on_resume_keeps_the_schedules_progress(
    schedule: Any, factors: list[float], encoder_file: str, content: str, style: str, tmp_path: Path
) -> None:
    data, watch = TransferData(content, style, sizes=[24, 34], steps=[5, 2]), Watch()
    optimizer = partial(torch.optim.Adam, lr=0.02)
    run(make_model(encoder_file, lr_scheduler=schedule, optimizer=optimizer), data, tmp_path, max_steps=3)
    resumed = make_model(encoder_file, lr_scheduler=schedule, optimizer=partial(torch.optim.Adam, lr=0.05))
    run(resumed, data, tmp_path, ckpt_path="last", callbacks=[watch])
    assert [rate for rate, _ in watch.found] == pytest.approx([0.05 * factor for factor in factors[3:]])


def test_all_that_a_schedule_changes_goes_on_at_the_next_level(
    encoder_file: str, content: str, style: str, tmp_path: Path
) -> None:
    schedule, watch = partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=0.05, total_steps=20), Watch()
    data = TransferData(content, style, sizes=[24, 34], steps=[5, 4])
    run(make_model(encoder_file, lr_scheduler=schedule), data, tmp_path, callbacks=[watch])
    alone = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=0.02, betas=(0.9, 0.99))
    scheduler, expected = schedule(alone), []
    for _ in range(9):
        expected.append((alone.param_groups[0]["lr"], alone.param_groups[0]["betas"][0]))
        alone.step()
        scheduler.step()
    torch.testing.assert_close(torch.tensor(watch.found), torch.tensor(expected))


@pytest.mark.slow
@pytest.mark.parametrize("tile_size", [None, 16])
def test_a_batch_is_read_and_left_as_it_was(
    tile_size: int | None, encoder_file: str, content: str, style: str, tmp_path: Path
) -> None:
    class Compare(Callback):
        def __init__(self) -> None:
            self.before: dict[str, Any] = {}
            self.compared = 0

        def on_train_batch_start(self, trainer: Trainer, module: Any, batch: TransferBatch, batch_idx: int) -> None:
            self.before = vars(batch).copy()  # callbacks come before the module, which enters the level
            self.values = [None if image is None else image.clone() for image in (batch.content, batch.initial)]

        def on_train_batch_end(self, trainer: Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            assert all(value is self.before[name] for name, value in vars(batch).items())
            for image, value in zip((batch.content, batch.initial), self.values, strict=True):
                if value is not None:
                    assert torch.equal(image, value)
                    self.compared += 1

    compare, data = Compare(), TransferData(content, style, sizes=[24, 34], steps=2)
    run(make_model(encoder_file, tile_size=tile_size), data, tmp_path, callbacks=[compare])
    assert compare.compared == 3  # of two levels the content, of the first what it starts from


class Slope(Loss):
    """A plane: its gradient is 1 everywhere."""

    reference = "none"

    def forward(self, features: Features, targets: Measured) -> dict[str, Tensor]:
        return {self.name: features["input"].sum()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("full_lr_size", "sizes", "init", "factors"),
    [
        (None, [16, 24], "content", (1, 1)),
        (20, [16, 24], "content", (16 / 20, 1)),
        (999, [16, 24], "content", (16 / 24, 1)),  # the finest level has the whole rate whatever its size
        (999, [16, 72], "content", (1 / 4, 1)),
        (999, [16, 24], "recolored", (16 / 24, 1)),
        (999, [16, 24], "grey", (1, 1)),  # which has far to go
    ],
)
def test_the_learning_rate_falls_on_a_line_within_each_level(
    encoder_file: str,
    content: str,
    tmp_path: Path,
    full_lr_size: int | None,
    sizes: list[int],
    init: str,
    factors: tuple[float, float],
) -> None:
    """Plain gradient descent down a plane goes as far as the learning rates add up to; resumed in between, too."""

    def paint(**settings: Any) -> Tensor:
        optimizer = partial(torch.optim.SGD, lr=0.01)
        plane = Slope(layers=["input"], name="plane")
        losses: dict[str, Any] = {"content": None, "style": None, "extra_losses": [plane]}
        losses |= {"variation": None, "decay": 0.25, "full_lr_size": full_lr_size}
        model = make_model(encoder_file, optimizer=optimizer, clamp="never", average=0.0, **losses)
        data = TransferData(content, "sample:starry", init=init, sizes=sizes, steps=[4, 5])
        return run(model, data, tmp_path, **settings)

    whole = paint()
    rates = [
        factor * (1 - 0.75 * step / steps)
        for steps, factor in zip((4, 5), factors, strict=True)
        for step in range(steps)
    ]
    data = TransferData(content, "sample:starry", init=init, sizes=sizes, steps=1)
    start, finest = data.batch(0).initial, data.batch(1).size
    assert start is not None
    expected = F.interpolate(start, (finest.height, finest.width), mode="bicubic", antialias=True) - 0.01 * sum(rates)
    torch.testing.assert_close(whole, expected.clamp(0, 1), atol=1e-5, rtol=0)
    paint(name="cut", max_steps=6)
    assert torch.equal(paint(name="cut", ckpt_path="last"), whole)


@pytest.mark.slow
def test_the_learning_rate_that_is_logged_is_that_of_the_step(encoder_file: str, content: str, tmp_path: Path) -> None:
    logged = []

    class Note(Callback):
        def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
            logged.append(float(trainer.callback_metrics["learning_rate"]))

    model = make_model(encoder_file, optimizer=partial(torch.optim.SGD, lr=0.01), decay=0.25, style=None)
    run(model, TransferData(content, sizes=[16], steps=4), tmp_path, callbacks=[Note()], log_every_n_steps=1)
    assert logged == pytest.approx([0.01 * (1 - 0.75 * step / 4) for step in range(4)])


@pytest.mark.slow
def test_signals_are_given_back(encoder_file: str, content: str, style: str, tmp_path: Path) -> None:
    """Also those that Lightning takes in between: a handler would keep the whole run in memory."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    run(
        make_model(encoder_file), TransferData(content, style, sizes=[24], steps=1), tmp_path, enable_checkpointing=True
    )
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
