"""What the default face finder makes of the rendered frames: how many it finds, and where it puts the points.

    python benchmarks/render_faces.py --part OUT/main [--every 4] [--missed PICTURE.png]

The detector alone on every n-th frame, without tracking; a face is found where the five points of its best
detection lie within half an eye distance of the rendered ones, on average. Prints the share found, by
background and glasses, the distance of rendered and detected points in eye distances, and how the angles of
the head correlate. `--missed` draws the frames in which no face was found.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mien.faces.mediapipe_finder import MediaPipeFinder
from mien.video import read_frames
from mien_render.clip import POINT_NAMES

ANGLES = ("yaw_degrees", "pitch_degrees", "roll_degrees")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", type=Path, required=True)
    parser.add_argument("--every", type=int, default=4)
    parser.add_argument("--missed", type=Path)
    args = parser.parse_args()
    labels = pq.read_table(args.part / "labels.parquet").to_pandas()
    missed: list[NDArray[np.uint8]] = []
    measured = pd.DataFrame(_measure(args.part, labels, args.every, missed))
    print(f"found: {measured['found'].mean():.4f} of {len(measured)} frames ({len(missed)} missed)")
    for factor in ("background", "glasses"):
        print(measured.groupby(factor, observed=True)["found"].mean().round(3).to_dict())
    far = measured.loc[measured["found"], list(POINT_NAMES)]
    each = far.mean(axis=1)
    print(f"points, eye distances: median {each.median():.3f}, 95 % {each.quantile(0.95):.3f}")
    print(far.median().round(3).to_dict())
    for angle in ANGLES:
        pairs = measured.loc[measured["found"], [angle, f"found_{angle}"]]
        print(f"{angle}: correlation {np.corrcoef(pairs.T)[0, 1]:.3f}")
    if args.missed and missed:
        cv2.imwrite(str(args.missed), _grid(missed)[..., ::-1])


def _measure(
    part: Path, labels: pd.DataFrame, every: int, missed: list[NDArray[np.uint8]]
) -> list[dict[str, Any]]:
    finder = MediaPipeFinder()
    rows = []
    for path, of_clip in labels.groupby("path", observed=True):
        coded = of_clip.set_index("frame")
        for frame in read_frames(part / str(path)):
            if frame.source_frame_index % every:
                continue
            row = coded.loc[frame.source_frame_index]
            found = finder.detect(frame.image_HWC)
            mesh = finder.mesh(frame.image_HWC, found[0].region) if found else None
            measured = {name: row[name] for name in ("background", "glasses", *ANGLES)}
            if mesh is None or _distance(row, mesh).mean() > 0.5:
                missed.append(_captioned(frame.image_HWC, row))
                rows.append({**measured, "found": False})
            else:
                rows.append({**measured, "found": True, **_compared(row, mesh)})
    return rows


def _distance(row: pd.Series, mesh: Any) -> NDArray[np.floating]:
    """Of the five points, rendered and detected, in eye distances."""
    stated = np.array([(row[f"{name}_x"], row[f"{name}_y"]) for name in POINT_NAMES], dtype=float)
    return np.linalg.norm(mesh.points_5x2_px - stated, axis=1) / np.linalg.norm(stated[1] - stated[0])


def _compared(row: pd.Series, mesh: Any) -> dict[str, float]:
    """Distances of the points, and the angles that were found."""
    far = _distance(row, mesh)
    angles = {f"found_{angle}": float(getattr(mesh, angle)) for angle in ANGLES}
    return {**dict(zip(POINT_NAMES, far.tolist(), strict=True)), **angles}


def _captioned(picture: NDArray[np.uint8], row: pd.Series) -> NDArray[np.uint8]:
    shown = cv2.resize(picture, (192, 192))
    text = (
        f"{row['identity'][-5:]} y{row['yaw_degrees']:.0f} p{row['pitch_degrees']:.0f} {row['exposure']:.2f}"
    )
    cv2.putText(shown, text, (2, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 0), 1)
    return np.asarray(shown, dtype=np.uint8)


def _grid(pictures: list[NDArray[np.uint8]], columns: int = 8, at_most: int = 64) -> NDArray[np.uint8]:
    chosen = pictures[:: -(-len(pictures) // at_most)]
    chosen += [np.zeros_like(chosen[0])] * (-len(chosen) % columns)
    rows = [np.hstack(chosen[at : at + columns]) for at in range(0, len(chosen), columns)]
    return np.vstack(rows)


if __name__ == "__main__":
    main()
