"""How much a painted video flickers: `nst predict`, and `nst video` with and without what it does against it.

    python benchmarks/flicker.py [--ways predict any alone warped temporal] [--seconds 5] [--size 256] [--folder FOLDER]

The clip is benchmarks/flicker_clip.py's, with a tone: its motion is known, and so is which pixel was to be seen in the
frame before. `predict` paints each frame in one pass, `any` likewise by the network of any style (of sample:starry);
`alone` optimizes each by itself (`nst batch` of the frames); `warped` starts each from the painting before, moved
along; `temporal` is `nst video` as it comes, which also asks for that painting where it is seen again. `none` is the
clip itself: the least that can be measured, since a frame taken between pixel centers is softer. Figures: the mean
absolute difference between a frame and the one before moved along the true flow, in 1/255, and the root of the mean
squared one, each a mean over the clip. Videos stay in FOLDER. In flicker.json, beside this file, a row takes the place
of an earlier one of that way and clip.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from flicker_clip import FlickerClip
from flicker_measures import flicker, warping_error
from torch import Tensor

from nst_lightning.images.files import read_image, write_image
from nst_lightning.video.reading import read_frames, read_info
from nst_lightning.video.writing import VideoWriter

TONE = 440  # hertz
SAMPLES = 48_000  # of sound, a second


def write_clip(clip: FlickerClip, folder: Path) -> Path:
    """Write the clip with a tone, as a file that loses little."""
    path = folder / "clip.mp4"
    tone = write_tone(folder / "tone.mkv", clip)
    with VideoWriter(path, clip.height, clip.width, Fraction(clip.fps), sound_from=tone, crf=4) as writer:
        for index in range(len(clip)):
            writer.write(clip.frame(index), Fraction(index, clip.fps))
    return path


def write_tone(path: Path, clip: FlickerClip) -> Path:
    """Write the tone beside a single black frame: sound is taken from videos."""
    times = np.arange(round(clip.seconds * SAMPLES)) / SAMPLES
    samples = av.AudioFrame.from_ndarray(
        (8000 * np.sin(2 * np.pi * TONE * times)).astype(np.int16)[None], "s16", "mono"
    )
    samples.sample_rate = SAMPLES
    with av.open(str(path), "w") as file:
        picture = file.add_stream("ffv1", rate=1, width=16, height=16, pix_fmt="bgr0")
        sound = file.add_stream("pcm_s16le", rate=SAMPLES, layout="mono")
        file.mux([*picture.encode(av.VideoFrame(16, 16, "bgr0")), *picture.encode(None)])
        file.mux([*sound.encode(samples), *sound.encode(None)])
    return path


def nst(*words: str) -> None:
    """Run a command of the package."""
    subprocess.run([sys.executable, "-m", "nst_lightning", *words], check=True)


def paint(way: str, clip: Path, folder: Path, size: int, rest: list[str]) -> list[Tensor]:
    """Paint the clip in one of the ways; give its frames."""
    target = folder / f"{way}.mp4"
    if way == "none":
        return [frame.pixels for frame in read_frames(clip)]
    if way in ("predict", "any"):
        style = ["--data.style", "sample:starry"] if way == "any" else []
        nst("predict", "--data.images", str(clip), "--output.folder", str(folder / way), *style)
        target = folder / way / clip.name
    elif way == "alone":
        frames, painted = folder / "frames", folder / way
        for frame in read_frames(clip):
            write_image(frames / f"{frame.index:06d}.png", frame.pixels)
        words = ["--output", str(painted), "--name", f"flicker_{way}", "--data.size", str(size), *rest]
        nst("batch", "--contents", str(frames), *words, "--trainer.default_root_dir", str(folder))
        return [read_image(path).pixels for path in sorted(painted.glob("*.png"))]
    else:
        words = ["--temporal_weight", "0"] if way == "warped" else []
        nst("video", "--video", str(clip), "--output", str(target), "--data.size", str(size), *words, *rest)
    if not read_info(target).has_sound:
        raise RuntimeError(f"{target} has lost its sound")
    return [frame.pixels for frame in read_frames(target)]


def measure(clip: FlickerClip, frames: list[Tensor]) -> dict[str, float]:
    """Measure the flicker of the clip's painting."""
    pairs = [
        (frames[index - 1], frames[index], clip.backward(index), clip.visible(index)) for index in range(1, len(clip))
    ]
    squares = statistics.fmean(warping_error(*pair) for pair in pairs)
    return {"mean": 255 * statistics.fmean(flicker(*pair) for pair in pairs), "rms": 255 * math.sqrt(squares)}


def main() -> None:
    """Measure, print the table, write the JSON beside it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ways = ["predict", "any", "alone", "warped", "temporal"]
    parser.add_argument("--ways", nargs="*", default=ways, choices=ways)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--size", type=int, default=256, help="long side of the frames, pixels; 4:3")
    parser.add_argument("--folder", type=Path)
    options, rest = parser.parse_known_args()
    clip = FlickerClip(options.size, options.size * 3 // 4, options.seconds)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        path = write_clip(clip, folder)
        print(f"{len(clip)} frames of {clip.width}×{clip.height}\n{'way':>10} {'mean':>7} {'rms':>7} {'s/frame':>8}")
        for way in ["none", *options.ways]:
            start = time.perf_counter()
            frames = paint(way, path, folder, options.size, rest)
            seconds = (time.perf_counter() - start) / len(clip)
            figures = {**measure(clip, frames), "seconds_per_frame": seconds}
            rows.append({"way": way, "size": options.size, "frames": len(clip), **figures})
            print("{way:>10} {mean:7.2f} {rms:7.2f} {seconds_per_frame:8.2f}".format(**rows[-1]), flush=True)
    table = Path(__file__).with_suffix(".json")
    before = json.loads(table.read_text()) if table.exists() else []
    measured = [case_of(row) for row in rows]
    rows += [row for row in before if case_of(row) not in measured]
    table.write_text(json.dumps(rows, indent=2) + "\n")


def case_of(row: dict[str, Any]) -> tuple[Any, ...]:
    """Return what a row is about."""
    return row["way"], row["size"], row["frames"]


if __name__ == "__main__":
    main()
