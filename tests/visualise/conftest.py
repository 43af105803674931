"""Tables of detections made by hand, and small videos to go with them."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from mien.detect.table import BOX, PLACE, Detections
from mien.visualise.timed_video import write_timed_video

UNITS = ("AU01", "AU04", "AU12")
THRESHOLD = 0.5


def rows_of_frame(name, frame, seconds, faces, *, units, reason="no_face"):
    """One row a (face id, box, probabilities), or one that says why there is none."""
    if not faces:
        why = {"success": 0, "reason": reason, "usable": 0}
        return [{"input": name, "frame": frame, "timestamp": seconds, **why}]
    return [
        {
            "input": name,
            "frame": frame,
            "timestamp": seconds,
            "face_id": face_id,
            "success": 1,
            "confidence": 0.9,
            "reason": "",
            "usable": 1,
            **dict(zip(BOX, box, strict=True)),
            **dict(zip(units, probabilities, strict=True)),
            **{f"{u}_present": int(p >= THRESHOLD) for u, p in zip(units, probabilities, strict=True)},
        }
        for face_id, box, probabilities in faces
    ]


def columns(units):
    first = ["input", "frame", "timestamp", "face_id", "success", "confidence", "reason", "usable"]
    return [*first, *PLACE, *units, *(f"{unit}_present" for unit in units)]


def table_of_rows(rows, *, units=UNITS):
    table = pd.DataFrame(rows, columns=columns(units))
    for name in ("face_id", *(f"{unit}_present" for unit in units)):
        table[name] = table[name].astype("Int64")
    table["reason"] = table["reason"].fillna("")
    return table


def detections_of(table, **metadata):
    return Detections(pa.Table.from_pandas(table, preserve_index=False), metadata)


@pytest.fixture
def two_faces():
    """make(name, num_frames): face 0 all the time but frames 10 to 14 (nobody), face 1 from frame 20 on.

    A data frame; `detections_of` makes detections of it.
    """

    def make(name="two.mp4", num_frames=50, *, units=UNITS, frames_per_second=25.0, seed=0):
        generator = np.random.default_rng(seed)
        rows = []
        for frame in range(num_frames):
            faces = []
            if not 10 <= frame < 15:
                wave = 0.5 + 0.5 * np.sin(frame / 6 + np.arange(len(units)))
                faces.append((0, (10 + frame % 7, 20, 60, 80), np.clip(wave, 0, 1)))
                if frame >= 20:
                    faces.append((1, (90, 25, 140, 85), generator.random(len(units))))
            rows += rows_of_frame(name, frame, frame / frames_per_second, faces, units=units)
        return table_of_rows(rows, units=units)

    return make


@pytest.fixture
def write_grey_video():
    """write(path, num_frames): 160 x 120, frame k of grey 4 k (mod 256), 25 a second or at `seconds`."""

    def write(path, num_frames=50, *, seconds=None):
        path.parent.mkdir(parents=True, exist_ok=True)
        times = [frame / 25 for frame in range(num_frames)] if seconds is None else seconds
        pictures = (np.full((120, 160, 3), 4 * frame % 256, np.uint8) for frame in range(len(times)))
        write_timed_video(path, zip(times, pictures, strict=True), quality_crf=5)
        return path

    return write


@pytest.fixture
def write_sounding_video():
    """write(path, seconds=2): the grey video with a tone from `tone_from` s on.

    Both streams begin at `delay` s of the file, the pictures `late` s after the sound.
    """

    def write(path, *, seconds, delay=0.0, tone_from=1.0, late=0.0):
        with av.open(str(path), "w") as container:
            video = container.add_stream("libx264", rate=25)
            video.width, video.height, video.pix_fmt = 160, 120, "yuv420p"
            video.options = {"crf": "5"}
            audio = container.add_stream("aac", rate=48_000, layout="mono")
            for k in range(round(25 * seconds)):
                frame = av.VideoFrame.from_ndarray(
                    np.full((120, 160, 3), 4 * k % 256, np.uint8), format="rgb24"
                )
                frame.pts, frame.time_base = k + round(25 * (delay + late)), Fraction(1, 25)
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
            for k in range(round(48_000 * seconds / 1024)):
                t = (1024 * k + np.arange(1024)) / 48_000
                wave = (np.sin(2 * np.pi * 440 * t) * (t >= tone_from)).astype(np.float32)
                sound = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
                sound.pts, sound.sample_rate = 1024 * k + round(48_000 * delay), 48_000
                sound.time_base = Fraction(1, 48_000)
                container.mux(audio.encode(sound))
            container.mux(audio.encode(None))
        return path

    return write
