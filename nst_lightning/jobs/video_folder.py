"""The folder beside a video that is being painted: the frames so far, and what they are painted from."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from nst_lightning.errors import UserError
from nst_lightning.runs.saved_config import changed_settings
from nst_lightning.utils.atomic import atomic_path
from nst_lightning.utils.locks import LOCK, check_locks

SETTINGS = "video.yaml"

_NAMED = 3  # changes in a message


class FramesFolder:
    """`OUTPUT.frames`: `000001.png` and so on, without gaps; `video.yaml`; `work` for the frame in progress.

    Beside the latest frame is what the next one needs of it: `000012-settled.png` (`Carried.settled`), unless it is 1
    everywhere, as after a frame that was painted as a picture of its own.

    Args:
        output: The video to be written.

    Attributes:
        folder: The folder itself.
        work: What is in it can be made again; emptied after each frame.
    """

    def __init__(self, output: Path) -> None:
        self.folder = output.with_name(f"{output.name}.frames")
        self.work = self.folder / "work"

    def picture(self, number: int) -> Path:
        """Give the file of a painted frame, counted from 1."""
        return self.folder / f"{number:06d}.png"

    def settled(self, number: int) -> Path:
        """Give the file of how much each pixel of a frame is to be held in the next one."""
        return self.folder / f"{number:06d}-settled.png"

    def painted(self) -> int:
        """Count the frames that are there, up to the first that is missing."""
        count = 0
        while self.picture(count + 1).exists():
            count += 1
        return count

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the folder from other processes.

        Raises:
            UserError: If it can't be made, one has it, or the file system knows no locks.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"cannot make the folder {self.folder} ({error.strerror}); give another --output."
            ) from error
        check_locks(self.folder, "--output")
        try:
            with FileLock(self.folder / LOCK, timeout=0):
                yield
        except Timeout as error:
            raise UserError(f"another process is painting the frames in {self.folder}; let it end.") from error

    def keep_settings(self, wanted: Mapping[str, Any]) -> None:
        """Note what the frames are painted from, or refuse to add frames of another kind.

        Args:
            wanted: Settings, nested.

        Raises:
            UserError: If the folder holds frames of other settings, or something else.
        """
        file = self.folder / SETTINGS
        if file.exists():
            changes = changed_settings(yaml.safe_load(file.read_text(encoding="utf-8")), dict(wanted))
            if changes and self.painted():
                more = f" and {len(changes) - _NAMED} more" if len(changes) > _NAMED else ""
                raise UserError(
                    f"{self.folder} holds frames of other settings: {'; '.join(changes[:_NAMED])}{more}; give another "
                    f"--output, or remove {self.folder} to paint all anew."
                )
            if not changes:
                return
            shutil.rmtree(self.work, ignore_errors=True)  # of a first frame that can't go on under other settings
        elif any(path.name[0] != "." for path in self.folder.iterdir()):
            raise UserError(f"{self.folder} is not of nst video; give another --output, or remove {self.folder}.")
        with atomic_path(file) as temporary:
            text = yaml.safe_dump(dict(wanted), sort_keys=False, allow_unicode=True)
            temporary.write_text(text, encoding="utf-8")

    def take(self, painted: Path, number: int) -> None:
        """Take in a painted frame; forget how it came about."""
        painted.replace(self.picture(number))
        self.settled(number - 1).unlink(missing_ok=True)
        shutil.rmtree(self.work)

    def leave_pictures(self) -> None:
        """Remove what only a next frame would need."""
        self.settled(self.painted()).unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove the folder; nobody may hold it."""
        shutil.rmtree(self.folder, ignore_errors=True)
