"""The network that ships in the package."""

from __future__ import annotations

import pytest
import torch

from nst_lightning.encoders.vgg19 import VGG19
from nst_lightning.images.files import read_image
from nst_lightning.images.resize import cover, fit_long_side, resize
from nst_lightning.losses import ContentLoss, GramStyleLoss, Loss
from nst_lightning.networks.network_file import load_network, network_path


@pytest.mark.slow
@torch.no_grad()
def test_it_paints_in_the_manner_of_its_sample_and_keeps_the_photograph() -> None:
    network, card = load_network(network_path("starry"))
    encoder = VGG19("vgg19_normalized", padding="replicate")  # which it was trained through
    assert card.styles == ("starry",)
    assert card.encoder == encoder.digest
    star, photo = read_image("sample:starry").pixels, cover(read_image("sample:still_life").pixels, (192, 256))
    style = resize(star, fit_long_side(*star.shape[-2:], 512))
    painted, half = network(photo, torch.tensor([1.0])), network(photo, torch.tensor([0.5]))
    assert torch.equal(network(photo, torch.tensor([0.0])), photo)

    def distance(loss: Loss, image: torch.Tensor, reference: torch.Tensor) -> float:
        targets = loss.prepare(loss.measure(encoder(reference, loss.taps)))
        return float(sum(loss(encoder(image, loss.taps), targets).values()))

    # Not the loss it was trained with: Gram matrices.
    gram, content = GramStyleLoss(), ContentLoss()
    distances = [distance(gram, image, style) for image in (photo, half, painted)]
    assert distances[2] < 0.3 * distances[0], distances
    assert distances[2] < distances[1] < distances[0], distances
    other = cover(read_image("sample:town").pixels, (192, 256))
    assert distance(content, painted, photo) < 0.8 * distance(content, other, photo)
