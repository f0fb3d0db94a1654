"""Pictures per second of `nst predict`, beside the network's bare forward on tensors of the same size.

    python benchmarks/predict.py [--sizes 512 1024] [--pictures 200] [--rounds 3] [--network starry] [--device cpu]
    python benchmarks/predict.py --network any_style [--style sample:starry]

A folder of JPEGs of one size (4:3) is painted to JPEGs by the command in a process of its own. Two figures: `all` is
the whole process, with its start; `steady` the time from the first image to the last file. The bare forward is the
same network on as many tensors that lie on the device already. Rounds alternate between the two; medians are compared.
`cpu` is the ratio of processor seconds, bare to steady, readers and writers included: on a machine that others use as
well it says more than a clock.
`--network` may also be `random`, of configs/fast_starry.yaml's size. The bare forward of a network of any style has the
style's statistics already, and no tiles. In predict.json, beside this file, a row takes the place of an earlier one of
that network, size, device and precision.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from nst_lightning.images.files import read_image, write_image
from nst_lightning.images.resize import cover
from nst_lightning.networks.any_style import AnyStyleNet
from nst_lightning.networks.network_file import OnePassNet, load_network, network_path, save_network
from nst_lightning.networks.transformer import TransformerNet

PROGRAM = """
import json, resource, sys, time
import torch
from nst_lightning.callbacks.prediction_writer import PredictionWriter
from nst_lightning.cli.main import main

torch.set_num_threads(int(sys.argv[1]))
marks = {}

def timed(name, key):
    method = getattr(PredictionWriter, name)
    def call(*given, **options):
        result = method(*given, **options)
        marks[key] = time.perf_counter(), time.process_time()
        return result
    setattr(PredictionWriter, name, call)

timed("on_predict_start", "start")
timed("on_predict_end", "end")
code = main(sys.argv[2:])
readers = resource.getrusage(resource.RUSAGE_CHILDREN)
steady, cpu = (end - start for start, end in zip(marks["start"], marks["end"]))
print(json.dumps({"code": code, "steady": steady, "cpu": cpu + readers.ru_utime + readers.ru_stime}))
"""


def make_pictures(folder: Path, count: int, size: int) -> None:
    """Write JPEGs of 4:3, all of one sample image: the content does not matter."""
    picture = cover(read_image("sample:town").pixels, (size * 3 // 4, size))
    write_image(folder / "0000.jpg", picture, quality=90)
    for index in range(1, count):
        shutil.copy(folder / "0000.jpg", folder / f"{index:04d}.jpg")


def time_command(network: Path, folder: Path, style: str | None, options: argparse.Namespace) -> tuple[float, ...]:
    """Return the seconds of the whole process and of its steady part, and the processor's of the latter."""
    with tempfile.TemporaryDirectory() as output:
        words = ["predict", "--ckpt_path", str(network), "--data.images", str(folder), "--output.folder", output]
        words += ["--trainer.accelerator", options.device, "--data.num_workers", str(options.workers)]
        words += ["--trainer.precision", options.precision, *(["--data.style", style] if style else [])]
        start = time.perf_counter()
        command = [sys.executable, "-c", PROGRAM, str(torch.get_num_threads()), *words]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        seconds = time.perf_counter() - start
        said = json.loads(done.stdout.splitlines()[-1])
        if said["code"] != 0:
            raise RuntimeError(done.stderr)
    return seconds, said["steady"], said["cpu"]


@torch.inference_mode()
def time_forward(network: OnePassNet, size: int, count: int, options: argparse.Namespace) -> tuple[float, float]:
    """Return the seconds of `count` forward passes, after one to warm up, and the processor's."""
    device = torch.device({"gpu": "cuda"}.get(options.device, options.device))
    network = network.to(device)
    image = torch.rand(1, 3, size * 3 // 4, size, device=device)
    measured: tuple[Any, ...] = ()
    if isinstance(network, AnyStyleNet):
        measured = ([network.measure(read_image(options.style).pixels.to(device))],)
    start = cpu = 0.0
    with torch.autocast(device.type, torch.bfloat16, enabled=options.precision != "32-true"):
        for index in range(count + 1):
            network(image, *measured)
            if index == 0:
                _synchronize(device)
                start, cpu = time.perf_counter(), time.process_time()
    _synchronize(device)
    return time.perf_counter() - start, time.process_time() - cpu


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(network_file: Path, size: int, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one size."""
    network, _ = load_network(network_file)
    style = options.style if isinstance(network, AnyStyleNet) else None
    whole, steady, bare, cpu = [], [], [], []
    with tempfile.TemporaryDirectory() as name:
        make_pictures(Path(name), options.pictures, size)
        for _ in range(options.rounds):
            seconds = time_command(network_file, Path(name), style, options)
            whole.append(options.pictures / seconds[0])
            steady.append(options.pictures / seconds[1])
            forward = time_forward(network, size, options.pictures, options)
            bare.append(options.pictures / forward[0])
            cpu.append(forward[1] / seconds[2])
    rates = {key: statistics.median(values) for key, values in (("all", whole), ("steady", steady), ("bare", bare))}
    ratios = {"all_to_bare": rates["all"] / rates["bare"], "steady_to_bare": rates["steady"] / rates["bare"]}
    ratios["cpu_to_bare"] = statistics.median(cpu)
    return {"pictures": options.pictures, "width": network.width, **rates, **ratios}


def case_of(row: dict[str, Any]) -> tuple[Any, ...]:
    """Return what a row is about."""
    return row["network"], row["size"], row["device"], row["precision"]


def main() -> None:
    """Measure, print the table, write the JSON beside it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 1024])
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--network", default="starry")
    parser.add_argument("--style", default="sample:starry", help="of a network of any style")
    parser.add_argument("--device", default="cpu", help="cpu or gpu")
    parser.add_argument("--precision", default="32-true", choices=["32-true", "bf16-mixed"])
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        network_file = Path(folder) / "random.safetensors"
        if options.network == "random":
            save_network(TransformerNet(1, 24, 5), network_file, ["random"], "none")
        else:
            network_file = network_path(options.network)
        print(f"{torch.get_num_threads()} threads, {options.device}, {options.precision}; pictures per second")
        print(f"{'size':>6} {'all':>8} {'steady':>8} {'bare':>8} {'all/bare':>9} {'steady/bare':>12} {'cpu':>6}")
        for size in options.sizes:
            row = {"network": options.network, "size": size, "device": options.device, "precision": options.precision}
            row |= measure(network_file, size, options)
            rows.append(row)
            ratios = "{all_to_bare:9.2f} {steady_to_bare:12.2f} {cpu_to_bare:6.2f}"
            print(f"{{size:6d}} {{all:8.2f}} {{steady:8.2f}} {{bare:8.2f}} {ratios}".format(**row), flush=True)
    table = Path(__file__).with_suffix(".json")
    measured = [case_of(row) for row in rows]
    before = json.loads(table.read_text()) if table.exists() else []
    rows += [row for row in before if case_of(row) not in measured]
    table.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
