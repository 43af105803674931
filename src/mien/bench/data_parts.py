"""The parts that make clips: decoding, preparing, reading from the store. One process, one thread."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
import simplejpeg

from mien.bench.clock import Turns
from mien.bench.figures import Figure
from mien.data.face_tracking import FaceTracking
from mien.data.prepare import PrepareSettings, Unwatched, prepare
from mien.data.sources import list_sources
from mien.data.store import TrackStore
from mien.faces.mediapipe_finder import MediaPipeFinder
from mien.faces.models import MissingModelsError, find_models
from mien.render.drawn_videos import DrawnVideos, write_drawn_videos
from mien.video import read_frames

CLIP_FRAMES = 9


def measure_data(folder: Path, turns: Turns) -> list[Figure]:
    """Decoding, preparing and reading of a drawn face, made in `folder`."""
    write_drawn_videos(
        folder / "drawn", DrawnVideos(num_people=1, videos_per_person=1, frames_per_video=60, side_px=480)
    )
    video = next((folder / "drawn").rglob("*.mp4"))
    store = folder / "store"
    _prepare(video, store)
    return [*_videos(video, turns), *_finding(video, turns), _reading(store, turns)]


def _videos(video: Path, turns: Turns) -> list[Figure]:
    num_frames = sum(1 for _ in read_frames(video))

    def prepare_anew() -> None:
        with TemporaryDirectory() as folder:
            _prepare(video, Path(folder) / "store")

    seconds = turns.least_seconds(
        {"bare": lambda: _decode_alone(video), "decode": lambda: _decode(video), "prepare": prepare_anew},
    )
    rate = {name: num_frames / value for name, value in seconds.items()}
    return [
        Figure("decode", "frames/s to RGB, 480 px", rate["decode"], rate["bare"], "decoding without RGB"),
        Figure("prepare", "frames/s, landmarks given", rate["prepare"], rate["decode"], "decoding to RGB"),
    ]


def _finding(video: Path, turns: Turns) -> list[Figure]:
    """The face detector alone; nothing where its weights are not installed."""
    try:
        finder = MediaPipeFinder(find_models())
    except MissingModelsError:
        return []
    frames = [frame.image_HWC for frame in read_frames(video)][:10]
    seconds = turns.least_seconds(
        {
            "decode": lambda: _decode(video),
            "find": lambda: [finder.detect(frame) for frame in frames],
        }
    )
    rate = sum(1 for _ in read_frames(video)) / seconds["decode"]
    return [
        Figure("find", "pictures/s, face detector", len(frames) / seconds["find"], rate, "decoding to RGB")
    ]


def _reading(path: Path, turns: Turns) -> Figure:
    store = TrackStore.open(path)
    positions = list(range(0, 2 * CLIP_FRAMES, 2))
    frames = store.read_frames(0, positions)
    jpegs = [simplejpeg.encode_jpeg(np.ascontiguousarray(f), 90, "RGB", "420") for f in frames]
    seconds = turns.least_seconds(
        {
            "bare": lambda: [simplejpeg.decode_jpeg(jpeg, "RGB") for jpeg in jpegs],
            "store": lambda: store.read_frames(0, positions),
        },
        rounds=5 * turns.rounds,
    )
    return Figure(
        "store",
        f"clips/s of {CLIP_FRAMES} frames, {frames.shape[1]} px",
        1 / seconds["store"],
        1 / seconds["bare"],
        "decoding their JPEGs",
    )


def _prepare(video: Path, store: Path) -> None:
    prepare(
        list_sources([video]).sources,
        store,
        FaceTracking(landmarks="beside"),
        settings=PrepareSettings(landmarks="beside"),
        workers=0,
        watcher=Unwatched(),
    )


def _decode(video: Path) -> None:
    for frame in read_frames(video):
        _ = frame.image_HWC


def _decode_alone(video: Path) -> None:
    with av.open(str(video)) as container:
        for _ in container.decode(video=0):
            pass
