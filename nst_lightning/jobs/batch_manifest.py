"""Pairs from a CSV file, each with options of its own."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from nst_lightning.errors import UserError, did_you_mean, user_path
from nst_lightning.images.files import check_output
from nst_lightning.images.samples import SAMPLE
from nst_lightning.jobs.batch_pairs import Pair, Source, find_sample
from nst_lightning.jobs.grid import SHORT_NAMES

_OWN = ("content", "style", "output")
_NOT_OF_A_PAIR = ("config", "name", "ckpt_path", "print_config", "data", "data.content", "data.style", "model")
_DOTTED = ("model.", "data.", "trainer.precision")


def read_manifest(file: Path, folder: Path) -> list[tuple[str, Pair]]:
    """Read the pairs of a manifest.

    Its columns are `content`, `style`, and if wanted `output` and options of `nst fit`, dotted or by a sweep's short
    names: `data.size`, `style_weight`, `seed`. An empty cell leaves the option as it is for all. Where the run lives,
    on which device, and what it writes is the batch's to say: of the dotted options there are `model.…`, `data.…` and
    `trainer.precision`.

    Args:
        file: CSV with a header, UTF-8, cells apart by commas. Inputs are relative to its folder.
        folder: Outputs are relative to it; without one a pair's is `CONTENT_STYLE.png`.

    Returns:
        For each row where it stands (`line 3 of pairs.csv`), and the pair.

    Raises:
        UserError: If the file can't be read, or something in a line makes no sense. The values of options are not
            looked at here.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as opened:
            reader = csv.DictReader(opened, strict=True)
            header = [name.strip() for name in reader.fieldnames or ()]
            _check_header(file, header)
            reader.fieldnames = header
            rows = [(f"line {reader.line_num} of {file}", row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"--manifest {file} can't be read as CSV in UTF-8 ({reason}); check the file.") from error
    if not rows:
        raise UserError(f"--manifest {file} has no line below its header; add one for each pair.")
    return [(where, _read_row(where, row, header, file.parent, folder)) for where, row in rows]


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
        if plain in _NOT_OF_A_PAIR or ("." in plain and not plain.startswith(_DOTTED)):
            raise UserError(f"{where} has the column {name!r}, which is not for one pair to set; leave it out.")
        if plain not in _OWN and plain not in SHORT_NAMES and "." not in plain and plain != "seed_everything":
            hint = did_you_mean(name, [*_OWN, *SHORT_NAMES], f"short names are {', '.join(SHORT_NAMES)}.")
            raise UserError(f"{where} has the column {name!r}, which is no option of nst fit; {hint}")


def _read_row(where: str, row: dict[str, str], header: Sequence[str], inputs: Path, folder: Path) -> Pair:
    if len(row) > len(header) or None in row.values():
        problem = "fewer" if None in row.values() else "more"
        raise UserError(f"{where} has {problem} cells than the header's {len(header)}; quote cells that hold commas.")
    given = {name: cell.strip() for name, cell in row.items()}
    content, style = (_source(where, name, given[name], inputs) for name in ("content", "style"))
    output = given.get("output") or f"{content.name}_{style.name}.png"
    try:
        path = user_path(output, folder)
        check_output(path)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    options = {name: cell for name, cell in given.items() if name not in _OWN and cell}
    return Pair(content, style, _label(path, folder), path, options)


def _source(where: str, name: str, cell: str, inputs: Path) -> Source:
    if not cell:
        raise UserError(f"{where} names no {name}; give a picture or sample:NAME.")
    if cell.startswith(SAMPLE):
        return find_sample(cell, where)
    try:
        path = user_path(cell, inputs)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    if not path.is_file():
        raise UserError(f"{where} names the {name} {cell}, but there is no file {path}; check the path.")
    return Source(str(path), PurePosixPath(path.stem))


def _label(output: Path, folder: Path) -> str:
    plain = Path(output).with_suffix("")
    if plain.is_relative_to(folder) and ".." not in plain.parts:
        return plain.relative_to(folder).as_posix()
    return f"{plain.name}-{hashlib.sha256(str(output.absolute()).encode()).hexdigest()[:8]}"
