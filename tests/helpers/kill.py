"""Kills commands and starts them again: each must come to the bytes of one that was never killed, and leave no file.

python -m tests.helpers.kill [--kills 100] [--seed 0] [--folder DIR] [fit batch sweep video predict any_style]

Half of the kills come before file events, one of each kind and name at least as long as there are enough; the others
come at random times.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from nst_lightning.cli.main import main
from nst_lightning.networks.any_style import AnyStyleNet
from nst_lightning.networks.network_file import save_network
from nst_lightning.networks.transformer import TransformerNet
from tests.helpers.clips import make_clip, moving_frames
from tests.helpers.inputs import make_encoder, make_image
from tests.helpers.processes import Command
from tests.runs.conftest import fit_words

_HOOK = Path(__file__).with_name("kill_hook")
_UNSTABLE = ("tfevents", "seconds.txt")  # a time in the name, or for content


def _common() -> list[str]:
    return [*fit_words("starry", "e.safetensors", "c.png", "s.png")[1:], "--checkpoint.every_n_steps", "2"]


def _without_images(words: list[str]) -> list[str]:
    start = words.index("--data.content")
    return [*words[:start], *words[start + 4 :]]


def command_words(command: str) -> list[str]:
    """Return the arguments of a command that takes seconds and uses all that it can write."""
    if command == "fit":
        extra = ["--checkpoint.keep_all", "true", "--output.path", "out/me.jpg", "--output.every_n_steps", "3"]
        extra += [
            "--animation.path",
            "out/me.gif",
            "--animation.every_n_steps",
            "2",
            "--tensorboard.every_n_steps",
            "3",
        ]
        return ["fit", *_common(), "--name", "run", *extra]
    if command == "batch":
        places = ["--contents", "photos", "--styles", "s.png", "--name", "many", "--output", "out"]
        return ["batch", *_without_images(_common()), *places, "--contact_sheet", "out/sheet.jpg"]
    if command == "sweep":
        return ["sweep", *_common(), "--name", "grid", "--grid.seed", "[1, 2]", "--jobs", "2"]
    if command == "video":
        places = ["--video", "clip.mkv", "--style", "s.png", "--output", "out/clip.mp4", "--flow", "dis"]
        return ["video", *_without_images(_common()), *places, "--frame_steps", "2", "--keep_frames", "true"]
    images = ["--ckpt_path", "n.safetensors", "--data.images", "photos"]
    if command == "any_style":
        images = ["--ckpt_path", "any.safetensors", "--data.images", "[photos, clip.mkv]", "--data.style", "s.png"]
    return [
        *("predict", "--trainer.accelerator", "cpu", *images),
        *("--output.folder", "out", "--data.num_workers", "0", "--trainer.enable_progress_bar", "false"),
    ]


def make_inputs(folder: Path) -> None:
    """Write the images, the clip and the networks that the commands read."""
    folder.mkdir(parents=True)
    make_encoder(folder / "e.safetensors", seed=3)
    make_image(folder / "c.png", 40, 30, seed=1)
    make_image(folder / "s.png", 36, 36, seed=2)
    (folder / "photos/sub").mkdir(parents=True)
    make_image(folder / "photos/a.png", 40, 30, seed=4)
    make_image(folder / "photos/sub/b.png", 30, 40, seed=5)
    make_clip(folder / "clip.mkv", moving_frames(3))
    torch.manual_seed(0)
    save_network(TransformerNet(width=4, blocks=1), folder / "n.safetensors", ["waves"], encoder="")
    network = AnyStyleNet(str(folder / "e.safetensors"), width=4, blocks=1)
    network.weights = "e.safetensors"  # below the folder that the command runs in
    save_network(network, folder / "any.safetensors", [], encoder="")


def counted(argv: list[str]) -> int:
    """Run `nst` with its file events counted, those of its workers too; a program for `Command`."""
    sys.path.insert(0, str(_HOOK))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(_HOOK), *filter(None, [os.environ.get("PYTHONPATH")])])
    import sitecustomize  # there may be another, which this process has

    getattr(sitecustomize, "install", _load_hook)()
    return main(argv)


def _load_hook() -> None:
    import importlib.util

    spec = importlib.util.spec_from_file_location("kill_hook", _HOOK / "sitecustomize.py")
    assert spec is not None
    assert spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))  # which installs it: the environment says so


@dataclass
class Case:
    """A command, and what it leaves when it is not killed.

    Args:
        command: Name of the command.
        folder: Folder for its runs.
    """

    command: str
    folder: Path

    def __post_init__(self) -> None:
        make_inputs(self.folder / "inputs")
        shutil.copytree(self.folder / "inputs", self.folder / "whole")
        began = time.monotonic()
        code, said = self.start(self.folder / "whole", None).end()
        assert code == 0, said
        self.seconds = time.monotonic() - began
        self.events = (self.folder / "whole.log").read_text().splitlines()
        self.files = snapshot(self.folder / "whole")

    def start(self, folder: Path, at: int | None, *more: str) -> Command:
        """Start the command in a folder, to be killed before an event or never."""
        log = folder.with_suffix(".log")
        log.unlink(missing_ok=True)
        environment = {"NST_KILL_FOLDER": str(folder), "NST_KILL_LOG": str(log)}
        environment |= {} if at is None else {"NST_KILL_AT": str(at)}
        return Command([*command_words(self.command), *more], environment, counted, folder)

    def kill(self, number: int, at: int | None, after: float = 0.0) -> str:
        """Kill the command before an event or after a time, start it again, and return what is wrong then."""
        folder = self.folder / f"kill{number}"
        shutil.copytree(self.folder / "inputs", folder)
        command = self.start(folder, at)
        if at is None:
            time.sleep(after)
            command.process.kill()
        code, said = command.end()
        if code not in (-signal.SIGKILL, 0, 1):  # 1: a worker was killed, and the sweep says so
            return f"the killed command ended with {code}: {said[-1500:]}"
        newest = max(_runs(folder), default=(0, folder))[1]
        goes_on = (newest / "checkpoints/last.ckpt").exists()
        code, said = self.start(folder, None, *(["--ckpt_path", "last"] if goes_on else [])).end()
        if code:
            return f"started again it ended with {code}: {said[-1500:]}"
        problems = compare(self.files, snapshot(folder))
        if not problems:
            shutil.rmtree(folder)
        return "; ".join(problems)


def snapshot(folder: Path) -> dict[str, bytes]:
    """Return the files below a folder; those of a `fit` that was killed before its first checkpoint don't count."""
    runs = [path for _, path in _runs(folder)]
    found: dict[str, bytes] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_file() or any(part in name for part in _UNSTABLE):
            continue
        if any(path.is_relative_to(run) for run in runs[:-1]):
            if ".partial" in name:
                found[name] = b""
            continue
        name = re.sub(r"(run/version_)\d+", r"\g<1>N", name)
        found[name] = _without_seconds(path) if path.suffix == ".csv" else path.read_bytes()
    return found


def _runs(folder: Path) -> list[tuple[int, Path]]:
    return sorted((int(path.name[8:]), path) for path in folder.glob("lightning_logs/run/version_*"))


def _without_seconds(path: Path) -> bytes:
    with path.open(newline="") as file:
        return repr([{**row, "seconds": ""} for row in csv.DictReader(file)]).encode()


def compare(whole: dict[str, bytes], now: dict[str, bytes]) -> list[str]:
    """Return what is left over, missing or different."""
    problems = [f"left over: {name}" for name in now.keys() - whole.keys()]
    problems += [f"missing: {name}" for name in whole.keys() - now.keys()]
    problems += [f"different: {name}" for name in whole.keys() & now.keys() if whole[name] != now[name]]
    return sorted(problems)


def choose_events(events: list[str], count: int, chance: random.Random) -> list[int]:
    """Return the numbers of events, from 1: one of each kind and name first, digits and temporary names apart."""
    kinds: dict[str, list[int]] = {}
    for number, event in enumerate(events, 1):
        kind = re.sub(r"-[0-9a-f]{12}\.partial|\d+", "#", event)
        kinds.setdefault(kind, []).append(number)
    firsts = [chance.choice(numbers) for numbers in kinds.values()]
    chance.shuffle(firsts)
    rest = [number for number in range(1, len(events) + 1) if number not in firsts]
    chance.shuffle(rest)
    return [*firsts, *rest][:count]


def run(
    commands: list[str], kills: int, folder: Path, seed: int = 0, report: Callable[[str], object] = lambda text: None
) -> dict[str, list[str]]:
    """Kill each command a number of times.

    Returns:
        What went wrong, for each command.
    """
    wrong: dict[str, list[str]] = {}
    for command in commands:
        chance = random.Random(f"{seed} {command}")
        case = Case(command, folder / command)
        events = choose_events(case.events, (kills + 1) // 2, chance)
        report(f"{command}: {len(case.events)} events, {case.seconds:.1f} s")
        wrong[command] = []
        counts: Counter[str] = Counter()
        for number in range(kills):
            at = events[number // 2] if number % 2 == 0 and number // 2 < len(events) else None
            after = chance.uniform(0, case.seconds)
            how = f"after {after:.2f} s" if at is None else f"before event {at} ({case.events[at - 1]})"
            problem = case.kill(number, at, after)
            counts["wrong" if problem else "exact"] += 1
            if problem:
                wrong[command].append(f"{how}: {problem}")
                report(f"{command} {number} {how}: {problem}")
        report(f"{command}: {dict(counts)}")
    return wrong


def _main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commands", nargs="*", default=["fit", "batch", "sweep", "video", "predict"])
    parser.add_argument("--kills", type=int, default=20, help="of each command (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where the runs that went wrong stay")
    options = parser.parse_args()
    folder = (options.folder or Path(tempfile.mkdtemp(prefix="nst-kill-"))).absolute()
    wrong = run(options.commands, options.kills, folder, options.seed, lambda text: print(text, flush=True))  # noqa: T201
    if any(wrong.values()):
        return 1
    if options.folder is None:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(_main())
