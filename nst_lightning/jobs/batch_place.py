"""What a pair's folder tells: from what it is painted, how far it got, why it failed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from nst_lightning.callbacks.checkpoint import FOLDER, LAST
from nst_lightning.callbacks.image_writer import FILE_NAME
from nst_lightning.images.samples import SAMPLE, sample_path
from nst_lightning.jobs.batch_pairs import Pair, Source
from nst_lightning.jobs.worker import FAILED, RESULT, SECONDS, VERSION
from nst_lightning.runs.saved_config import changed_settings
from nst_lightning.utils.atomic import atomic_path
from nst_lightning.utils.hashing import file_sha256

SETTINGS = "pair.yaml"
PAINTED_FROM = "painted_from.json"


@dataclass(frozen=True)
class Outcome:
    """How far a pair got.

    Attributes:
        status: `complete`, `failed`, `stopped` or `not run`.
        message: Why it failed.
        steps: Done; `None` unless complete.
        seconds: Of painting, over all sessions; `None` if nothing was painted.
        loss: Of the result: `total` and the terms; empty unless complete.
    """

    status: str
    message: str = ""
    steps: int | None = None
    seconds: float | None = None
    loss: Mapping[str, float] = field(default_factory=dict)


class Place:
    """The folder of a pair's run: `lightning_logs/NAME/LABEL`.

    `pair.yaml` holds the pair as settings for `nst fit`, `painted_from.json` by what one knows its inputs again, and
    `failed.txt` why the last attempt failed; the run itself is in `version_0`.

    Args:
        pair: Which.
        batch: The folder of all runs of the batch.

    Attributes:
        problem: Why nothing is painted, though something was begun: a picture is another one than then. Empty if all
            are the same; files of the same size and time of modification count as that, of others the contents are
            compared.
    """

    def __init__(self, pair: Pair, batch: Path) -> None:
        self.pair = pair
        self.folder = batch / pair.label
        self.run = self.folder / VERSION
        self.problem = self._changed_input()
        self._failed_before = self._failure_stamp()

    def is_settled(self) -> bool:
        """Tell whether nobody needs to paint the pair any more: it is done, or was tried in vain since we look."""
        return bool(self.problem) or self.is_complete() or self._failure_stamp() not in (None, self._failed_before)

    def is_complete(self) -> bool:
        """Tell whether the pair was painted to the end, and the picture is still where it belongs."""
        return (self.run / RESULT).exists() and self.pair.output.exists()

    def _failure_stamp(self) -> tuple[int, int] | None:
        try:
            stat = (self.folder / FAILED).stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_ino

    def changed_options(self) -> list[str]:
        """Tell in which options of its own the pair differs from what was begun."""
        known = self._known()
        return [] if known is None else changed_settings(known["options"], dict(self.pair.options), self.pair.label)

    def _changed_input(self) -> str:
        known = self._known()
        if known is None:
            return ""
        for role, source in (("content", self.pair.content), ("style", self.pair.style)):
            if not _is_known(_file(source), known[role]):
                return f"the {role} {source.path} has changed since; remove {self.folder} to paint it anew."
        return ""

    def begin(self) -> None:
        """Note what the pair is, unless that was done before.

        Raises:
            OSError: If a picture can't be read.
        """
        pair = self.pair
        settings = {
            "data": {"init_args": {"content": pair.content.path, "style": pair.style.path}},
            "output": {"path": str(pair.output)},
        }
        with atomic_path(self.folder / SETTINGS) as temporary:
            temporary.write_text(yaml.safe_dump(settings, allow_unicode=True, width=10**9), encoding="utf-8")
        if self._known() is None:
            known = {"content": _stamp(_file(pair.content)), "style": _stamp(_file(pair.style))}
            with atomic_path(self.folder / PAINTED_FROM) as temporary:
                text = json.dumps({**known, "options": dict(pair.options)}, indent=2) + "\n"
                temporary.write_text(text, encoding="utf-8")

    def fail(self, message: str) -> None:
        """Note why the pair could not be painted."""
        with atomic_path(self.folder / FAILED) as temporary:
            temporary.write_text(message + "\n", encoding="utf-8")

    def outcome(self) -> Outcome:
        """Find out how far the pair got."""
        noted = self.run / SECONDS
        seconds = float(noted.read_text()) if noted.exists() else None
        if self.problem:
            return Outcome("failed", self.problem, seconds=seconds)
        if (self.folder / FAILED).exists():  # removed when the next attempt begins
            return Outcome("failed", (self.folder / FAILED).read_text(encoding="utf-8").strip(), seconds=seconds)
        if self.is_complete():
            result: dict[str, Any] = json.loads((self.run / RESULT).read_text(encoding="utf-8"))
            return Outcome("complete", "", result["steps"], seconds, result["loss"])
        return Outcome("stopped" if (self.run / FOLDER / LAST).exists() else "not run", seconds=seconds)

    def put_back(self) -> bool:
        """Give a finished pair the picture that was taken away; tell whether that could be done without painting."""
        kept = self.run / FILE_NAME
        if self.pair.output.suffix.lower() != kept.suffix or not kept.exists():
            return False
        with atomic_path(self.pair.output) as temporary:
            temporary.write_bytes(kept.read_bytes())  # the run wrote the same to both
        return True

    def _known(self) -> dict[str, Any] | None:
        if not (self.run / RESULT).exists() and not (self.run / FOLDER / LAST).exists():
            return None  # nothing was painted that could be mixed with other pictures
        try:
            known: dict[str, Any] = json.loads((self.folder / PAINTED_FROM).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return known


def _file(source: Source) -> Path:
    return sample_path(source.path.removeprefix(SAMPLE)) if source.path.startswith(SAMPLE) else Path(source.path)


def _stamp(file: Path) -> dict[str, Any]:
    stat = file.stat()
    return {"bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": _sha256(file, stat.st_mtime_ns)}


def _is_known(file: Path, known: Mapping[str, Any]) -> bool:
    try:
        stat = file.stat()
        if stat.st_size != known["bytes"]:
            return False
        return bool(stat.st_mtime_ns == known["mtime_ns"] or _sha256(file, stat.st_mtime_ns) == known["sha256"])
    except OSError:
        return False


@lru_cache(maxsize=4096)  # each content comes with every style
def _sha256(file: Path, mtime_ns: int) -> str:
    del mtime_ns
    return file_sha256(file)
