"""A linear map of features that a network predicts, one of the maps that `feature_maps.py` compares."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nst_lightning.data import AnyStyleData
from nst_lightning.encoders.vgg19 import VGG19
from nst_lightning.losses import WassersteinStyleLoss


class LearnedMap(nn.Module):
    r"""Map of features as a network predicts it of both images' features.

    Li et al., "Learning Linear Transformations for Fast Image and Video Style Transfer" (2019): features of both,
    centered, are convolved to few channels; the covariance of those over positions, by a linear layer, is a matrix of
    each image. Their product :math:`T_s T_c` moves the content's features, compressed to as many channels and expanded
    again; the style's mean is added.

    Args:
        channels: Number of channels of the features.
        rank: Number of channels that are moved, as theirs; fewer where the features have fewer.
    """

    def __init__(self, channels: int, rank: int = 32) -> None:
        super().__init__()
        rank = min(rank, channels)
        self.rank = rank
        self.compress = nn.Conv2d(channels, rank, 1)
        self.expand = nn.Conv2d(rank, channels, 1)
        self.of_content, self.of_style = (
            nn.Sequential(
                nn.Conv2d(channels, max(rank, channels // 2), 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(max(rank, channels // 2), max(rank, channels // 4), 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(max(rank, channels // 4), rank, 3, padding=1),
            )
            for _ in range(2)
        )
        self.matrix_of_content, self.matrix_of_style = (nn.Linear(rank**2, rank**2) for _ in range(2))

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        """Return features `(N, C, H, W)` moved by the map that is predicted for those of a style `(N, C, h, w)`."""
        content = content - content.mean(dim=(2, 3), keepdim=True)
        mean = style.mean(dim=(2, 3), keepdim=True)
        first = self._matrix(self.of_content, self.matrix_of_content, content)
        second = self._matrix(self.of_style, self.matrix_of_style, style - mean)
        compressed = self.compress(content)
        moved = (second @ first @ compressed.flatten(2)).view_as(compressed)
        expanded: Tensor = self.expand(moved)
        return expanded + mean

    def _matrix(self, convolutions: nn.Module, linear: nn.Module, centered: Tensor) -> Tensor:
        maps = convolutions(centered).flatten(2)
        matrix: Tensor = linear((maps @ maps.mT / maps.shape[2]).flatten(1))
        return matrix.view(-1, self.rank, self.rank)


def learned_maps(
    encoder: VGG19,
    taps: Sequence[str],
    photos: str,
    paintings: str,
    steps: int,
    style_weight: float,
    report: Callable[[str], None],
) -> dict[str, LearnedMap]:
    """Return a map for each layer, trained on pairs of crops of photographs and paintings.

    There is no decoder: the moved features themselves are compared, with the content's by the mean squared difference
    over their variance, with the style's by the squared 2-Wasserstein distance of Gaussians.

    Args:
        encoder: Frozen network whose features are moved.
        taps: Layers.
        photos: Folder of photographs.
        paintings: Folder of paintings.
        steps: Number of steps of 8 pairs.
        style_weight: Weight of the distance from the style.
        report: Function that is given a line about the losses now and then.
    """
    with torch.no_grad():
        maps = {
            tap: LearnedMap(features.shape[1]) for tap, features in encoder(torch.zeros(1, 3, 16, 16), taps).items()
        }
    style = {tap: WassersteinStyleLoss([tap]) for tap in taps}
    optimizer = torch.optim.Adam([weight for each in maps.values() for weight in each.parameters()], lr=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps)
    data = AnyStyleData(photos, paintings, steps=steps, crop=128, style_crop=192, batch_size=8, num_workers=1)
    for step, (contents, styles) in enumerate(data.train_dataloader()):
        with torch.no_grad():
            of_contents, of_styles = encoder(contents, taps), encoder(styles, taps)
        near, far = [], []
        for tap in taps:
            moved = maps[tap](of_contents[tap], of_styles[tap])
            near.append(F.mse_loss(moved, of_contents[tap]) / of_contents[tap].var())
            targets = style[tap].prepare(style[tap].measure({tap: of_styles[tap]}))
            far.extend(style[tap]({tap: moved}, targets).values())
        optimizer.zero_grad()
        torch.autograd.backward([torch.stack(near).sum() + style_weight * torch.stack(far).sum()])
        optimizer.step()
        schedule.step()
        if step % 100 == 99:
            found = "  ".join(f"{tap} {a:.3f} {b:.4f}" for tap, a, b in zip(taps, near, far, strict=True))
            report(f"{step + 1} steps, content and style: {found}")
    return {tap: each.eval().requires_grad_(requires_grad=False) for tap, each in maps.items()}
