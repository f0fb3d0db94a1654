"""One image on several processes: measured on this machine, and a model up to 64 GPUs.

    python benchmarks/scaling.py [--size 1024] [--tile 512] [--processes 1 2] [--steps 6] [--rounds 3]

Measured are whole runs of the compact encoder on the CPU, each process with one thread: seconds per step (median of
all rounds' steps after the first two), the speed-up over one process as a part of the ideal one, the bytes that each
step adds up over processes, and how far the first gradient is from that of the first number of processes (relative).

The model takes the arithmetic of the full-width VGG19 and, as assumptions that can be changed by options, what an
accelerator computes and exchanges per second. The table goes into scaling.json beside this file as well.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from nst_lightning import VGG19, ContentLoss, GramStyleLoss, StyleTransfer, TotalVariationLoss, TransferData, fit
from nst_lightning.encoders.tiles import deal, plan_tiles, stride_of
from nst_lightning.encoders.topology import LAYERS, deepest

TAPS = ["relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu4_2", "relu5_1"]
STYLE = [tap for tap in TAPS if tap.endswith("_1")]
WIDTHS = {"1": 64, "2": 128, "3": 256, "4": 512, "5": 512}
WARM_UP = 2
FLOAT = 4  # bytes


class Watcher(Callback):
    """Notes the time at the end of each step, and the first gradient."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.gradient: torch.Tensor | None = None

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the first gradient: later ones are of images that Adam's signs have led apart."""
        if trainer.global_step == 0:
            (image,) = pl_module.parameters()
            self.gradient = None if image.grad is None else image.grad.clone()

    def on_train_batch_end(self, *_: Any) -> None:
        """Note the time."""
        self.times.append(time.perf_counter())


def work(options: argparse.Namespace) -> None:
    """Paint in this process, as one of several; the first writes the times and the image."""
    model = StyleTransfer(
        VGG19("compact", padding="replicate"),
        ContentLoss(),
        GramStyleLoss(weight=20.0),
        TotalVariationLoss(weight=2.0),
        tile_size=options.tile or None,
    )
    data = TransferData("sample:town", "sample:starry", sizes=[options.size], steps=options.steps)
    watcher = Watcher()
    folder = options.worker
    settings: dict[str, Any] = {"accelerator": "cpu", "enable_progress_bar": False, "enable_checkpointing": False}
    fit(model, data, devices=options.processes[0], default_root_dir=folder, callbacks=[watcher], **settings)
    if model.trainer.is_global_zero:
        seconds = [b - a for a, b in itertools.pairwise(watcher.times)][WARM_UP - 1 :]
        torch.save({"seconds": seconds, "gradient": watcher.gradient}, Path(folder) / "result.pt")


def run(options: argparse.Namespace, processes: int) -> tuple[list[float], torch.Tensor]:
    """Start the processes; give the seconds of each step and the first gradient."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, __file__, "--worker", folder, "--processes", str(processes)]
        words += ["--size", str(options.size), "--tile", str(options.tile), "--steps", str(options.steps)]
        here = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(words, env=here, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
        found = torch.load(Path(folder) / "result.pt")
    return found["seconds"], found["gradient"]


def exchanged(height: int, width: int, widths: dict[str, int]) -> int:
    """Return the bytes that a step adds up over processes: Gram matrices and the gradient."""
    return FLOAT * (sum(widths[tap[4]] ** 2 for tap in STYLE) + 3 * height * width)


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Alternate between the numbers of processes; print and give a row for each."""
    seconds: dict[int, list[float]] = {count: [] for count in options.processes}
    gradients = {}
    for _ in range(options.rounds):
        for count in options.processes:
            times, gradients[count] = run(options, count)
            seconds[count] += times
    height, width = gradients[options.processes[0]].shape[-2:]
    compact = {block: channels // 4 for block, channels in WIDTHS.items()}
    alone = statistics.median(seconds[options.processes[0]]) * options.processes[0]
    rows = []
    print(f"{'processes':>9} {'s/step':>8} {'of ideal':>9} {'MB/step':>8} {'gradient off by':>16}")
    for count in options.processes:
        median = statistics.median(seconds[count])
        difference = float((gradients[count] - gradients[options.processes[0]]).norm() / gradients[count].norm())
        row = {"processes": count, "seconds": median, "of_ideal": alone / count / median}
        rows.append({**row, "bytes": exchanged(height, width, compact) if count > 1 else 0, "difference": difference})
        print("{processes:9d} {seconds:8.3f} {of_ideal:9.2f} {0:8.1f} {difference:16.1e}".format(
            rows[-1]["bytes"] / 1e6, **rows[-1]
        ))  # fmt: skip
    return rows


def flops_per_pixel() -> float:
    """Return the arithmetic of one forward pass of the full-width VGG19 up to relu5_1, for each pixel."""
    total, channels = 0.0, 3
    for layer in LAYERS[: deepest(TAPS)]:
        if layer.startswith("conv"):
            width = WIDTHS[layer[4]]
            total += 2 * 9 * channels * width / stride_of(layer) ** 2
            channels = width
    return total


def predict(options: argparse.Namespace, side: int, count: int) -> float:
    """Return the modeled seconds of a step of an image with aspect 4:3.

    The busiest process computes its tiles, halos included, three times (twice if it has but one: its features are
    kept); all exchange Gram matrices and gradient around a ring; and each does the optimizer's part for the whole
    image.
    """
    height, width = side * 3 // 4, side
    shares = deal(plan_tiles(height, width, TAPS, options.model_tile, count), count)
    computed = max(sum(tile.computed for tile in share) for share in shares)
    passes = 2 if max(map(len, shares)) == 1 else 3
    arithmetic = computed * passes * flops_per_pixel() / (options.tflops * 1e12)
    link = options.nvlink if count <= options.per_node else options.network
    exchange = 2 * (count - 1) / count * exchanged(height, width, WIDTHS) / (link * 1e9)
    exchange += 2 * options.latency * 1e-6 * math.ceil(math.log2(count)) if count > 1 else 0
    optimizer = options.passes * 3 * FLOAT * height * width / (options.memory * 1e9)
    return float(arithmetic + exchange + optimizer)


def main() -> None:
    """Measure, print both tables, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--tile", type=int, default=512, help="0 for one tile for each process")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    model = parser.add_argument_group("model")
    model.add_argument("--tflops", type=float, default=350.0, help="of the convolutions, bfloat16, per GPU")
    model.add_argument("--memory", type=float, default=3500.0, help="GB/s of a GPU's memory")
    model.add_argument("--nvlink", type=float, default=300.0, help="GB/s of each GPU within a node")
    model.add_argument("--network", type=float, default=40.0, help="GB/s of each GPU between nodes")
    model.add_argument("--per_node", type=int, default=8)
    model.add_argument("--latency", type=float, default=20.0, help="microseconds of each hop")
    model.add_argument("--passes", type=float, default=20.0, help="of the optimizer over tensors of the image's size")
    model.add_argument("--model_tile", type=int, default=2048)
    options = parser.parse_args()
    if options.worker:
        work(options)
        return
    rows = measure(options)
    print(f"\n{'GPUs':>4}" + "".join(f"{side:>9} px s/step  of ideal" for side in (4096, 8192, 20000)))
    modelled = []
    for count in (1, 2, 4, 8, 16, 32, 64):
        text = f"{count:4d}"
        for side in (4096, 8192, 20000):
            seconds, alone = predict(options, side, count), predict(options, side, 1)
            modelled.append({"gpus": count, "side": side, "seconds": seconds, "of_ideal": alone / count / seconds})
            text += f"{seconds:19.3f}{alone / count / seconds:10.2f}"
        print(text)
    table = {
        "measured": rows,
        "modelled": modelled,
        "assumed": {k: v for k, v in vars(options).items() if k != "worker"},
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(table, indent=2) + "\n")


if __name__ == "__main__":
    main()
