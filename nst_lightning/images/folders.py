"""Pictures in folders, by their names alone."""

from pathlib import Path

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".ppm", ".avif", ".jp2")
"""Of files that are taken for pictures where a folder is searched."""


def is_picture(file: Path) -> bool:
    """Tell whether a file has a picture's suffix."""
    return file.suffix.lower() in PICTURE_SUFFIXES


def visible_files(folder: Path) -> list[Path]:
    """Give all files below a folder, sorted; hidden ones and those in hidden folders are left out."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
