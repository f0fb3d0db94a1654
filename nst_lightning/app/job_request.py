"""What a visitor asks for: checked, and made into the command line that is shown and run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from nst_lightning.app.limits import Limits, RefusalError
from nst_lightning.app.uploads import shown_name
from nst_lightning.callbacks.checkpoint import FOLDER, LAST
from nst_lightning.data.schedule import steps_per_level
from nst_lightning.images.samples import SAMPLE
from nst_lightning.jobs.pictures import QUALITIES, path_list
from nst_lightning.runs.config_files import find_config
from nst_lightning.runs.resume import RUNS

RESULT_FILE = "picture.png"
"""Name of the result in a job's folder."""

PREVIEW_FILE = "preview.jpg"
"""Name of the image as it is at the moment, in a job's folder."""

PREDICTED_FOLDER = "painted"
"""Name of the folder that `nst predict` writes to, here in a job's folder and on the visitor's machine."""

SMOOTHNESS = 2.0
"""What stands for the total variation's weight in these configs; twice as much is twice the weight."""

_CHOICES = {
    "quality": tuple(QUALITIES),
    "start": ("content", "instant", "noise", "style"),
}
_FLAGS = ("keep_colors", "instant")
_RANGES = {
    "strength": (0.01, 100.0),
    "brush": (0.25, 4.0),
    "smoothness": (0.0, 100.0),
    "seed": (0, 2**32 - 1),
}
_WEIGHTS = (0.0, 100.0)
_FROM_INSTANT = 0.5  # of the size: the first level of what goes on from a painting in one pass


@dataclass(frozen=True)
class PaintOptions:
    """How an image is painted.

    Attributes:
        size: Long side of the result, pixels.
        strength: Factor of the style's weight; in one pass the strength itself, 1 at most.
        keep_colors: Whether the photo keeps its colors.
        quality: One of `QUALITIES`.
        start: Initial image: `content`, `noise`, `style`, or `instant` for the painting in one pass.
        brush: Long side of the style over that of the result.
        smoothness: Weight of the total variation, in units of half the config's.
        seed: Seed of the noise.
        instant: Whether it is painted in one pass, not by optimization.
        prolonged: Steps of each level that the run went on with, for each time that it was prolonged.
        weights: Weights of several styles; empty for equal parts.
        begins_at: Lower bound of the first level's long side, where the initial image is a painting already; it has no
            more steps there than at any level. `None` for the config's.
    """

    size: int = 512
    strength: float = 1.0
    keep_colors: bool = False
    quality: str = "standard"
    start: str = "content"
    brush: float = 1.0
    smoothness: float = SMOOTHNESS
    seed: int = 0
    instant: bool = False
    prolonged: tuple[tuple[int, ...], ...] = ()
    weights: tuple[float, ...] = ()
    begins_at: int | None = None

    def described(self) -> dict[str, Any]:
        """Return what a visitor asked for, as `read_options` takes it."""
        asked = {key: value for key, value in asdict(self).items() if key not in ("prolonged", "begins_at")}
        return asked | {"weights": list(self.weights)}

    def begun_with_instant(self) -> PaintOptions:
        """Return the options of an optimization that begins with a painting in one pass."""
        return replace(self, begins_at=max(16, round(_FROM_INSTANT * self.size)))

    def total_steps(self, levels: int) -> int:
        """Return the steps of all levels together, before the run was prolonged."""
        data = _settings(self.quality, "data")
        first = data["first_steps"] if self.begins_at is None else None
        return sum(steps_per_level(data["steps"], first, levels))

    def argv(
        self,
        content: str,
        style: str | Sequence[str],
        output: str,
        stopped_after: int | None = None,
        masks: Sequence[str] = (),
        initial: str | None = None,
    ) -> list[str]:
        """Return the command line that paints with these options.

        It has only what differs from the config's settings. That of a prolonged run goes on from the run before.

        Args:
            content: A file's path, or `sample:NAME`.
            style: A file's path, or `sample:NAME`; several are blended.
            output: File of the result; in one pass the folder that it is written to.
            stopped_after: Number of steps after which the run ends; `None` for all of them.
            masks: A file for each style, white where it is to be; empty for everywhere.
            initial: File of the initial image; `None` for the one that `start` names.

        Returns:
            Words after `nst`.
        """
        styles = [style] if isinstance(style, str) else list(style)
        about_styles: dict[str, Any] = {"data.style": styles[0] if len(styles) == 1 else path_list(styles)}
        if len(styles) > 1 and len(set(self.weights)) > 1:
            about_styles["data.style_weights"] = f"[{', '.join(f'{weight:.12g}' for weight in self.weights)}]"
        about_colors: dict[str, Any] = {"data.preserve_color": "luminance"} if self.keep_colors else {}
        about_scale: dict[str, Any] = {"data.style_scale": self.brush} if self.brush != 1 else {}
        options: dict[str, Any]
        if self.instant:
            options = {"data.images": content, **about_styles, "data.size": self.size, "data.keep_alpha": "false"}
            options |= {**about_colors, **about_scale, "model.strength": min(1.0, self.strength)}
            options |= {"output.folder": output, "output.format": "png"}
            return ["predict", "--config", "configs/fast_predict.yaml", *_words(options)]
        options = {"data.content": content, **about_styles, "data.size": self.size}
        if masks:
            options["data.guides"] = path_list(masks)
        if self.begins_at is not None:
            options["data.min_size"] = self.begins_at
            options["data.first_steps"] = _settings(self.quality, "data")["steps"]
        if self.prolonged:
            options["data.steps"] = list(self.prolonged[-1])
        options |= about_colors
        if initial is not None or self.start not in ("content", "instant"):
            options["data.init"] = initial or self.start
        options |= about_scale
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


def _shell_word(word: str) -> str:
    """Return a word as one of a POSIX shell's: in double quotes where there are single ones in it, as in a list."""
    return f'"{word}"' if "'" in word and not re.search(r'["$`\\!]', word) else shlex.quote(word)


@cache
def _settings(quality: str, part: str) -> dict[str, Any]:
    """Return the `init_args` of a quality's config, those of `model` or of `data`; not to be changed."""
    config = yaml.safe_load(Path(find_config(f"configs/{QUALITIES[quality]}.yaml")).read_text(encoding="utf-8"))
    settings: dict[str, Any] = config[part]["init_args"]
    return settings


def steps_of_qualities() -> dict[str, dict[str, int]]:
    """Return what an estimate of the time needs of each quality: its steps, first steps and smallest level's size."""
    keys = ("steps", "first_steps", "min_size")
    return {quality: {key: _settings(quality, "data")[key] for key in keys} for quality in QUALITIES}


def read_options(asked: Mapping[str, Any], limits: Limits) -> PaintOptions:
    """Check what came from a visitor.

    Args:
        asked: Decoded JSON: fields of `PaintOptions` other than `prolonged` and `begins_at`; what is missing has its
            default.
        limits: The page's limits.

    Raises:
        RefusalError: If a field is unknown, of another type or out of range.
    """
    fields: dict[str, Any] = {}
    ranges = {**_RANGES, "size": (16, limits.size)}
    for key, value in asked.items():
        if key in ranges:
            fields[key] = _number(key, value, *ranges[key])
        elif key in _CHOICES:
            if not isinstance(value, str) or value not in _CHOICES[key]:
                raise RefusalError(400, f"{key} is one of {', '.join(_CHOICES[key])}; choose one of them.")
            fields[key] = value
        elif key in _FLAGS:
            if not isinstance(value, bool):
                raise RefusalError(400, f"{key} is true or false; send one of them.")
            fields[key] = value
        elif key == "weights":
            fields[key] = _read_weights(value, limits)
        else:
            raise RefusalError(400, f"there is no setting {str(key)[:40]!r}; load the page again.")
    return PaintOptions(**fields)


def _read_weights(value: Any, limits: Limits) -> tuple[float, ...]:
    if not isinstance(value, list) or len(value) > limits.styles:
        raise RefusalError(400, f"weights is a list of at most {limits.styles} numbers; send one.")
    weights = tuple(_number("a style's weight", each, *_WEIGHTS) for each in value)
    if weights and not any(weights):
        raise RefusalError(400, "all styles have the weight 0; raise one.")
    return weights


def _number(key: str, value: Any, low: float, high: float) -> float:
    whole = isinstance(low, int)
    kind = int if whole else (int, float)
    # `bool` is an `int` to Python, and NaN is in no range.
    if not isinstance(value, kind) or isinstance(value, bool) or not low <= value <= high:
        bounds = f"whole number from {low} to {high}" if whole else f"number from {low:g} to {high:g}"
        raise RefusalError(400, f"{key} is a {bounds}; change it.")
    return value if whole else round(float(value), 6)  # as many digits as the command shows


@dataclass(frozen=True)
class Beginning:
    """A painting that a run begins with.

    Attributes:
        file: Where it lies, or is going to.
        name: File that its command writes on the visitor's machine.
        command: Command that paints it there.
        request: What paints it here, in one pass, if it is not there yet; `None` for nothing.
    """

    file: Path
    name: str
    command: str
    request: JobRequest | None = None


@dataclass(frozen=True)
class JobRequest:
    """A run, or what is left of it.

    Attributes:
        id: Identifier of the job.
        options: How to paint.
        content: A file of the page's, or `sample:NAME`.
        style: A file of the page's, or `sample:NAME`.
        names: What the visitor calls the content and the styles.
        folder: Where everything is written.
        max_pixels: Height times width above which images are refused.
        further: More styles, which are blended with the first.
        masks: A file of the page's for each style, white where it is to be; empty for everywhere.
        beginning: Painting that it begins with; `None` for what the options say.
    """

    id: str
    options: PaintOptions
    content: str
    style: str
    names: tuple[str, ...]
    folder: Path
    max_pixels: int
    further: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()
    beginning: Beginning | None = None

    @property
    def file_name(self) -> str:
        """The result's file name: those of the images, letters, digits and hyphens only."""
        stems = [re.sub(r"[^A-Za-z0-9]+", "-", re.sub(r"^sample:|\.\w+$", "", name)) for name in self._arguments]
        stems = [stem.strip("-")[:40] or "picture" for stem in stems]
        if self.beginning is not None and self.beginning.request is None:  # not the name of what it begins with
            stems.append(str(self.options.size))
        return "-".join(stems) + ".png"

    def begun_with_instant(self) -> JobRequest:
        """Return this run with a painting in one pass before it, from which it goes on."""
        folder = self.folder / "instant"
        before = replace(self, options=replace(self.options, instant=True), folder=folder, masks=())
        name = PurePosixPath(self._arguments[0].removeprefix(SAMPLE)).with_suffix(".png").name
        beginning = Beginning(folder / RESULT_FILE, f"{PREDICTED_FOLDER}/{name}", before.command(), before)
        return replace(self, options=self.options.begun_with_instant(), beginning=beginning)

    def command(self, stopped_after: int | None = None) -> str:
        """Return the command that paints the image on the visitor's machine; details differ between machines.

        Args:
            stopped_after: Number of steps, if it was stopped.

        Returns:
            One line, quoted for a POSIX shell, with one command more for each time that the run was prolonged, and for
            the painting that it begins with.
        """
        options = self.options
        output = PREDICTED_FOLDER if options.instant else self.file_name
        content, *styles = self._arguments
        masks = [f"./mask-{number}.png" for number in range(1, 1 + len(self.masks))]
        initial = None if self.beginning is None else self.beginning.name
        # The learning rate follows the steps, so a prolonged run is not one that had as many from the start.
        earlier = [replace(options, prolonged=options.prolonged[:count]) for count in range(len(options.prolonged))]
        runs = [run.argv(content, styles, output, None, masks, initial) for run in earlier]
        runs.append(options.argv(content, styles, output, stopped_after, masks, initial))
        before = [] if self.beginning is None else [self.beginning.command]
        return " && ".join([*before, *(" ".join(map(_shell_word, ["nst", *argv])) for argv in runs)])

    def argv(self, device: Sequence[str] = ()) -> list[str]:
        """Return the command line that is run here: the last one of `command`, with paths of the page's folder.

        What is added says where the run lives, and that it goes on from its checkpoint, if there is one.

        Args:
            device: Options of the trainer that choose a device.
        """
        here = ["--data.max_pixels", str(self.max_pixels), "--trainer.enable_progress_bar", "false", *device]
        styles = (self.style, *self.further)
        if self.options.instant:
            argv = self.options.argv(self.content, styles, str(self.folder / PREDICTED_FOLDER))
            return [*argv, "--data.num_workers", "0", *here]
        initial = None if self.beginning is None else str(self.beginning.file)
        argv = self.options.argv(self.content, styles, str(self.folder / RESULT_FILE), None, self.masks, initial)
        if not self.options.prolonged and any(self.folder.glob(f"{RUNS}/*/*/{FOLDER}/{LAST}")):
            argv += ["--ckpt_path", "last"]
        return [*argv, "--trainer.default_root_dir", str(self.folder), "--trainer.logger", "false", *here]

    def without_paths(self, line: str) -> str:
        """Replace this machine's paths by the visitor's names."""
        for path, name in zip((self.content, self.style, *self.further), self.names, strict=True):
            line = line.replace(path, shown_name(name))
        for number, mask in enumerate(self.masks, start=1):
            line = line.replace(mask, f"mask {number}")
        return line.replace(str(self.folder), "the page's folder")

    @property
    def shown_names(self) -> dict[str, str]:
        """What the visitor's command has in the place of the files, by their paths here."""
        names = dict(zip((self.content, self.style, *self.further), self._arguments, strict=True))
        names |= {mask: f"./mask-{number}.png" for number, mask in enumerate(self.masks, start=1)}
        return names if self.beginning is None else {**names, str(self.beginning.file): self.beginning.name}

    @property
    def files(self) -> tuple[str, ...]:
        """All files that it reads, and names of samples."""
        return self.content, self.style, *self.further, *self.masks

    @property
    def _arguments(self) -> tuple[str, ...]:
        sources = (self.content, self.style, *self.further)
        return tuple(as_argument(source, name) for source, name in zip(sources, self.names, strict=True))


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
