"""Tiled painting against the network itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from nst_lightning.networks.tiled_inference import Span, paint_tiled, reach
from nst_lightning.networks.transformer import Stage, TransformerNet

SIZES = [(8, 8), (9, 11), (37, 50), (40, 24), (31, 46)]


def make_network(blocks: int = 2, dtype: torch.dtype = torch.float64) -> TransformerNet:
    """Two styles, with scales and shifts that differ between channels."""
    torch.manual_seed(0)
    network = TransformerNet(styles=2, width=4, blocks=blocks).to(dtype).eval()
    for name, parameter in network.named_parameters():
        if "norm" in name:
            nn.init.normal_(parameter, 1.0 if name.endswith("scale") else 0.0, 0.5)
    return network


def pictures(height: int, width: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Two images, brighter to the right: a tile's own moments are not the picture's."""
    generator = torch.Generator().manual_seed(height * width)
    noise = torch.rand(2, 3, height, width, generator=generator, dtype=dtype)
    return noise * torch.linspace(0.1, 1, width, dtype=dtype)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("tile_size", [4, 13, 32, 500])
def test_tiled_is_untiled(size: tuple[int, int], tile_size: int) -> None:
    network, images = make_network(), pictures(*size)
    weights = torch.tensor([[0.3, 0.7], [0.6, 0.1]], dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(
            paint_tiled(network, images, weights, tile_size), network(images, weights), rtol=0, atol=1e-12
        )


@pytest.mark.parametrize("blocks", [0, 3])
def test_in_single_precision(blocks: int) -> None:
    network, images = make_network(blocks, torch.float32), pictures(61, 90, torch.float32)
    weights = torch.tensor([0.5, 0.5])
    tiled = paint_tiled(network, images, weights, 24, torch.device("cpu"))
    with torch.no_grad():
        assert float((tiled - network(images, weights)).abs().max()) <= 1e-5


def sky() -> Tensor:
    return torch.linspace(0.60, 0.62, 160, dtype=torch.float64).expand(1, 3, 160, 160).contiguous()


def white_with_a_dot() -> Tensor:
    images = torch.ones(1, 3, 160, 160, dtype=torch.float64)
    images[..., 70, 75] = 0.98
    return images


@pytest.mark.parametrize("picture", [sky, white_with_a_dot])
def test_what_is_nearly_flat_is_painted_as_in_double_precision(picture: Callable[[], Tensor]) -> None:
    """Each normalization blows up rounding, the first by as much as the map's mean lies above its deviation."""
    network, images = make_network(5), picture().float().double()
    weights = torch.tensor([0.5, 0.5], dtype=torch.float64)
    with torch.no_grad():
        expected = network(images, weights)
        single = network.float(), images.float(), weights.float()
        whole = network(*single[1:])
        tiled = paint_tiled(*single, 64)
    assert float(expected.std()) > 0.01
    assert float((whole - expected).abs().max()) <= 0.5 / 255
    assert float((tiled - whole).abs().max()) <= 0.5 / 255


def test_moments_of_the_tiles_alone_would_show() -> None:
    """The test above would not pass if each tile were painted by itself."""
    network, images = make_network(), pictures(32, 64)
    weights = torch.tensor([0.5, 0.5], dtype=torch.float64)
    with torch.no_grad():
        left = network(images[..., :32], weights)
        assert float((left - network(images, weights)[..., :32]).abs().max()) > 0.05


def test_no_map_is_larger_than_a_tile_and_its_margin(monkeypatch: pytest.MonkeyPatch) -> None:
    sides: list[int] = []
    convolve = Stage.convolve

    def watched(stage: Stage, x: Tensor, padding: tuple[int, int, int, int] | None = None) -> Tensor:
        sides.extend(x.shape[-2:])
        return convolve(stage, x, padding)

    monkeypatch.setattr(Stage, "convolve", watched)
    paint_tiled(make_network(), pictures(64, 96), torch.tensor([1.0, 0.0], dtype=torch.float64), 16)
    assert max(sides) == 16 + 1 + 8  # a 3×3 kernel with stride 2, a 9×9 one before it


@pytest.mark.parametrize(("stride", "upsample"), [(1, False), (2, False), (1, True)])
def test_reach_is_what_a_convolution_depends_on(stride: int, upsample: bool) -> None:
    """Against the gradient of the positions in question."""
    length = 13
    stage = Stage(1, 1, 3, 0, stride=stride, upsample=upsample).double()
    nn.init.ones_(stage.convolution.weight)
    x = torch.rand(1, 1, length, length, dtype=torch.float64, requires_grad=True)
    output = stage.convolve(x)
    for start, stop in [(0, 2), (2, 4), (3, 6), (output.shape[-1] - 2, output.shape[-1])]:
        (gradient,) = torch.autograd.grad(output[0, 0, 3, start:stop].sum(), x, retain_graph=True)
        touched = gradient[0, 0].abs().sum(0).nonzero().flatten()
        found = reach(stage, Span(start, stop), length)
        assert found.seen == (int(touched.min()), int(touched.max()) + 1)
        assert found.wanted.stop - found.wanted.start == stop - start
