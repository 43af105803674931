"""Rows as a tracker and a network would give them, without either."""

from __future__ import annotations

from contextlib import closing

import numpy as np

from mien.detect.table import FaceRow
from mien.detect.writing import TableWriter


def face_row(seconds, values, *, face_id=0, frame=None, name="clip.mp4"):
    """A row of a face, 25 frames a second unless the frame is given."""
    number = round(seconds * 25) if frame is None else frame
    place = np.arange(21, dtype=np.float32)
    return FaceRow(name, number, seconds, face_id, 0.875, "", place, np.array(values, np.float32))


def no_face_row(seconds, *, frame=None, name="clip.mp4"):
    """A row of a frame without a face."""
    number = round(seconds * 25) if frame is None else frame
    return FaceRow(name, number, seconds, None, 0.0, "no_face", None, None)


def write_tables(folder, layout, rows, csv_format="mien", *, metadata=None):
    """`t.csv` and `t.parquet` of the rows, written one by one; the path of the CSV."""
    with closing(TableWriter(folder / "t.csv", folder / "t.parquet", layout, csv_format)) as table:
        for row in rows:
            table.write([row])
        table.finish(metadata or {})
    return folder / "t.csv"


def sigmoid(logit):
    return 1 / (1 + np.exp(-np.asarray(logit, float)))


def logit(probability):
    return np.log(probability / (1 - np.asarray(probability, float)))
