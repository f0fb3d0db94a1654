"""A style for each region: statistics by region, masks, and tiles."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from nst_lightning.encoders.tiles import stride_of
from nst_lightning.networks.any_style import PAINTED, STYLE_TAPS, AnyStyleNet, at_level, name_at, with_draft
from nst_lightning.networks.any_style_painting import paint_in_styles
from nst_lightning.networks.gaussians import Gaussian


@pytest.fixture(
    scope="module",
    params=[{}, {"noise": 0.3}, {"noise": 0.3, "drafts": 1, "draft_strength": 0.7, "detail": 0.6}],
    ids=["plain", "noise", "draft"],
)
def network(request: pytest.FixtureRequest) -> AnyStyleNet:
    """A tiny decoder that looks at the style's statistics, in float64, without noise and drafts and with them."""
    torch.manual_seed(0)
    network = AnyStyleNet(width=4, blocks=1, described=6, **request.param).eval()
    nn.init.normal_(network.modulate.weight, 0, 0.3)
    return network.requires_grad_(False).double()


def picture(height: int, width: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    random = torch.rand(1, 3, height, width, generator=generator, dtype=torch.float64)
    return random * torch.linspace(0.1, 1, width, dtype=torch.float64)


def left(height: int, width: int, columns: int) -> Tensor:
    mask = torch.zeros(1, 1, height, width, dtype=torch.float64)
    mask[..., :columns] = 1
    return mask


def halved(image: Tensor) -> Tensor:
    return image.unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5))


def test_weights_count_positions() -> None:
    """Of whole numbers a position counts as that many."""
    features = picture(6, 7)
    weights = torch.arange(42, dtype=torch.float64).remainder(4).view(1, 1, 6, 7)
    repeated = features.flatten(2).repeat_interleave(weights.flatten().long(), dim=2)[..., None]
    for found, wanted in zip(Gaussian.of(features, weights), Gaussian.of(repeated), strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    nothing = Gaussian.of(features, torch.zeros(1, 1, 6, 7))
    assert not any(bool(value.any()) for value in nothing)


def test_a_part_has_the_statistics_of_its_positions(network: AnyStyleNet) -> None:
    image = picture(32, 48)
    found = network.measure(image, left(32, 48, 16))
    for level in range(network.drafts + 1):
        maps = network.encode(image if level == 0 else halved(image))
        for tap in STYLE_TAPS:
            wanted = Gaussian.of(maps[tap][..., : 16 // 2**level // stride_of(tap)])
            gaussian = found[name_at(tap, level)]
            torch.testing.assert_close(gaussian.mean, wanted.mean, rtol=0, atol=1e-10)
            torch.testing.assert_close(gaussian.covariance, wanted.covariance, rtol=0, atol=1e-10)


def test_each_region_has_its_own_style_and_the_rest_stays(network: AnyStyleNet) -> None:
    image, styles = picture(30, 44), [network.measure(picture(24, 24, seed)) for seed in (1, 2)]
    first = left(30, 44, 15)
    second = left(30, 44, 30) - first
    found = paint_in_styles(network, image, styles, torch.tensor([0.4, 0.4]), regions=[first, second])
    strength = torch.tensor([0.8])
    for columns, style, region in ((slice(0, 15), 0, first), (slice(15, 30), 1, second)):
        wanted = network(image, [styles[style]], strength, region)[..., columns]
        torch.testing.assert_close(found[..., columns], wanted, rtol=0, atol=1e-12)
    assert torch.equal(found[..., 30:], image[..., 30:])
    still = paint_in_styles(network, image, styles, torch.zeros(2), regions=[first, second])
    assert torch.equal(still, image)


def test_masks_that_meet_share_by_their_weights(network: AnyStyleNet) -> None:
    image, styles = picture(24, 24), [network.measure(picture(24, 24, seed)) for seed in (1, 2)]
    everywhere = torch.ones(1, 1, 24, 24, dtype=torch.float64)
    one, other = (network(image, [style], torch.ones(1), everywhere) for style in styles)
    found = paint_in_styles(network, image, styles, torch.tensor([0.75, 0.25]), regions=[everywhere, everywhere])
    torch.testing.assert_close(found, 0.75 * one + 0.25 * other, rtol=0, atol=1e-7)
    faint = paint_in_styles(network, image, styles[:1], torch.ones(1), regions=[0.3 * everywhere])
    torch.testing.assert_close(faint, image.lerp(one, 0.3), rtol=0, atol=1e-7)


def test_a_region_that_is_empty_here_is_left_out(network: AnyStyleNet) -> None:
    image, styles = picture(24, 24), [network.measure(picture(24, 24, seed)) for seed in (1, 2)]
    whole, nothing = left(24, 24, 24), left(24, 24, 0)
    found = paint_in_styles(network, image, styles, torch.tensor([0.5, 0.5]), regions=[nothing, whole])
    torch.testing.assert_close(found, network(image, [styles[1]], torch.ones(1), whole), rtol=0, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("tile_size", [16, 40])
def test_tiles_make_no_difference(tile_size: int, network: AnyStyleNet) -> None:
    """Regions end inside tiles, and tiles lie outside of regions."""
    image, styles = picture(75, 118), [network.measure(picture(24, 24, seed)) for seed in (1, 2)]
    regions = [left(75, 118, 21), 0.5 * left(75, 118, 70).flip(-1)]
    weights = torch.tensor([0.6, 0.3])
    whole = paint_in_styles(network, image, styles, weights, regions=regions)
    tiled = paint_in_styles(network, image, styles, weights, regions=regions, tile_size=tile_size)
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("tile_size", [None, 16])
def test_all_statistics_of_the_image_are_smoothed(tile_size: int | None, network: AnyStyleNet) -> None:
    image, styles = picture(48, 48), [network.measure(picture(24, 24, seed)) for seed in (1, 2)]
    names = []
    weights, whole = torch.ones(1), left(48, 48, 48)
    seen = {tap: Gaussian(*(2 * value for value in gaussian)) for tap, gaussian in network.measure(image).items()}

    def smoothing(name: str, gaussian: Gaussian) -> Gaussian:
        names.append(name)
        return seen.get(name, gaussian)

    found = paint_in_styles(network, image, styles[:1], weights, tile_size=tile_size, smoothing=smoothing)
    every = [*network.statistic_names, *(name_at(PAINTED, level) for level in range(network.drafts + 1))]
    assert sorted(names) == sorted(every)

    def painted_of(image: Tensor, read: Tensor, level: int, weights: Tensor, drafted: bool) -> Tensor:
        style = at_level(styles[0], level)
        transport = network.transport(at_level(seen, level), [style], weights, drafted)
        painted = network.paint(network.encode(read), transport, drafted)
        return network.finish(painted, transport.color_map(Gaussian.of(painted)), image, transport)

    if network.drafts:
        smaller, weaker = halved(image), 0.7 * weights
        draft = painted_of(smaller, network.disturb(smaller, weaker), 1, weaker, False)
        wanted = painted_of(image, with_draft(image, draft, 0.6), 0, weights, True)
    else:
        wanted = painted_of(image, network.disturb(image, weights), 0, weights, False)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)
    names.clear()
    paint_in_styles(network, image, styles, torch.ones(2) / 2, regions=[whole, whole], smoothing=smoothing)
    assert sorted(names) == sorted(f"{number}/{name}" for number in (0, 1) for name in every)
