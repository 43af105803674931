"""Does adapting to a few people of another set help on its other people? Draws of people, told on the rest.

    python benchmarks/adapt.py MODEL --dataset rendered --root OUT/shifted --store STORE [--people 1 3 5 8]
    python benchmarks/adapt.py MODEL --dataset rendered --root OUT/main --store STORE --occurs-at 0.5

For each number of people, several draws: the model is adapted to them (`mien adapt`), and model and adapted
model are told by log-loss, calibration error and F1 at their thresholds on all other people, mean of the
units that these show. --gamma and --blur make another camera of the crops, --occurs-at other coders, who call
a unit present from that intensity on. Deterministic.
"""

from __future__ import annotations

import argparse
import dataclasses
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from mien.data.store import TrackStore
from mien.datasets.base import DATASETS, occurs
from mien.detect.adapting import adapt, labels_for, logits_of
from mien.detect.au_model import load_au_model
from mien.detect.calibration import log_loss
from mien.detect.network import fitted_parts
from mien.evaluate.features import StoredFaces
from mien.evaluate.labelled_faces import match_faces
from mien.evaluate.metrics import mean_defined, scores_of


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--people", type=int, nargs="+", default=[1, 3, 5, 8])
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--occurs-at", type=float, help="intensity from which a unit is present")
    parser.add_argument("--gamma", type=float, default=1.0, help="above 1: darker")
    parser.add_argument("--blur", type=float, default=0.0, help="deviation in pixels of the encoder's frame")
    args = parser.parse_args()
    model = load_au_model(args.model)
    frames = DATASETS.get(args.dataset)(args.root).frames()
    if args.occurs_at is not None:
        present_NA = occurs(frames.intensity_NA, at=args.occurs_at)
        frames = dataclasses.replace(frames, occurrence_NA=present_NA)
    data = match_faces(frames, args.root, TrackStore.open(args.store))
    camera = OtherCamera(data.faces.store, data.faces.track_N, data.faces.position_N, args.gamma, args.blur)
    data = dataclasses.replace(data, faces=camera)
    logits_NA, people = logits_of(fitted_parts(model), data), np.unique(data.frames.subject_N)
    print(f"{len(logits_NA):,} faces of {len(people)} people, {len(model.units)} units")
    for count in args.people:
        found, moved = [], []
        for draw in range(args.draws):
            chosen = np.random.default_rng(draw).permutation(people)[:count]
            own = np.isin(data.frames.subject_N, chosen)
            adapted = adapt(model, logits_NA[own], data.frames.rows(own))
            others = data.frames.rows(~own)
            found.append([told(one, logits_NA[~own], others) for one in (model, adapted.model)])
            moved.append(len(adapted.changes))
        before, after = np.mean(found, axis=0)
        better = np.mean([a[0] < b[0] for b, a in found])
        print(
            f"{count} people: {np.mean(moved):.1f} units moved; log-loss {before[0]:.3f} -> {after[0]:.3f} "
            f"(better in {better:.0%} of {args.draws} draws), calibration error {before[1]:.3f} -> "
            f"{after[1]:.3f}, F1 {100 * before[2]:.1f} -> {100 * after[2]:.1f}"
        )


@dataclass(frozen=True)
class OtherCamera(StoredFaces):
    """The same faces, darker and less sharp."""

    gamma: float
    blur_px: float

    def read(self, rows, *, size_px):
        """As the other camera would have seen them."""
        frames = super().read(rows, size_px=size_px)
        if self.gamma != 1.0:
            frames = (255 * (np.arange(256) / 255) ** self.gamma).round().astype(np.uint8)[frames]
        if self.blur_px:
            frames = np.stack([cv2.GaussianBlur(frame, (0, 0), self.blur_px) for frame in frames])
        return frames


def told(model, logits_NA, frames) -> tuple[float, float, float]:
    """Mean log-loss, calibration error and F1 of the units that somebody shows."""
    labels_NA = labels_for(model.units, frames)
    shown = np.flatnonzero((labels_NA == 1).any(axis=0))
    scores = scores_of(labels_NA, model.calibration(logits_NA), threshold_A=model.threshold_A)
    losses = [log_loss(model.calibration.curves[a].log_odds(logits_NA[:, a]), labels_NA[:, a]) for a in shown]
    return (
        float(np.mean(losses)),
        mean_defined(scores.calibration_error[shown]),
        mean_defined(scores.f1[shown]),
    )


if __name__ == "__main__":
    main()
