"""Time of a step with OpenMP threads that wait by spinning, which is its default, and that wait asleep.

`OMP_WAIT_POLICY=PASSIVE` is what `nst` sets for itself. Each round runs both, one after the other, in processes of
their own: alone as far as the machine allows, and beside as many processes that do nothing but work as it has cores.

Run: python benchmarks/waiting.py [ROUNDS]
"""

from __future__ import annotations

import os
import subprocess
import sys
from statistics import median

_STEPS = """
import time, torch
from nst_lightning import VGG19
threads = len(__import__("os").sched_getaffinity(0))
torch.set_num_threads(threads)
encoder = VGG19(weights="compact")
image = torch.rand(1, 3, {size}, {size}, requires_grad=True)
def step():
    sum(maps.square().mean() for maps in encoder(image, ["relu1_1", "relu3_1", "relu5_1"]).values()).backward()
for _ in range(3):
    step()
started = time.perf_counter()
for _ in range({steps}):
    step()
print((time.perf_counter() - started) / {steps})
"""
_POLICIES = ("ACTIVE", "PASSIVE")


def time_step(policy: str, size: int, steps: int) -> float:
    """Return the seconds of a step; `ACTIVE` stands for no policy."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("OMP_")}
    if policy == "PASSIVE":
        environment["OMP_WAIT_POLICY"] = policy
    words = [sys.executable, "-c", _STEPS.format(size=size, steps=steps)]
    return float(subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """Print a row for each size and load."""
    rounds = int((sys.argv[1:] or ["3"])[0])
    print("| pixels | beside | spinning, ms | asleep, ms | ratio of each round |\n|---|---|---|---|---|")
    for size, steps in ((64, 10), (256, 3)):
        for load in (0, os.cpu_count() or 1):
            others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(load)]
            try:
                times = [[time_step(policy, size, steps) for policy in _POLICIES] for _ in range(rounds)]
            finally:
                for other in others:
                    other.kill()
            spinning, asleep = (1000 * median(column) for column in zip(*times, strict=True))
            ratios = ", ".join(f"{passive / active:.2f}" for active, passive in times)
            print(f"| {size}² | {load} | {spinning:.1f} | {asleep:.1f} | {ratios} |", flush=True)


if __name__ == "__main__":
    main()
