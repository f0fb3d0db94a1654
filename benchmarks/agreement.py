"""How much of a teacher's features an encoder explains, depth by depth.

    python benchmarks/agreement.py compact other.safetensors [--config configs/distill_compact.yaml] [--batches 40]

For each pair of layers of the config the best linear map of the encoder's channels onto the teacher's is found by
least squares over random crops of the training images; printed is the variance that it leaves unexplained on the
held-out ones, per channel of the teacher in units of that channel's variance, averaged over the channels.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

import torch
import torch.nn.functional as F
import yaml
from torch import Tensor

from nst_lightning.data import FolderImages
from nst_lightning.encoders import VGG19
from nst_lightning.encoders.topology import INPUT
from nst_lightning.tasks.distillation import Teacher

RIDGE = 1e-4  # relative to the mean energy of a channel


def rows(encoder: VGG19, teacher: VGG19 | Teacher, images: Tensor, pair: tuple[str, str]) -> tuple[Tensor, Tensor]:
    """Return positions as rows: the encoder's channels and a one, and the teacher's channels."""
    layer, target = pair
    student = encoder(images, [layer])[layer]
    if target == INPUT:
        wanted = F.pixel_unshuffle(images, images.shape[-1] // student.shape[-1])
    else:
        wanted = teacher(images, [target])[target]
    if student.shape[-2:] != wanted.shape[-2:]:
        student = F.interpolate(student, wanted.shape[-2:], mode="bilinear")
    x, y = student.permute(0, 2, 3, 1).flatten(0, 2).double(), wanted.permute(0, 2, 3, 1).flatten(0, 2).double()
    return torch.cat([x, torch.ones_like(x[:, :1])], dim=1), y


@torch.no_grad()
def unexplained(
    encoder: VGG19, teacher: VGG19 | Teacher, train: Iterable[Tensor], held_out: Iterable[Tensor], pair: tuple[str, str]
) -> float:
    """Return the unexplained variance of a pair, 0 for a perfect encoder and 1 for a blind one."""
    xx, xy = torch.zeros(()).double(), torch.zeros(()).double()
    for images in train:
        x, y = rows(encoder, teacher, images, pair)
        xx, xy = xx + x.T @ x, xy + x.T @ y
    ridge = RIDGE * xx.diagonal().mean() * torch.eye(len(xx)).double()
    projection = torch.linalg.solve(xx + ridge, xy)
    truth, error = [], []
    for images in held_out:
        x, y = rows(encoder, teacher, images, pair)
        truth.append(y)
        error.append(x @ projection - y)
    variance = torch.cat(truth).var(dim=0)
    alive = variance > 1e-3 * variance.mean()
    return float((torch.cat(error).square().mean(dim=0) / variance)[alive].mean())


def main() -> None:
    """Measure and print a row for each pair, a column for each encoder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoders", nargs="+")
    parser.add_argument("--config", default="configs/distill_compact.yaml")
    parser.add_argument("--batches", type=int, default=40)
    options = parser.parse_args()
    config = yaml.safe_load(Path(options.config).read_text())
    model, data = config["model"]["init_args"], config["data"]["init_args"]
    kind = VGG19 if model["teacher"]["class_path"].endswith("VGG19") else Teacher
    teacher = kind(**model["teacher"]["init_args"])
    encoders = {name: VGG19(name, padding="replicate") for name in options.encoders}
    torch.manual_seed(0)
    images = FolderImages(**{**data, "noise": 0.0, "num_workers": 0})
    train = [batch for batch, _ in zip(images.train_dataloader(), range(options.batches), strict=False)]
    held_out = list(images.val_dataloader())
    print(f"{'pair':28}" + "".join(f"{name[-24:]:>26}" for name in encoders))
    for layer, targets in model["pairs"].items():
        for target in targets:
            values = [unexplained(e, teacher, train, held_out, (layer, target)) for e in encoders.values()]
            print(f"{layer + ' → ' + target:28}" + "".join(f"{value:26.3f}" for value in values))


if __name__ == "__main__":
    main()
