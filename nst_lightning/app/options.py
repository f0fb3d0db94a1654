"""What a visitor asks for: checked, and made into the command line that is shown and run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from nst_lightning.app.limits import Limits, RefusalError
from nst_lightning.app.uploads import shown_name
from nst_lightning.callbacks.checkpoint import FOLDER, LAST
from nst_lightning.data.schedule import steps_per_level
from nst_lightning.images.samples import SAMPLE
from nst_lightning.jobs.pictures import QUALITIES
from nst_lightning.runs.config_files import find_config
from nst_lightning.runs.run_folder import RUNS

RESULT_FILE = "picture.png"
"""Name of the result in a job's folder."""

PREVIEW_FILE = "preview.jpg"
"""Name of the image as it is at the moment, in a job's folder."""

PREDICTED_FOLDER = "instant"
"""Name of the folder that `nst predict` writes to, in a job's folder."""

SMOOTHNESS = 2.0
"""What stands for the total variation's weight in these configs; twice as much is twice the weight."""

_CHOICES = {
    "quality": tuple(QUALITIES),
    "start": ("content", "noise", "style"),
}
_RANGES = {
    "strength": (0.01, 100.0),
    "brush": (0.25, 4.0),
    "smoothness": (0.0, 100.0),
    "seed": (0, 2**32 - 1),
}


@dataclass(frozen=True)
class PaintOptions:
    """How an image is painted.

    Attributes:
        size: Long side of the result, pixels.
        strength: Factor of the style's weight.
        keep_colors: Whether the photo keeps its colors.
        quality: One of `QUALITIES`.
        start: Initial image: `content`, `noise` or `style`.
        brush: Long side of the style over that of the result.
        smoothness: Weight of the total variation, in units of half the config's.
        seed: Seed of the noise.
        network: A shipped network that paints in one pass; `None` for painting by optimization.
        prolonged: Steps of each level that the run went on with, for each time that it was prolonged.
    """

    size: int = 512
    strength: float = 1.0
    keep_colors: bool = False
    quality: str = "standard"
    start: str = "content"
    brush: float = 1.0
    smoothness: float = SMOOTHNESS
    seed: int = 0
    network: str | None = None
    prolonged: tuple[tuple[int, ...], ...] = ()

    def total_steps(self, levels: int) -> int:
        """Return the steps of all levels together, before the run was prolonged."""
        data = _settings(self.quality, "data")
        return sum(steps_per_level(data["steps"], data["first_steps"], levels))

    def argv(self, content: str, style: str, output: str, stopped_after: int | None = None) -> list[str]:
        """Return the command line that paints with these options.

        It has only what differs from the config's settings. That of a prolonged run goes on from the run before.

        Args:
            content: A file's path, or `sample:NAME`.
            style: A file's path, or `sample:NAME`.
            output: File of the result; for a network the folder that it is written to.
            stopped_after: Number of steps after which the run ends; `None` for all of them.

        Returns:
            Words after `nst`.
        """
        if self.network is not None:
            options: dict[str, Any] = {"data.images": content, "data.size": self.size, "data.keep_alpha": "false"}
            options |= {"model.network": self.network, "model.style": style.removeprefix(SAMPLE)}
            options |= {"model.strength": min(1.0, self.strength), "output.folder": output, "output.format": "png"}
            return ["predict", "--config", "configs/fast_predict.yaml", *_words(options)]
        options = {"data.content": content, "data.style": style, "data.size": self.size}
        if self.prolonged:
            options["data.steps"] = list(self.prolonged[-1])
        if self.keep_colors:
            options["data.preserve_color"] = "luminance"
        if self.start != "content":
            options["data.init"] = self.start
        if self.brush != 1:
            options["data.style_scale"] = self.brush
        for part, factor in (("style", self.strength), ("variation", self.smoothness / SMOOTHNESS)):
            if factor != 1:
                weight = _settings(self.quality, "model")[part]["init_args"]["weight"]
                options[f"model.{part}.weight"] = round(weight * factor, 3)
        if self.seed:
            options["seed_everything"] = self.seed
        if self.prolonged:
            options["ckpt_path"] = "last"
        if stopped_after is not None:
            options["trainer.max_steps"] = stopped_after
        options["output.path"] = output
        return ["fit", "--config", f"configs/{QUALITIES[self.quality]}.yaml", *_words(options)]


def _words(options: Mapping[str, Any]) -> list[str]:
    words = []
    for key, value in options.items():
        words += [f"--{key}", f"{value:.12g}" if isinstance(value, float) else str(value)]
    return words


@cache
def _settings(quality: str, part: str) -> dict[str, Any]:
    """Return the `init_args` of a quality's config, those of `model` or of `data`; not to be changed."""
    config = yaml.safe_load(Path(find_config(f"configs/{QUALITIES[quality]}.yaml")).read_text(encoding="utf-8"))
    settings: dict[str, Any] = config[part]["init_args"]
    return settings


def read_options(asked: Mapping[str, Any], limits: Limits, networks: Collection[str] = ()) -> PaintOptions:
    """Check what came from a visitor.

    Args:
        asked: Decoded JSON: fields of `PaintOptions` other than `prolonged`; what is missing has its default.
        limits: The page's limits.
        networks: Names of the networks at hand that paint in one pass.

    Raises:
        RefusalError: If a field is unknown, of another type or out of range.
    """
    fields: dict[str, Any] = {}
    ranges = {**_RANGES, "size": (16, limits.size)}
    choices = {**_CHOICES, "network": networks}
    for key, value in asked.items():
        if key == "network" and value is None:
            continue
        if key in ranges:
            fields[key] = _number(key, value, *ranges[key])
        elif key in choices:
            if not isinstance(value, str) or value not in choices[key]:
                raise RefusalError(400, f"{key} is one of {', '.join(choices[key])}; choose one of them.")
            fields[key] = value
        elif key == "keep_colors":
            if not isinstance(value, bool):
                raise RefusalError(400, "keep_colors is true or false; send one of them.")
            fields[key] = value
        else:
            raise RefusalError(400, f"there is no setting {str(key)[:40]!r}; load the page again.")
    return PaintOptions(**fields)


def _number(key: str, value: Any, low: float, high: float) -> float:
    whole = isinstance(low, int)
    kind = int if whole else (int, float)
    # `bool` is an `int` to Python, and NaN is in no range.
    if not isinstance(value, kind) or isinstance(value, bool) or not low <= value <= high:
        raise RefusalError(400, f"{key} is a {'whole ' if whole else ''}number from {low:g} to {high:g}; change it.")
    return value if whole else round(float(value), 6)  # as many digits as the command shows


@dataclass(frozen=True)
class JobRequest:
    """A run, or what is left of it.

    Attributes:
        id: Identifier of the job.
        options: How to paint.
        content: A file of the page's, or `sample:NAME`.
        style: A file of the page's, or `sample:NAME`.
        names: What the visitor calls the two.
        folder: Where everything is written.
        max_pixels: Height times width above which images are refused.
    """

    id: str
    options: PaintOptions
    content: str
    style: str
    names: tuple[str, str]
    folder: Path
    max_pixels: int

    @property
    def file_name(self) -> str:
        """The result's file name: those of the two images, letters, digits and hyphens only."""
        stems = (re.sub(r"[^A-Za-z0-9]+", "-", re.sub(r"^sample:|\.\w+$", "", name)) for name in self._arguments)
        return "-".join(stem.strip("-")[:40] or "picture" for stem in stems) + ".png"

    def command(self, stopped_after: int | None = None) -> str:
        """Return the command that paints the image on the visitor's machine; details differ between machines.

        Args:
            stopped_after: Number of steps, if it was stopped.

        Returns:
            One line, quoted for a POSIX shell, with one command more for each time that the run was prolonged.
        """
        options = self.options
        given = (*self._arguments, self.file_name if options.network is None else "painted")
        # The learning rate follows the steps, so a prolonged run is not one that had as many from the start.
        earlier = [replace(options, prolonged=options.prolonged[:count]) for count in range(len(options.prolonged))]
        runs = [*(run.argv(*given) for run in earlier), options.argv(*given, stopped_after)]
        return " && ".join(shlex.join(["nst", *argv]) for argv in runs)

    def argv(self, device: Sequence[str] = ()) -> list[str]:
        """Return the command line that is run here: the last one of `command`, with paths of the page's folder.

        What is added says where the run lives, and that it goes on from its checkpoint, if there is one.

        Args:
            device: Options of the trainer that choose a device.
        """
        here = ["--data.max_pixels", str(self.max_pixels), "--trainer.enable_progress_bar", "false", *device]
        if self.options.network is not None:
            argv = self.options.argv(self.content, self.style, str(self.folder / PREDICTED_FOLDER))
            return [*argv, "--data.num_workers", "0", *here]
        argv = self.options.argv(self.content, self.style, str(self.folder / RESULT_FILE))
        if not self.options.prolonged and any(self.folder.glob(f"{RUNS}/*/*/{FOLDER}/{LAST}")):
            argv += ["--ckpt_path", "last"]
        return [*argv, "--trainer.default_root_dir", str(self.folder), "--trainer.logger", "false", *here]

    def without_paths(self, line: str) -> str:
        """Replace this machine's paths by the visitor's names."""
        for path, name in zip((self.content, self.style), self.names, strict=True):
            line = line.replace(path, shown_name(name))
        return line.replace(str(self.folder), "the page's folder")

    @property
    def shown_names(self) -> dict[str, str]:
        """What the visitor's command has in the place of the two files, by their paths here."""
        return dict(zip((self.content, self.style), self._arguments, strict=True))

    @property
    def _arguments(self) -> tuple[str, str]:
        content, style = self.names
        return as_argument(self.content, content), as_argument(self.style, style)


def as_argument(source: str, name: str) -> str:
    """Return what stands for an image in a visitor's command.

    Args:
        source: A file of the page's, or `sample:NAME`.
        name: Name of the visitor's file.

    Returns:
        `sample:NAME` for a sample only. A file's name that could be taken for that, for an option, for YAML or for a
        home folder has `./` before it.
    """
    if source.startswith(SAMPLE):
        return source
    return name if re.fullmatch(r"\./.*|\w[\w .()+-]*\.[A-Za-z]\w*", name) else f"./{name}"
