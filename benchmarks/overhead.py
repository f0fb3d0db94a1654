"""Time per step of a run under the Trainer against a bare PyTorch loop over the same objective.

    python benchmarks/overhead.py [--size 512] [--steps 30] [--rounds 3]

Both sides do the same work, with the losses and the optimizer of configs/starry.yaml: evaluate, backward, Adam, clamp.
The run has everything a user's run has: progress bar, TensorBoard, checkpoints. Rounds alternate between the two;
medians over all steps are compared.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback

from nst_lightning import VGG19, ContentLoss, GramStyleLoss, StyleTransfer, TotalVariationLoss, TransferData, fit
from nst_lightning.losses.objective import References

WARM_UP = 3
LAYERS = {"relu1_1": 0.35, "relu2_1": 0.25, "relu3_1": 0.2, "relu4_1": 0.12, "relu5_1": 0.08}
ADAM = partial(torch.optim.Adam, lr=0.03, betas=(0.9, 0.9), fused=True)


class StepClock(Callback):
    """Notes the time at the end of each step, after all other callbacks."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_batch_end(self, *_: Any) -> None:
        """Note the time."""
        self.times.append(time.perf_counter())


def make_model(weights: str) -> StyleTransfer:
    """Return the model of configs/starry.yaml over an encoder."""
    encoder = VGG19(weights, padding="replicate")
    losses = ContentLoss(), GramStyleLoss(LAYERS, weight=60.0), TotalVariationLoss(weight=2.0)
    return StyleTransfer(encoder, *losses, optimizer=ADAM, decay=0.05, average=0.0)


def time_run(weights: str, data: TransferData, folder: str) -> list[float]:
    """Return the seconds of each step of a run under the Trainer."""
    clock = StepClock()
    fit(make_model(weights), data, default_root_dir=folder, accelerator="cpu", callbacks=[clock])
    return [b - a for a, b in zip(clock.times, clock.times[1:], strict=False)][WARM_UP:]


def time_loop(weights: str, data: TransferData, steps: int) -> list[float]:
    """Return the seconds of each step of a plain loop."""
    objective, batch = make_model(weights).objective, data.batch(0)
    targets = objective.measure(References(batch.content, batch.styles, batch.style_weights))
    assert batch.initial is not None
    image = batch.initial.clone().requires_grad_()
    optimizer = ADAM([image])
    seconds = []
    for _ in range(steps):
        start = time.perf_counter()
        optimizer.zero_grad()
        objective(image, targets)[0].backward()
        optimizer.step()
        with torch.no_grad():
            image.clamp_(0, 1)
        seconds.append(time.perf_counter() - start)
    return seconds[WARM_UP + 1 :]


def main() -> None:
    """Measure, print the table, write the JSON beside it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        data = TransferData("sample:town", "sample:starry", sizes=[options.size], steps=options.steps)
        for name, weights in (("compact", "compact"), ("full width", "vgg19")):
            runs: list[float] = []
            loops: list[float] = []
            for _ in range(options.rounds):
                loops += time_loop(weights, data, options.steps)
                runs += time_run(weights, data, folder)
            run, loop = statistics.median(runs), statistics.median(loops)
            rows.append({"encoder": name, "size": options.size, "run_ms": run * 1e3, "loop_ms": loop * 1e3})
            rows[-1]["ratio"] = run / loop
    print(f"\n{'encoder':12} {'size':>5} {'nst fit':>10} {'bare loop':>10} {'ratio':>7}")
    for row in rows:
        print("{encoder:12} {size:5d} {run_ms:7.1f} ms {loop_ms:7.1f} ms {ratio:7.3f}".format(**row))
    Path(__file__).with_suffix(".json").write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
