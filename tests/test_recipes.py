"""The recipes in configs/ against the papers and programs that they are named after."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import yaml
from PIL import Image
from torch import Tensor

from nst_lightning.cli.main import main
from nst_lightning.data import TransferData
from nst_lightning.encoders.topology import LAYERS
from nst_lightning.losses import Loss
from nst_lightning.optim import ScaledLBFGS

CONFIGS = Path(__file__).parents[1] / "configs"
HEIGHT, WIDTH = 32, 48
RELU_1 = [f"relu{block}_1" for block in range(1, 6)]
CONVOLUTIONS = [name for name in LAYERS if name.startswith("conv")]

Maps = dict[str, Tensor]


def recipe(name: str) -> dict[str, Any]:
    settings: dict[str, Any] = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    return settings


def load_class(path: str) -> Any:
    module, name = path.rsplit(".", 1)
    return getattr(importlib.import_module(module), name)


def make(entry: dict[str, Any], *args: Any) -> Any:
    return load_class(entry["class_path"])(*args, **entry.get("init_args", {}))


def losses(name: str) -> list[Loss]:
    settings = recipe(name)["model"]["init_args"]
    return [make(settings[kind]) for kind in ("content", "style", "variation") if kind in settings]


def maps(seed: int) -> Maps:
    """A picture in [0, 1] and, for every layer of VGG19, a map of its size with few channels, in float64."""
    generator = torch.Generator().manual_seed(seed)
    made: Maps = {"input": torch.rand(1, 3, HEIGHT, WIDTH, generator=generator, dtype=torch.float64)}
    for name in LAYERS:
        if not name.startswith("pool"):
            block = int(name[4])
            shape = (1, (4, 5, 6, 5, 4)[block - 1], HEIGHT >> (block - 1), WIDTH >> (block - 1))
            drawn = 30 * torch.randn(shape, generator=generator, dtype=torch.float64) + 10
            made[name] = drawn.relu() if name.startswith("relu") else drawn
    return made


# Each source's objective, written after its text, in its own units.


def flat(features: Tensor) -> Tensor:
    return features[0].flatten(1)


def raw_gram(features: Tensor) -> Tensor:
    return flat(features) @ flat(features).T


def gatys2015(image: Maps, content: Maps, style: Maps) -> Tensor:
    alpha, beta = 1e-3, 1.0
    total = alpha * 0.5 * (image["relu4_2"] - content["relu4_2"]).square().sum()
    for layer in RELU_1:
        n, m = flat(image[layer]).shape
        error = (raw_gram(image[layer]) - raw_gram(style[layer])).square().sum() / (4 * n**2 * m**2)
        total = total + beta * (1 / 5) * error
    return total


def keras_example(image: Maps, content: Maps, style: Maps) -> Tensor:
    rows, columns = HEIGHT, WIDTH
    pixels = image["input"].permute(0, 2, 3, 1) * 255
    total = 2.5e-8 * (content["relu5_2"] - image["relu5_2"]).square().sum()
    for layer in RELU_1:
        error = (raw_gram(style[layer]) - raw_gram(image[layer])).square().sum()
        total = total + (1e-6 / 5) * error / (4.0 * 3**2 * (rows * columns) ** 2)
    a = (pixels[:, : rows - 1, : columns - 1] - pixels[:, 1:, : columns - 1]).square()
    b = (pixels[:, : rows - 1, : columns - 1] - pixels[:, : rows - 1, 1:]).square()
    return total + 1e-6 * (a + b).pow(1.25).sum()


def mean_gram_error(image: Tensor, style: Tensor) -> Tensor:
    """Of the PyTorch tutorial and of neural-style, which write the same."""
    return F.mse_loss(raw_gram(image) / image.numel(), raw_gram(style) / style.numel())


def pytorch_tutorial(image: Maps, content: Maps, style: Maps) -> Tensor:
    layers = CONVOLUTIONS[:5]
    assert layers[3] == "conv2_2"
    style_score = sum(mean_gram_error(image[layer], style[layer]) for layer in layers)
    return 1_000_000 * style_score + 1 * F.mse_loss(image[layers[3]], content[layers[3]])


def octaves0911(image: Maps, content: Maps, style: Maps) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    # Outputs of convolutions; the rectifier behind all but the last, where the network is cut, works in place.
    for layer in ["relu1_1", "relu2_1", "relu3_1", "relu4_1", "conv5_1"]:
        content_loss = torch.mean((image[layer] - content[layer]) ** 2)
        style_loss = torch.mean((raw_gram(image[layer]) - raw_gram(style[layer])) ** 2)
        total = total + 8 * content_loss + 70 * style_loss
    return total


def every_conv(image: Maps, content: Maps, style: Maps) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for layer in CONVOLUTIONS:
        total = total + 1.0 / 16 * F.mse_loss(image[layer], content[layer])
        total = total + 1e5 / 16 * mean_gram_error(image[layer], style[layer])
    return total


def neural_style(image: Maps, content: Maps, style: Maps) -> Tensor:
    total = 5 * F.mse_loss(image["relu4_2"], content["relu4_2"])
    for layer in RELU_1:
        total = total + 100 * mean_gram_error(image[layer], style[layer])
    pixels = image["input"] * 256
    x_difference = pixels[..., :-1, :-1] - pixels[..., :-1, 1:]
    y_difference = pixels[..., :-1, :-1] - pixels[..., 1:, :-1]
    # What has the gradient that the program writes: test_variation compares the two.
    return total + 1e-3 * (x_difference.square() + y_difference.square()).sum() / 2


def moments(features: Tensor) -> tuple[Tensor, Tensor]:
    mean = flat(features).mean(1)
    second = raw_gram(features) / flat(features).shape[1]
    return mean, second - torch.outer(mean, mean) + 1e-4 * torch.eye(len(mean), dtype=torch.float64)


def crowsonkb(image: Maps, content: Maps, style: Maps) -> Tensor:
    total = 0.015 * F.mse_loss(image["relu4_2"], content["relu4_2"])
    for layer, weight in zip(RELU_1, (256, 64, 16, 4, 1), strict=True):
        mean, covariance = moments(image[layer])
        target_mean, target = moments(style[layer])
        # The trace of the root of R S R, with R the root of T, from the eigenvalues of T S, which are the same.
        root_trace = torch.linalg.eigvals(target @ covariance).real.sqrt().sum()
        spread = (target.trace() + covariance.trace() - 2 * root_trace) / len(mean)
        total = total + weight / 341 * ((mean - target_mean).square().mean() + spread)
    x = F.pad(image["input"], (1, 1, 1, 1), "replicate")
    across = (x[..., 1:-1, 2:] - x[..., 1:-1, 1:-1]).square().mean() / 3
    down = (x[..., 2:, 1:-1] - x[..., 1:-1, 1:-1]).square().mean() / 3
    falling = (x[..., 1:, 1:] - x[..., :-1, :-1]).square().mean() / 12
    rising = (x[..., 1:, :-1] - x[..., :-1, 1:]).square().mean() / 12
    return total + 2.0 * 2 * (across + down + falling + rising)


OBJECTIVES: dict[str, Callable[[Maps, Maps, Maps], Tensor]] = {
    formula.__name__: formula
    for formula in (gatys2015, keras_example, pytorch_tutorial, octaves0911, every_conv, neural_style, crowsonkb)
}


def gradients(total: Tensor, leaves: Maps) -> Maps:
    found = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    return {
        name: torch.zeros_like(leaf) if gradient is None else gradient
        for (name, leaf), gradient in zip(leaves.items(), found, strict=True)
    }


@pytest.mark.parametrize("name", OBJECTIVES)
def test_value_and_gradient_are_those_of_the_source(name: str) -> None:
    image = {layer: value.requires_grad_() for layer, value in maps(1).items()}
    references = {"content": maps(2), "style": maps(3), "none": {}}
    terms: list[Tensor] = []
    for loss in losses(name):
        targets = loss.prepare(loss.measure(references[loss.reference]))
        terms += loss({tap: image[tap] for tap in loss.taps}, targets).values()
    total = torch.stack(terms).sum()
    expected = OBJECTIVES[name](image, references["content"], references["style"])
    torch.testing.assert_close(total, expected, rtol=1e-5, atol=0)
    expected_gradients = gradients(expected, image)
    for layer, gradient in gradients(total, image).items():
        wanted = expected_gradients[layer]
        torch.testing.assert_close(gradient, wanted, rtol=0, atol=1e-5 * float(wanted.abs().max()))


CAFFE_MAX = {"weights": "vgg19", "pooling": "max", "padding": "zeros"}
IMAGENET_MAX = {"weights": "imagenet", "pooling": "max", "padding": "zeros"}

ENCODERS = {
    "gatys2015": {"weights": "vgg19", "pooling": "avg", "padding": "zeros"},
    "keras_example": CAFFE_MAX,
    "pytorch_tutorial": IMAGENET_MAX,
    "octaves0911": {**IMAGENET_MAX, "preprocessing": "none"},
    "every_conv": IMAGENET_MAX,
    "neural_style": CAFFE_MAX,
    "crowsonkb": {**IMAGENET_MAX, "padding": "replicate", "padding_layers": "first"},
}

LBFGS = {"lr": 1, "max_iter": 1, "history_size": 100, "line_search_fn": None}
UNTIRING = {**LBFGS, "tolerance_grad": 0, "tolerance_change": 0}
OPTIMIZERS = {
    "gatys2015": (torch.optim.LBFGS, UNTIRING),
    "keras_example": (torch.optim.SGD, {"lr": 100 / 255**2, "momentum": 0, "nesterov": False, "weight_decay": 0}),
    "pytorch_tutorial": (torch.optim.LBFGS, {**LBFGS, "tolerance_grad": 1e-7, "tolerance_change": 1e-9}),
    "octaves0911": (torch.optim.Adam, {"lr": 0.004, "betas": (0.9, 0.999), "eps": 1e-8}),
    "every_conv": (torch.optim.Adam, {"lr": 0.02, "betas": (0.9, 0.999), "eps": 1e-8}),
    "neural_style": (ScaledLBFGS, {**UNTIRING, "scale": 256}),
    "crowsonkb": (torch.optim.Adam, {"lr": 0.02, "betas": (0.9, 0.99), "eps": 1e-8}),
}

# Average, clamp, start, long sides, all steps.
PROCEDURES: dict[str, tuple[float, str, str, list[int], int]] = {
    "gatys2015": (0, "never", "noise", [512], 500),
    "keras_example": (0, "never", "content", [533], 4000),
    # Twenty at a time while no more than 300 are done.
    "pytorch_tutorial": (0, "before_evaluation", "content", [512], 320),
    "octaves0911": (0, "never", "content", [512], 7000),
    "every_conv": (0, "after_step", "content", [512], 500),
    "neural_style": (0, "never", "grey", [512], 1000),
    "crowsonkb": (0.99, "after_step", "content", [128, 181, 256, 362, 512], 1000 + 4 * 500),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_network_is_the_sources(name: str) -> None:
    assert recipe(name)["model"]["init_args"]["encoder"]["init_args"] == ENCODERS[name]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_optimizer_is_the_sources(name: str) -> None:
    kind, settings = OPTIMIZERS[name]
    optimizer = make(recipe(name)["model"]["init_args"]["optimizer"], [torch.zeros(1, requires_grad=True)])
    assert type(optimizer) is kind
    group = optimizer.param_groups[0]
    for key, value in settings.items():
        assert (tuple(group[key]) if isinstance(value, tuple) else group[key]) == pytest.approx(value), key


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_procedure_is_the_sources(name: str) -> None:
    average, clamp, init, sizes, steps = PROCEDURES[name]
    settings = recipe(name)
    assert (settings["model"]["init_args"]["average"], settings["model"]["init_args"]["clamp"]) == (average, clamp)
    data = TransferData(**settings["data"]["init_args"])
    assert data.init == init
    assert [max(level.height, level.width) for level in data.schedule.levels] == sizes
    assert data.schedule.total_steps == steps


def test_the_rate_of_keras_decays_smoothly() -> None:
    settings = recipe("keras_example")["model"]["init_args"]
    optimizer = make(settings["optimizer"], [torch.zeros(1, requires_grad=True)])
    scheduler = make(settings["lr_scheduler"], optimizer)
    for step in range(1, 4001):
        optimizer.step()
        scheduler.step()
        if step in (1, 50, 100, 4000):
            assert optimizer.param_groups[0]["lr"] == pytest.approx(100 * 0.96 ** (step / 100) / 255**2, rel=1e-9)
    assert [name for name in OBJECTIVES if "lr_scheduler" in recipe(name)["model"]["init_args"]] == ["keras_example"]


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if issubclass(OPTIMIZERS[name][0], torch.optim.LBFGS)])
def test_one_evaluation_per_step_takes_the_path_of_twenty(name: str) -> None:
    scale = torch.logspace(0, 2, 30, dtype=torch.float64)

    def run(steps: int, **changed: Any) -> Tensor:
        x = torch.full((30,), 3.0, dtype=torch.float64, requires_grad=True)
        entry = recipe(name)["model"]["init_args"]["optimizer"]
        optimizer = make({**entry, "init_args": {**entry["init_args"], **changed}}, [x])

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = (scale * (x.cosh().log() + x**4 / 100)).sum()
            loss.backward()
            return loss

        for _ in range(steps):
            optimizer.step(closure)
        return x.detach()

    twenties = run(3, max_iter=20)
    assert not torch.allclose(twenties, torch.full_like(twenties, 3.0), atol=0.1)
    torch.testing.assert_close(run(60), twenties, rtol=1e-12, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_step_with_the_override_that_the_header_names(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, style: str
) -> None:
    monkeypatch.chdir(tmp_path)
    weights = re.findall(r"^#   --model.encoder.weights (\w+)$", (CONFIGS / f"{name}.yaml").read_text(), re.MULTILINE)
    assert weights == (["vgg19_normalized"] if ENCODERS[name]["weights"] == "imagenet" else [])
    words = ["fit", "--config", str(CONFIGS / f"{name}.yaml")]
    words += [f"--model.encoder.weights={each}" for each in weights]
    words += ["--data.content", content, "--data.style", style, "--trainer.accelerator", "cpu"]
    words += ["--data.sizes", "[32]", "--data.steps", "1", "--data.first_steps", "null"]
    assert main(words) == 0
    with Image.open(tmp_path / "lightning_logs" / name / "version_0" / "stylized.png") as painted:
        assert max(painted.size) == 32
