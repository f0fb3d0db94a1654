"""Peak memory of whole runs, tiled and untiled.

    python benchmarks/memory.py [--cases compact:512 compact:2048:512 full:4096:512 …]

A case is ENCODER:SIZE[:TILE]. Each is two steps of `nst fit` on the sample images in a process of its own, with the
image and a checkpoint written at the end; printed is the largest resident memory that the process ever had (VmHWM of
Linux), and the seconds of the second step. The full encoder is the original VGG19. In memory.json, beside this file, a
case's row takes the place of an earlier one of that case.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

CASES = ["compact:512", "compact:2048", "compact:2048:512", "full:512", "full:1024", "full:1024:512"]
RUN = """
import re, sys, time
from pathlib import Path
from lightning.pytorch import Callback
from nst_lightning.runs.fit_command import run_command

class Clock(Callback):
    def on_train_batch_start(self, *_):
        self.begun = time.perf_counter()
    def on_train_batch_end(self, *_):
        self.seconds = time.perf_counter() - self.begun

clock = Clock()
code = run_command(sys.argv[1:], [clock])
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]
sys.stdout.write(f"{code} {peak} {clock.seconds}")
"""


def measure(encoder: str, size: int, tile: int | None, folder: Path) -> tuple[float, float]:
    """Run two steps.

    Returns:
        Peak in GiB, and seconds of the second step.
    """
    words = ["fit", "--config=starry.yaml", f"--model.encoder.weights={encoder}", f"--data.sizes=[{size}]"]
    words += [
        "--data.steps=2",
        "--data.first_steps=null",
        "--trainer.accelerator=cpu",
        "--trainer.enable_progress_bar=false",
    ]
    words += [f"--model.tile_size={tile or 'null'}"]
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", RUN, *words], cwd=folder, env=here, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    _, peak, seconds = done.stdout.split()
    return int(peak) / 2**20, float(seconds)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=CASES)
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(f"{'encoder':8} {'pixels':>11} {'tile':>6} {'peak GiB':>9} {'s/step':>8}")
        for case in arguments.cases:
            encoder, size, *tile = case.split(":")
            side = int(tile[0]) if tile else None
            peak, seconds = measure("vgg19" if encoder == "full" else encoder, int(size), side, folder)
            rows.append({"encoder": encoder, "size": int(size), "tile": side, "peak_gib": peak, "seconds": seconds})
            print(
                f"{encoder:8} {size:>6}×{int(size) * 3 // 4:<4} {side or '-':>6} {peak:9.2f} {seconds:8.2f}", flush=True
            )
    table = Path(__file__).with_suffix(".json")
    before = json.loads(table.read_text()) if table.exists() else []
    measured = [case_of(row) for row in rows]
    rows += [row for row in before if case_of(row) not in measured]
    rows.sort(key=lambda row: (row["encoder"], row["size"], row["tile"] or 0))
    table.write_text(json.dumps(rows, indent=2) + "\n")


def case_of(row: dict[str, Any]) -> tuple[Any, ...]:
    """Return what a row is about."""
    return row["encoder"], row["size"], row["tile"]


if __name__ == "__main__":
    main()
