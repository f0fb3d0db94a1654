"""Files that tests read: tiny images and a tiny encoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save_file

from nst_lightning.encoders.topology import CONVOLUTIONS


def make_encoder(path: Path, seed: int, convolutions: Sequence[str] = CONVOLUTIONS) -> str:
    """Write a VGG19 with 4 to 8 channels and random weights that keep the signal alive through 16 layers."""
    generator = torch.Generator().manual_seed(seed)
    state, channels = {}, 3
    for name in convolutions:
        width = 4 if name[4] == "1" else 8
        scale = (2 / (channels * 9)) ** 0.5
        state[f"{name}.weight"] = torch.randn(width, channels, 3, 3, generator=generator) * scale
        state[f"{name}.bias"] = torch.rand(width, generator=generator) * 0.1
        channels = width
    save_file(state, path, {"preprocessing": "imagenet"})
    return str(path)


def make_image(path: Path, width: int, height: int, seed: int) -> str:
    """Write smooth random colors."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 6, 6, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)
    array = fine[0].permute(1, 2, 0).mul(255).round().byte().numpy()
    Image.fromarray(array).save(path)
    return str(path)
