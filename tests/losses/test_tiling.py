"""The tiled objective against the untiled one: value, terms and gradient."""

from __future__ import annotations

import random
from typing import Any, get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nst_lightning import VGG19, ContentLoss, GramStyleLoss, Loss, TotalVariationLoss, UserError, WassersteinStyleLoss
from nst_lightning.encoders.topology import LAYERS
from nst_lightning.images.guides import Guides
from nst_lightning.losses.content import ContentConvention
from nst_lightning.losses.loss import Features, Measured
from nst_lightning.losses.objective import Objective
from nst_lightning.losses.style import GramConvention
from nst_lightning.losses.tiled_statistics import Tiling
from nst_lightning.losses.tiling import check_tile_size
from nst_lightning.losses.total_variation import VariationKind


def evaluate(objective: Objective, image: Tensor) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    leaf = image.clone().requires_grad_()
    total, terms = objective(leaf)
    (total * 3).backward()
    assert leaf.grad is not None
    return total.detach(), terms, leaf.grad / 3


def in_float64(guides: Guides) -> Guides:
    regions, content = tuple(region.double() for region in guides.regions), guides.content
    styles = tuple(None if style is None else style.double() for style in guides.styles)
    return Guides(regions, styles, None if content is None else content.double(), guides.names)


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def random_case(seed: int, encoder_file: str) -> tuple[Objective, Objective, Tensor, tuple[Any, ...]]:
    """Draw size, taps, padding, pooling, losses, guides and the tile's size."""
    draw = random.Random(seed)
    generator = torch.Generator().manual_seed(seed)
    encoder = VGG19(
        encoder_file,
        pooling=draw.choice(["max", "avg"]),
        padding=draw.choice(["zeros", "replicate", "reflect"]),
        padding_layers=draw.choice(["first", "all"]),
    )
    layers = draw.sample(LAYERS[: draw.choice([6, 10, 20])], k=3)
    losses: list[Loss] = [
        ContentLoss([draw.choice(layers)], convention=draw.choice(get_args(ContentConvention))),
        draw.choice(
            [
                GramStyleLoss(layers, weight=5.0, convention=draw.choice(get_args(GramConvention))),
                WassersteinStyleLoss(layers, weight=5.0),
            ]
        ),
        TotalVariationLoss(kind=draw.choice(get_args(VariationKind))),
    ]
    height, width = draw.randint(60, 140), draw.randint(60, 140)

    def picture(channels: int, h: int, w: int) -> Tensor:
        """Draw coloured blobs with a little noise: as far from each other as pictures are."""
        colours = torch.rand(1, channels, 1, 1, generator=generator)
        blobs = F.interpolate(torch.rand(1, channels, 7, 7, generator=generator), (h, w), mode="bicubic")
        noise = torch.rand(1, channels, h, w, generator=generator)
        return (0.7 * colours * blobs + 0.3 * noise).clamp(0, 1)

    guides = None
    if draw.random() < 0.5:
        region = picture(1, height, width)
        guides = Guides((region, 1 - region), (None, picture(1, 70, 50)), picture(1, height, width), ("a", "b"))
    references = (picture(3, height, width), [picture(3, 80, 64), picture(3, 70, 50)], [0.3, 0.7], guides)
    whole = Objective(encoder, losses)
    tiled = Objective(encoder, losses)
    tiled.tiling = Tiling(draw.choice([16, 40, 64]))
    for objective in (whole, tiled):
        objective.measure(*references)
    return whole, tiled, picture(3, height, width), references


@pytest.mark.parametrize("seed", range(30))
def test_in_float64_the_two_are_one(seed: int, encoder_file: str) -> None:
    """No rounding to hide behind: the mathematics is the same."""
    whole, tiled, image, references = random_case(seed, encoder_file)
    whole.encoder.double()
    content, styles, weights, guides = references
    for objective in (whole, tiled):
        objective.measure(
            content.double(), [style.double() for style in styles], weights, guides and in_float64(guides)
        )
    total, terms, gradient = evaluate(whole, image.double())
    tiled_total, tiled_terms, tiled_gradient = evaluate(tiled, image.double())
    assert relative(tiled_gradient, gradient) < 1e-10
    assert float(tiled_total) == pytest.approx(float(total), rel=1e-10)
    for name, term in terms.items():
        assert float(tiled_terms[name]) == pytest.approx(float(term), rel=1e-9)


@pytest.mark.parametrize("seed", range(30))
def test_value_terms_and_gradient_are_those_of_the_whole(seed: int, encoder_file: str) -> None:
    whole, tiled, image, _ = random_case(seed, encoder_file)
    total, terms, gradient = evaluate(whole, image)
    tiled_total, tiled_terms, tiled_gradient = evaluate(tiled, image)
    assert relative(tiled_gradient, gradient) < 1e-5
    # A small distance of large statistics keeps few digits, tiled or not: float64 above shows that it is the same.
    assert float(tiled_total) == pytest.approx(float(total), rel=1e-4)
    assert tiled_terms.keys() == terms.keys()
    for name, term in terms.items():
        assert float(tiled_terms[name]) == pytest.approx(float(term), rel=1e-3)


def test_deep_taps_at_an_odd_size(encoder_file: str) -> None:
    """Of noise the untiled float32 gradient has lost more digits than the tiled one: the judge of both is float64."""
    generator = torch.Generator().manual_seed(0)
    sizes = [(187, 301), (203, 150), (187, 301)]
    content, style, image = (torch.rand(1, 3, *size, generator=generator).double() for size in sizes)
    losses = [ContentLoss(), GramStyleLoss(weight=10.0), TotalVariationLoss()]
    found = {}
    for dtype, tile_size in [(torch.float64, None), (torch.float64, 64), (torch.float32, 64)]:
        objective = Objective(VGG19(encoder_file, padding="replicate").to(dtype), losses)
        objective.tiling = None if tile_size is None else Tiling(tile_size)
        objective.measure(content.to(dtype), [style.to(dtype)], [1.0])
        found[dtype, tile_size] = evaluate(objective, image.to(dtype))
    total, _, gradient = found[torch.float64, None]
    assert relative(found[torch.float64, 64][2], gradient) < 1e-10
    assert relative(found[torch.float32, 64][2].double(), gradient) < 1e-5
    assert float(found[torch.float32, 64][0]) == pytest.approx(float(total), rel=1e-5)


def test_bfloat16_features_tile_alike(encoder_file: str) -> None:
    """Each tile's convolutions round as the whole's do; sums are float32."""
    whole, tiled, image, _ = random_case(3, encoder_file)
    whole.encoder.cast(torch.bfloat16)
    _, _, gradient = evaluate(whole, image)
    _, _, tiled_gradient = evaluate(tiled, image)
    assert relative(tiled_gradient, gradient) < 0.02


def test_without_gradient_the_value_alone(encoder_file: str) -> None:
    whole, tiled, image, _ = random_case(1, encoder_file)
    with torch.no_grad():
        assert float(tiled(image)[0]) == pytest.approx(float(whole(image)[0]), rel=1e-5)


def test_total_variation_alone_needs_no_tiles(encoder_file: str) -> None:
    image, found = torch.rand(1, 3, 40, 50), []
    for size in (None, 16):
        objective = Objective(VGG19(encoder_file), [TotalVariationLoss()])
        objective.tiling = None if size is None else Tiling(size)
        objective.measure(None, [], [])
        found.append(evaluate(objective, image))
    torch.testing.assert_close(found[1], found[0])


class Corner(Loss):
    reference = "content"

    def forward(self, features: Features, targets: Measured) -> dict[str, Tensor]:
        return {"corner": features["relu1_1"][..., 0, 0].sum()}


def test_a_loss_that_cannot_be_tiled_is_named() -> None:
    losses = [ContentLoss(), Corner(layers=["relu1_1"], name="corner")]
    with pytest.raises(UserError, match="the loss 'corner' can't be tiled"):
        check_tile_size("auto", losses)


@pytest.mark.parametrize("tile_size", [0, -64, "most"])
def test_the_tile_size_is_checked(tile_size: int | str) -> None:
    with pytest.raises(UserError, match=r"model\.tile_size must be at least 1"):
        check_tile_size(tile_size, [TotalVariationLoss()])
