"""The tiled objective against the untiled one: value, terms and gradient."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nst_lightning import VGG19, ContentLoss, GramStyleLoss, Loss, TotalVariationLoss, UserError, WassersteinStyleLoss
from nst_lightning.encoders.tiles import halo
from nst_lightning.encoders.topology import LAYERS
from nst_lightning.images.guides import Guides
from nst_lightning.losses.content import ContentConvention
from nst_lightning.losses.objective import Objective, References
from nst_lightning.losses.style import GramConvention
from nst_lightning.losses.tiling.distributed import Tiling
from nst_lightning.losses.tiling.tiled_objective import check_tile_size
from nst_lightning.losses.total_variation import VariationKind
from nst_lightning.losses.wasserstein import WassersteinConvention


def evaluate(
    objective: Objective, image: Tensor, references: References, tiling: Tiling | None = None
) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    leaf = image.clone().requires_grad_()
    total, terms = objective(leaf, objective.measure(references, tiling=tiling))
    (total * 3).backward()
    assert leaf.grad is not None
    return total.detach(), terms, leaf.grad / 3


def in_float64(references: References) -> References:
    guides, content = references.guides, references.content
    if guides is not None:
        regions, mask = tuple(region.double() for region in guides.regions), guides.content
        parts = tuple(None if part is None else part.double() for part in guides.styles)
        guides = Guides(regions, parts, None if mask is None else mask.double(), guides.names)
    assert content is not None
    styles = [style.double() for style in references.styles]
    return References(content.double(), styles, references.style_weights, guides)


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def random_losses(draw: random.Random) -> list[Loss]:
    """Draw one to three losses; of the layers one is often the picture itself, and sometimes the only one."""
    layers = ("input", *LAYERS[: draw.choice([0, 0, 6, 10, 20])])
    chosen = draw.sample(layers, k=min(len(layers), draw.randint(1, 3)))
    if draw.random() < 0.3 and "input" not in chosen:
        chosen[0] = "input"
    losses = [
        ContentLoss([draw.choice(chosen)], convention=draw.choice(get_args(ContentConvention))),
        draw.choice(
            [
                GramStyleLoss(chosen, weight=5.0, convention=draw.choice(get_args(GramConvention))),
                WassersteinStyleLoss(chosen, weight=5.0, convention=draw.choice(get_args(WassersteinConvention))),
            ]
        ),
        TotalVariationLoss(kind=draw.choice(get_args(VariationKind))),
    ]
    return draw.sample(losses, k=draw.randint(1, 3))


def random_case(seed: int, encoder_file: str) -> tuple[Objective, Tiling, Tensor, References]:
    """Draw size, taps, padding, pooling, losses, styles, guides and the tile's size."""
    draw = random.Random(seed)
    generator = torch.Generator().manual_seed(seed)
    encoder = VGG19(
        encoder_file,
        pooling=draw.choice(["max", "avg"]),
        padding=draw.choice(["zeros", "replicate", "reflect"]),
        padding_layers=draw.choice(["first", "all"]),
    )
    losses = random_losses(draw)
    height, width = draw.randint(40, 90), draw.randint(40, 90)

    def picture(channels: int, h: int, w: int) -> Tensor:
        """Draw coloured blobs with a little noise: as far from each other as pictures are."""
        colours = torch.rand(1, channels, 1, 1, generator=generator)
        blobs = F.interpolate(torch.rand(1, channels, 7, 7, generator=generator), (h, w), mode="bicubic")
        noise = torch.rand(1, channels, h, w, generator=generator)
        return (0.7 * colours * blobs + 0.3 * noise).clamp(0, 1)

    styles = [picture(3, h, w) for h, w in draw.sample([(80, 64), (70, 50), (33, 90)], k=draw.randint(1, 3))]
    guides = None
    if draw.random() < 0.5:
        cuts = picture(1, height, width), picture(1, height, width)
        regions = [cuts[0] * cuts[1], cuts[0] * (1 - cuts[1]), 1 - cuts[0]][-len(styles) :]
        parts = [None if draw.random() < 0.5 else picture(1, *style.shape[-2:]) for style in styles]
        guides = Guides(tuple(regions), tuple(parts), picture(1, height, width), tuple("abc"[: len(styles)]))
    weights = {1: [1.0], 2: [0.3, 0.7], 3: [0.5, 0.2, 0.3]}[len(styles)]
    references = References(picture(3, height, width), styles, weights, guides)
    objective = Objective(encoder, losses)
    # A small tile of a deep layer is computed with so much around it that it takes long.
    tiling = Tiling(draw.choice([7, 16, 40] if halo(objective.taps()) < 40 else [64]))
    return objective, tiling, picture(3, height, width), references


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(30))
def test_in_float64_the_two_are_one(seed: int, encoder_file: str) -> None:
    """No rounding to hide behind: the mathematics is the same."""
    objective, tiling, image, references = random_case(seed, encoder_file)
    objective.encoder.double()
    exact = in_float64(references)
    total, terms, gradient = evaluate(objective, image.double(), exact)
    tiled_total, tiled_terms, tiled_gradient = evaluate(objective, image.double(), exact, tiling)
    assert relative(tiled_gradient, gradient) < 1e-10
    assert float(tiled_total) == pytest.approx(float(total), rel=1e-10)
    for name, term in terms.items():
        assert float(tiled_terms[name]) == pytest.approx(float(term), rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_value_terms_and_gradient_are_those_of_the_whole(seed: int, encoder_file: str) -> None:
    objective, tiling, image, references = random_case(seed, encoder_file)
    total, terms, gradient = evaluate(objective, image, references)
    tiled_total, tiled_terms, tiled_gradient = evaluate(objective, image, references, tiling)
    assert relative(tiled_gradient, gradient) < 1e-5
    # A small distance of large statistics keeps few digits, tiled or not: float64 above shows that it is the same.
    assert float(tiled_total) == pytest.approx(float(total), rel=1e-4)
    assert tiled_terms.keys() == terms.keys()
    for name, term in terms.items():
        assert float(tiled_terms[name]) == pytest.approx(float(term), rel=1e-3)


@pytest.mark.slow
def test_deep_taps_at_an_odd_size(encoder_file: str) -> None:
    """Of noise the untiled float32 gradient has lost more digits than the tiled one: the judge of both is float64."""
    generator = torch.Generator().manual_seed(0)
    sizes = [(187, 301), (203, 150), (187, 301)]
    content, style, image = (torch.rand(1, 3, *size, generator=generator).double() for size in sizes)
    losses = [ContentLoss(), GramStyleLoss(weight=10.0), TotalVariationLoss()]
    found = {}
    for dtype, tile_size in [(torch.float64, None), (torch.float64, 64), (torch.float32, 64)]:
        objective = Objective(VGG19(encoder_file, padding="replicate").to(dtype), losses)
        references = References(content.to(dtype), [style.to(dtype)], [1.0])
        tiling = None if tile_size is None else Tiling(tile_size)
        found[dtype, tile_size] = evaluate(objective, image.to(dtype), references, tiling)
    total, _, gradient = found[torch.float64, None]
    assert relative(found[torch.float64, 64][2], gradient) < 1e-10
    assert relative(found[torch.float32, 64][2].double(), gradient) < 1e-5
    assert float(found[torch.float32, 64][0]) == pytest.approx(float(total), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 4, 5])
def test_bfloat16_features_tile_alike(seed: int, encoder_file: str) -> None:
    """By tiles it is as near to float32 as the whole; kernels that are picked by size may round otherwise."""
    objective, tiling, image, references = random_case(seed, encoder_file)
    _, _, exact = evaluate(objective, image, references)
    objective.encoder.cast(torch.bfloat16)
    _, _, gradient = evaluate(objective, image, references)
    _, _, tiled_gradient = evaluate(objective, image, references, tiling)
    assert relative(tiled_gradient, exact) < 1.05 * relative(gradient, exact)
    assert relative(tiled_gradient, gradient) < 0.02


def test_without_gradient_nothing_is_kept_for_one(encoder_file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A parameter requires a gradient, but where gradients are off none is computed."""
    losses = [ContentLoss(["relu2_1"]), GramStyleLoss(["input", "relu1_1"]), TotalVariationLoss()]
    objective = Objective(VGG19(encoder_file), losses)
    references = References(torch.rand(1, 3, 40, 50), [torch.rand(1, 3, 30, 30)], [1.0])
    targets = objective.measure(references, tiling=Tiling(16))
    image, graphs, encode = torch.nn.Parameter(torch.rand(1, 3, 40, 50)), list[bool](), VGG19.forward

    def count(encoder: VGG19, part: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        features = encode(encoder, part, taps)
        graphs.append(any(tensor.requires_grad for tensor in features.values()))
        return features

    monkeypatch.setattr(VGG19, "forward", count)
    total, terms = objective(image, targets)
    passes = len(graphs)
    assert sum(graphs) == passes / 2  # of the two, statistics need none
    graphs.clear()
    with torch.no_grad():
        alone, alone_terms = objective(image, targets)
    assert (len(graphs), sum(graphs)) == (passes, 0)
    assert not alone.requires_grad
    torch.testing.assert_close((alone, alone_terms), (total.detach(), terms))


def test_the_gradient_can_be_taken_once(encoder_file: str) -> None:
    objective = Objective(VGG19(encoder_file), [TotalVariationLoss()])
    targets = objective.measure(References(), tiling=Tiling(16))
    total, _ = objective(torch.rand(1, 3, 20, 20, requires_grad=True), targets)
    total.backward(retain_graph=True)
    with pytest.raises(UserError, match="can be taken once, but backward was called again; evaluate it anew"):
        total.backward()


def test_total_variation_alone_needs_no_tiles(encoder_file: str) -> None:
    image, objective = torch.rand(1, 3, 40, 50), Objective(VGG19(encoder_file), [TotalVariationLoss()])
    found = [evaluate(objective, image, References(), tiling) for tiling in (None, Tiling(16))]
    torch.testing.assert_close(found[1], found[0])


@pytest.mark.parametrize("tile_size", [0, -64, "most"])
def test_the_tile_size_is_checked(tile_size: int | str) -> None:
    with pytest.raises(UserError, match=r"model\.tile_size must be at least 1"):
        check_tile_size(tile_size, [TotalVariationLoss()])
