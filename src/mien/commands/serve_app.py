"""The web application of `mien serve`: what may be asked, and what is answered. It knows no model.

Every address lies below a secret that the page alone knows, so that neither another user of the machine nor a
page of another origin can ask for anything; names of hosts other than this machine's are refused.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route

from mien.commands.serve_jobs import Jobs, JobsFullError, as_told

ReadLive = Callable[[float, bytes], dict[str, Any]]
"""(seconds, a JPEG) -> what is told of the frame; ValueError for what is no picture."""

_MOST_FRAME_BYTES = 4_000_000
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "SAMEORIGIN",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@dataclass(frozen=True)
class Serving:
    """What the application needs."""

    secret: str
    html: str
    policy: str
    jobs: Jobs
    suffixes: frozenset[str]  # of files that are taken
    max_upload_bytes: int
    read_live: ReadLive
    end_live: Callable[[], None]


def build_app(serving: Serving) -> Starlette:
    """The application; its end removes every file."""

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(serving.end_live)
        await run_in_threadpool(serving.jobs.close)

    routes = [
        Route("/", _bound(_page, serving)),
        Route("/jobs", _bound(_take_file, serving), methods=["POST"]),
        Route("/jobs/{job}", _bound(_tell, serving), methods=["GET"]),
        Route("/jobs/{job}", _bound(_remove, serving), methods=["DELETE"]),
        Route("/jobs/{job}/{file}", _bound(_file, serving)),
        Route("/live", _bound(_live, serving), methods=["POST"]),
        Route("/live", _bound(_end_live, serving), methods=["DELETE"]),
    ]
    return Starlette(
        routes=[Mount(f"/{serving.secret}", routes=routes)],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])],
        lifespan=lifespan,
    )


def _bound(endpoint: Any, serving: Serving) -> Any:
    async def answer(request: Request) -> Response:
        response: Response = await endpoint(request, serving)
        for name, value in _HEADERS.items():
            response.headers[name] = value
        return response

    return answer


async def _page(_request: Request, serving: Serving) -> Response:
    return HTMLResponse(serving.html, headers={"Content-Security-Policy": serving.policy})


async def _take_file(request: Request, serving: Serving) -> Response:
    """The file is the body, its name a parameter: a name decides nothing but what is shown."""
    name = PurePosixPath(request.query_params.get("name", "").replace("\\", "/")).name or "file"
    suffix = Path(name).suffix.lower()
    if suffix not in serving.suffixes:
        return _refused(415, f"{name}: neither a video nor a picture by its name")
    too_large = _refused(413, f"{name}: more than {serving.max_upload_bytes / 1e6:.0f} MB")
    if int(request.headers.get("content-length") or 0) > serving.max_upload_bytes:
        return too_large
    folder = job = None
    try:
        folder = serving.jobs.new_folder()
        file = folder / f"input{suffix}"
        if not await _received(request, file, serving.max_upload_bytes):
            return too_large
        job = serving.jobs.add(folder, file, name)
    except JobsFullError as error:
        return _refused(503, str(error))
    except OSError as error:  # a full disk, say
        return _refused(507, f"{name} could not be kept: {error.strerror or error}")
    finally:  # also where the program ends meanwhile
        if folder is not None and job is None:
            serving.jobs.drop_folder(folder)
    return JSONResponse(as_told(job, ahead=serving.jobs.ahead_of(job)), 201)


async def _received(request: Request, file: Path, most_bytes: int) -> bool:
    """Whether the whole body came and was small enough."""
    num_bytes = 0
    try:
        with file.open("xb") as target:
            async for chunk in request.stream():
                num_bytes += len(chunk)
                if num_bytes > most_bytes:
                    return False
                target.write(chunk)
    except ClientDisconnect:
        return False
    return True


async def _tell(request: Request, serving: Serving) -> Response:
    job = serving.jobs.get(request.path_params["job"])
    if job is None:
        return _refused(404, "that file is no longer here")
    return JSONResponse(as_told(job, ahead=serving.jobs.ahead_of(job)))


async def _remove(request: Request, serving: Serving) -> Response:
    job = serving.jobs.get(request.path_params["job"])
    if job is not None:
        await run_in_threadpool(serving.jobs.remove, job)
    return Response(status_code=204)


async def _file(request: Request, serving: Serving) -> Response:
    """Only the files that the job names; the page itself, and what else was made, to be downloaded."""
    job, wanted = serving.jobs.get(request.path_params["job"]), request.path_params["file"]
    if job is None or wanted not in job.files.values() or not (job.folder / wanted).is_file():
        return _refused(404, "no such file")
    if Path(wanted).suffix in (".csv", ".parquet", ".json"):
        return FileResponse(job.folder / wanted, filename=f"{Path(job.name).stem}{Path(wanted).suffix}")
    return FileResponse(job.folder / wanted)


async def _live(request: Request, serving: Serving) -> Response:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_FRAME_BYTES:
            return _refused(413, "the camera's picture is too large")
    try:
        seconds = float(request.query_params.get("seconds", "nan"))
        if not 0 <= seconds < 1e9:
            raise ValueError("seconds: expected the time since the camera began")
        found = await run_in_threadpool(serving.read_live, seconds, bytes(body))
    except ValueError as error:
        return _refused(400, str(error))
    except RuntimeError as error:
        return _refused(409, str(error))
    return Response(json.dumps(found), media_type="application/json")


async def _end_live(_request: Request, serving: Serving) -> Response:
    await run_in_threadpool(serving.end_live)
    return Response(status_code=204)


def _refused(status: int, message: str) -> Response:
    return JSONResponse({"message": message}, status)
