"""The wiring of `mien serve`: a detector, a queue of files, the camera's stream, a server on 127.0.0.1."""

from __future__ import annotations

import os
import secrets
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from mien.commands.serve_jobs import Jobs, Tell
from mien.commands.serve_live import LiveEndedError, LiveStream
from mien.data.jobs import FrameProgress
from mien.data.sources import PICTURE_SUFFIXES, VIDEO_SUFFIXES
from mien.detect.au_model import AuModel
from mien.detect.card import warning_of
from mien.detect.detector import Detector
from mien.detect.media import MediaFile, Medium
from mien.detect.recording import UNREADABLE, record_medium
from mien.detect.table import Detections, FaceRow
from mien.visualise.detection_data import units_of
from mien.visualise.detection_page import write_detection_page
from mien.visualise.serve_page import serve_page, serve_policy

if TYPE_CHECKING:
    import uvicorn
    from starlette.applications import Starlette

HOST = "127.0.0.1"
_TABLE = "table"
_WIDEST_PX = 4096
_SECONDS_TO_THE_END = 3  # for what a browser has begun to send or to fetch


def serve(
    model: Path,
    *,
    port: int,
    engine: str,
    max_upload_mb: int,
    face_models: Path | None,
) -> None:
    """Say where it is and serve until a signal ends it. OSError where the port is taken.

    Everything is removed at the end: files that came in, tables, pages.
    """
    try:
        import uvicorn

        from mien.commands.serve_app import Serving, build_app
    except ImportError as error:
        raise OSError(
            f"mien serve needs its extra (no {error.name} here): pip install 'mien[serve]'"
        ) from error

    detector = Detector(model, engine=engine, face_models=face_models)
    with _listening(port) as listening:
        jobs = Jobs(Path(tempfile.mkdtemp(prefix="mien-serve-")), FileWork(detector))
        camera = Camera(detector, jobs.busy)
        serving = Serving(
            secret=secrets.token_urlsafe(16),
            html=_page(detector.model, max_upload_mb),
            policy=serve_policy(),
            jobs=jobs,
            suffixes=VIDEO_SUFFIXES | PICTURE_SUFFIXES,
            max_upload_bytes=max_upload_mb * 1_000_000,
            read_live=camera.read,
            end_live=camera.end,
        )
        settings = server_settings(build_app(serving))
        address = f"http://{HOST}:{listening.getsockname()[1]}/{serving.secret}/"
        print(
            f"Open {address}\nOnly this machine can reach it. Ctrl-C ends it and removes all files.",
            flush=True,
        )
        uvicorn.Server(settings).run(sockets=[listening])


def server_settings(app: Starlette) -> uvicorn.Config:
    """Of the server: it says little, and at its end waits for no connection for long."""
    import uvicorn

    return uvicorn.Config(
        app,
        log_level="warning",
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=_SECONDS_TO_THE_END,
    )


class FileWork:
    """One file into its table and its page."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector

    def __call__(self, file: Path, name: str, folder: Path, tell: Tell) -> dict[str, str]:
        """Labels and names of what was made. ValueError for a file that cannot be read."""
        is_video = file.suffix.lower() in VIDEO_SUFFIXES
        medium = Medium("video" if is_video else "pictures", _TABLE, (MediaFile(file, name),))

        def report(progress: FrameProgress) -> None:
            tell(progress.share)

        account = record_medium(medium, self._detector, folder, report=report)
        if account.status == UNREADABLE or not account.num_frames:
            raise ValueError(account.message or f"{name}: no frame in it")
        tell(1.0)
        detections = Detections.load(folder / f"{_TABLE}.parquet")
        facts = [("note", account.message)] if account.message else []
        page = write_detection_page(detections, file, folder / "page.html", facts=facts)
        made = {"page": page.name, "csv": f"{_TABLE}.csv", "parquet": f"{_TABLE}.parquet"}
        copy = folder / "page.playable.mp4"
        return made | ({"copy": copy.name} if copy.is_file() else {})


class Camera:
    """One camera's stream at a time, from its first picture to its end; files wait meanwhile.

    A stream that nobody asks about for `idle_seconds` is let go. `clock` and `timer`: as time.monotonic and
    threading.Timer.
    """

    def __init__(
        self,
        detector: Detector,
        busy: threading.Lock,
        *,
        idle_seconds: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
        timer: Callable[..., threading.Timer] = threading.Timer,
    ) -> None:
        self._detector, self._busy = detector, busy
        self._idle_seconds, self._clock, self._new_timer = idle_seconds, clock, timer
        self._lock = threading.Lock()
        self._stream: LiveStream | None = None
        self._timer: threading.Timer | None = None
        self._num_asking = 0
        self._asked_at = 0.0

    def read(self, seconds: float, content: bytes) -> dict[str, Any]:
        """What is seen in a JPEG. ValueError where it is none; RuntimeError while a file is looked at."""
        picture = _decoded(content)
        with self._asking() as stream:
            try:
                return _told(stream.read(seconds, picture), self._detector)
            except LiveEndedError:
                self._end(stream)
                raise

    def end(self) -> None:
        """Let go of the stream, if there is one."""
        if (stream := self._stream) is not None:
            self._end(stream)

    @contextmanager
    def _asking(self) -> Iterator[LiveStream]:
        """The stream, begun where there is none; it is not idle before it has answered."""
        with self._lock:
            if self._stream is None:
                if not self._busy.acquire(timeout=2):
                    raise RuntimeError("a file is being looked at; start the camera again after it")
                self._stream = LiveStream(self._detector.stream)
                self._look_again(self._stream)
            stream = self._stream
            self._num_asking += 1
        try:
            yield stream
        finally:
            with self._lock:
                self._num_asking -= 1
                self._asked_at = self._clock()

    def _end(self, stream: LiveStream) -> None:
        with self._lock:
            self._let_go(stream)

    def _end_when_idle(self, stream: LiveStream) -> None:
        """A browser that went away without a word must not keep the files waiting."""
        with self._lock:  # until it is gone: it must not be asked between being found idle and its end
            if self._num_asking or self._clock() - self._asked_at <= self._idle_seconds:
                self._look_again(stream)
            else:
                self._let_go(stream)

    def _let_go(self, stream: LiveStream) -> None:
        """End this stream, with the lock held; nothing where another one has begun since."""
        if self._stream is not stream:
            return
        self._stream = None
        if self._timer is not None:
            self._timer.cancel()
        stream.close()
        self._busy.release()

    def _look_again(self, stream: LiveStream) -> None:
        """In a while, by its one timer, with the lock held; not at a stream that is gone."""
        if self._stream is not stream:
            return
        self._timer = self._new_timer(self._idle_seconds / 4, self._end_when_idle, (stream,))
        self._timer.daemon = True
        self._timer.start()


def _decoded(content: bytes) -> NDArray[np.uint8]:
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(content)
        if max(height, width) > _WIDEST_PX:
            raise ValueError(f"{width} x {height} px; at most {_WIDEST_PX}")
        return np.asarray(simplejpeg.decode_jpeg(content, colorspace="RGB"), np.uint8)
    except ValueError as error:
        raise ValueError(f"the camera's picture cannot be read: {error}") from error


def _told(rows: list[FaceRow], detector: Detector) -> dict[str, Any]:
    faces = [row for row in rows if row.face_id is not None]
    reason = next((row.reason for row in rows if row.reason), "no face")
    return {
        "faces": [_face(row, detector) for row in faces],
        "reason": "" if faces else reason.replace("_", " "),
    }


def _face(row: FaceRow, detector: Detector) -> dict[str, Any]:
    assert row.place_17 is not None
    return {
        "id": row.face_id,
        "box": [round(float(value), 1) for value in row.place_17[:4]],
        "probability": [round(float(value), 4) for value in detector.layout.probability(row)],
        "present": [bool(value) for value in detector.layout.present(row)],
    }


def _page(model: AuModel, max_upload_mb: int) -> str:
    thresholds = dict(zip(model.columns, map(float, model.threshold_A), strict=True))
    return serve_page(
        model=Path(model.source).name,
        facts=" ".join(filter(None, [f"{len(model.units)} action units.", warning_of(model.record)])),
        units=units_of(model.columns, thresholds),
        suffixes=sorted(VIDEO_SUFFIXES | PICTURE_SUFFIXES),
        max_mb=max_upload_mb,
    )


def _listening(port: int) -> socket.socket:
    """A socket of this machine alone."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if os.name == "posix":  # elsewhere it would share the port with whoever has it
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
        listening.listen()
    except OSError as error:
        listening.close()
        raise OSError(
            f"port {port} of {HOST} cannot be had ({error.strerror}): give another --port"
        ) from error
    return listening
