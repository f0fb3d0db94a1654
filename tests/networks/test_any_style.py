"""The network of any style: strengths, mixtures, sizes, tiles and files."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save
from torch import Tensor, nn

from nst_lightning.encoders.vgg19 import VGG19
from nst_lightning.errors import UserError
from nst_lightning.networks.any_style import DRAFTED_TAP, INPUT, STYLE_TAPS, AnyStyleNet, describe
from nst_lightning.networks.any_style_painting import paint_any_tiled
from nst_lightning.networks.gaussians import Gaussian, optimal_transport
from nst_lightning.networks.network_file import NetworkCard, load_network, save_network
from tests.helpers.inputs import make_encoder


@pytest.fixture(
    scope="module",
    params=[{}, {"noise": 0.3}, {"noise": 0.3, "drafts": 1, "detail": 0.4}, {"drafts": 2, "draft_strength": 0.8}],
    ids=["plain", "noise", "draft", "drafts"],
)
def network(request: pytest.FixtureRequest) -> AnyStyleNet:
    """A tiny decoder that looks at the style's statistics, without noise and drafts and with them."""
    torch.manual_seed(0)
    network = AnyStyleNet(width=4, blocks=1, described=6, **request.param).eval()
    nn.init.normal_(network.modulate.weight, 0, 0.3)
    return network.requires_grad_(False)


@pytest.fixture(scope="module")
def precise(network: AnyStyleNet) -> AnyStyleNet:
    twin = AnyStyleNet(**network.architecture()).eval().requires_grad_(False)  # type: ignore[arg-type]
    twin.load_state_dict(network.state_dict())
    return twin.double()


def picture(height: int, width: int, seed: int = 0, count: int = 1) -> Tensor:
    """Brighter to the right: a tile's own statistics are not the picture's."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, height, width, generator=generator) * torch.linspace(0.1, 1, width)


def test_strength_0_is_the_photograph_and_1_is_not(network: AnyStyleNet) -> None:
    image, styles = picture(40, 56), [network.measure(picture(32, 32, 1))]
    assert torch.equal(network(image, styles, torch.tensor([0.0])), image)
    painted = [network(image, styles, torch.tensor([strength])) for strength in (0.1, 0.25, 0.6, 1.0)]
    distances = [float((each - image).abs().mean()) for each in painted]
    assert distances[0] < 0.5 * distances[1]  # the photograph fades out
    assert len({round(distance, 6) for distance in distances}) == 4


@pytest.mark.parametrize("network", [{}], indirect=True)  # of noise there is more at a higher strength
def test_a_photograph_in_its_own_style_is_painted_at_any_strength_alike(network: AnyStyleNet) -> None:
    image = picture(40, 56)
    styles = [network.measure(image)]
    half, whole = (network(image, styles, torch.tensor([strength])) for strength in (0.5, 1.0))
    torch.testing.assert_close(half, whole, rtol=0, atol=1e-4)


def test_colors_are_those_of_the_style(network: AnyStyleNet) -> None:
    """Whatever the decoder paints."""
    image, style, painted = picture(64, 80), 0.4 + 0.2 * picture(64, 96, 3), picture(64, 80, 4).flip(1)
    transport = network.transport(network.measure(image), [network.measure(style)])
    found = Gaussian.of(network.finish(painted, transport.color_map(Gaussian.of(painted)), image, transport))
    wanted = Gaussian.of(style)
    torch.testing.assert_close(found.mean, wanted.mean, rtol=0, atol=1e-3)
    torch.testing.assert_close(found.covariance, wanted.covariance, rtol=0.1, atol=2e-4)  # the ridge


def test_shares_of_a_mixture(network: AnyStyleNet) -> None:
    own, *styles = (network.measure(picture(40, 56, seed)) for seed in (1, 2, 3))
    found = network.transport(own, styles, torch.tensor([0.3, 0.5]))
    for tap, mapped in found.maps.items():
        moved = [optimal_transport(own[tap], style[tap]) for style in styles]
        whole = 0.2 * torch.eye(mapped.matrix.shape[-1]) + 0.3 * moved[0].matrix + 0.5 * moved[1].matrix
        torch.testing.assert_close(mapped.matrix, whole.expand_as(mapped.matrix))
        torch.testing.assert_close(mapped.offset, 0.3 * moved[0].offset + 0.5 * moved[1].offset)
    assert [float(weight) for weight, _ in found.colors] == pytest.approx([0.2, 0.3, 0.5])


def test_mixtures(network: AnyStyleNet) -> None:
    image = picture(40, 56)
    first, second = network.measure(picture(32, 32, 1)), network.measure(1 - picture(32, 48, 2))
    alone = network(image, [first])
    torch.testing.assert_close(network(image, [first, first], torch.tensor([0.3, 0.7])), alone, rtol=0, atol=1e-4)
    torch.testing.assert_close(network(image, [first, second], torch.tensor([1.0, 0.0])), alone, rtol=0, atol=1e-5)
    mixed = network(image, [first, second])
    assert min(float((mixed - other).abs().max()) for other in (alone, network(image, [second]))) > 0.01


def test_a_batch_has_a_style_for_each_or_one_for_all(network: AnyStyleNet) -> None:
    images, styles = picture(24, 32, count=2), picture(32, 32, 5, count=2)
    each = network(images, [network.measure(styles)])
    for index in range(2):
        one = network.measure(styles[index : index + 1])
        torch.testing.assert_close(
            each[index : index + 1], network(images[index : index + 1], [one]), atol=1e-4, rtol=0
        )
        torch.testing.assert_close(network(images, [one])[index], each[index], atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (7, 9), (8, 8), (33, 18)])
def test_any_size(size: tuple[int, int], network: AnyStyleNet) -> None:
    painted = network(picture(*size), [network.measure(picture(*size, 1))])
    assert painted.shape == (1, 3, *size)
    assert bool(painted.isfinite().all())


@pytest.mark.parametrize("color", [0.0, 0.5, 1.0])
def test_flat_pictures_and_flat_styles(color: float, network: AnyStyleNet) -> None:
    flat, other = torch.full((1, 3, 24, 24), color), picture(24, 24)
    for image, style in ((flat, other), (other, flat), (flat, flat)):
        painted = network(image, [network.measure(style)])
        assert bool(painted.isfinite().all())
        assert 0 <= float(painted.min()) <= float(painted.max()) <= 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "tile_size"),
    [((9, 11), 1), ((9, 11), 50), ((41, 34), 16), ((97, 64), 50), ((97, 64), 500), ((60, 213), 104), ((200, 30), 104)],
)
def test_tiled_is_untiled(size: tuple[int, int], tile_size: int, precise: AnyStyleNet) -> None:
    images = picture(*size, count=2).double()
    styles = [precise.measure(picture(32, 40, seed).double()) for seed in (1, 2)]
    weights = torch.tensor([0.5, 0.3], dtype=torch.float64)
    tiled = paint_any_tiled(precise, images, styles, weights, tile_size)
    torch.testing.assert_close(tiled, precise(images, styles, weights), rtol=0, atol=1e-10)


@pytest.mark.parametrize("blocks", [0, 3])
def test_tiled_in_single_precision(blocks: int) -> None:
    torch.manual_seed(1)
    network = AnyStyleNet(width=2, blocks=blocks).eval().requires_grad_(False)
    image, styles = picture(150, 170), [network.measure(picture(32, 40, 1))]
    tiled = paint_any_tiled(network, image, styles, None, 64)
    assert float((tiled - network(image, styles)).abs().max()) <= 1e-4


def test_statistics_of_the_tiles_alone_would_show(network: AnyStyleNet) -> None:
    image, styles = picture(64, 128), [network.measure(picture(32, 40, 1))]
    halves = torch.cat([network(half, styles) for half in image.chunk(2, dim=3)], dim=3)
    assert float((halves - network(image, styles)).abs().max()) > 0.05


def test_noise_is_seen_where_the_image_is_flat_and_comes_with_the_strength(network: AnyStyleNet) -> None:
    image = torch.full((1, 3, 64, 64), 0.5)
    for weights, wanted in ((None, 0.3), (torch.tensor([0.25, 0.25]), 0.15), (torch.tensor([2.0]), 0.3)):
        added = network.disturb(image, weights) - image
        assert float(added.square().mean().sqrt()) == pytest.approx(wanted if network.noise else 0, rel=0.3)
        assert torch.equal(network.disturb(image[..., 8:, 16:], weights, 8, 16) - 0.5, added[..., 8:, 16:])


def test_the_strength_of_drafts(network: AnyStyleNet) -> None:
    """At a strength of 0 it is the image itself, of whose details a share is read, without noise."""
    image, styles = picture(64, 96), [network.measure(picture(64, 64, 1))]
    without = AnyStyleNet(**{**network.architecture(), "draft_strength": 0.0}).eval()  # type: ignore[arg-type]
    without.load_state_dict(network.state_dict())
    with torch.no_grad():
        differs = float((without(image, styles) - network(image, styles)).abs().mean())
    assert differs > 0.01 if network.drafts else differs == 0
    if network.drafts == 1:
        smaller = image.unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5))
        maps = network.encode(0.4 * image + 0.6 * F.interpolate(smaller, scale_factor=2, mode="bilinear"))
        transport = network.transport(describe(maps), styles, None, drafted=True)
        painted = network.paint(maps, transport, drafted=True)
        alone = network.finish(painted, transport.color_map(Gaussian.of(painted)), image, transport)
        torch.testing.assert_close(without(image, styles), alone, rtol=0, atol=1e-5)


def test_a_finer_layer_joins_a_draft_and_nothing_else() -> None:
    """Its part of the kernel is what differs; without a draft it is as if the layer were zeros."""
    torch.manual_seed(0)
    network = AnyStyleNet(width=4, blocks=1, drafts=1).eval().requires_grad_(False)
    maps, styles = network.encode(picture(64, 96)), [network.measure(picture(64, 64, 1))]
    transport = network.transport(describe(maps), styles, None, drafted=True)
    plain = network.paint(maps, transport, drafted=False)
    joined = network.paint(maps, transport, drafted=True)
    assert float((joined - plain).abs().mean()) > 0.01
    other = network.paint({**maps, DRAFTED_TAP: maps[DRAFTED_TAP].flip(3)}, transport, drafted=True)
    assert float((joined - other).abs().mean()) > 0.01
    silent = copy.deepcopy(network)
    kernel = silent.get_parameter("levels.1.join.convolution.weight")
    kernel[:, 2 * network.width :] = 0
    torch.testing.assert_close(silent.paint(maps, transport, drafted=True), plain, rtol=0, atol=1e-6)


def decode_by_hand(
    state: dict[str, np.ndarray], maps: dict[str, np.ndarray], modulation: np.ndarray, width: int, drafted: bool
) -> np.ndarray:
    """The decoder of one image, written out: maps and modulation in, an image in [0, 1] out."""
    given = iter(modulation)

    def convolve(name: str, x: np.ndarray) -> np.ndarray:
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        reach = weight.shape[-1] // 2
        padded = np.pad(x, ((0, 0), (reach, reach), (reach, reach)), mode="edge")
        windows = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[-2:], axis=(1, 2))
        return np.einsum("ocij,chwij->ohw", weight, windows) + bias[:, None, None]

    def modulated(name: str, x: np.ndarray) -> np.ndarray:
        y = convolve(f"{name}.convolution", x)
        factor, offset = (np.array([next(given) for _ in y])[:, None, None] for _ in range(2))
        return y * (1 + factor) + offset

    def rectify(x: np.ndarray) -> np.ndarray:
        return np.maximum(x, 0)

    def residual(name: str, x: np.ndarray) -> np.ndarray:
        return x + modulated(f"{name}.second", rectify(modulated(f"{name}.first", x)))

    def double(x: np.ndarray) -> np.ndarray:
        for axis in (1, 2):  # a quarter from the neighbor on either side, borders replicated
            padded = np.take(x, [0, *range(x.shape[axis]), -1], axis)
            before, after = (
                np.take(padded, range(x.shape[axis]), axis),
                np.take(padded, range(2, 2 + x.shape[axis]), axis),
            )
            pairs = np.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis + 1)
            x = pairs.reshape(*x.shape[:axis], -1, *x.shape[axis + 1 :])
        return x

    x = residual("trunk.0", rectify(modulated("enter", maps["relu4_1"])))
    colors = maps[INPUT].reshape(3, maps[INPUT].shape[1] // 4, 4, -1, 4).mean(axis=(2, 4))
    joining = [np.concatenate([maps["relu3_1"], colors]), maps[DRAFTED_TAP] if drafted else None, None]
    for level, joined in enumerate(joining):
        x = double(convolve(f"levels.{level}.narrow", x))
        silent = state[f"levels.{level}.join.convolution.weight"].shape[1] - len(x)
        rest = np.zeros((silent, *x.shape[1:])) if joined is None else joined
        x = rectify(modulated(f"levels.{level}.join", np.concatenate([x, rest])))
        x = rectify(residual(f"levels.{level}.refine", x))
    assert next(given, None) is None
    assert len(x) == width
    return 1 / (1 + np.exp(-convolve("leave", x)))


@pytest.mark.parametrize("drafted", [False, True])
def test_the_decoder_is_what_is_written(drafted: bool) -> None:
    network = AnyStyleNet(width=4, blocks=1, described=6, drafts=1).double().eval().requires_grad_(False)
    nn.init.normal_(network.modulate.weight, 0, 0.3)
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter, 0, 0.3)
    image = picture(16, 24).double()
    maps, styles = network.encode(image, [*STYLE_TAPS, DRAFTED_TAP]), [network.measure(picture(32, 32, 1).double())]
    transport = network.transport(describe(maps), styles, None, drafted=drafted)
    moved = {
        tap: np.einsum("dc,chw->dhw", each.matrix[0], maps[tap][0]) + each.offset[0].reshape(-1, 1, 1).numpy()
        for tap, each in transport.maps.items()
        if tap != INPUT
    }
    matrix, offset = transport.maps[INPUT].matrix[0].numpy(), transport.maps[INPUT].offset[0].reshape(-1, 1, 1).numpy()
    moved[INPUT] = np.einsum("dc,chw->dhw", matrix, image[0]) + offset  # of means as of the pixels: it is affine
    state = {name: value.numpy() for name, value in network.state_dict().items()}
    expected = decode_by_hand(state, moved, transport.modulation[0].numpy(), network.width, drafted)
    found = network.paint(maps, transport, drafted)[0].numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


def test_a_file_of_before_has_neither_noise_nor_drafts() -> None:
    saved = NetworkCard.of(AnyStyleNet(width=2, blocks=0), [], "").as_dict()
    assert saved["architecture"].keys() == {"weights", "width", "blocks", "described", "noise"}
    del saved["architecture"]["noise"]
    made = AnyStyleNet(**NetworkCard.from_dict(saved).architecture)  # type: ignore[arg-type]
    assert (made.noise, made.drafts) == (0, 0)


def test_statistics_are_those_of_the_encoders_maps_at_each_resolution(network: AnyStyleNet) -> None:
    style = picture(32, 64)
    measured = network.measure(style)
    assert list(measured) == network.statistic_names
    encoder = VGG19("compact", padding="replicate")
    for halving in range(network.drafts + 1):
        maps = encoder(style, STYLE_TAPS)
        for tap in (INPUT, "relu1_1", "relu2_1", "relu3_1", "relu4_1"):
            mean, covariance = measured.pop(f"{tap}@{2**halving}" if halving else tap)
            torch.testing.assert_close(mean[0], maps[tap].mean(dim=(2, 3))[0], rtol=1e-4, atol=1e-5)
            found = maps[tap][0].flatten(1).cov(correction=0)
            torch.testing.assert_close(covariance[0], found, rtol=1e-3, atol=1e-4)
        style = style.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).mean(dim=(3, 5))
    assert not measured


def test_a_file_holds_the_decoder_alone(network: AnyStyleNet, tmp_path: Path) -> None:
    path = tmp_path / "small.safetensors"
    save_network(network, path, [], network.encoder.digest)
    assert set(load_file(path)) == set(dict(network.named_parameters()))
    loaded, card = load_network(path)
    assert isinstance(loaded, AnyStyleNet)
    assert (card.kind, card.styles, card.features) == ("any_style", (), network.encoder.digest)
    assert loaded.architecture() == network.architecture()
    image, style = picture(24, 24), picture(32, 32, 1)
    painted = loaded(image, [loaded.measure(style)])
    torch.testing.assert_close(painted, network(image, [network.measure(style)]), rtol=0, atol=0.02)


def test_another_encoder_under_the_same_name_is_refused(tmp_path: Path) -> None:
    encoder = make_encoder(tmp_path / "encoder.safetensors", seed=1)
    network = AnyStyleNet(encoder, width=2, blocks=0)
    save_network(network, tmp_path / "small.safetensors", [], network.encoder.digest)
    load_network(tmp_path / "small.safetensors")
    make_encoder(tmp_path / "encoder.safetensors", seed=2)
    with pytest.raises(UserError, match=r"small\.safetensors was trained with another encoder"):
        load_network(tmp_path / "small.safetensors")


def test_a_card_of_an_unknown_kind(tmp_path: Path) -> None:
    card = {"architecture": {}, "styles": [], "encoder": "", "kind": "sculpture"}
    path = tmp_path / "network.safetensors"
    path.write_bytes(save({"weight": torch.zeros(1)}, {"transformer": json.dumps(card)}))
    with pytest.raises(UserError, match=r"found something else in .*network\.safetensors"):
        load_network(path)


def test_numbers_out_of_range() -> None:
    with pytest.raises(UserError, match=r"detail of at least 0, but 0, 64, 2, 0, 0, 0\.8 and 1 were given"):
        AnyStyleNet(width=0)
    with pytest.raises(UserError, match=r"but 16, 64, 2, -0\.1, 0, 0\.8 and 1 were given"):
        AnyStyleNet(noise=-0.1)
