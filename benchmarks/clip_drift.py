"""How fast do light, pose, crop and background change in clips, against how fast the face does?

    python benchmarks/clip_drift.py STORE face_landmarker.task [--windows 200] [--out drift.csv]

A method that learns from the order of frames learns whatever orders them most easily. One line per signal,
over windows of 3 s of the tracks of 24 frames/s or more, each window's mean taken away: autocorrelation at
40 ms to 2 s, its deviation within a window, and how often the second of two later frames lies farther from
a clip's first frame than the first does (`ordered`, over CLP's triplets of nine frames 80 ms apart; chance
.5). Face: the blendshapes of benchmarks/yardstick.py. Crop: where the bridge of the nose and the eyes'
inner corners lie in the crop, by that landmark model. Thumbnail: the crop at 4 x 4. Codec: what H.264
changes in the crops at 72 px. Inside and outside: grey pixels within and without an ellipse of brows,
cheeks and chin.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from scipy.signal import find_peaks
from yardstick import NAMES, Yardstick

from mien.data.store import TrackStore
from mien.data.store_layout import FRAMES
from mien.video import read_frames, write_video

SLOTS = 75  # of 40 ms
LAGS = {"40 ms": 1, "80 ms": 2, "200 ms": 5, "400 ms": 10, "1 s": 25, "2 s": 50}
CLIP_LEN, STRIDE = 9, 2
ANCHORS_EVERY = 10
STEADY_POINTS = [168, 6, 197, 133, 362]  # bridge of the nose, inner corners of the eyes
SMALL_PX, THUMBNAIL_PX, CODEC_PX = 32, 4, 72
ELLIPSE = (0.5, 0.52, 0.33, 0.40)  # centre and half axes, in sides of the crop
A_MOVE, MOVE_SLOTS = 0.1, 5  # a blendshape's change in 200 ms that counts as a move
A_SYLLABLE, SYLLABLES = 0.05, 4  # how far the jaw opens, and how often in a window of speech


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store", type=Path)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--windows", type=int, default=200)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    store, yardstick = TrackStore.open(args.store), Yardstick(args.bundle)
    measured = pq.read_table(store.path / FRAMES).to_pandas()
    series = defaultdict(list)
    for track, start in windows(store, at_most=args.windows):
        first = int(store.tracks["first_row"][track].as_py()) + start
        pose = measured.iloc[first : first + SLOTS]
        crops = store.read_frames(track, range(start, start + SLOTS))
        for name, values_TK in signals(crops, pose, yardstick).items():
            series[name].append(values_TK)
    table = pd.DataFrame({name: line(windows) for name, windows in series.items()}).T
    face, jaw = np.stack(series["face"]), np.stack(series["jaw"])[..., 0]
    moves = (np.abs(face[:, MOVE_SLOTS:] - face[:, :-MOVE_SLOTS]).max(axis=2) >= A_MOVE).mean()
    speaks = np.mean([len(find_peaks(one, prominence=A_SYLLABLE)[0]) >= SYLLABLES for one in jaw])
    print(table.round(3).to_string())
    print(f"\n{len(face)} windows; something moves in {moves:.0%} of the time; {speaks:.0%} of them speak")
    for lag in ("40 ms", "400 ms"):
        shares = [
            np.square(np.diff(np.stack(series[name])[:, :: LAGS[lag]], axis=1)).sum()
            for name in ("outside", "inside")
        ]
        print(f"Of the squared change in {lag}, {shares[0] / sum(shares):.0%} lies outside the ellipse.")
    if args.out:
        table.to_csv(args.out, index_label="signal")


def windows(store: TrackStore, *, at_most: int) -> list[tuple[int, int]]:
    """(track, start position): one window in one run of each track, evenly over the tracks."""
    rates = store.tracks["frames_per_second"].to_numpy()
    found = []
    for track in range(store.num_tracks):
        runs = [(start, length) for start, length in store.runs(track) if length >= SLOTS]
        if rates[track] >= 24 and runs:
            start, length = max(runs, key=lambda run: run[1])
            found.append((track, start + (length - SLOTS) // 2))
    chosen = np.linspace(0, len(found) - 1, min(at_most, len(found))).round().astype(int)
    return [found[at] for at in chosen]


def signals(crops_THWC: np.ndarray, pose: pd.DataFrame, yardstick: Yardstick) -> dict[str, np.ndarray]:
    """(T, K) each."""
    side = crops_THWC.shape[1]
    points_TP2 = np.stack([yardstick.points(crop) for crop in crops_THWC])
    face_TK = np.stack([yardstick.blendshapes_of_points(points) for points in points_TP2])[:, 1:]
    grey_THW = np.stack([_small(crop, SMALL_PX) for crop in crops_THWC]).mean(axis=3)
    inside = _ellipse(SMALL_PX)
    right = inside & (np.arange(SMALL_PX) >= SMALL_PX / 2)
    left_T, right_T = grey_THW[:, inside & ~right].mean(axis=1), grey_THW[:, right].mean(axis=1)
    return {
        "face": face_TK,
        "jaw": face_TK[:, [NAMES.index("jawOpen") - 1]],
        "lids": face_TK[:, [NAMES.index(f"eyeBlink{side}") - 1 for side in ("Left", "Right")]],
        "yaw": pose[["yaw_degrees"]].to_numpy(),
        "pitch": pose[["pitch_degrees"]].to_numpy(),
        "roll": pose[["roll_degrees"]].to_numpy(),
        "exposure": np.log2(left_T + right_T + 1)[:, None],
        "side of the light": np.log2((right_T + 1) / (left_T + 1))[:, None],
        "crop": points_TP2[:, STEADY_POINTS].mean(axis=1) / side,
        "inside": grey_THW[:, inside] / 255,
        "outside": grey_THW[:, ~inside] / 255,
        "codec, predicted frames": codec_residual(crops_THWC, key_frames_only=False),
        "codec, key frames": codec_residual(crops_THWC, key_frames_only=True),
        "thumbnail": np.stack([_small(crop, THUMBNAIL_PX) for crop in crops_THWC]).reshape(
            len(crops_THWC), -1
        )
        / 255,
    }


def codec_residual(crops_THWC: np.ndarray, *, key_frames_only: bool) -> np.ndarray:
    """(T, K) how much H.264 changes each part of the pictures: what encoding a store once more adds to it."""
    pictures = [_small(crop, CODEC_PX).round().astype(np.uint8) for crop in crops_THWC]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_video(path, pictures, frames_per_second=25, key_frames_only=key_frames_only)
        decoded = [frame.image_HWC for frame in read_frames(path)]
    changed_THWC = np.abs(np.stack(decoded).astype(np.float32) - np.stack(pictures))
    return np.stack([_small(changed, THUMBNAIL_PX).ravel() for changed in changed_THWC]) / 255


def line(series: list[np.ndarray]) -> dict[str, float]:
    """One signal's row of the table, over its windows of (T, K)."""
    values_WTK = np.stack(series).astype(np.float64)
    moved_WTK = values_WTK - values_WTK.mean(axis=1, keepdims=True)
    variance = np.square(moved_WTK).mean()
    row = {
        name: float((moved_WTK[:, :-lag] * moved_WTK[:, lag:]).mean() / variance)
        for name, lag in LAGS.items()
    }
    return row | {"deviation": float(np.sqrt(variance)), "ordered": ordered(values_WTK)}


def ordered(values_WTK: np.ndarray) -> float:
    """Share of CLP's triplets whose negative lies farther from the anchor than the positive; ties: half."""
    span = (CLIP_LEN - 1) * STRIDE
    right = []
    for start in range(0, SLOTS - span, ANCHORS_EVERY):
        clip_WJK = values_WTK[:, start : start + span + 1 : STRIDE]
        distance_WJ = np.linalg.norm(clip_WJK - clip_WJK[:, :1], axis=2)[:, 1:]
        right.append(0.5 + 0.5 * np.sign(np.diff(distance_WJ, axis=1)))
    return float(np.mean(right))


def _small(crop_HWC: np.ndarray, side_px: int) -> np.ndarray:
    return cv2.resize(crop_HWC.astype(np.float32), (side_px, side_px), interpolation=cv2.INTER_AREA)


def _ellipse(side_px: int) -> np.ndarray:
    x, y, across, down = ELLIPSE
    place = (np.arange(side_px) + 0.5) / side_px
    return ((place[None] - x) / across) ** 2 + ((place[:, None] - y) / down) ** 2 <= 1


if __name__ == "__main__":
    main()
