"""Objects in buckets and on web servers, by fsspec: mirrored in local files, so that all else knows only those.

What is read is downloaded when it is opened: until then a file without content stands for it, of the object's size and
time. What is written is put as a whole object: stores such as S3 show an object when all of it has arrived, which is
what a rename gives on a disk. What is removed is removed there. A path that stands for no address (see
`nst_lightning.utils.addresses`) is left as it is by every function here, and fsspec is not imported for it.

The content of files that are there as well is kept up to a bound, the least recently used is dropped first. A lost
connection is tried again a few times, with growing pauses.
"""

from __future__ import annotations

import errno
import hashlib
import os
import random
import shutil
import stat
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from nst_lightning.errors import StorageError, UserError, did_you_mean, find_by, one_line
from nst_lightning.utils.addresses import address, is_address, path_of

_BOUND = "NST_LIGHTNING_CACHE_GB"  # environment variable
_DEFAULT_BOUND = 10.0  # GB
_PAUSES = (0.2, 0.5, 1.0, 2.0, 4.0)  # seconds between attempts, each up to half as long again
_PERMANENT = (FileNotFoundError, PermissionError, FileExistsError, IsADirectoryError, NotADirectoryError, ImportError)
_READ_ONLY = ("http", "https")
_EXTRAS = {"s3": "nst-lightning[s3]", "gs": "nst-lightning[gcs]"}
_AT_ONCE = ("s3", "gs", "abfs", "abfss", "az", "oss", "oci", "hf", "r2")
"""Stores that show an object when all of it has arrived."""

_LONGEST_NAME = 255  # bytes
_SMALL = 65536  # bytes of files that are downloaded together with a listing
_SMALL_KINDS = (".json", ".yaml", ".txt", ".csv")
_CLAIM = ".claim"

_Value = TypeVar("_Value")

_lock = threading.Lock()
_clean: dict[Path, tuple[int, int]] = {}  # size and time of the files whose content is in the store as well
_used: OrderedDict[Path, int] = OrderedDict()  # sizes of those that take room here, the least recently used first
_growing: set[Path] = set()  # files that this process appends to
_listed: set[Path] = set()  # folders whose files are known
_writable: set[str] = set()


def find(given: str | os.PathLike[str], folder: Path | None = None) -> Path | None:
    """Return the path of an object that is given by its address, or lies in a mirrored folder; else `None`.

    Whether it exists is asked now: afterwards the path exists if it does, as a file without content or a folder.

    Raises:
        UserError: If that can't be asked.
    """
    if is_address(given):
        path = path_of(given)
        if (target := address(path)) is not None:
            _find(path, target)
        return path
    path = (folder or Path()) / given
    if (target := address(path)) is None:
        return None
    path = Path(os.path.normpath(path))
    if not any(parent in _listed for parent in path.parents):
        _find(path, target)
    return path


def fetch(path: Path) -> Path:
    """Return the path of a file, whose content is there now.

    Raises:
        UserError: If it can't be had.
        StorageError: If the store can't be reached, or there is no room for it.
    """
    target = address(path)
    if target is None:
        return path
    if not _is_empty(path):
        with _lock:
            if path in _used:
                _used.move_to_end(path)
        return path
    temporary = path.with_name(f".{uuid.uuid4().hex[:12]}.partial")

    def download(store: Any, name: str) -> int:
        info = store.info(name)
        _check_size(target, info.get("size") or 0)
        store.get_file(name, str(temporary))
        modified = _stamp(info)[1]
        length = temporary.stat().st_size
        _check_size(target, length)  # a server need not say it before
        if info.get("size") not in (None, length):
            raise ConnectionError(f"{length} of {info['size']} bytes have arrived")
        return modified

    try:
        modified = _attempt(target, download, "read")
        os.utime(temporary, ns=(modified, modified))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _keep(path)
    return path


def look(folder: Path, *, deep: bool = True) -> None:
    """Mirror what is in a folder: files without content, but the small ones that a program keeps its notes in.

    Args:
        folder: Folder, whether it exists or not.
        deep: Whether to look into its subfolders as well.

    Raises:
        UserError: If it can't be listed.
    """
    target = address(folder)
    if target is None or target.partition("://")[0] in _READ_ONLY:
        return

    def listing(store: Any, name: str) -> dict[str, Any]:
        try:
            found = (
                store.find(name, detail=True) if deep else {info["name"]: info for info in store.ls(name, detail=True)}
            )
        except FileNotFoundError:
            return {}
        prefix = name.rstrip("/") + "/"
        return {key[len(prefix) :]: info for key, info in found.items() if key.startswith(prefix)}

    found = _attempt(target, listing, "read")
    paths: set[Path] = set()
    for name, info in found.items():
        path = folder / name
        is_long = any(len(os.fsencode(part)) > _LONGEST_NAME for part in name.split("/"))
        if is_long or address(path) != f"{target}/{name}":  # which no file here can be called
            continue
        if info["type"] == "directory":
            _make_folder(path)
        else:
            paths.add(path)
            _stand_in(path, info)
    _forget(folder, paths, deep)
    if deep:
        _listed.add(folder)
        _fetch_notes(folder, target, paths)


def put(file: Path, path: Path) -> None:
    """Put the content of a file where a path stands for, before the file is renamed to that path.

    Raises:
        UserError: If the store refuses it.
        StorageError: If the store can't be reached.
    """
    target = address(path)
    if target is None:
        return
    protocol = target.partition("://")[0]
    _check_written(target)

    def upload(store: Any, name: str) -> None:
        if protocol == "memory":
            store.pipe_file(name, file.read_bytes())
        elif protocol in _AT_ONCE:
            store.put_file(str(file), name)
        else:  # as on a disk
            hidden = f"{name.rpartition('/')[0]}/.{uuid.uuid4().hex[:12]}.partial"
            try:
                store.put_file(str(file), hidden)
                store.mv(hidden, name)
            except BaseException:
                with suppress(Exception):
                    store.rm_file(hidden)
                raise

    _attempt(target, upload, "write")
    _keep(path, file)


@contextmanager
def growing(path: Path) -> Iterator[None]:
    """Leave a file that this process alone appends to as it is here, whatever the store has, until the body ends.

    Nor is it dropped for want of room. It begins with what is in the store, where the folder has been looked into.

    Raises:
        UserError: If what is in the store can't be had.
        StorageError: If the store can't be reached, or there is no room for it.
    """
    if path.exists():
        fetch(path)
    _growing.add(path)
    try:
        yield
    finally:
        _growing.discard(path)


def push(folder: Path) -> None:
    """Put what has changed in a folder since it was last put: files that grow, such as logs and events."""
    if address(folder) is None:
        return
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not hidden and path.is_file() and not _is_empty(path) and _clean.get(path) != _local_stamp(path):
            copy = path.with_name(f".{uuid.uuid4().hex[:12]}.partial")  # what is put must not grow meanwhile
            try:
                shutil.copy2(path, copy)
                put(copy, path)
            finally:
                copy.unlink(missing_ok=True)


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it, whether it exists or not."""
    target = address(path)
    if target is not None and path.exists():

        def delete(store: Any, name: str) -> None:
            # Not by `rm`, which takes brackets, stars and question marks in a name for a pattern of others.
            folders = [name] if path.is_dir() else []
            found = store.find(name, withdirs=True, detail=True) if folders else {name: {"type": "file"}}
            for key, info in sorted(found.items(), reverse=True):
                if info["type"] == "directory":
                    folders.append(key)
                    continue
                with suppress(FileNotFoundError):
                    store.rm_file(key)
            if target.partition("://")[0] not in _AT_ONCE:  # a bucket has no folders
                for folder in sorted(folders, reverse=True):
                    with suppress(OSError):
                        store.rmdir(folder)

        _attempt(target, delete, "write")
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    with _lock:
        for known in [known for known in _clean if known == path or path in known.parents]:
            del _clean[known]
            _used.pop(known, None)


def claim(folder: Path) -> None:
    """Make a folder that is nobody else's: of processes that try one alone succeeds.

    A bucket has no folders, and so nothing that only one can make, but an object that must not exist yet can be put.

    Raises:
        FileExistsError: If the folder exists.
        OSError: If it can't be made.
    """
    folder.mkdir()
    target = address(folder)
    if target is None:
        return
    token = uuid.uuid4().hex.encode()

    def put_new(store: Any, name: str) -> bool:
        name = f"{name}/{_CLAIM}"
        try:
            store.pipe_file(name, token, mode="create")
        except FileExistsError:
            return bool(store.cat_file(name) == token)  # an answer that was lost
        except (OSError, NotImplementedError) as error:
            text = f"{error!r} {error.__cause__!r}"
            if "NotImplemented" in text:  # such a store's folders are one command's at a time
                store.pipe_file(name, token)
            elif "PreconditionFailed" in text:
                return bool(store.cat_file(name) == token)
            else:
                raise
        return True

    _check_written(target)
    if not _attempt(target, put_new, "write"):
        raise FileExistsError(f"{target} is another run's")


def check_writable(path: Path) -> None:
    """Refuse an address at which nothing can be put, before anything is computed for it.

    An empty object with a hidden name is put beside it, and removed.

    Raises:
        UserError: If it can't.
    """
    target = address(path)
    if target is None:
        return
    _check_written(target)
    folder = target.rpartition("/")[0]
    if folder.endswith(":/") or any(f"{folder}/".startswith(f"{known}/") for known in _writable):
        return
    probe = f".{uuid.uuid4().hex[:12]}.probe"
    _attempt(target, lambda store, name: store.pipe_file(f"{name.rpartition('/')[0]}/{probe}", b""), "write")
    with suppress(UserError):  # who may write need not be one who may remove
        _attempt(target, lambda store, name: store.rm_file(f"{name.rpartition('/')[0]}/{probe}"), "write")
    _writable.add(folder)


def _find(path: Path, target: str) -> None:
    def ask(store: Any, name: str) -> dict[str, Any] | None:
        try:
            info: dict[str, Any] = store.info(name)
            return info
        except FileNotFoundError as error:
            if _behind(error) is not None:
                raise
            return None

    info = _attempt(target, ask, "read")
    if info is None:
        if path.is_file():
            path.unlink()
    elif info["type"] == "directory":
        _make_folder(path)
    else:
        _stand_in(path, info)


def _attempt(target: str, operation: Callable[[Any, str], _Value], doing: str) -> _Value:
    """Return what an operation on a store returns; after a lost connection it is tried again."""
    store, name = _store(target)
    for pause in (*_PAUSES, None):
        try:
            store.invalidate_cache()
            return operation(store, name)
        except (UserError, TypeError, AttributeError, LookupError):
            raise
        except Exception as error:
            if isinstance(error, OSError) and address(Path(str(error.filename))) is not None:
                raise  # of the local file
            error = _behind(error) or error
            if isinstance(error, UserError):
                raise error from None
            refusal = _refusal(target, error, doing)
            if refusal is not None or pause is None:
                store.clear_instance_cache()  # the next one reads the address and the keys that are set by then
            if refusal is not None:
                raise refusal from error
            if pause is None:
                raise StorageError(
                    f"cannot {doing} {target} ({one_line(error)[:200]}), after {len(_PAUSES) + 1} attempts; check the "
                    "connection, and start again"
                ) from error
            time.sleep(pause * random.uniform(1, 1.5))
    raise AssertionError


def _store(target: str) -> tuple[Any, str]:
    """Return the store of an object, and the object's name in it."""
    from fsspec.core import url_to_fs
    from fsspec.registry import known_implementations

    protocol = target.partition("://")[0]
    try:
        found: tuple[Any, str] = url_to_fs(target, **_OPTIONS.get(protocol, dict)())
        return found
    except ImportError as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        package = _EXTRAS.get(protocol) or (getattr(cause, "name", None) or protocol).partition(".")[0]
        raise UserError(
            f"{target} needs a package that is not installed or is too old; run pip install '{package}'."
        ) from error
    except ValueError as error:
        hint = did_you_mean(protocol, known_implementations, "fsspec says which there are")
        raise UserError(f"expected an address, found {target} ({one_line(error)}); {hint}") from error
    except Exception as error:
        if (refusal := _refusal(target, error, "read")) is not None:
            raise refusal from error
        raise UserError(f"cannot reach {target} ({one_line(error)[:200]}); check the address") from error


@cache
def _https_alone() -> dict[str, Any]:
    """Return the options of a web server's store that follows no redirect from https to elsewhere."""
    from aiohttp import TraceConfig

    async def check(session: Any, context: Any, redirect: Any) -> None:
        location = redirect.response.headers.get("Location", "")
        if location.partition(":")[0].lower() == "http":
            raise UserError(f"{redirect.url} leads to {location}, away from https; download the file another way")

    watching = TraceConfig()
    watching.on_request_redirect.append(check)
    return {"client_kwargs": {"trace_configs": [watching]}}


@cache
def _few_attempts() -> dict[str, Any]:
    """Return the options of an S3 store that tries less often by itself, unless a person has said how often."""
    from fsspec.config import conf

    if "AWS_MAX_ATTEMPTS" in os.environ or "config_kwargs" in conf.get("s3", {}):
        return {}
    return {"config_kwargs": {"retries": {"total_max_attempts": 3}}}  # of a part of a large object; default: 5


_OPTIONS = {"https": _https_alone, "s3": _few_attempts}


def _refusal(target: str, error: Exception, doing: str) -> UserError | None:
    """Return the line about an error that another attempt would meet as well; else `None`."""
    bucket = "/".join(target.split("/")[:3])
    status = getattr(error, "status", None)  # of aiohttp's
    if "Credentials" in type(error).__name__ or "credentials" in str(error).lower():
        remedy = "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" if bucket[:3] == "s3:" else "log in"
        return UserError(f"cannot {doing} {target}, there are no credentials ({one_line(error)[:200]}); {remedy}")
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(f"no room for a copy of {target}; make some, or set TMPDIR to another place")
    if isinstance(error, PermissionError) or status in (401, 403):
        return UserError(
            f"cannot {doing} {target}, permission is denied ({one_line(error)[:200]}); check the credentials, and what "
            f"they allow in {bucket}"
        )
    if isinstance(error, FileNotFoundError) or status in (404, 410):
        what = f"make {bucket}, or choose another place" if doing == "write" else "check the address"
        return UserError(f"cannot {doing} {target} ({one_line(error)[:200]}); {what}")
    if type(error).__name__ == "TooManyRedirects":  # aiohttp's, which may not be installed
        return UserError(f"cannot {doing} {target}, its server sends from one address to the next; check the address")
    if isinstance(error, _PERMANENT) or (status is not None and 400 <= status < 500 and status not in (408, 429)):
        return UserError(f"cannot {doing} {target} ({one_line(error)[:200]}); check the address")
    return None


def _behind(error: BaseException) -> Exception | None:
    """Return what is behind an error that says of a web server's file, whatever has happened, that it is missing."""
    cause = error.__cause__
    is_of_web = isinstance(cause, TimeoutError | UserError) or type(cause).__module__.partition(".")[0] == "aiohttp"
    if isinstance(cause, Exception) and is_of_web and getattr(cause, "status", None) not in (404, 410):
        return cause
    return None


def _check_written(target: str) -> None:
    protocol = target.partition("://")[0]
    if protocol in _READ_ONLY:
        raise UserError(f"expected a place that can be written to, found {target}; give a path, or s3://bucket/name")


def _check_size(target: str, size: int) -> None:
    if size > _bound():
        raise UserError(
            f"{target} has {size / 1e9:.1f} GB, more than the {_bound() / 1e9:g} GB that are kept of what is read; set "
            f"{_BOUND} to a larger number"
        )


def _bound() -> int:
    text = os.environ.get(_BOUND, "")
    try:
        return int(float(text or _DEFAULT_BOUND) * 1e9)
    except ValueError as error:
        raise UserError(f"{_BOUND} must be a number of gigabytes, but {text} was given.") from error


def _stamp(info: Mapping[str, Any]) -> tuple[int, int]:
    """Return size and time of modification, nanoseconds, by which the same state of an object is known again.

    The fraction of a second is made of what else the store says of the state, such as a digest. Where it says nothing,
    no state is known again.
    """
    times = (info.get(key) for key in ("LastModified", "Last-Modified", "updated", "mtime", "created"))
    seconds = next((found for time_ in times if (found := _seconds(time_)) is not None), None)
    tags = [info.get(key) for key in ("ETag", "etag", "md5Hash", "Content-MD5", "generation", "created")]
    if seconds is None and not any(tags):
        return int(info.get("size") or 0), time.time_ns()
    fraction = int(hashlib.sha256("\n".join(map(str, tags)).encode()).hexdigest()[:12], 16) % 10**9
    return int(info.get("size") or 0), (seconds or 0) * 10**9 + fraction


def _seconds(given: Any) -> int | None:
    """Return a time as whole seconds since 1970; `None` for what is no time."""
    if isinstance(given, str):
        with suppress(ValueError, TypeError):
            given = parsedate_to_datetime(given)
    if isinstance(given, str):
        with suppress(ValueError):
            given = datetime.fromisoformat(given.replace("Z", "+00:00"))
    if isinstance(given, datetime):
        given = (given if given.tzinfo else given.replace(tzinfo=timezone.utc)).timestamp()
    return int(given) if isinstance(given, int | float) else None


def _stand_in(path: Path, info: Mapping[str, Any]) -> None:
    """Let a file without content stand for an object, unless its content is there."""
    if path in _growing:
        return
    size, modified = _stamp(info)
    known = _local_stamp(path) if path.is_file() else None
    if known is not None and known[1] == modified and info.get("size") in (None, known[0]):
        return
    _make_folder(path.parent)
    _empty(path, size if info.get("size") is not None else 1, modified)


def _empty(path: Path, size: int, modified: int) -> None:
    temporary = path.with_name(f".{uuid.uuid4().hex[:12]}.partial")
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        os.truncate(temporary, size)  # takes no room
        os.utime(temporary, ns=(modified, modified))
        temporary.chmod(stat.S_IWUSR)  # which says that there is nothing to be read
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"cannot mirror {address(path)} ({error.strerror}); is there a folder of that name?") from error
    finally:
        temporary.unlink(missing_ok=True)
    with _lock:
        _clean.pop(path, None)
        _used.pop(path, None)


def _is_empty(path: Path) -> bool:
    try:
        return not path.stat().st_mode & stat.S_IRUSR
    except OSError:
        return False


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot mirror {address(path)} ({error.strerror}); is it an object and a folder?") from error


def _local_stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _keep(path: Path, file: Path | None = None) -> None:
    """Note that the content of a file is in the store too, and drop that of others where there is too much."""
    stamp = _local_stamp(file or path)
    dropped = []
    with _lock:
        _clean[path] = stamp
        _used[path] = stamp[0]
        _used.move_to_end(path)
        total = sum(_used.values())
        for oldest in [each for each in _used if each != path and each not in _growing]:
            if total <= _bound():
                break
            dropped.append(oldest)
            total -= _used.pop(oldest)
    for oldest in dropped:
        with suppress(OSError):
            _empty(oldest, *_local_stamp(oldest))


def _forget(folder: Path, paths: set[Path], deep: bool) -> None:
    """Remove the local files of objects that are gone; hidden ones are locks, and files that are being written."""
    for path in list(folder.rglob("*") if deep else folder.glob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not hidden and path.is_file() and path not in paths and path not in _growing:
            path.unlink(missing_ok=True)
    if deep:
        for path in sorted(folder.rglob("*/"), reverse=True):
            with suppress(OSError):
                path.rmdir()  # only one that is empty


def _fetch_notes(folder: Path, target: str, paths: Iterable[Path]) -> None:
    """Download the small files of a folder, many at a time."""
    wanted = [
        path for path in paths if path.suffix in _SMALL_KINDS and _is_empty(path) and path.stat().st_size <= _SMALL
    ]
    if not wanted:
        return

    def read(store: Any, name: str) -> dict[str, bytes]:
        names = [f"{name.rstrip('/')}/{path.relative_to(folder).as_posix()}" for path in wanted]
        found: dict[str, bytes] = {}
        for start in range(0, len(names), 1000):
            part = names[start : start + 1000]  # whole files; `cat` takes brackets in a name for a pattern of others
            none: list[int | None] = [None] * len(part)
            found |= dict(zip(part, store.cat_ranges(part, none, none, on_error="raise"), strict=True))
        return found

    found = _attempt(target, read, "read")
    contents = {name.lstrip("/"): content for name, content in found.items()}
    for path in wanted:
        content = contents.get((address(path) or "").partition("://")[2])
        stamp = _local_stamp(path)
        if content is not None and len(content) == stamp[0]:  # else it was written meanwhile
            temporary = path.with_name(f".{uuid.uuid4().hex[:12]}.partial")
            temporary.write_bytes(content)
            os.utime(temporary, ns=(stamp[1], stamp[1]))
            temporary.replace(path)
            _keep(path)


find_by(find)
