"""The loss curve that Gatys' own notebook prints, run again.

    python benchmarks/gatys_curve.py tubingen.jpg vangogh_starry_night.jpg [--evaluations 500] [--resize bilinear]

The procedure of leongatys/PytorchNeuralStyleTransfer (NeuralStyleTransfer.ipynb), written as it is written there: both
images resized to a short side of 512 pixels, the original VGG19 with max pooling, optimization from the content image
by torch's L-BFGS with its defaults, content the mean squared error at relu4_2 with weight 1, style the mean squared
errors of five Gram matrices with weights 1000 / n² for n channels. Printed is the loss at the evaluations whose losses
the notebook shows, beside those. What its authors' machine had and this one has not: Caffe's weights in float32 (here 8
bits to a weight), the torch and the Pillow of their time.
"""

from __future__ import annotations

import argparse

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

from nst_lightning.encoders import VGG19

PRINTED = {50: 1_388_533, 100: 707_861, 200: 469_375, 300: 411_658, 400: 383_885, 500: 368_494}
STYLE = {"relu1_1": 64, "relu2_1": 128, "relu3_1": 256, "relu4_1": 512, "relu5_1": 512}
CONTENT = "relu4_2"


def read(path: str, side: int, how: str) -> Tensor:
    """Return the image with the given short side as `(1, 3, H, W)` in [0, 1].

    `bilinear` and `lanczos` are Pillow's, which average over the area that a pixel covers when they shrink; `plain` is
    bilinear interpolation between the four nearest pixels, as Pillow before 2.7 and most other programs have it.
    """
    image = Image.open(path).convert("RGB")
    scale = side / min(image.size)
    size = (int(image.width * scale), int(image.height * scale))
    pixels: Tensor
    if how == "plain":
        pixels = pil_to_tensor(image)[None].float() / 255
        return F.interpolate(pixels, (size[1], size[0]), mode="bilinear", antialias=False)
    pixels = pil_to_tensor(image.resize(size, Image.Resampling[how.upper()]))[None].float() / 255
    return pixels


def gram(maps: Tensor) -> Tensor:
    """Return the Gram matrix of maps `(1, C, H, W)` divided by the number of positions."""
    flat = maps.flatten(2)
    return torch.bmm(flat, flat.mT).div(flat.shape[2])


def curve(content: Tensor, style: Tensor, evaluations: int) -> dict[int, float]:
    """Return the loss at each evaluation that the notebook prints."""
    encoder = VGG19("vgg19", padding="zeros")
    layers = [*STYLE, CONTENT]
    with torch.no_grad():
        grams = {name: gram(value) for name, value in encoder(style, list(STYLE)).items()}
        wanted = encoder(content, [CONTENT])[CONTENT]
    # In the notebook's units, 0 to 255: the length of the first step of L-BFGS depends on them.
    image = content.mul(255).requires_grad_()
    optimizer = torch.optim.LBFGS([image])
    losses: dict[int, float] = {}
    count = 0

    def closure() -> Tensor:
        nonlocal count
        optimizer.zero_grad()
        maps = encoder(image / 255, layers)
        terms = [1000 / n**2 * F.mse_loss(gram(maps[name]), grams[name]) for name, n in STYLE.items()]
        loss = torch.stack([*terms, F.mse_loss(maps[CONTENT], wanted)]).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        assert image.grad is not None
        image.grad = image.grad.contiguous()  # L-BFGS takes views of it; the encoder's are channels last
        count += 1
        if count in PRINTED:
            losses[count] = loss.item()
            print(
                f"{count:5d} {losses[count]:12,.0f} {PRINTED[count]:12,d} {losses[count] / PRINTED[count]:8.3f}",
                flush=True,
            )
        return loss

    while count < evaluations:
        optimizer.step(closure)  # type: ignore[no-untyped-call]
    return losses


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("content")
    parser.add_argument("style")
    parser.add_argument("--evaluations", type=int, default=500)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--resize", choices=["bilinear", "lanczos", "nearest", "plain"], default="bilinear")
    options = parser.parse_args()
    content, style = (read(path, options.side, options.resize) for path in (options.content, options.style))
    print(f"{options.resize}: {tuple(content.shape[-2:])}, {tuple(style.shape[-2:])}")
    print(f"{'':5} {'here':>12} {'notebook':>12} {'ratio':>8}")
    curve(content, style, options.evaluations)


if __name__ == "__main__":
    main()
