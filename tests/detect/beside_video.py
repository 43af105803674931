"""Videos of noise with the points of faces beside them, so that no face model is needed."""

from __future__ import annotations

import numpy as np

from mien.video import write_video
from tests import points_beside

HEIGHT, WIDTH = 64, 128
TEMPLATE = np.array([[12, 14], [24, 14], [18, 22], [13, 30], [23, 30]], float)


def write_beside(path, faces_of_frames, *, rate=25, seed=0):
    """A video whose frame t has the faces `faces_of_frames[t]`, numbers from 0 to 2."""
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    texture = generator.integers(0, 255, (HEIGHT, 2 * WIDTH, 3), dtype=np.uint8)
    images = [texture[:, t % WIDTH : t % WIDTH + WIDTH].copy() for t in range(len(faces_of_frames))]
    write_video(path, images, frames_per_second=rate)
    write_points(path, faces_of_frames)
    return path


def write_points(path, faces_of_frames):
    """The file beside the video."""
    points_beside.write_points(
        path,
        [
            [frame, face, *(TEMPLATE + np.array([40 * face + 0.1 * frame, 8])).ravel()]
            for frame, faces in enumerate(faces_of_frames)
            for face in faces
        ],
    )
