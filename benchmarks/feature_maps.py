"""Which map of features from the content's statistics to the style's comes nearest to the style, and keeps the content.

    python benchmarks/feature_maps.py [--contents PICTURE ...] [--styles PICTURE ...] [--size 256] [--steps 150]
        [--photos FOLDER --paintings FOLDER]

The features that `AnyStyleNet` paints from are moved by each map, and an image is optimized to have them: no decoder
has part in it, which would be better at the map that it was trained with. The images are measured by another network
than the one whose features they have, the VGG19 of the paper: `style` is the relative squared distance of Gram
matrices, summed over relu1_1 … relu5_1; `content` the correlation of centered relu4_2 maps. Medians over all pairs.

`adain`: mean and deviation of each channel (Huang and Belongie 2017); `whitening`: by the symmetric inverse root of the
content's covariance, then the root of the style's (Li et al. 2017); `transport`: the optimal transport map between the
two Gaussians; `learned`: the map that a network predicts (Li et al. 2019), which is trained first, on the photographs
and the paintings of two folders, and is left out without them.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
from collections.abc import Callable

import torch
import torch.nn.functional as F
from learned_map import learned_maps
from torch import Tensor

from nst_lightning.encoders.topology import INPUT
from nst_lightning.encoders.vgg19 import VGG19
from nst_lightning.images.files import read_image
from nst_lightning.images.resize import fit_long_side, resize
from nst_lightning.losses.functional import gram_matrix
from nst_lightning.networks.any_style import GRID, MOVED_TAPS
from nst_lightning.networks.gaussians import RIDGE, AffineMap, Gaussian, optimal_transport
from nst_lightning.utils.matrix_roots import inverse_root, symmetric_root

STYLE = ["relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"]
CONTENT = "relu4_2"


def identity(source: Gaussian, target: Gaussian) -> AffineMap:
    """Return the map that moves nothing: what the optimization itself costs."""
    del target
    return AffineMap(torch.eye(source.mean.shape[1])[None], torch.zeros_like(source.mean))


def adain(source: Gaussian, target: Gaussian) -> AffineMap:
    """Return the map that gives each channel the target's mean and deviation."""
    factor = target.deviation / source.deviation.clamp_min(1e-5)
    return AffineMap(torch.diag_embed(factor), target.mean - factor * source.mean)


def whitening(source: Gaussian, target: Gaussian) -> AffineMap:
    """Return the map that whitens and colors, with the ridge of `optimal_transport`."""
    first, second = source.covariance.double(), target.covariance.double()
    extent = RIDGE * (first + second).diagonal(dim1=1, dim2=2).mean() / 2
    diagonal = extent * torch.eye(first.shape[-1], dtype=torch.float64)
    matrix = (symmetric_root(second + diagonal) @ inverse_root(first + diagonal)).float()
    return AffineMap(matrix, target.mean - (matrix @ source.mean[..., None])[..., 0])


Mover = Callable[[str, Tensor, Tensor], Tensor]
"""Function of a layer, the content's features there and the style's, which returns the content's moved."""

MAPS: dict[str, Callable[[Gaussian, Gaussian], AffineMap]] = {
    "none": identity,
    "adain": adain,
    "whitening": whitening,
    "transport": optimal_transport,
}


def affine(make: Callable[[Gaussian, Gaussian], AffineMap]) -> Mover:
    """Return the function of features of a map that is known from Gaussians."""
    return lambda tap, content, style: make(Gaussian.of(content), Gaussian.of(style))(content)


def image_with(features: dict[str, Tensor], start: Tensor, encoder: VGG19, steps: int) -> Tensor:
    """Return the image whose features come nearest to those that are wanted, from another image."""
    image = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([image], lr=0.03, betas=(0.9, 0.9))
    scales = {tap: wanted.var() for tap, wanted in features.items()}
    for _ in range(steps):
        optimizer.zero_grad()
        found = encoder(image, list(features))
        terms = [F.mse_loss(found[tap], wanted) / scales[tap] for tap, wanted in features.items()]
        torch.autograd.backward([torch.stack(terms).sum()])
        optimizer.step()
        with torch.no_grad():
            image.clamp_(0, 1)
    return image.detach()


@torch.no_grad()
def measure(image: Tensor, content: Tensor, style: Tensor, judge: VGG19) -> tuple[float, float]:
    """Return how far an image is from the style and how near to the content."""
    found, of_style = judge(image, [*STYLE, CONTENT]), judge(style, STYLE)
    far = 0.0
    for layer in STYLE:
        wanted = gram_matrix(of_style[layer])
        far += float((gram_matrix(found[layer]) - wanted).square().sum() / wanted.square().sum())
    first, second = (
        maps - maps.mean(dim=(2, 3), keepdim=True) for maps in (found[CONTENT], judge(content, [CONTENT])[CONTENT])
    )
    return far, float((first * second).sum() / (first.norm() * second.norm()))


def read(path: str, size: int) -> Tensor:
    """Return an image of sides that are multiples of the grid."""
    image = read_image(path).pixels
    height, width = fit_long_side(image.shape[-2], image.shape[-1], size)
    return resize(image, (height // GRID * GRID, width // GRID * GRID))


def main() -> None:
    """Measure each pair, print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contents", nargs="+", default=["sample:town", "sample:still_life"])
    parser.add_argument("--styles", nargs="+", default=["sample:starry", "sample:woodcut", "sample:mosaic"])
    parser.add_argument("--size", type=int, default=256, help="long side, pixels")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--photos", help="folder to train the learned map on")
    parser.add_argument("--paintings", help="folder of its styles")
    parser.add_argument("--training_steps", type=int, default=2000)
    parser.add_argument("--style_weight", type=float, default=10.0)
    options = parser.parse_args()
    encoder, judge = VGG19("compact", padding="replicate"), VGG19("vgg19", padding="replicate")
    movers = {name: affine(make) for name, make in MAPS.items()}
    if options.photos and options.paintings:
        learned = learned_maps(
            encoder,
            MOVED_TAPS,
            options.photos,
            options.paintings,
            options.training_steps,
            options.style_weight,
            report=lambda line: print(line, flush=True),
        )
        movers["learned"] = lambda tap, content, style: learned[tap](content, style)
    figures: dict[str, list[tuple[float, float]]] = {name: [] for name in movers}
    for paths in itertools.product(options.contents, options.styles):
        content, style = (read(path, options.size) for path in paths)
        with torch.no_grad():
            maps, of_style = (encoder(image, list(MOVED_TAPS)) for image in (content, style))
        for name, move in movers.items():
            with torch.no_grad():
                moved = {tap: move(tap, maps[tap], of_style[tap]) for tap in MOVED_TAPS}
            start = moved[INPUT].clamp(0, 1)
            figures[name].append(measure(image_with(moved, start, encoder, options.steps), content, style, judge))
        row = "  ".join(f"{name} {found[-1][0]:.3f} / {found[-1][1]:.3f}" for name, found in figures.items())
        print(f"{paths[0]} × {paths[1]}: {row}", flush=True)
    print(f"\n{'map':>10} {'style':>7} {'content':>8}")
    for name, found in figures.items():
        far, near = (statistics.median(values) for values in zip(*found, strict=True))
        print(f"{name:>10} {far:7.3f} {near:8.3f}")


if __name__ == "__main__":
    main()
