"""The page's addresses and what they answer."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from nst_lightning.app.events import tell_changes
from nst_lightning.app.guard import Guard
from nst_lightning.app.job import Job
from nst_lightning.app.limits import RefusalError
from nst_lightning.app.names import base_name, shown_name
from nst_lightning.app.order import PICTURE, PREVIEW
from nst_lightning.app.recipe import read_recipe
from nst_lightning.app.studio import Studio
from nst_lightning.app.uploads import drained, examine, receive, thumbnail
from nst_lightning.images.samples import SAMPLE, SAMPLES, sample_path

PAGE = Path(__file__).with_name("page")
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_STYLES = ("starry", "woodcut", "mosaic")  # of the samples; the others are photos
_SWEEP_INTERVAL = 20.0  # seconds
_LONGEST_REQUEST = 10_000  # bytes of JSON
_PATIENCE = 10.0  # seconds for them

Answer = Callable[[Studio, Request], Awaitable[Response]]


def build(studio: Studio) -> Starlette:
    """Make the ASGI application.

    Args:
        studio: What it works with. Its processes are ended with the application; its folder is the caller's.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        del app
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_sweep, studio)
            yield
            tasks.cancel_scope.cancel()

    def route(path: str, answer: Answer, method: str = "GET") -> Route:
        return Route(path, partial(answer, studio), methods=[method])

    return Starlette(
        routes=[
            *(
                Route(f"/{file.name.replace('index.html', '')}", partial(_file, studio, file))
                for file in PAGE.iterdir()
            ),
            route("/samples/{name}.jpg", _sample),
            route("/api/state", _state),
            route("/api/events", _events),
            route("/api/pictures", _upload, "PUT"),
            route("/api/pictures/{id}", _thumbnail),
            route("/api/jobs", _start, "POST"),
            route("/api/jobs/{id}", _job),
            route("/api/jobs/{id}/stop", _stop, "POST"),
            route("/api/jobs/{id}/continue", _continue, "POST"),
            route("/api/jobs/{id}/photo", _photo),
            route("/api/jobs/{id}/preview", _preview),
            route("/api/jobs/{id}/picture", _picture),
        ],
        middleware=[Middleware(Guard, names=studio.names)],
        exception_handlers={RefusalError: _refuse, HTTPException: _no_such_address, Exception: _apologise},
        lifespan=lifespan,
    )


async def _sweep(studio: Studio) -> None:
    while True:
        await anyio.sleep(_SWEEP_INTERVAL)
        studio.visitors.sweep(time.monotonic())


async def _file(studio: Studio, file: Path, request: Request) -> Response:
    answer = Response(file.read_bytes(), media_type=_TYPES[file.suffix], headers={"cache-control": "no-cache"})
    if file.suffix == ".html" and studio.visitors.find(request.cookies.get(studio.cookie)) is None:
        answer.set_cookie(studio.cookie, studio.visitors.welcome().token, httponly=True, samesite="lax")
    return answer


async def _sample(studio: Studio, request: Request) -> Response:
    name = request.path_params["name"]
    if name not in SAMPLES:
        raise RefusalError(404, "there is no such sample.")
    return FileResponse(sample_path(name), headers={"cache-control": "max-age=3600"})


async def _state(studio: Studio, request: Request) -> Response:
    visitor, limits = studio.visitor(request), studio.limits
    return JSONResponse(
        {
            "limits": {"bytes": limits.upload_bytes, "size": limits.size, "kept": limits.kept},
            "samples": [{"name": name, "is_style": name in _STYLES} for name in SAMPLES],
            "networks": studio.networks,
            "jobs": [studio.describe(job) for job in visitor.jobs.values()],
        }
    )


async def _upload(studio: Studio, request: Request) -> Response:
    visitor = studio.visitor(request)
    name = base_name(request.headers.get("x-name", ""))
    shown = shown_name(name)
    try:
        with studio.visitors.place_for_upload(visitor) as file:
            size = await receive(request, file, studio.limits)
            shape = await examine(file, shown, studio.limits)
            upload = studio.visitors.keep(visitor, file, name, shape, size)
    except RefusalError as refusal:
        if refusal.status == 415:  # the whole of it had come
            raise
        return drained(request, await _refuse(request, refusal))
    return JSONResponse({"id": upload.id, "name": shown, "width": upload.width, "height": upload.height})


async def _thumbnail(studio: Studio, request: Request) -> Response:
    upload = studio.visitor(request).uploads.get(request.path_params["id"])
    if upload is None:
        raise RefusalError(404, "there is no such picture, or it has been deleted; choose it again.")
    return FileResponse(thumbnail(upload.file))


async def _start(studio: Studio, request: Request) -> Response:
    visitor = studio.visitor(request)
    asked = await _json(request)
    content, style = (asked.pop(key, None) for key in ("content", "style"))
    recipe = read_recipe(asked, studio.limits, studio.networks)
    if recipe.network is not None and style not in [SAMPLE + name for name in studio.networks[recipe.network]]:
        raise RefusalError(400, "that style has to be painted step by step; choose another, or that.")
    return JSONResponse(studio.describe(studio.visitors.start(visitor, content, style, recipe)), 201)


async def _json(request: Request) -> dict[str, Any]:
    body = b""
    try:
        with anyio.fail_after(_PATIENCE):
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


async def _job(studio: Studio, request: Request) -> Response:
    return JSONResponse(studio.describe(_wanted(studio, request)))


def _wanted(studio: Studio, request: Request) -> Job:
    return studio.visitor(request).job(request.path_params["id"])


async def _stop(studio: Studio, request: Request) -> Response:
    job = _wanted(studio, request)
    studio.queue.stop(job)
    return JSONResponse(studio.describe(job))


async def _continue(studio: Studio, request: Request) -> Response:
    job = _wanted(studio, request)
    studio.visitors.go_on(studio.visitor(request), job)
    return JSONResponse(studio.describe(job))


async def _events(studio: Studio, request: Request) -> Response:
    visitor, most = studio.visitor(request), studio.limits.streams
    if visitor.streams >= most:
        raise RefusalError(429, f"this page is open {most} times already; close one.")
    return StreamingResponse(tell_changes(studio, visitor), media_type="text/event-stream")


async def _photo(studio: Studio, request: Request) -> Response:
    """Give the content of a job, which a page that is loaded again no longer has."""
    content = _wanted(studio, request).order.content
    if content.startswith(SAMPLE):
        return FileResponse(sample_path(content.removeprefix(SAMPLE)))
    return FileResponse(thumbnail(Path(content)))


async def _preview(studio: Studio, request: Request) -> Response:
    return _made(_wanted(studio, request), PREVIEW, "image/jpeg")


async def _picture(studio: Studio, request: Request) -> Response:
    job = _wanted(studio, request)
    file = studio.describe(job)["file"]
    return _made(job, PICTURE, "image/png", {"content-disposition": f'attachment; filename="{quote(file)}"'})


def _made(job: Job, name: str, kind: str, headers: dict[str, str] | None = None) -> Response:
    # Read at once: a painting process puts another file in its place at any time.
    with suppress(FileNotFoundError):
        return Response((job.order.folder / name).read_bytes(), media_type=kind, headers=headers)
    raise RefusalError(404, "there is nothing of this picture yet; wait a moment.")


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusalError)
    return JSONResponse({"error": error.line}, error.status)


async def _no_such_address(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": "there is nothing at this address."}, error.status_code)


async def _apologise(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "something went wrong here; try again."}, 500)
