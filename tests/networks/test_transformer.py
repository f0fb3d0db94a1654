"""The network against an independent one, and against what must hold for any weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nst_lightning.errors import UserError
from nst_lightning.networks.network_file import load_network, save_network
from nst_lightning.networks.transformer import ConditionalInstanceNorm, Moments, TransformerNet


@pytest.fixture
def network() -> TransformerNet:
    """Two styles, random scales and shifts, float64."""
    torch.manual_seed(0)
    network = TransformerNet(styles=2, width=4, blocks=2).double().eval()
    for name, parameter in network.named_parameters():
        if "norm" in name:
            nn.init.normal_(parameter, 1.0 if name.endswith("scale") else 0.0, 0.5)
    return network


def pictures(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def reference(network: TransformerNet, images: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
    """The network out of torch's own layers, with one scale and shift for each normalization."""

    def layer(index: int) -> nn.Sequential:
        stage = network.stages[index]
        convolution = stage.convolution
        parts: list[nn.Module] = [nn.Upsample(scale_factor=2)] if index in (upsampling, upsampling + 1) else []
        parts += [nn.ReflectionPad2d(convolution.kernel_size[0] // 2), convolution]
        if stage.norm is not None:
            norm = nn.InstanceNorm2d(convolution.out_channels, affine=True).double()
            norm.weight.data, norm.bias.data = row @ stage.norm.scale, row @ stage.norm.shift
            parts.append(norm)
        return nn.Sequential(*parts)

    upsampling = 3 + 2 * network.blocks
    x = images
    for index in range(3):
        x = layer(index)(x).relu()
    for index in range(3, upsampling, 2):
        x = x + layer(index + 1)(layer(index)(x).relu())
    x = layer(upsampling + 1)(layer(upsampling)(x).relu()).relu()
    return layer(upsampling + 2)(x).sigmoid()[..., : images.shape[2], : images.shape[3]]


@pytest.mark.parametrize("size", [(32, 24), (37, 50), (8, 9)])
def test_the_network_is_that_of_the_papers(network: TransformerNet, size: tuple[int, int]) -> None:
    images = pictures(2, 3, *size)
    weights = torch.tensor([0.25, 0.75], dtype=torch.float64)
    with torch.no_grad():
        expected = reference(network, images, torch.tensor([0.0, 0.25, 0.75], dtype=torch.float64))
        torch.testing.assert_close(network(images, weights), expected)
    assert [tuple(stage.convolution.kernel_size) for stage in network.stages] == [(9, 9), *[(3, 3)] * 8, (9, 9)]
    assert [stage.convolution.out_channels for stage in network.stages] == [4, 8, 16, *[16] * 4, 8, 4, 3]


def test_each_picture_has_its_own_statistics_and_its_own_style(network: TransformerNet) -> None:
    images, weights = pictures(3, 3, 20, 28), pictures(3, 2, seed=2) / 2
    with torch.no_grad():
        together = network(images, weights)
        alone = [network(images[i : i + 1], weights[i]) for i in range(3)]
    torch.testing.assert_close(together, torch.cat(alone))


def test_the_strength_leads_from_the_photograph_to_the_style(network: TransformerNet) -> None:
    images = pictures(1, 3, 20, 28)
    with torch.no_grad():
        assert torch.equal(network(images, torch.zeros(2)), images)
        halfway = network(images, torch.tensor([0.3, 0.2], dtype=torch.float64))
        painted = reference(network, images, torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64))
    torch.testing.assert_close(halfway, (images + painted) / 2)


def test_without_weights_all_styles_count_alike(network: TransformerNet) -> None:
    images = pictures(1, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(network(images), network(images, torch.full((2,), 0.5, dtype=torch.float64)))


def test_what_is_flat_stays_flat(network: TransformerNet) -> None:
    """Neither a checkerboard nor a border: what transposed convolutions or zeros outside would leave."""
    for stage in network.stages:
        with torch.no_grad():
            x = stage.convolve(pictures(1, stage.convolution.in_channels, 1, 1).expand(-1, -1, 12, 10))
        assert (x.amax((2, 3)) - x.amin((2, 3))).max() < 1e-12


def test_moments_are_those_of_the_map_and_add_up_over_its_parts() -> None:
    x = pictures(2, 5, 12, 9) * 3 + 1
    whole = ConditionalInstanceNorm.moments(x)
    torch.testing.assert_close(whole.mean, x.mean((2, 3)))
    torch.testing.assert_close(whole.variance, x.var((2, 3), correction=0))
    parts = [ConditionalInstanceNorm.moments(part) for part in x.split([4, 8], dim=2)]
    torch.testing.assert_close(Moments.merged(parts, [4, 8]), whole)


def test_moments_of_a_large_map_keep_their_digits() -> None:
    """A running sum in float32 over a million positions would be off in the fourth digit."""
    x = torch.rand(1, 1, 1024, 1024, generator=torch.Generator().manual_seed(0)) + 1
    moments = ConditionalInstanceNorm.moments(x)
    assert float(moments.mean) == pytest.approx(float(x.double().mean()), rel=1e-6)
    assert float(moments.variance) == pytest.approx(float(x.double().var(correction=0)), rel=1e-6)


@pytest.mark.parametrize("outlier", [(0, 0), (40, 50)])
def test_moments_of_a_map_that_is_nearly_flat(outlier: tuple[int, int]) -> None:
    """Deviations of a hundred-thousandth of the mean, from a noise and from a single position, in float32."""
    noise = 100 + torch.randn(1, 1, 90, 120, generator=torch.Generator().manual_seed(0)) / 1000
    dot = torch.full((1, 1, 90, 120), 100.0)
    dot[..., outlier[0], outlier[1]] += 0.1
    for x in (noise, dot):
        moments = ConditionalInstanceNorm.moments(x)
        assert float(moments.mean) == pytest.approx(float(x.double().mean()), rel=1e-7)
        assert float(moments.variance) == pytest.approx(float(x.double().var(correction=0)), rel=1e-4)
        merged = Moments.merged([ConditionalInstanceNorm.moments(part) for part in x.split(17, 3)], [17] * 7 + [1])
        assert float(merged.variance) == pytest.approx(float(x.double().var(correction=0)), rel=1e-2)


def test_gradients_are_those_of_torch() -> None:
    torch.manual_seed(0)
    ours, norm = ConditionalInstanceNorm(3, 2).double(), nn.InstanceNorm2d(3, eps=1e-5).double()
    x, direction = (pictures(2, 3, 7, 5, seed=seed) for seed in (1, 2))
    x.requires_grad_()
    (found,) = torch.autograd.grad((ours(x, torch.tensor([[0.5, 0.5]]).double()) * direction).sum(), x)
    (expected,) = torch.autograd.grad((norm(x) * direction).sum(), x)
    torch.testing.assert_close(found, expected)


def test_stages_over_tiles_equal_the_whole(network: TransformerNet) -> None:
    """Two tiles, each with its neighbors' rows, and moments gathered over both: what exact tiling will do."""
    images = pictures(1, 3, 32, 24)
    mixture = network.mixture(torch.tensor([[0.5, 0.5]], dtype=torch.float64))
    x = entered = images
    with torch.no_grad():
        for stage in network.stages:
            entered = x if stage.block == "opens" else entered
            tiles = convolve_halves(stage, x)
            moments = None
            if stage.norm is not None:
                each = [stage.norm.moments(tile) for tile in tiles]
                moments = Moments.merged(each, [1, 1])
            skipped = entered.chunk(2, dim=2) if stage.block == "closes" else (None, None)
            finished = [stage.finish(t, mixture, moments, s) for t, s in zip(tiles, skipped, strict=True)]
            x = torch.cat(finished, dim=2)
        torch.testing.assert_close(network.blend(x, images, mixture), network(images))


def convolve_halves(stage: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    scale = 2 if stage.upsample else 1
    middle, side = x.shape[2] // 2, stage.margin
    halo = -(-side // scale)  # rows of the map before upsampling
    spare = halo * scale - side  # rows of it that are too many after upsampling
    stride = stage.convolution.stride[0]
    above = stage.convolve(x[:, :, : middle + halo], (side, side, side, -spare))
    below = stage.convolve(x[:, :, middle - halo :], (side, side, -spare, side))
    rows = middle * scale // stride
    return [above[:, :, :rows], below[:, :, -rows:]]


def test_float16_files_keep_the_network(network: TransformerNet, tmp_path) -> None:
    path = tmp_path / "made" / "network.safetensors"
    save_network(network.float(), path, ("starry", "wave"), "digest")
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    (path.parent / "made with the usual mode").touch()
    assert path.stat().st_mode == (path.parent / "made with the usual mode").stat().st_mode
    assert path.stat().st_size < 2 * sum(p.numel() for p in network.parameters()) + 8000
    loaded, card = load_network(path)
    assert card.styles == ("starry", "wave")
    assert card.encoder == "digest"
    for name, value in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value.half().float()), name
    images = pictures(1, 3, 16, 16).float()
    with torch.no_grad():
        torch.testing.assert_close(loaded(images), network(images), atol=0.01, rtol=0)


@pytest.mark.parametrize("name", ["missing.safetensors", "text.safetensors", "text.ckpt", "other.safetensors"])
def test_files_that_hold_no_network(name: str, tmp_path, encoder_file: str) -> None:
    (tmp_path / "text.safetensors").write_text("no network")
    (tmp_path / "text.ckpt").write_text("no network")
    (tmp_path / "other.safetensors").symlink_to(encoder_file)
    with pytest.raises(UserError, match=f"expected a transformer network .*{name}") as caught:
        load_network(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_torch_export_with_sizes_that_vary() -> None:
    network = TransformerNet(styles=2, width=2, blocks=0).eval()
    dynamic = {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    example = (pictures(1, 3, 21, 34).float(), torch.tensor([0.5, 0.2]))
    with torch.no_grad():
        exported = torch.export.export(network, example, dynamic_shapes=(dynamic, None)).module()
        for size, weights in (((16, 24), (1.0, 0.0)), ((31, 17), (0.1, 0.3))):
            images, given = pictures(1, 3, *size).float(), torch.tensor(weights)
            torch.testing.assert_close(exported(images, given), network(images, given))


@pytest.mark.parametrize(("size", "weights"), [((7, 30), (1.0, 0.0)), ((30, 7), (1.0, 0.0)), ((30, 30), (1.0,))])
def test_what_cannot_be_painted(network: TransformerNet, size, weights) -> None:
    with pytest.raises(UserError, match=r"too small|knows 2 styles, but 1 weights"):
        network(pictures(1, 3, *size), torch.tensor(weights))


@pytest.mark.parametrize("numbers", [(0, 4, 1), (1, 0, 1), (1, 4, -1)])
def test_networks_that_cannot_be(numbers: tuple[int, int, int]) -> None:
    with pytest.raises(UserError, match=f"{numbers[0]}, {numbers[1]} and {numbers[2]} were given"):
        TransformerNet(*numbers)
