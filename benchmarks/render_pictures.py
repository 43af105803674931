"""64 px pictures from brows to chin of a rendered part's frames, for the floors and the supervised network.

    python benchmarks/render_pictures.py --part OUT/main --out pictures.npz [--every 6]      rendered points
    python benchmarks/render_pictures.py --part OUT/main --out pictures.npz --store STORE    detected ones

Faces are aligned to the crop template by the five rendered points or, with a store that `mien prepare` made
of the part, cut from its crops, which were aligned by detected points. The scale is the same: the eyes are 29
px apart.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mien.data.store import TrackStore
from mien.datasets.base import LabelledFrames
from mien.datasets.rendered import Rendered
from mien.faces.align import MARGIN, TEMPLATE_POINTS_5X2
from mien.faces.warp import fit_similarity, warp
from mien.video import read_frames
from mien_render.clip import POINT_NAMES

CROP_PX = 100  # side at which a whole crop is taken
TOP_PX, LEFT_PX, SIDE_PX = 22, 18, 64  # of what is kept of it

Pictures = NDArray[np.uint8]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--every", type=int, default=6)
    args = parser.parse_args()
    if args.store:
        pictures, rows = _from_store(TrackStore.open(args.store), Rendered(args.part).frames(), args.every)
    else:
        pictures, rows = _from_videos(args.part, args.every)
    np.savez(args.out, pictures=pictures, rows=rows)
    print(f"{len(rows)} pictures")


def read_pictures(path: Path, part: Path) -> tuple[Pictures, LabelledFrames]:
    """The pictures (N, 64, 64, 3) and what is coded of them."""
    with np.load(path) as arrays:
        return arrays["pictures"], Rendered(part).frames().rows(arrays["rows"])


def _from_videos(part: Path, every: int) -> tuple[Pictures, NDArray[np.int64]]:
    """Pictures of every n-th frame and their rows in the labels."""
    template = (np.array(TEMPLATE_POINTS_5X2) + MARGIN) / (1 + 2 * MARGIN) * CROP_PX - (LEFT_PX, TOP_PX)
    names = [f"{name}_{axis}" for name in POINT_NAMES for axis in "xy"]
    labels = pq.read_table(part / "labels.parquet", columns=["path", "frame", *names]).to_pandas()
    labels["row"] = np.arange(len(labels))
    pictures, rows = [], []
    for path, of_clip in labels.groupby("path", observed=True):
        coded = of_clip.set_index("frame")
        for frame in read_frames(part / str(path)):
            if frame.source_frame_index % every == 0:
                row = coded.loc[frame.source_frame_index]
                points_5x2 = row[names].to_numpy(float).reshape(5, 2)
                matrix = fit_similarity(points_5x2, template)
                pictures.append(warp(frame.image_HWC, matrix, SIDE_PX, border=cv2.BORDER_REPLICATE))
                rows.append(int(row["row"]))
    return np.stack(pictures), np.array(rows)


def _from_store(store: TrackStore, frames: LabelledFrames, every: int) -> tuple[Pictures, NDArray[np.int64]]:
    """Pictures of every n-th frame that the store has, and their rows in `frames`."""
    pictures, rows = [], []
    keys = zip(frames.path_N.tolist(), frames.frame_N.tolist(), strict=True)
    row_of = {key: row for row, key in enumerate(keys)}
    for track in range(store.num_tracks):
        source = store.tracks["source_path"][track].as_py()
        path = source[source.index("mp4/") :]
        indices = np.asarray(store.source_frame_indices(track))
        positions = [int(at) for at in np.flatnonzero(indices % every == 0)]
        found = np.array([row_of.get((path, at), -1) for at in indices[positions].tolist()])
        kept = [at for at, row in zip(positions, found, strict=True) if row >= 0]
        crops = store.read_frames(track, kept, size_px=CROP_PX)
        pictures.append(crops[:, TOP_PX : TOP_PX + SIDE_PX, LEFT_PX : LEFT_PX + SIDE_PX])
        rows.append(found[found >= 0])
    return np.concatenate(pictures), np.concatenate(rows)


if __name__ == "__main__":
    main()
