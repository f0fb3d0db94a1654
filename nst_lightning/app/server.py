"""The page's addresses and what they answer, the stream of events included."""

from __future__ import annotations

import io
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, files, metadata
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio
import uvicorn
from PIL import Image
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from nst_lightning.app.decoding import Decoder, thumbnail
from nst_lightning.app.instant import InstantPainter
from nst_lightning.app.job_queue import Job, JobQueue
from nst_lightning.app.job_request import PREVIEW_FILE, RESULT_FILE, read_options, steps_of_qualities
from nst_lightning.app.limits import Limits, RefusalError
from nst_lightning.app.security import SecurityMiddleware, is_visit, refused
from nst_lightning.app.sessions import ROLES, InstantPainting, Session, Sessions, Upload
from nst_lightning.app.time_lapse import LAPSE_FORMATS, frame_file, write_lapse
from nst_lightning.app.uploads import base_name, drained, receive, shown_name
from nst_lightning.errors import StorageError
from nst_lightning.images.embedded_settings import read_settings
from nst_lightning.images.files import read_image, write_image
from nst_lightning.images.samples import SAMPLE, SAMPLES, sample_path
from nst_lightning.utils.atomic import refuses, storage_error

_log = logging.getLogger(__name__)

PAGE = Path(__file__).with_name("page")
REQUEST_TIMEOUT = 10.0
"""Time that a request's JSON may take, seconds."""

_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".mp4": "video/mp4",
}
_JPEG_FILE = "picture.jpg"
_TILE = 240  # pixels: three for each that a tile has on the page
_STYLES = ("starry", "woodcut", "mosaic")  # of the samples; the others are photos
_SWEEP_INTERVAL = 20.0  # seconds
_LONGEST_REQUEST = 10_000  # bytes of JSON
_POLL_INTERVAL = 0.15  # seconds
_HEARTBEAT = 15.0  # seconds; a connection that is gone is noticed when something is sent


@dataclass
class AppState:
    """Everything behind the page's addresses.

    Attributes:
        root: The page's temporary folder.
        limits: What visitors may ask for.
        queue: Queue of jobs.
        decoder: Decoder of the images that visitors bring.
        sessions: Sessions of who is here.
        instant: Painter in one pass.
        cookie: Name of the cookie.
        names: Host names under which the page may be asked for.
        server: Server of the application; `None` before there is one.
        encoding: Limiter of the threads that encode time-lapses.
    """

    root: Path
    limits: Limits
    queue: JobQueue
    decoder: Decoder
    sessions: Sessions
    instant: InstantPainter
    cookie: str
    names: Sequence[str]
    server: uvicorn.Server | None = None
    encoding: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(1))

    def session(self, request: Request) -> Session:
        """Return the session of who asks.

        Raises:
            RefusalError: If there is no such session, or no longer.
        """
        session = self.sessions.find(request.cookies.get(self.cookie))
        if session is None:
            raise RefusalError(401, "this page has been open for too long; load it again.")
        return session

    def describe(self, job: Job) -> dict[str, Any]:
        """Return what the page shows of a job."""
        return job.describe(self.queue.position(job))


Answer = Callable[[AppState, Request], Awaitable[Response]]


def build(state: AppState) -> Starlette:
    """Make the ASGI application.

    Args:
        state: What it works with. Its processes and its folder are the caller's to end and to delete.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        del app
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_sweep, state)
            yield
            tasks.cancel_scope.cancel()

    def route(path: str, answer: Answer, method: str = "GET") -> Route:
        return Route(path, partial(answer, state), methods=[method])

    return Starlette(
        routes=[
            *(Route(f"/{file.name.replace('index.html', '')}", partial(_file, state, file)) for file in PAGE.iterdir()),
            route("/samples/{name}.jpg", _sample),
            route("/api/alive", _alive),
            route("/api/session", _enter, "POST"),
            route("/api/state", _state),
            route("/api/instant", _paint_instant, "POST"),
            route("/api/instant/{tab}/{number}/preview", _instant_preview),
            route("/api/instant/{tab}/{number}/picture", _instant_picture),
            route("/api/instant/{tab}/{number}/keep", _keep_instant, "POST"),
            route("/api/events", _events),
            route("/api/pictures", _upload, "PUT"),
            route("/api/pictures/{id}", _thumbnail),
            route("/api/pictures/{id}/file", _uploaded),
            route("/license", _license),
            route("/api/jobs", _start, "POST"),
            route("/api/jobs/{id}", _job),
            route("/api/jobs/{id}/stop", _stop, "POST"),
            route("/api/jobs/{id}/continue", _continue, "POST"),
            route("/api/jobs/{id}/larger", _enlarge, "POST"),
            route("/api/jobs/{id}/delete", _delete, "POST"),
            route("/api/jobs/{id}/frames/{number}", _frame),
            route("/api/jobs/{id}/time-lapse.{format}", _time_lapse),
            route("/api/jobs/{id}/photo", _photo),
            route("/api/jobs/{id}/preview", _preview),
            route("/api/jobs/{id}/picture", _picture),
        ],
        middleware=[Middleware(SecurityMiddleware, names=state.names)],
        exception_handlers={
            RefusalError: _refuse,
            HTTPException: _no_such_address,
            StorageError: _no_room,
            OSError: _no_room,
            Exception: _unexpected,
        },
        lifespan=lifespan,
    )


async def _sweep(state: AppState) -> None:
    while True:
        await anyio.sleep(_SWEEP_INTERVAL)
        state.sessions.sweep(time.monotonic())


async def _file(state: AppState, file: Path, request: Request) -> Response:
    answer = Response(file.read_bytes(), media_type=_TYPES[file.suffix], headers={"cache-control": "no-cache"})
    is_visitor = state.sessions.find(request.cookies.get(state.cookie)) is not None
    if file.suffix == ".html" and not is_visitor and request.method == "GET" and is_visit(request.headers):
        answer.set_cookie(state.cookie, state.sessions.create().token, httponly=True, samesite="lax")
    return answer


async def _sample(state: AppState, request: Request) -> Response:
    name = request.path_params["name"]
    if name not in SAMPLES:
        raise RefusalError(404, "there is no such sample.")
    kept = {"cache-control": "max-age=3600"}
    if request.url.query == "small":
        return Response(_sample_tile(name), media_type="image/jpeg", headers=kept)
    return FileResponse(sample_path(name), headers=kept)


@cache
def _sample_tile(name: str) -> bytes:
    """Return a sample as small as it is to choose from, a JPEG."""
    file = io.BytesIO()
    with Image.open(sample_path(name)) as image:
        image.thumbnail((_TILE, _TILE))
        image.save(file, "JPEG", quality=85)
    return file.getvalue()


async def _alive(state: AppState, request: Request) -> Response:
    """Return whether this program knows who asks: it does not, if it was started again."""
    return JSONResponse({"is_known": state.sessions.find(request.cookies.get(state.cookie)) is not None})


async def _enter(state: AppState, request: Request) -> Response:
    """Let a page that was open while the program ended come back."""
    answer = JSONResponse({})
    if state.sessions.find(request.cookies.get(state.cookie)) is None:
        answer.set_cookie(state.cookie, state.sessions.create().token, httponly=True, samesite="lax")
    return answer


async def _state(state: AppState, request: Request) -> Response:
    session, limits = state.session(request), state.limits
    return JSONResponse(
        {
            "session": session.name,
            "limits": {
                "bytes": limits.upload_bytes,
                "pixels": limits.pixels,
                "size": limits.size,
                "instant": limits.instant_size,
                "kept": limits.kept,
                "lifetime": limits.lifetime,
                "styles": limits.styles,
            },
            "samples": [{"name": name, "is_style": name in _STYLES} for name in SAMPLES],
            "pictures": [upload.describe() for upload in session.uploads.values()],
            "jobs": [state.describe(job) for job in session.jobs.values()],
            "steps": steps_of_qualities(),
            "paces": state.queue.paces,
            "lapses": LAPSE_FORMATS,
            "links": project_links(),
        }
    )


@cache
def project_links() -> dict[str, str]:
    """Return the project's addresses by name, as the installed package has them."""
    try:
        found = metadata("nst-lightning").get_all("Project-URL") or []
    except PackageNotFoundError:  # run from a folder, not installed
        found = []
    named = (line.partition(", ") for line in found)
    return {name: address for name, _, address in named if address.startswith("https://")}


async def _upload(state: AppState, request: Request) -> Response:
    session = state.session(request)
    name = base_name(request.headers.get("x-name", ""))
    shown = shown_name(name)
    role = request.headers.get("x-role", ROLES[0])
    if role not in ROLES:
        raise RefusalError(400, f"x-role is one of {', '.join(ROLES)}.")
    try:
        with state.sessions.new_file(session) as file:
            size = await receive(request, file, state.limits)
            shape = await state.decoder.examine(file, shown)
            upload = state.sessions.add_upload(session, file, name, shape, size, role)
    except RefusalError as refusal:
        if refusal.status == 415:  # the whole of it had come
            raise
        return drained(request, await _refuse(request, refusal))
    return JSONResponse(upload.describe())


def _upload_of(state: AppState, request: Request) -> Upload:
    upload = state.session(request).uploads.get(request.path_params["id"])
    if upload is None:
        raise RefusalError(404, "there is no such picture, or it has been deleted; choose it again.")
    return upload


async def _thumbnail(state: AppState, request: Request) -> Response:
    return FileResponse(thumbnail(_upload_of(state, request).file))


async def _uploaded(state: AppState, request: Request) -> Response:
    """Return what the visitor brought, as a file to be kept: no browser is to look for scripts in it."""
    upload = _upload_of(state, request)
    headers = _attached(shown_name(upload.name))
    return FileResponse(upload.file, media_type="application/octet-stream", headers=headers)


async def _license(state: AppState, request: Request) -> Response:
    return Response(license_text(), media_type="text/plain")


@cache
def license_text() -> str:
    """Return the project's license, of the installed package or of the folder that it is run from."""
    with suppress(PackageNotFoundError):
        for file in files("nst-lightning") or []:
            if file.name == "LICENSE":
                return file.read_text(encoding="utf-8")
    with suppress(OSError):
        return (PAGE.parents[2] / "LICENSE").read_text(encoding="utf-8")
    return "MIT License"


async def _start(state: AppState, request: Request) -> Response:
    session = state.session(request)
    asked = await _json(request)
    content, style, masks = (asked.pop(key, None) for key in ("content", "style", "masks"))
    options = read_options(asked, state.limits)
    return JSONResponse(state.describe(state.sessions.start(session, content, style, options, masks)), 201)


async def _paint_instant(state: AppState, request: Request) -> Response:
    session = state.session(request)
    asked = await _json(request)
    sources = {key: asked.pop(key, None) for key in ("content", "style", "masks")}
    tab = asked.pop("tab", None)
    if not isinstance(tab, str):
        raise RefusalError(400, "tab is a text, the same for all that a tab of the page asks for; send one.")
    options = read_options(asked, state.limits)
    painting = await state.sessions.paint_instant(session, tab, sources, options, state.instant)
    command, name = painting.request.command(), painting.request.file_name
    found = {"width": painting.width, "height": painting.height, "command": command, "file": name}
    return JSONResponse({**found, "number": painting.number})


def _instant_painting_of(state: AppState, request: Request) -> InstantPainting:
    number = request.path_params["number"]
    given = int(number) if number.isdecimal() and len(number) < 10 else 0
    return state.session(request).instant_painting(request.path_params["tab"], given)


async def _instant_preview(state: AppState, request: Request) -> Response:
    return _from_folder(_instant_painting_of(state, request).request.folder, PREVIEW_FILE, "image/jpeg")


async def _instant_picture(state: AppState, request: Request) -> Response:
    painted = _instant_painting_of(state, request).request
    return await _download(request, painted.folder, painted.file_name)


async def _keep_instant(state: AppState, request: Request) -> Response:
    painting, session = _instant_painting_of(state, request), state.session(request)
    job = state.sessions.keep_instant(session, request.path_params["tab"], painting.number)
    return JSONResponse(state.describe(job), 201)


async def _json(request: Request) -> dict[str, Any]:
    body = b""
    try:
        with anyio.fail_after(REQUEST_TIMEOUT):
            async for part in request.stream():
                body += part
                if len(body) > _LONGEST_REQUEST:
                    raise RefusalError(413, "that is too long; load the page again.")
    except (ClientDisconnect, TimeoutError) as error:
        raise RefusalError(408, "what was asked did not arrive in time; try again.") from error
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        asked = None
    if not isinstance(asked, dict):
        raise RefusalError(400, "that is not JSON with settings; load the page again.")
    return asked


async def _job(state: AppState, request: Request) -> Response:
    return JSONResponse(state.describe(_job_of(state, request)))


def _job_of(state: AppState, request: Request) -> Job:
    return state.session(request).job(request.path_params["id"])


async def _stop(state: AppState, request: Request) -> Response:
    job = _job_of(state, request)
    state.queue.stop(job)
    return JSONResponse(state.describe(job))


async def _continue(state: AppState, request: Request) -> Response:
    job = _job_of(state, request)
    state.sessions.resume(state.session(request), job)
    return JSONResponse(state.describe(job))


async def _enlarge(state: AppState, request: Request) -> Response:
    job = _job_of(state, request)
    size = read_options(await _json(request), state.limits).size
    return JSONResponse(state.describe(state.sessions.enlarge(state.session(request), job, size)), 201)


async def _delete(state: AppState, request: Request) -> Response:
    state.sessions.delete(state.session(request), _job_of(state, request))
    return JSONResponse({})


async def _frame(state: AppState, request: Request) -> Response:
    folder, number = _job_of(state, request).request.folder, request.path_params["number"]
    if not (number.isdecimal() and number.isascii() and len(number) < 7):
        raise RefusalError(404, "there is no such frame.")
    file = frame_file(folder, int(number))
    return _from_folder(file.parent, file.name, "image/jpeg")


async def _time_lapse(state: AppState, request: Request) -> Response:
    """Return a job's time-lapse as a file to be kept; one is encoded at a time."""
    job, format = _job_of(state, request), request.path_params["format"]
    if format not in LAPSE_FORMATS:
        raise RefusalError(404, f"a time-lapse is saved as {', '.join(LAPSE_FORMATS)}; choose one of them.")
    if job.is_active:
        raise RefusalError(409, "this picture is being painted; its time-lapse can be saved when it is finished.")
    folder = job.request.folder
    with suppress(FileNotFoundError):
        lapse = await anyio.to_thread.run_sync(write_lapse, folder, format, limiter=state.encoding)
        job.measure()
        name = f"{Path(job.request.file_name).stem}-{lapse.name}"
        return _from_folder(folder, lapse.name, _TYPES[lapse.suffix], _attached(name))
    raise _nothing_yet()


async def _events(state: AppState, request: Request) -> Response:
    session, most = state.session(request), state.limits.streams
    if session.streams >= most:
        raise RefusalError(429, f"this page is open {most} times already; close one.")
    headers = {"x-accel-buffering": "no"}  # nginx passes each event on as it comes
    return StreamingResponse(stream_changes(state, session), media_type="text/event-stream", headers=headers)


async def stream_changes(state: AppState, session: Session) -> AsyncIterator[str]:
    """Yield each change of the session's jobs, as server-sent events, until none is waiting or painted any more.

    Args:
        state: The page's state.
        session: Session whose jobs are described; the stream is counted as one of its own as long as it lasts.
    """
    sent: dict[str, int] = {}
    silence, is_last = 0.0, False
    session.streams += 1
    try:
        yield "retry: 500\n\n"  # milliseconds: a job may begin right after the last one's end
        while not is_last and not (state.server and state.server.should_exit):
            jobs = list(session.jobs.values())
            is_last = not any(job.is_active for job in jobs)  # before the look at the versions: what ends later is sent
            for job in jobs:
                if sent.get(job.request.id) != job.version:
                    sent[job.request.id], silence = job.version, 0.0
                    yield f"data: {json.dumps(state.describe(job))}\n\n"
            await anyio.sleep(_POLL_INTERVAL)
            silence += _POLL_INTERVAL
            if silence > _HEARTBEAT:
                silence = 0.0
                yield ": still here\n\n"
    finally:
        session.streams -= 1


async def _photo(state: AppState, request: Request) -> Response:
    """Return the content of a job, which a page that is loaded again no longer has."""
    content = _job_of(state, request).request.content
    if content.startswith(SAMPLE):
        return FileResponse(sample_path(content.removeprefix(SAMPLE)))
    return FileResponse(thumbnail(Path(content)))


async def _preview(state: AppState, request: Request) -> Response:
    return _from_folder(_job_of(state, request).request.folder, PREVIEW_FILE, "image/jpeg")


async def _picture(state: AppState, request: Request) -> Response:
    job = _job_of(state, request)
    return await _download(request, job.request.folder, job.request.file_name)


async def _download(request: Request, folder: Path, name: str) -> Response:
    """Return the result to be kept, as PNG, or as JPEG where `?jpeg` is asked for."""
    if request.url.query != "jpeg":
        return _from_folder(folder, RESULT_FILE, "image/png", _attached(name))
    if not (folder / RESULT_FILE).exists():
        raise _nothing_yet()
    await anyio.to_thread.run_sync(_write_jpeg, folder)
    return _from_folder(folder, _JPEG_FILE, "image/jpeg", _attached(f"{Path(name).stem}.jpg"))


def _write_jpeg(folder: Path) -> None:
    result = folder / RESULT_FILE
    write_image(folder / _JPEG_FILE, read_image(result).pixels, settings=read_settings(result))


def _nothing_yet() -> RefusalError:
    return RefusalError(404, "there is nothing of this picture yet; wait a moment.")


def _attached(name: str) -> dict[str, str]:
    return {"content-disposition": f'attachment; filename="{quote(name)}"'}


def _from_folder(folder: Path, name: str, kind: str, headers: dict[str, str] | None = None) -> Response:
    # Read at once: a painting process puts another file in its place at any time.
    with suppress(FileNotFoundError):
        return Response((folder / name).read_bytes(), media_type=kind, headers=headers)
    raise _nothing_yet()


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusalError)
    return refused(request.headers, error.line, error.status)


async def _no_such_address(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return refused(request.headers, "there is nothing at this address.", error.status_code)


async def _no_room(request: Request, error: Exception) -> Response:
    if isinstance(error, OSError):
        if not refuses(error):
            raise error
        error = storage_error(error.filename or "what a visitor brings", error)
    _log.error("%s", error)
    return JSONResponse({"error": "there is no room on this machine's disk; try again later."}, 507)


async def _unexpected(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "something went wrong here; try again."}, 500)
