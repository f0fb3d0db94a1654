"""Does each style stay in its region? Style statistics of a painted image, region by region, against both styles.

    python benchmarks/guides.py PICTURE MASK STYLE_A STYLE_B

PICTURE was painted with `--data.style '[STYLE_A, STYLE_B]' --data.guides '[MASK, rest]'`. Printed is the relative
distance of guided Gram matrices (mean over relu1_1 … relu5_1, as in `GramStyleLoss`) of each region from each style;
only positions whose whole receptive field lies in the region count. In the last rows the part of the region within
16 pixels of its border is measured alone, by averaged weights: the place where a leak would show.
"""

from __future__ import annotations

import argparse

import torch
import torch.nn.functional as F
from torch import Tensor

from nst_lightning import VGG19, GramStyleLoss
from nst_lightning.encoders.guide_propagation import Propagation, propagate_guide
from nst_lightning.images.files import read_image
from nst_lightning.images.guides import read_guide
from nst_lightning.images.resize import fit_long_side, resize

BORDER = 16  # pixels


def border_of(region: Tensor, outside: Tensor) -> Tensor:
    """Return the part of a region that is near what lies outside."""
    near = F.max_pool2d(outside, 2 * BORDER + 1, stride=1, padding=BORDER)
    return torch.minimum(region, near)


@torch.no_grad()
def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("picture", "mask", "style_a", "style_b"):
        parser.add_argument(name)
    arguments = parser.parse_args()
    encoder, loss = VGG19(padding="replicate"), GramStyleLoss()
    picture = read_image(arguments.picture)
    height, width = picture.pixels.shape[-2:]
    mask = resize(read_guide(arguments.mask, picture), (height, width))
    features = encoder(picture.pixels, loss.taps)
    targets = []
    for path in (arguments.style_a, arguments.style_b):
        style = read_image(path).pixels
        style = resize(style, fit_long_side(style.shape[-2], style.shape[-1], max(height, width)))
        targets.append(loss.prepare(loss.measure(encoder(style, loss.taps))))

    def row(name: str, region: Tensor, how: Propagation) -> None:
        guide = propagate_guide(region, loss.taps, how, name=name)
        distances = [float(sum(loss(features, target, guide).values())) for target in targets]
        print(f"{name:24} {distances[0]:10.3f} {distances[1]:10.3f} {distances[0] / distances[1]:8.2f}")

    print(f"{'region':24} {'style A':>10} {'style B':>10} {'A / B':>8}")
    row("A's region, inside", mask, "inside")
    row("B's region, inside", 1 - mask, "inside")
    row("A's side of the border", border_of(mask, 1 - mask), "simple")
    row("B's side of the border", border_of(1 - mask, mask), "simple")


if __name__ == "__main__":
    main()
