"""`mien serve`: a Gradio app on this machine alone: drop a file or use the camera, see the action units."""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import signal
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from mien.commands.flags import add_device, add_finder, add_model

if TYPE_CHECKING:
    from mien.detect.detector import Detector

_HOST = "127.0.0.1"
_MOST_PAGES = 12  # the oldest go, with their tables
_LARGEST_FILE = 2_000_000_000  # bytes
_SECONDS_KEPT = 3600  # of uploads
# The browser asks this machine alone, whatever Gradio's page links to.
_POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'self'"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """[--model M] [--port P] [--engine E] [--device D] [--finder DIR]."""
    add_model(parser)
    parser.add_argument(
        "--port", type=int, default=8686, help=f"port of {_HOST}; 0: any free one (default: %(default)s)"
    )
    add_device(parser, more=", of the engine torch")
    add_finder(parser)


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM; then uploads, tables and pages are removed."""
    with _listening(args.port) as listening, tempfile.TemporaryDirectory(prefix="mien-serve-") as folder:
        # read by gradio when it is imported
        os.environ |= {"GRADIO_ANALYTICS_ENABLED": "0", "GRADIO_TEMP_DIR": folder, "HF_HUB_OFFLINE": "1"}
        try:
            import gradio  # noqa: F401
            import uvicorn
        except ImportError as error:
            raise OSError(f"mien serve needs its extra ({error}): pip install 'mien[serve]'") from error
        from mien.detect.detector import Detector

        detector = Detector(args.model, engine=args.engine, device=args.device, face_models=args.finder)
        secret = secrets.token_urlsafe(16)  # other users of this machine cannot guess the address
        app = build_app(detector, Path(folder), secret=secret)
        print(f"Open http://{_HOST}:{listening.getsockname()[1]}/{secret}/", flush=True)
        print("Only this machine can reach it. Ctrl-C ends it and removes all files.", flush=True)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        settings = uvicorn.Config(app, log_level="warning", server_header=False, timeout_graceful_shutdown=3)
        uvicorn.Server(settings).run(sockets=[listening])
    return 0


def build_app(detector: Detector, folder: Path, *, secret: str) -> Any:
    """The FastAPI app below `/SECRET/`; everything that it keeps lies in `folder`."""
    import gradio as gr
    from fastapi import FastAPI
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.staticfiles import StaticFiles

    from mien.data.sources import PICTURE_SUFFIXES, VIDEO_SUFFIXES

    pages = folder / "pages"
    pages.mkdir()

    def detect(upload: str | None, progress: Any = gr.Progress()) -> tuple[str, Any, list[str]]:  # noqa: B008
        """The page, the statistics per face and action unit, the files to download."""
        if upload is None:
            return "", None, []
        try:
            files, statistics = detect_file(detector, Path(upload), pages, progress)
        except (ValueError, OSError) as error:
            raise gr.Error(str(error).replace(str(folder), ""), duration=None) from error
        address = f"/{secret}/pages/{files[0].parent.name}/{quote(files[0].name)}"
        frame = f'<iframe src="{address}" style="width: 100%; height: 85vh; border: 0"></iframe>'
        return frame, statistics, [str(file) for file in files]

    model = detector.metadata["model"]
    blank = model["unproven_units"]
    left_out = f", without {', '.join(blank)}" if blank else ""
    with gr.Blocks(
        title="mien", analytics_enabled=False, delete_cache=(_SECONDS_KEPT, _SECONDS_KEPT)
    ) as blocks:
        gr.Markdown(f"# Action units\n{model['file']}. {model['warning']}")
        with gr.Row():
            file = gr.File(label="Video or picture", file_types=sorted(VIDEO_SUFFIXES | PICTURE_SUFFIXES))
            camera = gr.Video(
                label="Camera: record, then stop",
                sources=["webcam"],
                include_audio=False,
                webcam_options=gr.WebcamOptions(mirror=False),
            )
        # The recording as it is: Gradio's own preprocessing would run ffmpeg to take out the sound.
        camera.preprocess = lambda payload: payload and str(payload.path)
        page = gr.HTML()
        statistics = gr.Dataframe(label=f"Per face and action unit{left_out}", interactive=False)
        made = gr.File(label="Page and tables", file_count="multiple", interactive=False)
        for source, name in ((file, "detect"), (camera, "camera")):
            source.change(detect, source, [page, statistics, made], api_name=name)
    blocks.queue(default_concurrency_limit=1, max_size=16)

    app = FastAPI(openapi_url=None)

    @app.middleware("http")
    async def ask_no_other_machine(request: Any, call_next: Any) -> Any:
        response = await call_next(request)
        response.headers["Content-Security-Policy"] = _POLICY
        response.headers["Referrer-Policy"] = "no-referrer"
        return response

    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[_HOST, "localhost"])
    app.mount(f"/{secret}/pages", StaticFiles(directory=pages))
    return gr.mount_gradio_app(
        app, blocks, f"/{secret}", server_name=_HOST, footer_links=[], max_file_size=_LARGEST_FILE,
        ssr_mode=False, mcp_server=False, run_history=False,
    )  # fmt: skip


def detect_file(detector: Detector, upload: Path, pages: Path, progress: Any) -> tuple[list[Path], Any]:
    """The page and the tables of one file in a new folder of `pages`, page first; and `unit_statistics`.

    ValueError or OSError for a file that cannot be read.
    """
    from mien.detect.media import list_media
    from mien.detect.recording import record_medium
    from mien.detect.statistics import unit_statistics
    from mien.detect.table import Detections
    from mien.visualise.detection_page import write_detection_page

    for old in sorted(pages.iterdir(), key=lambda folder: folder.stat().st_mtime)[: 1 - _MOST_PAGES]:
        shutil.rmtree(old)
    folder = pages / secrets.token_urlsafe(8)
    folder.mkdir()
    media = folder / upload.name
    media.hardlink_to(upload)
    (medium,) = list_media([media]).media
    account = record_medium(
        medium, detector, folder, report=lambda at: progress((at.num_frames, None), unit="frames")
    )
    if not account.num_frames:
        raise ValueError(account.message.replace(str(media), media.name))
    csv, parquet, page = (folder / f"{medium.name}.{end}" for end in ("csv", "parquet", "html"))
    detections = Detections.load(parquet)
    write_detection_page(detections, media, page)
    return [page, csv, parquet], unit_statistics(detections.to_pandas())


def _listening(port: int) -> socket.socket:
    try:
        return socket.create_server((_HOST, port))
    except OSError as error:
        raise OSError(f"port {port} of {_HOST} is not available ({error.strerror}): set --port") from error
