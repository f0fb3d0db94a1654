"""Output files of the images and videos of `nst predict`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from nst_lightning.data.predict_data import MediaFile
from nst_lightning.errors import UserError, user_path
from nst_lightning.utils.atomic import check_writable
from nst_lightning.video.writing import written_suffix

_KEPT = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")


def leave_out_folder(files: Sequence[MediaFile], folder: Path, searched: Sequence[str]) -> list[MediaFile]:
    """Leave out earlier outputs, where the outputs' folder lies inside one that is searched.

    Args:
        files: Files that were found.
        folder: Folder of the outputs.
        searched: Places that were searched: folders, files or `sample:NAME`.
    """
    outputs = folder.resolve()
    if not any(outputs != user_path(place).resolve() for place in searched if _holds(place, outputs)):
        return list(files)
    return [file for file in files if not Path(file.path).resolve().is_relative_to(outputs)]


def _holds(place: str, outputs: Path) -> bool:
    path = user_path(place)
    return path.is_dir() and outputs.is_relative_to(path.resolve())


def find_targets(files: Sequence[MediaFile], folder: Path, suffix: str | None) -> dict[MediaFile, Path]:
    """Return the output of each image and video: the same relative name below another folder.

    A file that can't be written in its own format gets the new suffix behind the old one: `a.gif.png`. As `a.png` it
    would be mistaken for the output of an `a.png` that is put beside it later. So do two files that would share a name
    in a format asked for.

    Args:
        files: Files that are stylized.
        folder: Folder of the outputs.
        suffix: Suffix of all images' outputs, such as `.png`; `None` for each image's own, if it can be written, else
            `.png`. A video's is `written_suffix` of its own.

    Returns:
        A file for each, in the same order.

    Raises:
        UserError: If two inputs have the same name, one would be painted over a file that is read, or the folder can't
            be written to.
    """
    short = [_renamed(file, suffix) for file in files]
    counts = Counter(short)
    names = [
        file.name.with_name(file.name.name + name.suffix) if counts[name] > 1 and name != file.name else name
        for file, name in zip(files, short, strict=True)
    ]
    owners: dict[PurePosixPath, MediaFile] = {}
    for file, name in zip(files, names, strict=True):
        other = owners.setdefault(name, file)
        if other is not file:
            raise UserError(f"{other.path} and {file.path} would both be painted to {folder / name}; rename one.")
    targets = {file: folder / name for file, name in zip(files, names, strict=True)}
    read = {Path(file.path).resolve(): file for file in files}
    for target in targets.values():
        if target.resolve() in read:
            kind = "video" if read[target.resolve()].is_video else "picture"
            raise UserError(f"{target} would be painted over a {kind} that is read; give another --output.folder.")
    if targets:
        check_writable(next(iter(targets.values())))
    return targets


def _renamed(file: MediaFile, suffix: str | None) -> PurePosixPath:
    own = file.name.suffix
    if file.is_video:
        kept = written_suffix(own) == own.lower()
        return file.name if kept else file.name.with_name(file.name.name + written_suffix(own))
    if suffix:
        return file.name.with_suffix(suffix)
    return file.name if own.lower() in _KEPT else file.name.with_name(f"{file.name.name}.png")
