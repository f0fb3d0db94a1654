"""Which contents are painted in which styles, and where each image goes: folders, or a CSV file of pairs."""

from __future__ import annotations

import csv
import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from nst_lightning.errors import UserError, did_you_mean, named_in_errors, user_path
from nst_lightning.images.files import IMAGE_SUFFIXES, check_output, is_image_file, visible_files
from nst_lightning.images.samples import SAMPLE, sample_path
from nst_lightning.jobs.grid import SHORT_NAMES
from nst_lightning.utils.addresses import path_of, shown
from nst_lightning.utils.atomic import LONGEST_NAME
from nst_lightning.utils.overwriting import ReadFile, WrittenFile, check_overwriting, find_same
from nst_lightning.utils.storage import fetch

_log = logging.getLogger(__name__)

_NAMED = 3  # in a message

_COLUMNS = ("content", "style", "output")
_NOT_OF_A_PAIR = ("config", "name", "ckpt_path", "print_config", "data", "data.content", "data.style", "model")
_DOTTED_OPTIONS = ("model.", "data.", "trainer.precision")


@dataclass(frozen=True)
class Source:
    """An image that is read.

    Attributes:
        path: File, or `sample:NAME`, as `read_image` takes it.
        name: Path relative to the folder that was searched, without suffix; the file's or the sample's name alone if
            it was given itself.
    """

    path: str
    name: PurePosixPath


@dataclass(frozen=True)
class Pair:
    """An image to be painted.

    Attributes:
        content: Content image.
        style: Style image.
        label: Name of its run's folder: the output's name, without suffix. No two pairs have the same.
        output: File of the painted image.
        options: Options of `nst fit` for this pair alone, as a manifest gives them; short names as in a sweep.
    """

    content: Source
    style: Source
    label: str
    output: Path
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Content and style, for messages."""
        return " ".join(f"{self.content.name} × {self.style.name}".splitlines())


def find_sources(places: Sequence[str], option: str, ignored: Sequence[Path] = ()) -> list[Source]:
    """Find the images at some places.

    Args:
        places: Files, `sample:NAME`, or folders, which are searched with their subfolders. There hidden files and
            those without an image's suffix are left out.
        option: Name of the option that they were given to, for messages.
        ignored: Folders whose images, painted before, are left out too.

    Returns:
        The images, each folder's sorted by name.

    Raises:
        UserError: If there is nothing by a name, or a folder holds no image.
    """
    found: list[Source] = []
    for place in places:
        if place.startswith(SAMPLE):
            found.append(find_sample(place, option))
        elif (path := user_path(place)).is_dir():
            found += _search(path, option, [folder.resolve() for folder in ignored])
        elif path.exists():
            found.append(Source(shown(path), PurePosixPath(path.stem)))
        else:
            raise UserError(f"{option} found nothing at {place}; give a folder, a picture or sample:NAME.")
    return found


def find_sample(given: str, where: str) -> Source:
    """Return a built-in image.

    Args:
        given: `sample:NAME`.
        where: Name of the place where it was given, for the message.

    Raises:
        UserError: If no built-in image has this name.
    """
    name = given.removeprefix(SAMPLE)
    with named_in_errors(where):
        sample_path(name)
    return Source(given, PurePosixPath(name))


def _search(folder: Path, option: str, ignored: Sequence[Path]) -> list[Source]:
    if any(folder.resolve().is_relative_to(place) for place in ignored):
        raise UserError(f"{option} {folder} lies where pictures are written; give another --output.")
    files = [
        path for path in visible_files(folder) if not any(path.resolve().is_relative_to(place) for place in ignored)
    ]
    pictures = [path for path in files if is_image_file(path)]
    others = [str(path.relative_to(folder)) for path in files if not is_image_file(path)]
    if others:
        _log.warning("no pictures by their suffixes, left out: %s in %s", _some(others), folder)
    if not pictures:
        suffixes = ", ".join(sorted(IMAGE_SUFFIXES))
        raise UserError(f"{option} {folder} holds no pictures ({suffixes}); give another folder.")
    return [
        Source(shown(path), PurePosixPath(path.relative_to(folder).with_suffix("").as_posix())) for path in pictures
    ]


def product(contents: Sequence[Source], styles: Sequence[Source], folder: Path) -> list[Pair]:
    """Pair every content with every style, the styles varying fastest.

    The image is `FOLDER/content's subfolder/CONTENT_STYLE.png`, where a style in a subfolder is called
    `SUBFOLDER-STYLE`.

    Args:
        contents: Contents; at least one.
        styles: Styles; at least one.
        folder: Folder of the outputs.
    """
    pairs = []
    for content in contents:
        for style in styles:
            label = str(content.name.with_name(f"{content.name.name}_{'-'.join(style.name.parts)}"))
            pairs.append(Pair(content, style, label, folder / f"{label}.png"))
    return pairs


def matched(contents: Sequence[Source], styles: Sequence[Source], folder: Path) -> list[Pair]:
    """Pair each content with the style of the same relative name, whatever the suffixes.

    The order of files is not used: one file more or less would shift all pairs behind it, unnoticed.

    Args:
        contents: Contents, no two of the same name.
        styles: As many styles, of the same names.
        folder: Folder of the outputs, which have the common name.

    Raises:
        UserError: If an image has no partner or more than one.
    """
    by_name: list[dict[PurePosixPath, Source]] = []
    for option, sources in (("--contents", contents), ("--styles", styles)):
        names: dict[PurePosixPath, Source] = {}
        for source in sources:
            other = names.setdefault(source.name, source)
            if other is not source:
                raise UserError(f"{option} has {other.path} and {source.path}, one name for two; rename one of them.")
        by_name.append(names)
    lonely = [source.path for source in contents if source.name not in by_name[1]]
    lonely += [source.path for source in styles if source.name not in by_name[0]]
    if lonely:
        raise UserError(
            f"--match pairs needs a content and a style of each name, but {_some(lonely)} stand alone; rename them, "
            "or write the pairs into a --manifest."
        )
    return [Pair(content, by_name[1][name], str(name), folder / f"{name}.png") for name, content in by_name[0].items()]


def check_outputs(pairs: Sequence[Pair], written: Sequence[WrittenFile] = (), read: Sequence[ReadFile] = ()) -> None:
    """Refuse pairs that would write over each other or over a file that is read, before anything is painted.

    Args:
        pairs: All pairs.
        written: What is written beside their images.
        read: What is read beside theirs.

    Raises:
        UserError: If two have the same label or file, an output is one of the inputs, or a name is too long.
    """
    outputs = [pair.output for pair in pairs]
    labels = {pair.label: number for number, pair in reversed(list(enumerate(pairs)))}
    same_label = next(((labels[pair.label], n) for n, pair in enumerate(pairs) if labels[pair.label] != n), None)
    if (same := same_label or find_same(outputs)) is not None:
        first, second = (pairs[number] for number in same)
        raise UserError(
            f"{_files(first)} and {_files(second)} would both be painted to {second.output.with_suffix('')}; "
            "rename a file, or give each line of a --manifest an output that differs in more than its suffix."
        )
    files = [file for file in written if not file.is_folder]
    if (same := find_same([*outputs, *(file.path for file in files)])) is not None:
        raise UserError(f"{files[same[1] - len(outputs)].name} and another output are one file; choose another name.")
    for pair in pairs:
        if max(len(os.fsencode(part)) for part in Path(pair.label).parts) > LONGEST_NAME:
            raise UserError(f"{_files(pair)} give a name of more than {LONGEST_NAME} bytes; shorten theirs.")
    sources = {source.path for pair in pairs for source in (pair.content, pair.style)}
    images = [WrittenFile(path, str(path), "would be painted over", "give another --output") for path in outputs]
    read = [*(ReadFile(path_of(path), "a picture that is read") for path in sources), *read]
    check_overwriting([*images, *written], read)


def _files(pair: Pair) -> str:
    return f"{pair.content.path} × {pair.style.path}"


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def read_manifest(file: Path, folder: Path) -> list[tuple[str, Pair]]:
    """Read the pairs of a manifest.

    Its columns are `content`, `style`, and if wanted `output` and options of `nst fit`, dotted or by a sweep's short
    names: `data.size`, `style_weight`, `seed`. An empty cell leaves the option as it is for all. Where the run lives,
    on which device, and what it writes is the batch's to say: of the dotted options there are `model.…`, `data.…` and
    `trainer.precision`.

    Args:
        file: CSV file with a header, UTF-8, cells apart by commas. Inputs are relative to its folder.
        folder: Folder that outputs are relative to; a pair's without one is `CONTENT_STYLE.png`.

    Returns:
        Place of each row (`line 3 of pairs.csv`), and its pair.

    Raises:
        UserError: If the file can't be read, or something in a line makes no sense. The values of options are not
            looked at here.
    """
    try:
        with fetch(file).open(
            newline="", encoding="utf-8-sig", errors="surrogateescape"
        ) as opened:  # as names of files are
            reader = csv.DictReader(opened, strict=True)
            header = [name.strip() for name in reader.fieldnames or ()]
            _check_header(file, header)
            reader.fieldnames = header
            rows = [(f"line {reader.line_num} of {file}", row) for row in reader]
    except (OSError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"--manifest {file} can't be read as CSV in UTF-8 ({reason}); check the file.") from error
    if not rows:
        raise UserError(f"--manifest {file} has no line below its header; add one for each pair.")
    return [(where, _row_pair(where, row, header, file.parent, folder)) for where, row in rows]


def _check_header(file: Path, header: Sequence[str]) -> None:
    where = f"line 1 of {file}"
    for name in ("content", "style"):
        if name not in header:
            raise UserError(
                f"{where} has the columns {', '.join(header) or '(none)'}, but content and style are needed, with "
                "commas between them."
            )
    for name in header:
        if header.count(name) > 1:
            raise UserError(f"{where} has the column {name!r} twice; leave one out.")
        plain = name.replace(".init_args", "")
        if plain in _NOT_OF_A_PAIR or ("." in plain and not plain.startswith(_DOTTED_OPTIONS)):
            raise UserError(f"{where} has the column {name!r}, which is not for one pair to set; leave it out.")
        if plain not in _COLUMNS and plain not in SHORT_NAMES and "." not in plain and plain != "seed_everything":
            hint = did_you_mean(name, [*_COLUMNS, *SHORT_NAMES], f"short names are {', '.join(SHORT_NAMES)}.")
            raise UserError(f"{where} has the column {name!r}, which is no option of nst fit; {hint}")


def _row_pair(where: str, row: dict[str, str], header: Sequence[str], inputs: Path, folder: Path) -> Pair:
    if len(row) > len(header) or None in row.values():
        problem = "fewer" if None in row.values() else "more"
        raise UserError(f"{where} has {problem} cells than the header's {len(header)}; quote cells that hold commas.")
    given = {name: cell.strip() for name, cell in row.items()}
    content, style = (_cell_source(where, name, row[name], inputs) for name in ("content", "style"))
    output = given.get("output") or f"{content.name}_{style.name}.png"
    with named_in_errors(where):
        path = user_path(output, folder)
        check_output(path)
    options = {name: cell for name, cell in given.items() if name not in _COLUMNS and cell}
    return Pair(content, style, _label_of(path, folder), path, options)


def _cell_source(where: str, name: str, cell: str, inputs: Path) -> Source:
    if not os.path.isfile(inputs / cell):  # noqa: PTH113 - false for a name that is too long
        cell = cell.strip()  # blanks around it are most likely not of the name
    if not cell:
        raise UserError(f"{where} names no {name}; give a picture or sample:NAME.")
    if cell.startswith(SAMPLE):
        return find_sample(cell, where)
    with named_in_errors(where):
        path = user_path(cell, inputs)
    if not path.is_file():
        encoding = "" if cell.isprintable() else " and that the manifest is UTF-8"
        raise UserError(f"{where} names the {name} {cell}, but there is no file {path}; check the path{encoding}.")
    return Source(shown(path), PurePosixPath(path.stem))


def _label_of(output: Path, folder: Path) -> str:
    plain = Path(output).with_suffix("")
    if plain.is_relative_to(folder) and ".." not in plain.parts:
        return plain.relative_to(folder).as_posix()
    return f"{plain.name}-{hashlib.sha256(str(output.absolute()).encode()).hexdigest()[:8]}"
