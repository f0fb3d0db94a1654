"""Guided losses against closed forms on constant regions and against cropping."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nst_lightning import VGG19, ContentLoss, GramStyleLoss, Loss, TotalVariationLoss, UserError, WassersteinStyleLoss
from nst_lightning.images.guides import Guides
from nst_lightning.losses.functional import gaussian_moments, gram_matrix
from nst_lightning.losses.loss import Features, Measured
from nst_lightning.losses.objective import Objective, References
from nst_lightning.losses.style import GramConvention

GRAM_CONVENTIONS = ["relative", "gatys2015", "keras", "tutorial", "johnson2016", "gatys_pytorch"]


def halves(left: float = 1.0, right: float = 0.0, height: int = 6, width: int = 8) -> Tensor:
    guide = torch.full((1, 1, height, width), left)
    guide[..., width // 2 :] = right
    return guide


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_guided_gram_matrix_of_constant_regions_is_a_products_weighted_mean() -> None:
    """Left all (1, 2), right all (3, -1), in any layout: G = (g1·n1·aaᵀ + g2·n2·bbᵀ) / (g1·n1 + g2·n2)."""
    a, b = torch.tensor([1.0, 2.0]), torch.tensor([3.0, -1.0])
    features = torch.empty(1, 2, 6, 8)
    features[..., :4], features[..., 4:] = a.view(2, 1, 1), b.view(2, 1, 1)
    expected = (0.25 * torch.outer(a, a) + 0.75 * torch.outer(b, b))[None]
    torch.testing.assert_close(gram_matrix(features, halves(0.2, 0.6)), expected)
    torch.testing.assert_close(gram_matrix(features, halves(1.0, 0.0)), torch.outer(a, a)[None])
    mean, moment = gaussian_moments(features, halves(0.2, 0.6))
    torch.testing.assert_close(mean, (0.25 * a + 0.75 * b)[None])
    torch.testing.assert_close(moment, expected)


def test_gatys_guidance_channels_give_the_same_for_masks_of_black_and_white() -> None:
    """Equation 3 of Gatys et al. 2017: features times T, where the squares of T sum to 1."""
    features = draw(1, 5, 6, 8)
    guide = (draw(1, 1, 6, 8, seed=1) > 0.5).double()
    channels = guide / guide.square().sum().sqrt()
    guided = (features * channels).flatten(2)
    torch.testing.assert_close(gram_matrix(features, guide), guided @ guided.transpose(1, 2))


@pytest.mark.parametrize("loss", [GramStyleLoss(["relu1_1"]), WassersteinStyleLoss(["relu1_1"])], ids=["gram", "w2"])
def test_a_binary_guide_is_the_same_as_cropping(loss: GramStyleLoss | WassersteinStyleLoss) -> None:
    image, style = draw(1, 3, 6, 8).requires_grad_(), draw(1, 3, 6, 8, seed=1)
    guide = {"relu1_1": halves().double()}
    targets = loss.prepare(loss.measure({"relu1_1": style}, guide))
    loss({"relu1_1": image}, targets, guide)["style/relu1_1"].backward()
    cropped = image.detach()[..., :4].clone().requires_grad_()
    plain = loss.prepare(loss.measure({"relu1_1": style[..., :4]}))
    expected = loss({"relu1_1": cropped}, plain)["style/relu1_1"]
    expected.backward()
    torch.testing.assert_close(loss({"relu1_1": image}, targets, guide)["style/relu1_1"], expected)
    assert image.grad is not None
    torch.testing.assert_close(image.grad[..., :4], cropped.grad)
    assert bool((image.grad[..., 4:] == 0).all())  # nothing leaks


@pytest.mark.parametrize("convention", GRAM_CONVENTIONS)
def test_a_white_guide_changes_nothing(convention: str) -> None:
    loss = GramStyleLoss(["relu1_1"], convention=convention)
    features = {"relu1_1": draw(1, 3, 6, 8), "input": draw(1, 3, 12, 16)}
    targets = loss.prepare(loss.measure({"relu1_1": draw(1, 3, 5, 7, seed=1)}))
    guide = {"relu1_1": torch.ones(1, 1, 6, 8)}
    torch.testing.assert_close(loss(features, targets, guide), loss(features, targets))


def test_the_keras_factor_counts_the_regions_positions() -> None:
    """Raw Gram matrices of the region, rescaled for the style's other size: M in the formula is the mask's sum."""
    loss = GramStyleLoss(["relu1_1"], convention="keras")
    image, style = draw(1, 3, 6, 8), draw(1, 3, 6, 4, seed=1)
    targets = loss.prepare(loss.measure({"relu1_1": style}))
    found = loss({"relu1_1": image, "input": draw(1, 3, 12, 16)}, targets, {"relu1_1": halves()})["style/relu1_1"]
    f, s = image[..., :4].flatten(2)[0], style.flatten(2)[0]
    expected = (f @ f.T - s @ s.T).square().sum() / (4 * 3**2 * (12 * 16) ** 2)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("convention", "divisor"), [("keras", 4 * 3**2), ("octaves0911", 9 / (12 * 16) ** 2)])
def test_the_picture_itself_counts_all_its_positions(convention: GramConvention, divisor: float) -> None:
    """Where "input" is a layer too: M of that is HW, and the factor of the other layer is not changed by it."""
    image, style = draw(1, 3, 12, 16), draw(1, 3, 9, 10, seed=1)
    features, measured = {"input": image, "relu1_1": draw(1, 3, 6, 8, seed=2)}, draw(1, 3, 6, 8, seed=3)
    guide = {"input": halves(1.0, 0.5, 12, 16), "relu1_1": halves(1.0, 0.5)}
    loss = GramStyleLoss({"input": 1.0, "relu1_1": 1.0}, convention=convention)
    terms = loss(features, loss.prepare(loss.measure({"input": style, "relu1_1": measured})), guide)
    expected = (gram_matrix(image, guide["input"]) - gram_matrix(style)).square().sum() / divisor
    torch.testing.assert_close(terms["style/input"], expected)
    alone = GramStyleLoss({"relu1_1": 1.0}, convention=convention)
    apart = alone(features, alone.prepare(alone.measure({"relu1_1": measured})), {"relu1_1": guide["relu1_1"]})
    torch.testing.assert_close(terms["style/relu1_1"], apart["style/relu1_1"])


@pytest.mark.parametrize("convention", ["relative", "mean", "gatys2015", "keras"])
def test_content_counts_by_the_guide(convention: str) -> None:
    loss = ContentLoss(["relu1_1"], convention=convention)
    image, content = draw(1, 3, 6, 8), draw(1, 3, 6, 8, seed=1)
    targets = loss.prepare(loss.measure({"relu1_1": content}))
    found = loss({"relu1_1": image}, targets, {"relu1_1": halves(1.0, 0.5)})["content/relu1_1"]
    left, right = image.clone(), image.clone()
    left[..., 4:], right[..., :4] = content[..., 4:], content[..., :4]
    expected = [loss({"relu1_1": part}, targets)["content/relu1_1"] for part in (left, right)]
    torch.testing.assert_close(found, expected[0] + expected[1] / 2)


def test_regions_compare_their_own_styles_by_their_shares(encoder_file: str) -> None:
    encoder = VGG19(encoder_file)
    losses = [ContentLoss(["relu2_1"]), GramStyleLoss(["relu1_1", "relu2_1"], weight=3.0), TotalVariationLoss()]
    objective = Objective(encoder, losses)
    image, content = torch.rand(1, 3, 16, 24), torch.rand(1, 3, 16, 24)
    styles = [torch.rand(1, 3, 16, 16), torch.rand(1, 3, 20, 16)]
    left = halves(1.0, 0.0, 16, 24)
    left[..., 6:] = 0  # a quarter
    guides = Guides(regions=(left, 1 - left), styles=(), names=("left.png", "rest"))
    _, terms = objective(image, objective.measure(References(content, styles, [0.5, 0.5], guides)))
    assert list(terms) == [
        *("content/relu2_1", "style_1/relu1_1", "style_1/relu2_1", "style_2/relu1_1", "style_2/relu2_1", "tv")
    ]
    features = encoder(image, ["relu1_1"])["relu1_1"]
    for index, (style, share, part) in enumerate(
        zip(styles, (0.25, 0.75), (features[..., :6], features[..., 6:]), strict=True), start=1
    ):
        target = gram_matrix(encoder(style, ["relu1_1"])["relu1_1"])
        distance = (gram_matrix(part) - target).square().sum() / target.square().sum()
        torch.testing.assert_close(terms[f"style_{index}/relu1_1"], 3.0 * share * distance / 2)


def test_one_white_region_is_no_region(encoder_file: str) -> None:
    objective = Objective(VGG19(encoder_file), [GramStyleLoss(["relu1_1", "relu3_1"])])
    image, style = torch.rand(1, 3, 16, 24), torch.rand(1, 3, 16, 16)
    plain, _ = objective(image, objective.measure(References(None, [style], [1.0])))
    guides = Guides((torch.ones(1, 1, 16, 24),), (None,), None, ("all.png",))
    guided, _ = objective(image, objective.measure(References(None, [style], [1.0], guides)))
    torch.testing.assert_close(guided, plain)


def test_part_of_a_style_is_measured_alone(encoder_file: str) -> None:
    objective = Objective(VGG19(encoder_file), [GramStyleLoss(["relu1_1"])])
    style = torch.rand(1, 3, 16, 16)
    targets = objective.measure(References(None, [style], [1.0], Guides(styles=(halves(1.0, 0.0, 16, 16),))))
    features = objective.encoder(style, ["relu1_1"])["relu1_1"][..., :8]
    torch.testing.assert_close(targets.terms[0].targets["relu1_1"], gram_matrix(features))


class Unguided(Loss):
    reference = "content"

    def forward(self, features: Features, targets: Measured) -> dict[str, Tensor]:
        return {}


def test_a_loss_that_takes_no_guide_says_so(encoder_file: str) -> None:
    objective = Objective(VGG19(encoder_file), [Unguided(layers=["relu1_1"], name="mine")])
    with pytest.raises(UserError, match="the loss 'mine' can't be guided"):
        objective.measure(References(torch.rand(1, 3, 8, 8), guides=Guides(content=torch.ones(1, 1, 8, 8))))


class WithoutGuide(GramStyleLoss):
    """A user's loss whose methods have no parameter for a guide."""

    def measure(self, features: Features) -> Measured:
        return super().measure(features)

    def forward(self, features: Features, targets: Measured) -> dict[str, Tensor]:
        return super().forward(features, targets)


def test_without_masks_a_loss_may_leave_the_guide_out_of_its_methods(encoder_file: str) -> None:
    image, style = torch.rand(1, 3, 16, 24), torch.rand(1, 3, 16, 16)
    found = []
    for kind in (GramStyleLoss, WithoutGuide):
        objective = Objective(VGG19(encoder_file), [kind(["relu1_1"])])
        found.append(objective(image, objective.measure(References(None, [style], [1.0]))))
    torch.testing.assert_close(found[1], found[0])


def test_a_guide_of_another_size_is_refused() -> None:
    with pytest.raises(UserError, match=r"expected a guide of shape \(1, 1, 6, 8\)"):
        gram_matrix(draw(1, 3, 6, 8), torch.ones(1, 1, 8, 6))
