"""All that is written is compared with all that is read, before anything runs: no original is written over."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from nst_lightning.errors import UserError, user_path


@dataclass(frozen=True)
class ReadFile:
    """A file that a command reads.

    Attributes:
        path: Path of the file, whether it exists or not.
        what: Noun for it in a message.
    """

    path: Path
    what: str = "one of the pictures read"


@dataclass(frozen=True)
class WrittenFile:
    """A file that a command writes, or a folder whose files it may write and remove.

    Attributes:
        path: Path of the file.
        name: Subject of the message that refuses it, such as `--output.path me.png`.
        clause: Verb between the name and the noun of the file that is read.
        remedy: Advice at the end of the message.
        is_folder: Whether the path is that of a folder.
    """

    path: Path
    name: str
    clause: str = "is"
    remedy: str = "choose another name"
    is_folder: bool = False


def check_overwriting(written: Iterable[WrittenFile], read: Iterable[ReadFile]) -> None:
    """Refuse to write over a file that is read.

    Files are the same if they are one after all links, `..` and spellings of a name are resolved: a symbolic or a hard
    link, a folder that is yet to be made (`new/../me.png`), another case on a file system that ignores it.

    Args:
        written: Files and folders that will be written.
        read: Files that are read.

    Raises:
        UserError: If a file is both, or one that is read lies in a folder that is written.
    """
    by_key: dict[Hashable, ReadFile] = {}
    resolved: list[tuple[Path, ReadFile]] = []
    for file in read:
        by_key.setdefault(_place(file.path), file)
        inode = _inode(file.path)
        if inode is not None:
            by_key.setdefault(inode, file)
            resolved.append((file.path.resolve(), file))
    for target in written:
        if target.is_folder:
            folder = target.path.resolve()
            hit = next((file for path, file in resolved if path.is_relative_to(folder)), None)
        else:
            hit = by_key.get(_place(target.path)) or by_key.get(_inode(target.path))
        if hit is not None:
            raise UserError(f"{target.name} {target.clause} {hit.what}; {target.remedy}.")


def find_same(paths: Iterable[Path]) -> tuple[int, int] | None:
    """Return the positions of two paths that name one file, the first such two; `None` if all differ.

    Args:
        paths: Paths of files, whether they exist or not. Hard links to one file are two places to write to.
    """
    seen: dict[Hashable, int] = {}
    for number, path in enumerate(paths):
        first = seen.setdefault(_place(path), number)
        if first != number:
            return first, number
    return None


def named_files(settings: Any, left_out: Iterable[str] = ()) -> Iterator[ReadFile]:
    """Yield all files that settings name, whichever setting it is: pictures, masks, weights, networks, configs.

    Args:
        settings: Settings, nested in mappings and lists.
        left_out: Dotted keys of settings that name files to be written.
    """
    excluded = frozenset(left_out)
    for key, value in _leaves(settings, ""):
        if key not in excluded:
            path = _existing_file(value)
            if path is not None:
                yield ReadFile(path, f"one of the {'pictures' if key.startswith('data.') else 'files'} read")


def _leaves(settings: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(settings, Mapping):
        for name, value in settings.items():
            yield from _leaves(value, f"{key}.{name}" if key else str(name))
    elif isinstance(settings, (list, tuple)):
        for value in settings:
            yield from _leaves(value, key)
    elif settings is not None and not isinstance(settings, (bool, int, float)):
        yield key, settings


def _existing_file(value: Any) -> Path | None:
    try:
        path = user_path(str(value))
        return path if path.is_file() else None
    except (OSError, ValueError, RuntimeError):  # too long for a name, a null character, nobody's home
        return None


def _inode(path: Path) -> Hashable | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return (stat.st_dev, stat.st_ino) if stat.st_ino else None


def _place(path: Path) -> Hashable:
    """Return where a file is or would be: the nearest folder that exists, and the names below it."""
    resolved = path.resolve()
    folder = next((parent for parent in resolved.parents if parent.is_dir()), resolved.parent)
    names = resolved.relative_to(folder).parts
    if _ignores_case(folder):
        names = tuple(unicodedata.normalize("NFC", name).casefold() for name in names)
    return _inode(folder) or str(folder), names


@lru_cache(maxsize=256)
def _ignores_case(folder: Path) -> bool:
    """Return whether two spellings of a name mean one file in a folder, judged by a name that exists."""
    try:
        with os.scandir(folder) as entries:
            known = next((Path(entry.path) for entry in entries if entry.name.swapcase() != entry.name), folder)
        other = known.with_name(known.name.swapcase())
        return other.name != known.name and other.exists() and other.samefile(known)
    except (OSError, ValueError):
        return False
