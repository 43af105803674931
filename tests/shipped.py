"""Faces for tests: some people of the shipped clips with their labels, and videos made of several of them."""

from __future__ import annotations

import shutil
from functools import cache

import numpy as np
import pandas as pd

from mien.datasets.rendered import shipped_clips
from mien.faces.track import FaceTracking
from mien.video import read_frames, write_video

SIDE_PX = 160


def few_people(folder, num_people, *, num_frames=40, clips=2):
    """The first people of `main` as a part in the layout of `mien render`; the first frames are labelled."""
    part = shipped_clips() / "main"
    labels = pd.read_parquet(part / "labels.parquet")
    labels = labels[labels["identity"].isin(sorted(labels["identity"].unique())[:num_people])]
    labels = labels[labels["path"].str.contains(f"/v000[0-{clips - 1}]/") & (labels["frame"] < num_frames)]
    for path in labels["path"].unique():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(part / path, folder / path)
    labels.to_parquet(folder / "labels.parquet", index=False)
    return folder


@cache
def face_frames(number):
    """(40, S, S, 3) the first clip of a person of `main`."""
    person = sorted((shipped_clips() / "main" / "mp4").iterdir())[number]
    return np.stack([frame.image_HWC for frame in read_frames(person / "v0000" / "00001.mp4")])


def faces_side_by_side(faces, frame_index):
    """One picture (S, 3 S, 3): the person of each number in `faces` (0 to 2) in its own third, else grey."""
    empty = np.full((SIDE_PX, SIDE_PX, 3), 90, np.uint8)
    thirds = [face_frames(face)[frame_index % 40] if face in faces else empty for face in range(3)]
    return np.concatenate(thirds, axis=1)


def write_faces(path, faces_of_frames, *, rate=25):
    """A video whose frame t shows the people `faces_of_frames[t]`, numbers from 0 to 2."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [faces_side_by_side(faces, t) for t, faces in enumerate(faces_of_frames)]
    write_video(path, images, frames_per_second=rate)
    return path


def crop_contract_of_finder():
    """The crop contract of the installed face models."""
    return FaceTracking().contract
