"""Addresses such as `s3://bucket/photo.jpg`, and the local paths that stand for them: the mirror.

A program is full of paths: it asks whether they exist, names siblings, resolves `..`, hands them to Pillow, PyAV and
torch. So each address has one path, below a folder of the command's own, at which its object lies while it is read or
after it was written (`nst_lightning.utils.storage` moves the bytes): `s3://bucket/photo.jpg` is
`MIRROR/s3/bucket/photo.jpg`. Nothing here asks the network. Processes that a command starts have its mirror; it is
removed when the command ends, and by the next one if it was killed.
"""

from __future__ import annotations

import atexit
import hashlib
import logging
import os
import posixpath
import re
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from nst_lightning.errors import UserError, spell_by
from nst_lightning.utils.locks import is_locked, lock_file

_ADDRESS = re.compile(r"([a-zA-Z][\w+.-]*)://(.*)", re.DOTALL)
_ALIASES = {"s3a": "s3", "s3n": "s3", "gcs": "gs", "local": "file"}
_VERBATIM = ("http", "https")  # a server may take `a/../b` and `a?b` for anything
_MIRROR = "NST_LIGHTNING_MIRROR"  # environment variable, so that processes which are started find it
_PREFIX = "nst-mirror-"
_OWNER = ".owner"
_DIGEST = re.compile("[0-9a-f]{16}")  # name of the folder of a path that does not spell its address
_LONGEST_PART = 200  # bytes of a name; file systems allow 255, and temporary names have a few more

_named: dict[str, str] = {}  # addresses that a path does not spell, by their paths


def is_address(given: str | os.PathLike[str]) -> bool:
    """Return whether something is an address, not a path: it begins with a protocol, and no such file exists."""
    return _ADDRESS.match(os.fspath(given)) is not None and not os.path.lexists(given)


def path_of(given: str | os.PathLike[str]) -> Path:
    """Return the path that stands for an address; a path stands for itself.

    Two spellings of an address, such as `s3://b/a.png` and `s3a://b/x/../a.png`, have one path. That of `file://` is
    the file's own.

    Raises:
        UserError: If the address names nothing, or is a chain such as `zip://a.png::s3://b/c.zip`.
    """
    text = os.fspath(given)
    match = _ADDRESS.match(text)
    if match is None or not is_address(given):
        return Path(text)
    protocol, rest = _ALIASES.get(match[1].lower(), match[1].lower()), match[2]
    if protocol == "file":
        return Path(rest)
    if not rest.strip("/") or "::" in text or "\0" in text:
        raise UserError(f"expected an address such as s3://bucket/photo.jpg, found {text}; check it")
    name = posixpath.normpath(f"/{rest.lstrip('/')}").lstrip("/")
    is_verbatim = protocol in _VERBATIM
    is_spelled = not is_verbatim or (name == rest.rstrip("/") and "?" not in name)
    if is_spelled and all(len(os.fsencode(part)) <= _LONGEST_PART for part in name.split("/")):
        return _mirror() / protocol / name
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    file = re.split(r"[?#]", name)[0] if is_verbatim else name
    last = file.rsplit("/", 1)[-1][-_LONGEST_PART // 4 :]
    path = _mirror() / protocol / name.partition("/")[0][:_LONGEST_PART] / digest / (last or "file")
    if str(path) not in _named:
        _named[str(path)] = named = f"{protocol}://{rest if is_verbatim else name}"
        with suppress(OSError):  # for processes that are not forked from this one
            path.parent.mkdir(parents=True, exist_ok=True)
            _note(path).write_text(named, "utf-8", errors="surrogatepass")
    return path


def address(path: Path) -> str | None:
    """Return the address that a path stands for; `None` for a path that stands for itself."""
    mirror = os.environ.get(_MIRROR)
    if mirror is None:
        return None
    text = os.path.abspath(path)  # noqa: PTH100 - what the links in it lead to is no address
    if not text.startswith(f"{mirror}{os.sep}"):
        return None
    protocol, _, rest = text[len(mirror) + 1 :].partition(os.sep)
    if text not in _named and _DIGEST.fullmatch(Path(text).parent.name):
        with suppress(OSError):
            _named[text] = _note(Path(text)).read_text("utf-8", errors="surrogatepass")
    return _named.get(text) or (f"{protocol}://{rest}" if rest else None)


def shown(text: str | os.PathLike[str]) -> str:
    """Return a path, or a text with paths in it, with the addresses that they stand for."""
    text = os.fspath(text)
    mirror = os.environ.get(_MIRROR)
    if mirror is None or mirror not in text:
        return text
    for path, named in _named.items():
        text = text.replace(path, named)
    return re.sub(rf"{re.escape(mirror)}/([\w+.-]+)/", r"\1://", text)


def _note(path: Path) -> Path:
    """Return the file that holds the address of a path which does not spell it."""
    return path.with_name(f".{path.name}.address")


def _mirror() -> Path:
    """Return the folder of the mirror, made when it is first needed."""
    _spell_log()
    if _MIRROR in os.environ and Path(os.environ[_MIRROR]).is_dir():
        return Path(os.environ[_MIRROR])
    folder = Path(tempfile.gettempdir()).resolve()
    for other in folder.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if (other / _OWNER).exists() and not is_locked(other / _OWNER):
                shutil.rmtree(other, ignore_errors=True)
    mirror = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=folder))
    unlocked = mirror / f"{_OWNER}.new"
    lock_file(os.open(unlocked, os.O_CREAT | os.O_WRONLY, 0o600))  # open, and so locked, as long as the process lives
    unlocked.rename(mirror / _OWNER)
    os.environ[_MIRROR] = str(mirror)
    atexit.register(_remove, mirror, os.getpid())
    return mirror


_is_log_spelled = False


def _spell_log() -> None:
    """Show addresses in the package's log records, whoever handles them."""
    global _is_log_spelled
    if _is_log_spelled:
        return
    _is_log_spelled = True
    make = logging.getLogRecordFactory()

    def spelled_record(*args: Any, **settings: Any) -> logging.LogRecord:
        record = make(*args, **settings)
        if record.name.startswith("nst_lightning"):
            text = record.getMessage()
            if (spelled := shown(text)) != text:
                record.msg, record.args = spelled, ()
        return record

    logging.setLogRecordFactory(spelled_record)


def _remove(mirror: Path, owner: int) -> None:
    if os.getpid() == owner:
        os.environ.pop(_MIRROR, None)
        shutil.rmtree(mirror, ignore_errors=True)


spell_by(shown)
