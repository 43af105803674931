"""Does self-training on unlabelled videos help on other people's, from other sources?

    python benchmarks/self_training.py VIDEOS --bundle face_landmarker.task --sources clips.csv [--steps 100]

The shipped model is adapted to the videos of one half of the sources (as `mien adapt --unlabelled` does), and
its rank agreement with a landmark model's blendshapes is measured within the videos of the other half, as by
benchmarks/label_free.py; then the halves change places. `--sources` is a CSV with the columns id, video
(the two folders of a video's path) and source. Prints the agreement before and its change, means over units,
with 95 % intervals over 500 draws of the people. About half an hour on one core for 93 videos.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from label_free import FEWEST_FRAMES, MOVES, SHAPES, TRUSTED, rank_agreement
from tqdm import tqdm
from yardstick import NAMES, Yardstick

from mien.detect.au_model import load_au_model, shipped_model
from mien.detect.export import Faces
from mien.detect.media import list_media
from mien.detect.network import TorchEngine
from mien.detect.self_training import STEPS, taught_by_itself
from mien.faces.track import FaceTracking

GROUPS = {
    "nine trusted": TRUSTED,
    "BP4D's twelve": (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24),
    "DISFA's eight": (1, 2, 4, 6, 9, 12, 25, 26),
}
FACES_PER_VIDEO, DRAWS = 90, 500


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("videos", type=Path)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--sources", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=STEPS)
    args = parser.parse_args()
    model, tracking, yardstick = load_au_model(shipped_model()), FaceTracking(), Yardstick(args.bundle)
    source_of = pd.read_csv(args.sources, dtype=str).set_index(["id", "video"])["source"].to_dict()
    faces: list[Faces] = []
    shapes, people, sources = [], [], []
    for medium in tqdm([medium for medium in list_media([args.videos]).media if medium.kind == "video"]):
        path = medium.files[0].path
        found = [max(frame.faces, key=lambda face: face.score) for frame in tracking(path) if frame.faces]
        chosen = Faces.of(found[:: max(1, len(found) // FACES_PER_VIDEO)])
        if len(chosen) >= FEWEST_FRAMES:
            person, video = path.relative_to(args.videos).parts[:2]
            faces.append(chosen)
            shapes.append(np.stack([yardstick.blendshapes(crop) for crop in chosen.crops_NHWC]))
            people.append(person)
            sources.append(source_of[person, video])
    half_V = halves_of(sources, [len(one) for one in faces])
    units = [unit for unit in model.units if unit in SHAPES]
    before_VU = agreement(model, faces, shapes, units)
    after_VU = np.full_like(before_VU, np.nan)
    for half in (0, 1):
        own = [one for one, its in zip(faces, half_V, strict=True) if its == half]
        adapted = taught_by_itself(model, own, steps=args.steps)
        other_V = half_V != half
        after_VU[other_V] = agreement(
            adapted,
            [faces[at] for at in np.flatnonzero(other_V)],
            [shapes[at] for at in np.flatnonzero(other_V)],
            units,
        )
    for name, group in GROUPS.items():
        chosen_U = np.isin(units, group)
        change = np.array([mean_change(before_VU, after_VU, chosen_U, rows) for rows in draws(people)])
        whole = mean_change(before_VU, after_VU, chosen_U, np.arange(len(people)))
        low, high = np.quantile(change, (0.025, 0.975))
        start = np.nanmean(np.nanmean(before_VU[:, chosen_U], axis=0))
        print(f"{name}: {start:.3f}, change {whole:+.3f} ({low:+.3f} to {high:+.3f})")


def agreement(model, faces: list[Faces], shapes: list[np.ndarray], units: list[int]) -> np.ndarray:
    """(V, U) Spearman correlation within each video; NaN where the shape hardly moves."""
    engine, found = TorchEngine(model), np.full((len(faces), len(units)), np.nan)
    for video, (one, shape_NK) in enumerate(zip(faces, shapes, strict=True)):
        probability_NA = model.read(engine(one.crops_NHWC, one.mesh_N468x3)).probability_NA
        for column, unit in enumerate(units):
            target_N = shape_NK[:, [NAMES.index(name) for name in SHAPES[unit]]].mean(axis=1)
            if target_N.std() > MOVES:
                read_N = probability_NA[:, model.units.index(unit)]
                found[video, column] = rank_agreement(pd.Series(read_N), pd.Series(target_N))
    return found


def halves_of(sources: list[str], sizes: list[int]) -> np.ndarray:
    """(V,) 0 or 1: whole sources, the largest first, each to the half with fewer faces."""
    totals = pd.Series(sizes).groupby(sources).sum().sort_values(ascending=False, kind="stable")
    filled, half_of = [0, 0], {}
    for source, size in totals.items():
        half_of[source] = int(filled[1] < filled[0])
        filled[half_of[source]] += size
    return np.array([half_of[source] for source in sources])


def draws(people: list[str]):
    """Rows of the videos of people drawn with replacement."""
    random, rows_of = np.random.default_rng(0), pd.Series(range(len(people))).groupby(people).indices
    names = list(rows_of)
    for _ in range(DRAWS):
        yield np.concatenate([rows_of[name] for name in random.choice(names, len(names))])


def mean_change(before_VU: np.ndarray, after_VU: np.ndarray, chosen_U: np.ndarray, rows: np.ndarray) -> float:
    """Mean over units of the mean over videos."""
    return float(np.nanmean(np.nanmean((after_VU - before_VU)[rows][:, chosen_U], axis=0)))


if __name__ == "__main__":
    main()
