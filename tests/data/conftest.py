"""Planted videos: faces are bright halves of the picture, so that no model is needed."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from mien.video import write_video

sys.path.insert(0, str(Path(__file__).parent / "planted"))  # also for the processes that prepare starts

HEIGHT, WIDTH = 48, 96


def planted_frames(pattern, *, seed=0):
    """One picture a letter: L a face on the left, R on the right, B both, . none; textures move."""
    rng = np.random.default_rng(seed)
    texture = rng.integers(90, 250, (HEIGHT, WIDTH * 2, 3), dtype=np.uint8)
    for number, letter in enumerate(pattern):
        frame = texture[:, number % WIDTH : number % WIDTH + WIDTH].copy()
        if letter in "R.":
            frame[:, : WIDTH // 2] = 0
        if letter in "L.":
            frame[:, WIDTH // 2 :] = 0
        yield frame


@pytest.fixture(scope="session")
def plant():
    """plant(path, pattern, frames_per_second=25, seed=0) writes a planted video."""

    def write(path, pattern, *, frames_per_second=25, seed=0):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, planted_frames(pattern, seed=seed), frames_per_second=frames_per_second)
        return path

    return write


@pytest.fixture(scope="session")
def planted_tree(tmp_path_factory, plant):
    """A VoxCeleb2 tree of 6 good videos; not to be written to."""
    root = tmp_path_factory.mktemp("planted") / "mp4"
    plant(root / "id00001/aaaaaaaaaaa/00001.mp4", "L" * 40, seed=1)
    plant(root / "id00001/aaaaaaaaaaa/00002.mp4", "LLLLL..." + "L" * 30, seed=2)
    plant(root / "id00001/bbbbbbbbbbb/00001.mp4", "B" * 30, seed=3)
    plant(root / "id00002/ccccccccccc/00001.mp4", "L" * 60, frames_per_second=30, seed=4)
    plant(root / "id00002/ccccccccccc/00002.mp4", "R" * 20, frames_per_second=12.5, seed=5)
    plant(root / "id00003/ddddddddddd/00001.mp4", "L" * 20 + "." * 5 + "R" * 25, seed=6)
    return root
