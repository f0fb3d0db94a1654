"""`nst compare`: images and runs side by side on one labeled sheet."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from nst_lightning.callbacks.image_writer import FILE_NAME
from nst_lightning.callbacks.run_folder import numbered_runs
from nst_lightning.cli.options import OptionParser, whole
from nst_lightning.errors import UserError, user_path
from nst_lightning.images.contact_sheet import Cell, contact_sheet
from nst_lightning.images.embedded_settings import read_settings
from nst_lightning.images.files import check_output, write_image
from nst_lightning.jobs.report import read_small
from nst_lightning.runs.saved_config import saved_configs
from nst_lightning.utils.bounded_yaml import load_yaml, read_yaml
from nst_lightning.utils.overwriting import ReadFile, WrittenFile, check_overwriting
from nst_lightning.utils.storage import look
from nst_lightning.utils.streams import write_path

_log = logging.getLogger(__name__)

_MOST_COLUMNS = 5  # more are hard to see side by side on a page
_SIZES = (32, 4096)
_SECTIONS = (  # what shapes a picture
    "data.content",
    "data.style",
    "model",
    "data",
    "seed_everything",
    "trainer.max_steps",
    "trainer.precision",
)
_UNSET = "–"
_REFERENCES = ("content", "style")
_MOST_REFERENCES = 4  # small images below each other


def run(args: Sequence[str]) -> int:
    """Run `nst compare A B C …`.

    Runs are labeled with the settings in which they differ, if each of them has its config. What all of them were
    painted from stands at the left.

    Raises:
        UserError: If something the user gave can't be used.
    """
    options = make_parser().parse_own(args[1:])
    if not options.images:
        raise UserError("there is nothing to compare; give pictures or runs, such as nst compare a.png b.png")
    if options.columns is not None and options.columns < 1:
        raise UserError(f"--columns must be at least 1, but {options.columns} was given.")
    if not _SIZES[0] <= options.size <= _SIZES[1]:
        raise UserError(f"--size must be from {_SIZES[0]} to {_SIZES[1]} pixels, but {options.size} was given.")
    output = user_path(options.output)
    check_output(output)
    images = [resolve_image(given) for given in options.images]
    places = places_of(images)
    references = _references(images, places)
    check_overwriting(
        [WrittenFile(output, f"--output {output}")],
        [ReadFile(Path(image.file), "one of the pictures compared") for image in images]
        + [ReadFile(path, "what the pictures were painted from") for path in _paths(references)],
    )
    cells = [
        Cell(read_small(image.file, options.size), note)
        for image, note in zip(images, notes(images, places), strict=True)
    ]
    columns = options.columns or _columns(len(cells))
    rows = [cells[n : n + columns] for n in range(0, len(cells), columns)]
    corner = _readable(references, options.size)
    write_image(output, contact_sheet(rows, corner=corner, title=options.title, cell_size=options.size))
    _log.info("picture: %s", output)
    write_path(output)
    return 0


def make_parser() -> OptionParser:
    """Return the parser of the command's own options."""
    parser = OptionParser(
        "compare",
        usage="PICTURE_OR_RUN ... [--output FILE] [--columns N] [--size PIXELS] [--title TEXT]",
        description="Put pictures and runs side by side on one sheet, labeled with the settings in which they differ; "
        "what all of them were painted from stands beside them.",
    )
    parser.add_argument(
        "images",
        nargs="*",
        metavar="PICTURE_OR_RUN",
        help="picture files, sample:NAME, runs such as lightning_logs/starry/version_0, or folders of versions such as "
        "lightning_logs/starry, of which the newest with a picture is taken",
    )
    parser.add_argument(
        "--output", default="compare.png", metavar="FILE", help="where the sheet is written (%(default)s)"
    )
    parser.add_argument(
        "--columns", type=whole, metavar="N", help=f"pictures in a row; at most {_MOST_COLUMNS} if unset"
    )
    parser.add_argument(
        "--size",
        type=whole,
        default=320,
        metavar="PIXELS",
        help="long side of each picture on the sheet, in pixels (%(default)s)",
    )
    parser.add_argument("--title", default="", metavar="TEXT", help="stands above the pictures")
    return parser


def notes(images: Sequence[ImageSource], places: Sequence[Path | None]) -> list[str]:
    """Return the name of each image, and for one with settings, at its place, also what sets it apart."""
    apart = iter(differences([place for place in places if place is not None]))
    return [
        "\n".join([name, *([] if place is None else next(apart))])
        for name, place in zip(distinct_names(images), places, strict=True)
    ]


def places_of(images: Sequence[ImageSource]) -> list[Path | None]:
    """Return where each image's settings are: its run's folder, or itself; `None` for one without."""
    return [image.run or _with_settings(image.file) for image in images]


def _references(images: Sequence[ImageSource], places: Sequence[Path | None]) -> list[tuple[str, str]]:
    """Return labels and files of the content and the styles that all images with settings were painted from."""
    configs = [_read_config(place) for place in places if place is not None]
    datas = [_data(config) for config in configs if config is not None]
    shown = {image.file for image in images}
    found: list[tuple[str, str]] = []
    for name in _REFERENCES:
        given = [_files(data, name) for data in datas]
        if given and all(files == given[0] for files in given):
            found += [(name, file) for file in given[0] if file not in shown]
    return found[:_MOST_REFERENCES]


def _data(config: dict[str, Any]) -> dict[str, Any]:
    data = config.get("data")
    arguments = data.get("init_args") if isinstance(data, dict) else None
    return arguments if isinstance(arguments, dict) else {}


def _files(data: dict[str, Any], name: str) -> list[str]:
    value = data.get(name)
    if name == "content" and value is None:  # of nst predict, whose images are contents; of many it can't be told which
        images = data.get("images")
        value = images if not isinstance(images, list) or len(images) == 1 else None
    values = value if isinstance(value, list) else [value]
    return [file for file in values if isinstance(file, str)]


def _paths(references: Sequence[tuple[str, str]]) -> Iterator[Path]:
    """Yield the references' files that this user can look at: none of the others is the output."""
    for _, file in references:
        with suppress(UserError, OSError):
            yield user_path(file)


def _readable(references: Sequence[tuple[str, str]], size: int) -> list[tuple[str, Tensor]]:
    """Return labels and pixels of the references that are still where they were."""
    pixels = []
    for name, file in references:
        with suppress(UserError):
            pixels.append((name, read_small(file, size)))
    return pixels


def _with_settings(file: str) -> Path | None:
    """Return the path of an image file that holds its settings; `None` for any other."""
    return Path(file) if Path(file).is_file() and read_settings(file) is not None else None


def _columns(count: int) -> int:
    """Return the number of columns that makes rows of about the same length."""
    rows = -(-count // _MOST_COLUMNS)
    return -(-count // rows)


@dataclass(frozen=True)
class ImageSource:
    """An image, and where it comes from.

    Attributes:
        file: File, or `sample:NAME`, as `read_image` takes it.
        names: Names for it, from the shortest to the most exact.
        run: Folder of the run that painted it; `None` if it is only an image.
    """

    file: str
    names: tuple[str, ...]
    run: Path | None = None


def resolve_image(given: str) -> ImageSource:
    """Return the image that an argument means.

    Args:
        given: Image file, `sample:NAME`, folder of a run (`lightning_logs/starry/version_0`), or folder of
            versions (`lightning_logs/starry`), of which the one with the highest number that has an image is taken.

    Returns:
        The image; whether a file is there and can be read is left to `read_image`.

    Raises:
        UserError: If it is a folder without a run that has an image.
    """
    if given.startswith("sample:"):
        return ImageSource(given, (given.removeprefix("sample:"), given))
    path = user_path(given)
    if path.is_dir():
        look(path)
        return _resolve_run(path.resolve(), given)
    exact = path.parent.resolve() / path.name
    longer = [f"{parent}{name}" for parent in _endings(exact.parent) for name in (exact.stem, exact.name)]
    return ImageSource(str(path), (exact.stem, *longer))


def distinct_names(images: Sequence[ImageSource]) -> list[str]:
    """Return for each image the shortest name that no other has.

    Args:
        images: Images; the same one twice has the same name twice.

    Returns:
        A name for each.
    """
    lengths = [0] * len(images)
    while True:
        names = [image.names[length] for image, length in zip(images, lengths, strict=True)]
        meant = {name: {i.names[-1] for i, n in zip(images, names, strict=True) if n == name} for name in names}
        longer = [
            length + (len(meant[name]) > 1 and length + 1 < len(image.names))
            for image, name, length in zip(images, names, lengths, strict=True)
        ]
        if longer == lengths:
            return names
        lengths = longer


def _resolve_run(folder: Path, given: str) -> ImageSource:
    run = folder
    if not (folder / FILE_NAME).is_file():
        painted = [version for _, version in numbered_runs(folder) if (version / FILE_NAME).is_file()]
        if not painted:
            raise UserError(f"expected a run that has painted {FILE_NAME}, found none in {given}; {_hint(Path(given))}")
        run = painted[-1]
    return ImageSource(str(run / FILE_NAME), tuple(f"{parent}{run.name}" for parent in _endings(run.parent)), run)


def _hint(folder: Path) -> str:
    below = sorted(folder.glob(f"*/{FILE_NAME}")) + sorted(folder.glob(f"*/*/{FILE_NAME}"))
    return f"name a run, such as {below[0].parent}" if below else "run nst fit first, or name a picture"


def _endings(folder: Path) -> list[str]:
    """Return the last part of a path, the last two and so on, each with a slash at its end."""
    parts = [part for part in folder.parts if part != folder.anchor]
    return ["".join(f"{part}/" for part in parts[-n:]) for n in range(1, len(parts) + 1)]


def differences(runs: Sequence[Path], most: int = 3) -> list[list[str]]:
    """Return the settings in which runs differ.

    Args:
        runs: Folders of the runs, or images that hold their settings. A resumed run has several configs, of which the
            last one holds.
        most: Largest number of settings; the content and the styles come first, then the model's, then the data's.

    Returns:
        Settings of each run that are not the same in all, such as `["style.weight 10", "size 512"]`, the same
        settings in the same order for each; nothing if a run has no config that can be read.
    """
    configs = [_read_config(run) for run in runs]
    settings = [_flatten(config) for config in configs if config is not None]
    if len(settings) < len(runs):
        return [[] for _ in runs]
    keys = list(dict.fromkeys(key for flat in settings for key in flat))
    differing = [key for key in keys if len({flat.get(key, _UNSET) for flat in settings}) > 1]
    shaping = list(
        dict.fromkeys(key for section in _SECTIONS for key in differing if f"{key}.".startswith(f"{section}."))
    )
    return [[f"{_short(key)} {flat.get(key, _UNSET)}" for key in shaping[:most]] for flat in settings]


def _read_config(run: Path) -> dict[str, Any] | None:
    files = saved_configs(run)
    try:
        text = read_settings(run) if run.is_file() else None
        config = load_yaml(text) if text is not None else read_yaml(files[-1]) if files else None
    except (UserError, yaml.YAMLError):
        return None  # the pictures can be compared without
    return config if isinstance(config, dict) else None


def _flatten(settings: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Return every setting as a dotted key, without `init_args`, and a short text."""
    flat: dict[str, str] = {}
    for name, value in settings.items():
        key = prefix if name == "init_args" else f"{prefix}.{name}".removeprefix(".")
        if isinstance(value, dict):
            flat |= _flatten(value, key)
        else:
            flat[key] = str(value).rsplit(".", 1)[-1] if name == "class_path" else _text(value)
    return flat


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:g}"
    return Path(value).name if isinstance(value, str) and "/" in value else str(value)


def _short(key: str) -> str:
    """Return what tells a setting from others: `style.weight`, but `size` for `data.size`."""
    parts = key.removesuffix(".class_path").split(".")
    return ".".join(parts[1:][-2:]) or parts[0]
