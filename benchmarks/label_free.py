"""How an action-unit model reads real faces, measured without a label.

    python benchmarks/label_free.py VIDEOS --bundle face_landmarker.task [--model MODEL] [--out units.csv]

For every unit, over all videos with a face (the largest one of each frame):

- within, across: rank agreement with a landmark model's blendshapes, within each video (mean over videos in
  which the shape moves) and over all frames; the yardstick is trustworthy for 1 2 12 17 20 25 26 27 43, weak
  for 4 5 10 15 23 24 and says nothing of 6 7 9 14
- sides: rank agreement within each video of left less right with the same of the landmark model
- mirrored: rank agreement with the mirrored picture, of left intensity with right where there are sides
- half, grey, jpeg: rank agreement with the picture at half the size, grey, compressed (quality 30)
- yaw, pitch, size: mean absolute rank correlation within videos with these; lower is better
- present: share of frames; flips: changes of presence per minute, frame by frame
- own: rank agreement of the yardstick's shape with itself at half the size: about what can be reached

Prints means, then one line per unit, and the agreement of the gaze within videos.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from tqdm import tqdm
from yardstick import NAMES, Yardstick

from mien import Detector
from mien.detect.au_model import load_au_model, shipped_model
from mien.detect.media import list_media
from mien.faces.finder import Region
from mien.video import VideoError, read_frames

SHAPES = {
    1: ("browInnerUp",),
    2: ("browOuterUpLeft", "browOuterUpRight"),
    4: ("browDownLeft", "browDownRight"),
    5: ("eyeWideLeft", "eyeWideRight"),
    10: ("mouthUpperUpLeft", "mouthUpperUpRight"),
    12: ("mouthSmileLeft", "mouthSmileRight"),
    14: ("mouthDimpleLeft", "mouthDimpleRight"),
    15: ("mouthFrownLeft", "mouthFrownRight"),
    17: ("mouthShrugLower",),
    20: ("mouthStretchLeft", "mouthStretchRight"),
    22: ("mouthFunnel",),
    23: ("mouthPucker", "mouthRollLower", "mouthRollUpper"),
    24: ("mouthPressLeft", "mouthPressRight"),
    25: ("mouthLowerDownLeft", "mouthLowerDownRight", "mouthUpperUpLeft", "mouthUpperUpRight", "jawOpen"),
    26: ("jawOpen",),
    27: ("jawOpen",),
    43: ("eyeBlinkLeft", "eyeBlinkRight"),
    7: ("eyeSquintLeft", "eyeSquintRight"),
}
TRUSTED = (1, 2, 12, 17, 20, 25, 26, 27, 43)
GAZE = {
    "gaze_yaw": (("eyeLookOutLeft", "eyeLookInRight"), ("eyeLookInLeft", "eyeLookOutRight")),
    "gaze_pitch": (("eyeLookUpLeft", "eyeLookUpRight"), ("eyeLookDownLeft", "eyeLookDownRight")),
}  # shapes towards the positive direction, shapes away from it
FEWEST_FRAMES = 15
SAMPLED = 40  # frames per video
MOVES = 0.01  # standard deviation of a blendshape within a video
Image = np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("videos", type=Path)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--model", type=Path, help="default: the shipped model")
    parser.add_argument("--out", type=Path, help="CSV with one line per unit")
    args = parser.parse_args()
    model = load_au_model(args.model or shipped_model())
    detector = Detector(model, faces="largest", gaze=bool(model.block("gaze")))
    yardstick = Yardstick(args.bundle)
    media = [medium for medium in list_media([args.videos]).media if medium.kind == "video"]
    read = (measured(detector, yardstick, medium.files[0].path) for medium in tqdm(media))
    videos = [video for video in read if video is not None]
    units = pd.concat([table for table, _ in videos]).groupby("unit", sort=False).mean(numeric_only=True)
    frames = pd.concat([frames for _, frames in videos], ignore_index=True)
    for unit in units.index:
        if unit in SHAPES:
            units.loc[unit, "across"] = rank_agreement(frames[f"AU{unit:02d}"], frames[f"shape{unit}"])
    trusted = units.loc[[unit for unit in TRUSTED if unit in units.index]]
    print(f"{len(videos)} videos; means over the units, then over those the yardstick is trusted for:")
    print(pd.DataFrame({"all": units.mean(), "trusted": trusted.mean()}).T.round(3).to_string())
    print(units.round(3).to_string())
    for name in GAZE if model.block("gaze") else ():
        found = [rank_agreement(video[name], video[f"shape_{name}"]) for _, video in videos]
        print(f"{name} within videos: {np.nanmean(found):.3f}")
    if args.out:
        units.round(4).to_csv(args.out)


def measured(
    detector: Detector, yardstick: Yardstick, path: Path
) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """One row per unit, and the sampled frames; None where too few frames show a face."""
    try:
        every = [frame.image_HWC for frame in read_frames(path)]
    except (VideoError, OSError):
        return None
    sampled = every[:: max(1, len(every) // SAMPLED)]
    plain = rows_of(detector, sampled)
    if plain["success"].sum() < FEWEST_FRAMES:
        return None
    found_face = plain["success"].to_numpy() == 1
    shapes = np.full((len(sampled), len(NAMES)), np.nan)
    small_shapes = shapes.copy()
    for at in np.flatnonzero(found_face):
        region = region_of(plain.iloc[at])
        shapes[at] = yardstick.blendshapes(sampled[at], region)
        half = Region(region.centre_x_px / 2, region.centre_y_px / 2, region.side_px / 2, region.roll_degrees)
        small_shapes[at] = yardstick.blendshapes(halved(sampled[at]), half)
    changed = {
        name: rows_of(detector, [change(image) for image in sampled]) for name, change in CHANGES.items()
    }
    whole = rows_of(detector, every)
    minutes = len(every) / 25 / 60
    size = plain["box_right"] - plain["box_left"]

    def shown(names: tuple[str, ...]) -> np.ndarray:
        return shapes[:, [NAMES.index(shape) for shape in names]].mean(axis=1)

    for name, (towards, away) in GAZE.items():
        plain[f"shape_{name}"] = shown(towards) - shown(away)
    found = []
    for unit in detector.model.units:
        name = f"AU{unit:02d}"
        row: dict[str, float] = {"unit": unit}
        if unit in SHAPES:
            columns = [NAMES.index(shape) for shape in SHAPES[unit]]
            shape = pd.Series(shapes[:, columns].mean(axis=1))
            plain[f"shape{unit}"] = shape
            if shape.std() > MOVES:
                row["within"] = rank_agreement(plain[name], shape)
                row["own"] = rank_agreement(shape, pd.Series(small_shapes[:, columns].mean(axis=1)))
        left, right = f"{name}_intensity_left", f"{name}_intensity_right"
        if left in plain and len(SHAPES.get(unit, ())) == 2:
            one, other = SHAPES[unit]
            difference = pd.Series(shown((one,)) - shown((other,)))
            if difference.std() > MOVES:
                row["sides"] = rank_agreement(plain[left] - plain[right], difference)
        sides = (left, right) if left in plain else (name, name)
        row["mirrored"] = rank_agreement(plain[sides[0]], changed["mirrored"][sides[1]])
        for change in ("half", "grey", "jpeg"):
            row[change] = rank_agreement(plain[name], changed[change][name])
        for nuisance, values in (("yaw", plain["yaw"].abs()), ("pitch", plain["pitch"]), ("size", size)):
            row[nuisance] = abs(rank_agreement(plain[name], values))
        present = whole[name] > detector.model.threshold_A[detector.model.units.index(unit)]
        row["present"] = float(present[whole["success"] == 1].mean())
        row["flips"] = float((present.astype(int).diff().abs() == 1).sum() / minutes)
        found.append(row)
    return pd.DataFrame(found), plain


def rows_of(detector: Detector, images: list[Image]) -> pd.DataFrame:
    """One row per picture, in order."""
    table = detector.layout.table(list(detector.stream((at / 25, image) for at, image in enumerate(images))))
    return table.to_pandas().drop_duplicates("frame").set_index("frame").reindex(range(len(images)))


def region_of(row: pd.Series) -> Region:
    """Around the face's box."""
    box = row[["box_left", "box_top", "box_right", "box_bottom"]].to_numpy(float)
    side = 1.5 * max(box[2] - box[0], box[3] - box[1])
    return Region((box[0] + box[2]) / 2, (box[1] + box[3]) / 2, side, float(row["roll"]))


def rank_agreement(first: pd.Series, second: pd.Series) -> float:
    """Spearman's correlation over frames where both are known; NaN where one of them never changes."""
    both = pd.DataFrame({"first": first.to_numpy(float), "second": second.to_numpy(float)}).dropna()
    if len(both) < FEWEST_FRAMES or both.nunique().min() < 2:
        return float("nan")
    return float(both["first"].corr(both["second"], method="spearman"))


def halved(image: Image) -> Image:
    """At half the size."""
    return cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)


def grey(image: Image) -> Image:
    """Without colour."""
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def compressed(image: Image) -> Image:
    """JPEG, quality 30."""
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 30])[1], cv2.IMREAD_COLOR)


def mirrored(image: Image) -> Image:
    """Left and right exchanged."""
    return np.ascontiguousarray(image[:, ::-1])


CHANGES: dict[str, Callable[[Image], Image]] = {
    "half": halved,
    "grey": grey,
    "jpeg": compressed,
    "mirrored": mirrored,
}

if __name__ == "__main__":
    main()
