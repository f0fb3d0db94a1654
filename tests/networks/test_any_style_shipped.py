"""The network of any style that ships in the package."""

from __future__ import annotations

import pytest
import torch

from nst_lightning.encoders.vgg19 import VGG19
from nst_lightning.images.files import read_image
from nst_lightning.images.resize import cover, fit_long_side, resize
from nst_lightning.losses import ContentLoss, GramStyleLoss, Loss
from nst_lightning.networks.any_style import AnyStyleNet
from nst_lightning.networks.network_file import load_network, network_path


def test_it_is_small() -> None:
    assert network_path("any_style").stat().st_size <= 4e6


@pytest.mark.slow
@torch.no_grad()
def test_it_paints_in_the_manner_of_a_picture_and_keeps_the_photograph() -> None:
    network, card = load_network("any_style")
    assert isinstance(network, AnyStyleNet)
    assert card.features == network.encoder.digest
    encoder = VGG19("compact_v1", padding="replicate")  # which it was not trained through
    star, photo = read_image("sample:starry").pixels, cover(read_image("sample:still_life").pixels, (192, 256))
    style = resize(star, fit_long_side(*star.shape[-2:], 512))
    styles = [network.measure(style)]
    half, painted = (network(photo, styles, torch.tensor([strength])) for strength in (0.5, 1.0))
    assert torch.equal(network(photo, styles, torch.tensor([0.0])), photo)

    def distance(loss: Loss, image: torch.Tensor, reference: torch.Tensor) -> float:
        targets = loss.prepare(loss.measure(encoder(reference, loss.taps)))
        return float(sum(loss(encoder(image, loss.taps), targets).values()))

    gram, content = GramStyleLoss(), ContentLoss()
    distances = [distance(gram, image, style) for image in (photo, half, painted)]
    assert distances[2] < 0.4 * distances[0], distances
    assert distances[2] < distances[1] < distances[0], distances
    other = cover(read_image("sample:town").pixels, (192, 256))
    assert distance(content, painted, photo) < 0.85 * distance(content, other, photo)


def repetition(image: torch.Tensor) -> float:
    """Return the largest correlation of an image's brightness with itself, moved by 24 to 64 pixels."""
    gray = image[0].mean(0)[32:-32, 32:-32]
    gray = gray - gray.mean()
    sides = [2 * side for side in gray.shape]
    together, pairs = (
        torch.fft.irfft2(torch.fft.rfft2(each, s=sides).abs().square(), s=sides)
        for each in (gray, torch.ones_like(gray))
    )
    correlation = together / pairs.clamp_min(1)
    down, across = (torch.minimum(moved, side - moved) for side in sides for moved in [torch.arange(side)])
    distance = torch.hypot(down[:, None].float(), across.float())
    return float((correlation / correlation[0, 0])[(distance > 24) & (distance < 64)].max())


@torch.no_grad()
def test_a_flat_photograph_gets_strokes_and_no_pattern() -> None:
    """One that does not change along its rows can be given nothing but a pattern, if there is no noise."""
    network, _ = load_network("any_style")
    assert isinstance(network, AnyStyleNet)
    star = read_image("sample:starry").pixels
    styles = [network.measure(resize(star, fit_long_side(*star.shape[-2:], 256)))]
    sky = torch.linspace(0.3, 0.6, 256).view(1, 1, 256, 1).expand(1, 3, 256, 256)
    assert repetition(network(sky, styles)) < 0.3
    network.noise = 0.0
    assert repetition(network(sky, styles)) > 0.9
