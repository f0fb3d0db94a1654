"""Seconds to the loss that 500 L-BFGS evaluations at full size reach: our schedule against plain optimizers.

    python benchmarks/time_to_loss.py [--content me.jpg --style painting.jpg] [--set data.steps=80 …]

Ours is `nst fit` as it ships: configs/starry.yaml and any `--set` words under the Trainer, with progress bar,
TensorBoard and checkpoints. The others are bare PyTorch loops at full size: L-BFGS as in Gatys et al. 2015, unclamped,
one evaluation a step, from the content image and from noise; and Adam at the config's learning rate, clamped after
each step, the last iterate and an average (decay 0.99). The objective is the config's for all of them.

What is scored is what would be written: the image clamped and rounded to 8 bits, by the objective at full size; ours
at a coarser level is resampled to full size first. The clock runs from before the targets are measured, without the
time for scoring. The loss to reach is the lowest of the L-BFGS runs, whatever their start, and the time they took is
when it was first reached.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback
from torch import Tensor
from torch.optim import Optimizer

from nst_lightning import StyleTransfer, TransferData
from nst_lightning.losses.objective import Objective, References, Targets
from nst_lightning.runs.fit_command import NSTCommand
from nst_lightning.tasks.image_optimization import IterateAverage, resize_iterate

Point = tuple[int, float, float, float]


class Parts(NSTCommand):
    """Model, data and Trainer of a config, without running them."""

    def _run_subcommand(self, subcommand: str) -> None:
        del subcommand


def build(words: list[str], callbacks: Sequence[Callback] = ()) -> tuple[Parts, StyleTransfer, TransferData]:
    """Make what `nst fit` would run."""
    parts = Parts(words, callbacks)
    assert isinstance(parts.model, StyleTransfer)
    assert isinstance(parts.datamodule, TransferData)
    return parts, parts.model, parts.datamodule


def measure(objective: Objective, data: TransferData) -> tuple[Targets, Tensor]:
    """Return the targets of the first level, and the initial image."""
    batch = data.batch(0)
    assert batch.initial is not None
    references = References(batch.content, batch.styles, batch.style_weights, batch.guides)
    return objective.measure(references), batch.initial


class Scorer:
    """The objective at full size, of the image as it would be written.

    Args:
        words: Arguments of `nst fit`, with the full size as the only one.

    Attributes:
        seconds: Spent on scoring so far.
    """

    def __init__(self, words: list[str]) -> None:
        _, model, data = build(words)
        self.objective = model.objective
        self.targets, initial = measure(self.objective, data)
        self.size = (initial.shape[-2], initial.shape[-1])
        self.seconds = 0.0

    @torch.no_grad()
    def __call__(self, picture: Tensor) -> float:
        """Return the score of an image of any size."""
        started = time.perf_counter()
        if picture.shape[-2:] != self.size:
            picture = resize_iterate(picture, self.size, clamp=True)
        score = float(self.objective((picture.clamp(0, 1) * 255).round() / 255, self.targets)[0])
        self.seconds += time.perf_counter() - started
        return score


@dataclass
class Curve:
    """Scores of one run.

    Attributes:
        name: In the table.
        points: Evaluations, the same in evaluations at full size (by pixels), seconds, score.
    """

    name: str
    points: list[Point] = field(default_factory=list)

    def first(self, target: float) -> Point | None:
        """Return the first point at or below a score."""
        return next((point for point in self.points if point[3] <= target), None)


class Watch(Callback):
    """Scores a run under the Trainer."""

    def __init__(self, curve: Curve, scorer: Scorer, every: int) -> None:
        self.curve, self.scorer, self.every = curve, scorer, every
        self.work = 0.0

    def on_train_start(self, *_: Any) -> None:
        """Start the clock: the first level's targets are measured after this."""
        self.started = time.perf_counter() - self.scorer.seconds

    def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
        """Score every so many steps, and at the end."""
        self.work += math.prod(module.image.shape[-2:]) / math.prod(self.scorer.size)
        step = trainer.global_step
        if step % self.every == 0 or step == trainer.num_training_batches:
            seconds = time.perf_counter() - self.started - self.scorer.seconds
            self.curve.points.append((step, self.work, seconds, self.scorer(module.result())))


def ours(words: list[str], scorer: Scorer, every: int) -> Curve:
    """Run the config as `nst fit` does."""
    curve = Curve("ours")
    parts, model, data = build(words, [Watch(curve, scorer, every)])
    parts.trainer.fit(model, data)
    return curve


def plain(
    name: str,
    words: list[str],
    make: Callable[[list[Tensor]], Optimizer],
    scorer: Scorer,
    options: argparse.Namespace,
) -> list[Curve]:
    """Optimize at full size in a bare loop; all but L-BFGS are clamped after each step.

    Returns:
        The curve of the iterates and, where they are clamped, that of their average.
    """
    _, model, data = build(words)
    average = IterateAverage(0.99)
    started = time.perf_counter() - scorer.seconds
    targets, initial = measure(model.objective, data)
    image = initial.clone().requires_grad_()
    optimizer = make([image])
    clamps = not isinstance(optimizer, torch.optim.LBFGS)
    curves = [Curve(name), Curve(f"{name}, averaged")] if clamps else [Curve(name)]

    def closure() -> float:
        optimizer.zero_grad()
        loss = model.objective(image, targets)[0]
        torch.autograd.backward(loss)
        return float(loss.detach())

    for step in range(1, options.evaluations + 1):
        optimizer.step(closure)
        if clamps:
            with torch.no_grad():
                image.clamp_(0, 1)
            average.update(image.detach())
        if step % options.every == 0 or step == options.evaluations:
            seconds = time.perf_counter() - started - scorer.seconds
            pictures = [image.detach(), average.value()]
            for curve, picture in zip(curves, pictures, strict=False):
                assert picture is not None
                curve.points.append((step, float(step), seconds, scorer(picture)))
    return curves


def run(options: argparse.Namespace, weights: str, folder: str) -> list[Curve]:
    """Run everything."""
    words = ["fit", "--config", options.config, "--trainer.default_root_dir", folder, "--trainer.accelerator", "cpu"]
    words += ["--model.encoder.weights", weights, f"--data.size={options.size}"]
    words += [f"--data.{key}={value}" for key in ("content", "style") if (value := getattr(options, key)) is not None]
    words += [f"--{setting}" for setting in options.set]
    single = [*words, f"--data.sizes=[{options.size}]", "--data.steps=1", "--data.first_steps=null"]
    scorer = Scorer(single)
    rate = float(build(single)[1].settings()["learning_rate"])

    def lbfgs(image: list[Tensor]) -> Optimizer:
        return torch.optim.LBFGS(
            image, max_iter=1, history_size=options.history, tolerance_grad=0.0, tolerance_change=0.0
        )

    curves = [ours(words, scorer, options.every)]
    for init in options.init:
        curves += plain(f"L-BFGS from {init}", [*single, f"--data.init={init}"], lbfgs, scorer, options)
    return curves + plain("Adam", single, lambda image: torch.optim.Adam(image, lr=rate), scorer, options)


def tabulate(curves: list[Curve]) -> list[dict[str, Any]]:
    """Return the rows of the table; `ratio` is to the time of the best L-BFGS run."""
    references = [curve for curve in curves if curve.name.startswith("L-BFGS")]
    best = min((point for curve in references for point in curve.points), key=lambda point: (point[3], point[2]))
    rows = []
    for curve in curves:
        end = curve.points[-1]
        row = {**asdict(curve), "target": best[3], "end_s": end[2], "end_score": end[3]}
        if (reached := curve.first(best[3])) is not None:
            row.update(evaluations=reached[0], at_full_size=reached[1], s=reached[2], ratio=reached[2] / best[2])
        rows.append(row)
    return rows


def main() -> None:
    """Measure, print the table, write the JSON beside it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/starry.yaml")
    parser.add_argument("--content", help="a picture; the config's if unset")
    parser.add_argument("--style", help="likewise")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument(
        "--encoder", choices=("compact", "full"), default="compact", help="full: the VGG19 of the paper"
    )
    parser.add_argument("--evaluations", type=int, default=500, help="of the plain optimizers")
    parser.add_argument("--history", type=int, default=10, help="of L-BFGS")
    parser.add_argument("--init", nargs="+", default=["content", "noise"], help="starts of L-BFGS")
    parser.add_argument("--every", type=int, default=10, help="evaluations between scores")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings over the config's")
    parser.add_argument("--json", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        weights = "vgg19" if options.encoder == "full" else "compact"
        rows = tabulate(run(options, weights, folder))
    print(f"\nloss to reach: {rows[0]['target']:.4f}")
    print(f"{'':20} {'evaluations':>11} {'at full size':>12} {'seconds':>8} {'ratio':>6}   at the end")
    for row in rows:
        reached = "{evaluations:11d} {at_full_size:12.1f} {s:8.1f} {ratio:6.3f}" if "s" in row else f"{'never':>40}"
        print(("{name:20} " + reached + "   {end_score:.4f} in {end_s:.1f} s").format(**row))
    options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
