"""Which contents are painted in which styles, and where each picture goes."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from nst_lightning.errors import UserError, user_path
from nst_lightning.images.files import IMAGE_SUFFIXES, is_image_file, visible_files
from nst_lightning.images.samples import SAMPLE, sample_path

_log = logging.getLogger(__name__)

_LONGEST_NAME = 240  # bytes; file systems allow 255, with the suffix
_NAMED = 3  # in a message


@dataclass(frozen=True)
class Source:
    """A picture that is read.

    Attributes:
        path: As `read_image` takes it: a file, or `sample:NAME`.
        name: Relative to the folder that was searched, without suffix; the file's or the sample's name alone if it
            was given itself.
    """

    path: str
    name: PurePosixPath


@dataclass(frozen=True)
class Pair:
    """A picture to be painted.

    Attributes:
        content: What is kept.
        style: Whose manner is taken over.
        label: Of its run's folder: the output's name, without suffix. No two pairs have the same.
        output: Where the picture goes.
        options: Of `nst fit`, for this pair alone, as a manifest gives them; short names as in a sweep.
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


def find_sources(words: Sequence[str], option: str, ignored: Sequence[Path] = ()) -> list[Source]:
    """Find the pictures that are meant.

    Args:
        words: Files, `sample:NAME`, or folders, which are searched with their subfolders. There hidden files and
            those without a picture's suffix are left out.
        option: Names the words in messages.
        ignored: What lies below these folders is left out too: pictures painted before.

    Returns:
        The pictures, each folder's sorted by name.

    Raises:
        UserError: If there is nothing by a name, or a folder holds no picture.
    """
    found: list[Source] = []
    for word in words:
        if word.startswith(SAMPLE):
            found.append(find_sample(word, option))
        elif (path := user_path(word)).is_dir():
            found += _search(path, option, [folder.resolve() for folder in ignored])
        elif path.exists():
            found.append(Source(str(path), PurePosixPath(path.stem)))
        else:
            raise UserError(f"{option} found nothing at {word}; give a folder, a picture or sample:NAME.")
    return found


def find_sample(word: str, where: str) -> Source:
    """Give a built-in picture.

    Args:
        word: `sample:NAME`.
        where: Names the place of the word in the message.

    Raises:
        UserError: If no built-in picture has this name.
    """
    name = word.removeprefix(SAMPLE)
    try:
        sample_path(name)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    return Source(word, PurePosixPath(name))


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
    return [Source(str(path), PurePosixPath(path.relative_to(folder).with_suffix("").as_posix())) for path in pictures]


def product(contents: Sequence[Source], styles: Sequence[Source], folder: Path) -> list[Pair]:
    """Pair every content with every style, the styles varying fastest.

    The picture is `FOLDER/content's subfolder/CONTENT_STYLE.png`, where a style in a subfolder is called
    `SUBFOLDER-STYLE`.

    Args:
        contents: At least one.
        styles: At least one.
        folder: Of the outputs.
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
        contents: No two of the same name.
        styles: As many, of the same names.
        folder: Of the outputs, which have the common name.

    Raises:
        UserError: If a picture has no partner or more than one.
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


def check_outputs(pairs: Sequence[Pair]) -> None:
    """Refuse pairs that would write over each other or over a picture that is read, before anything is painted.

    Raises:
        UserError: If two have the same label or file, an output is one of the inputs, or a name is too long.
    """
    seen: dict[str | Path, Pair] = {}
    for pair in pairs:
        for place in (pair.label, pair.output.resolve()):  # one file may be written as x/../a.png too
            other = seen.setdefault(place, pair)
            if other is not pair:
                raise UserError(
                    f"{_files(other)} and {_files(pair)} would both be painted to {pair.output.with_suffix('')}; "
                    "rename a file, or give each line of a --manifest an output that differs in more than its suffix."
                )
    read = {Path(path).resolve() for pair in pairs for path in (pair.content.path, pair.style.path)}
    for pair in pairs:
        if max(len(os.fsencode(part)) for part in Path(pair.label).parts) > _LONGEST_NAME:
            raise UserError(f"{_files(pair)} give a name of more than {_LONGEST_NAME} bytes; shorten theirs.")
        if pair.output.resolve() in read:
            raise UserError(f"{pair.output} would be painted over a picture that is read; give another --output.")


def _files(pair: Pair) -> str:
    return f"{pair.content.path} × {pair.style.path}"


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
