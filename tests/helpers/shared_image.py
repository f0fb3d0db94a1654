"""Program of each of several processes that optimize one image together; for tests/runs/test_many_processes.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from nst_lightning import (
    VGG19,
    ContentLoss,
    GramStyleLoss,
    StyleTransfer,
    TotalVariationLoss,
    TransferData,
    WassersteinStyleLoss,
    fit,
)

LAYERS = ["relu1_1", "relu2_1", "relu3_1"]


def lbfgs(params: Any) -> torch.optim.Optimizer:
    return torch.optim.LBFGS(params, lr=0.5, max_iter=1, history_size=5)


def paint(picture: Path, files: list[str], devices: int) -> None:
    """Run what a name such as `adam-16-cut` asks for: optimizer, tile size, and what else; in its folder."""
    encoder, content, style = files
    folder, name = picture.parent, picture.name
    method, tile_size, *extra = name.split("-")
    settings: dict[str, Any] = {"average": 0.9}
    if method == "lbfgs":
        settings = {"optimizer": lbfgs, "clamp": "never", "average": 0.0}
    kind = WassersteinStyleLoss if method == "wasserstein" else GramStyleLoss
    model = StyleTransfer(
        VGG19(encoder, padding="replicate"),
        content=ContentLoss(["relu3_1"]),
        style=kind(LAYERS, weight=5.0),
        variation=TotalVariationLoss(weight=0.5, kind="crowsonkb"),
        tile_size=None if tile_size == "none" else int(tile_size),
        **settings,
    )
    run: dict[str, Any] = {"name": name, "devices": devices, "default_root_dir": folder, "accelerator": "cpu"}
    run["precision"] = "64-true"  # in float32 a tie in a pooling falls either way
    data = TransferData(content, style, sizes=[40, 56], steps=[4, 4], init="noise")
    if "resumed" in extra:
        run["ckpt_path"] = str(folder / f"lightning_logs/{method}-{tile_size}-cut/version_0/checkpoints/last.ckpt")
    if "cut" in extra:
        run["max_steps"] = 3
    torch.manual_seed(0)
    fit(model, data, enable_progress_bar=False, **run)


def paint_all(words: list[str]) -> int:
    """Run each name of ENCODER CONTENT STYLE PROCESSES FOLDER/NAME [FOLDER/NAME ...]."""
    encoder, content, style, processes, *pictures = words
    for picture in pictures:
        paint(Path(picture), [encoder, content, style], int(processes))
    return 0
