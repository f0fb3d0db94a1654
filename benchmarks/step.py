"""Time and memory of one evaluation, the objective with its gradient, against a plain PyTorch loop and the floor.

    python benchmarks/step.py [--sizes 256 512] [--encoders compact full] [--precisions 32 bf16] [--tiles none 512]
                              [--kinds plain floor zeros replicate] [--rounds 5] [--device cpu]

The floor is the convolutions alone, forward and backward to their inputs (`baselines.Floor`); the plain loop is the
PyTorch tutorial's in float32 (`baselines.PlainLoop`). Ours is the objective of configs/starry.yaml, with zero padding
as the plain loop has it, and with replicated borders as shipped. Rounds alternate between all; medians are compared.
Peak memory of each on a CPU is that of a process of its own. Sizes are the longer side, of 4:3.

With tiles it also tells what they should cost: three passes for two, over tiles with their halos instead of over the
image (benchmarks/tiling.json: `--kinds replicate --precisions 32 --sizes 1024 2048 --tiles none 512 1024`).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from baselines import LAST, Floor, PlainLoop, State, count_flops
from safetensors.torch import load_file, save_file
from torch import Tensor

from nst_lightning import VGG19, ContentLoss, GramStyleLoss, StyleTransfer, TotalVariationLoss, TransferData
from nst_lightning.encoders.convolution import Winograd, winograd_pays
from nst_lightning.encoders.encoder_weights import load_weights
from nst_lightning.encoders.tiles import plan_tiles
from nst_lightning.encoders.topology import LAYERS
from nst_lightning.losses.objective import References
from nst_lightning.losses.tiling.distributed import Tiling

DTYPES = {"32": torch.float32, "bf16": torch.bfloat16}
STYLE_LAYERS = {"relu1_1": 0.35, "relu2_1": 0.25, "relu3_1": 0.2, "relu4_1": 0.12, "relu5_1": 0.08}

KINDS = ["plain", "floor", "zeros", "replicate"]

Evaluation = Callable[[], None]


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes:
        kind: `plain`, `floor`, `zeros` (ours with that padding) or `replicate`.
        precision: A key of `DTYPES`.
        tile: Side of a tile, pixels; 0 for none.
        winograd: Where ours uses Winograd's algorithm.
        compiled: Whether ours is compiled.
    """

    kind: str
    precision: str = "32"
    tile: int = 0
    winograd: Winograd = "backward"
    compiled: bool = False

    @property
    def name(self) -> str:
        """What the table calls it."""
        ours = f"ours, {self.kind}" if self.kind in ("zeros", "replicate") else self.kind
        tiled = f", tile {self.tile}" if self.tile else ""
        how = ("" if self.winograd == "backward" else f", winograd {self.winograd}") + ", compiled" * self.compiled
        return f"{ours}, {self.precision}{tiled}{how}"


def make_evaluation(case: Case, weights: str, size: int, device: torch.device) -> Evaluation:
    """Return a function that evaluates once."""
    state: State = load_file(weights)
    dtype = DTYPES[case.precision]
    if case.kind == "floor":
        # Channels last is the faster format in every case measured.
        return Floor(state, size * 3 // 4, size, device, dtype, torch.channels_last)
    batch = TransferData("sample:town", "sample:starry", sizes=[size], steps=1).batch(0)
    content, style = (torch.nn.functional.interpolate(x, (size * 3 // 4, size)).to(device) for x in _pictures(batch))
    objective: Callable[[Tensor], Any]
    if case.kind == "plain":
        objective = PlainLoop(state, content, style)
    else:
        objective = _make_ours(case, weights, content, style, dtype)
    image = content.clone().requires_grad_()

    def evaluate() -> None:
        image.grad = None
        value = objective(image)
        (value[0] if isinstance(value, tuple) else value).backward()

    return evaluate


def _pictures(batch: Any) -> tuple[Tensor, Tensor]:
    return batch.content, batch.styles[0]


def _make_ours(case: Case, weights: str, content: Tensor, style: Tensor, dtype: torch.dtype) -> Callable[[Tensor], Any]:
    padding: Any = case.kind
    encoder = VGG19(weights, padding=padding, winograd=case.winograd).to(content.device).cast(dtype)
    losses = ContentLoss(), GramStyleLoss(STYLE_LAYERS, weight=60.0), TotalVariationLoss(weight=2.0)
    objective = StyleTransfer(encoder, *losses).objective
    tiling = Tiling(case.tile) if case.tile else None
    targets = objective.measure(References(content, [style], [1.0]), tiling=tiling, compiled=case.compiled)
    return lambda image: objective(image, targets)


def list_cases(options: argparse.Namespace, weights: str) -> list[Case]:
    """Return what is measured side by side; with the plain loop also Winograd's algorithm, where it can be used."""
    cases = [Case("plain")] if "plain" in options.kinds else []
    wide = (
        options.device == "cpu"
        and "plain" in options.kinds
        and any(winograd_pays(w, "always") for w in load_file(weights).values() if w.ndim == 4)
    )
    for precision in options.precisions:
        cases += [Case("floor", precision)] if "floor" in options.kinds else []
        for kind in (kind for kind in ("zeros", "replicate") if kind in options.kinds):
            for tile in (0 if tile == "none" else int(tile) for tile in options.tiles):
                cases.append(Case(kind, precision, tile))
                if wide and precision == "32" and not tile:
                    cases += [Case(kind, precision, tile, how) for how in ("never", "always")]
                if options.compile and not tile:
                    cases.append(Case(kind, precision, compiled=True))
    return cases


def measure_times(evaluations: dict[Case, Evaluation], rounds: int, device: torch.device) -> dict[Case, float]:
    """Return the median seconds of each, after one evaluation to warm up."""
    seconds: dict[Case, list[float]] = {case: [] for case in evaluations}
    for index in range(rounds + 1):
        for case, evaluate in evaluations.items():
            _synchronize(device)
            start = time.perf_counter()
            evaluate()
            _synchronize(device)
            if index:
                seconds[case].append(time.perf_counter() - start)
    return {case: statistics.median(values) for case, values in seconds.items()}


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure_memory(case: Case, weights: str, size: int, device: torch.device) -> float:
    """Return the peak GiB of two evaluations: of the GPU's memory, or resident, of a process of its own."""
    if device.type == "cuda":
        evaluate = make_evaluation(case, weights, size, device)
        torch.cuda.reset_peak_memory_stats(device)
        evaluate()
        return torch.cuda.max_memory_allocated(device) / 2**30
    job = json.dumps([case.__dict__, weights, size, torch.get_num_threads()])
    command = [sys.executable, __file__, "--peak_of", job]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def print_peak(job: str) -> None:
    """Do what `measure_memory` asks of a process of its own."""
    case, weights, size, threads = json.loads(job)
    torch.set_num_threads(threads)
    evaluate = make_evaluation(Case(**case), weights, size, torch.device("cpu"))
    for _ in range(2):
        evaluate()
    # Not ru_maxrss, which begins with that of the process that started this one. Linux only.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    print(int(status["VmHWM"].split()[0]) / 2**20)


def tiling_arithmetic(size: int, tile: int) -> float:
    """Return what tiles should cost: three passes for two, over the tiles with their halos instead of the image.

    A single tile's features are kept, and need no third pass.
    """
    height, width = size * 3 // 4, size
    tiles = plan_tiles(height, width, LAYERS[:LAST], tile)
    return (1.5 if len(tiles) > 1 else 1.0) * sum(each.computed for each in tiles) / (height * width)


def measure(encoder: str, weights: str, size: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure one encoder at one size, print and give the rows."""
    device = torch.device(options.device)
    cases = list_cases(options, weights)
    seconds = measure_times({c: make_evaluation(c, weights, size, device) for c in cases}, options.rounds, device)
    flops = count_flops(load_file(weights), size * 3 // 4, size)
    rows = []
    print(f"\n{encoder}, {size}×{size * 3 // 4}, {torch.get_num_threads()} threads, {options.device}")
    print(f"{'':34} {'ms':>9} {'/ plain':>8} {'/ floor':>8} {'/ whole':>8} {'peak GiB':>9} {'TFLOP/s':>8}")
    for case, value in seconds.items():
        peak = measure_memory(case, weights, size, device)
        row: dict[str, Any] = {"encoder": encoder, "size": size, "case": case.name, "ms": value * 1e3, "peak_gib": peak}
        row["tflops"] = flops / value / 1e12
        others = {"plain": Case("plain"), "floor": Case("floor", case.precision)}
        others |= {"untiled": replace(case, tile=0)} if case.tile else {}
        row |= {f"to_{name}": value / seconds[other] for name, other in others.items() if other in seconds}
        if case.tile:
            row["arithmetic"] = tiling_arithmetic(size, case.tile)
        rows.append(row)
        ratios = (f"{row[key]:8.3f}" if key in row else f"{'–':>8}" for key in ("to_plain", "to_floor", "to_untiled"))
        line = f"{case.name:34} {value * 1e3:9.1f} {' '.join(ratios)} {peak:9.2f} {row['tflops']:8.2f}"
        line += f" {row['tflops'] / options.peak_tflops:6.1%} of the card's bf16 peak" if device.type == "cuda" else ""
        line += f" (/ whole by arithmetic: {row['arithmetic']:.2f})" if case.tile else ""
        print(line, flush=True)
    return rows


def main() -> None:
    """Measure, print the tables, write the JSON beside them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[512])
    parser.add_argument("--encoders", nargs="+", choices=["compact", "full"], default=["compact", "full"])
    parser.add_argument("--precisions", nargs="+", choices=list(DTYPES), default=list(DTYPES))
    parser.add_argument("--tiles", nargs="+", default=["none"], help="sides in pixels, or none")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true", help="measure compiled objectives as well")
    parser.add_argument("--peak_tflops", type=float, default=989.0, help="the card's, dense bf16")
    parser.add_argument("--json", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--peak_of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak_of:
        print_peak(options.peak_of)
        return
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for encoder in options.encoders:
            weights = str(Path(folder) / f"{encoder}.safetensors")
            state = load_weights("vgg19_normalized" if encoder == "full" else encoder).state
            save_file(state, weights, {"preprocessing": "imagenet"})  # the plain loop reads it too
            for size in options.sizes:
                rows += measure(encoder, weights, size, options)
    options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
