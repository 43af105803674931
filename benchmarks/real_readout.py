"""How well is what a face does read from frozen features, on real videos without labels?

    python benchmarks/real_readout.py STORE face_landmarker.task --targets targets.npz \\
        [--encoder NAME=ENCODER ...] [--every-frames 10] [--out scores.csv]

Targets are the 52 blendshapes of benchmarks/yardstick.py, scored once and kept in `targets.npz`. Features
of every tenth frame -> ridge regression, five folds by person -> Spearman correlation of prediction and
target, the mean over the blendshapes that move (standard deviation within a track of MOVES or more): across
people, and within videos, each track's mean taken from prediction and target. Beside it how often the
person is named from that person's other videos, and R2 of head pose across people. Floors: grey pixels,
HOG, and the first encoder's network untrained (three draws of weights, batch statistics of these frames).
`strangers`: within videos, on the people alone whom the encoder was not pretrained on. Intervals: 2.5th to
97.5th percentile of 1 000 draws of the people, ranks taken once.

A landmark model is no FACS coder: this orders encoders, and says nothing about a single action unit.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import torch
from render_floors import hog
from scipy.stats import rankdata
from torch import nn
from yardstick import NAMES, Yardstick

from mien.backbones import build_backbone
from mien.data.store import TrackStore
from mien.data.store_layout import FRAMES
from mien.evaluate.features import StoredFaces, cached_features, centre_views, stored_pictures
from mien.evaluate.metrics import fold_of_subjects, subject_weights
from mien.evaluate.protocols import subject_folds
from mien.evaluate.readout import STRENGTHS, centred_by_video, fit_readout, identity_named
from mien.train.encoder_file import Encoder, load_encoder, pretrained_among

FOLDS, RESAMPLES = 5, 1000
MOVES = 0.03
POSE = ["yaw_degrees", "pitch_degrees"]
PIXELS_PX, HOG_PX, CENTRE = 24, 64, 8 / 9  # the centre of the crop that the encoders of 64 px see
REGIONS = {
    "brows": ("brow",),
    "lids": ("eyeBlink", "eyeSquint", "eyeWide"),
    "gaze": ("eyeLook",),
    "mouth": ("mouth", "jaw", "cheek", "nose"),
}


@dataclass(frozen=True)
class Frames:
    """N frames of a store, their targets, and who is shown."""

    faces: StoredFaces
    track_N: np.ndarray
    person_N: np.ndarray  # names
    video_N: np.ndarray
    target_NK: np.ndarray
    pose_N2: np.ndarray

    @property
    def moving(self) -> np.ndarray:
        """(K,) which of NAMES are scored; the first is not an expression."""
        deviation_K = centred_by_video(self.target_NK, self.track_N).std(axis=0)
        return (deviation_K >= MOVES) & (np.arange(len(NAMES)) > 0)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store", type=Path)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--targets", type=Path, required=True)
    parser.add_argument("--encoder", action="append", default=[], metavar="NAME=FILE")
    parser.add_argument("--every-frames", type=int, default=10)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    named = dict(text.split("=", 1) for text in args.encoder)
    encoders = {name: load_encoder(path) for name, path in named.items()}
    frames = frames_of(TrackStore.open(args.store), args.bundle, args.targets, every=args.every_frames)
    moving = [name for name, moves in zip(NAMES, frames.moving, strict=True) if moves]
    people = len(np.unique(frames.person_N))
    print(
        f"{len(frames.track_N)} frames, {people} people, {len(moving)} blendshapes move: {' '.join(moving)}"
    )
    rows = []
    for name, features, training in contestants(frames, encoders):
        scores = scores_of(features(), frames, training)
        rows += [{"run": name, **score} for score in scores]
        print(name, "  ".join(in_words(score) for score in scores), flush=True)
        if args.out:
            pd.DataFrame(rows).round(4).to_csv(args.out, index=False)


def frames_of(store: TrackStore, bundle: Path, targets: Path, *, every: int) -> Frames:
    """Every `every`-th source frame of each track."""
    chosen = [
        np.flatnonzero(np.diff(store.source_frame_indices(track), prepend=-1))[::every]
        for track in range(store.num_tracks)
    ]
    track_N, position_N = np.repeat(np.arange(len(chosen)), list(map(len, chosen))), np.concatenate(chosen)
    faces = StoredFaces(store, track_N, position_N)
    measured = pq.read_table(store.path / FRAMES, columns=POSE).to_pandas().to_numpy()
    first_row = store.tracks["first_row"].to_numpy()
    person_N, video_N = (np.array(store.tracks[name].to_pylist())[track_N] for name in ("identity", "video"))
    return Frames(
        faces,
        track_N,
        person_N,
        video_N,
        target_NK=targets_of(faces, bundle, targets),
        pose_N2=measured[first_row[track_N] + position_N],
    )


def targets_of(faces: StoredFaces, bundle: Path, path: Path) -> np.ndarray:
    """(N, 52) blendshapes, from `path` where it has these very frames, else measured and written there."""
    if path.exists():
        with np.load(path) as kept:
            if np.array_equal(kept["track_N"], faces.track_N) and np.array_equal(
                kept["position_N"], faces.position_N
            ):
                return kept["target_NK"]
        raise SystemExit(f"{path} has the targets of other frames; give another --targets")
    yardstick = Yardstick(bundle)
    size_px = faces.store.contract.crop_size_px
    target_NK = np.stack(
        [
            yardstick.blendshapes(faces.read(np.array([row]), size_px=size_px)[0])
            for row in range(len(faces.track_N))
        ]
    )
    np.savez_compressed(path, track_N=faces.track_N, position_N=faces.position_N, target_NK=target_NK)
    return target_NK


def contestants(
    frames: Frames, encoders: dict[str, Encoder]
) -> Iterator[tuple[str, Callable[[], np.ndarray], dict | None]]:
    """(name, its features, the record of its training or None): the floors, then the encoders."""
    yield f"{PIXELS_PX} px pixels", lambda: grey(frames, PIXELS_PX).reshape(-1, PIXELS_PX**2), None
    yield "HOG", lambda: np.stack([hog(picture) for picture in grey(frames, HOG_PX)]), None
    for like, seed in itertools.product(list(encoders.values())[:1], range(3)):
        yield f"untrained, seed {seed}", partial(untrained, like, frames.faces, seed=seed), None
    for name, encoder in encoders.items():
        encoder.contract.require_same(frames.faces.store.contract, ours=name, theirs="the store")
        features = partial(cached_features, encoder.backbone, encoder.inputs, frames.faces)
        yield name, features, dict(encoder.training)


def grey(frames: Frames, side_px: int) -> np.ndarray:
    """(N, side, side) float32 grey values of the crops' centres."""
    size_px = frames.faces.store.contract.crop_size_px
    margin = round(size_px * (1 - CENTRE) / 2)
    pictures = np.empty((len(frames.track_N), side_px, side_px), np.float32)
    for row in range(len(pictures)):
        crop_HWC = frames.faces.read(np.array([row]), size_px=size_px)[0]
        centre_HW = cv2.cvtColor(crop_HWC[margin:-margin, margin:-margin], cv2.COLOR_RGB2GRAY)
        pictures[row] = cv2.resize(centre_HW, (side_px, side_px), interpolation=cv2.INTER_AREA)
    return pictures


@torch.no_grad()
def untrained(like: Encoder, faces: StoredFaces, *, seed: int) -> np.ndarray:
    """(N, D) features of random weights with the batch statistics of the frames themselves."""
    torch.manual_seed(seed)
    backbone = build_backbone(like.backbone_name, **like.backbone_settings).to(like.device)
    for layer in backbone.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None  # the mean over all batches, however many
    backbone.train()
    shuffled = torch.from_numpy(np.random.default_rng(0).permutation(len(faces.track_N)))
    for _, pictures in stored_pictures(faces, torch.split(shuffled, 128), like.inputs, 0):
        backbone(centre_views(pictures.to(like.device), like.inputs))
    return cached_features(backbone.eval(), like.inputs, faces)


def scores_of(feature_ND: np.ndarray, frames: Frames, training: dict | None) -> list[dict]:
    """One row per score, with its interval."""
    fold_N = subject_folds(frames.person_N, num_folds=FOLDS)
    read_NK = out_of_fold(feature_ND, frames.target_NK, frames.person_N, fold_N)
    pairs = {
        "across people": (read_NK, frames.target_NK),
        "within videos": tuple(
            centred_by_video(values_NK, frames.track_N) for values_NK in (read_NK, frames.target_NK)
        ),
    }
    groups = {"": frames.moving}
    for region, prefixes in REGIONS.items():
        groups[f", {region}"] = frames.moving & [name.startswith(prefixes) for name in NAMES]
    scores = []
    for where, pair in pairs.items():
        for suffix, chosen_K in groups.items():
            scores.append({"score": where + suffix, **rank_correlation(*pair, frames, fold_N, chosen_K)})
    if training is not None:
        scores += strangers(pairs["within videos"], frames, fold_N, training)
    right_T, _ = identity_named(feature_ND, frames.person_N, frames.video_N)
    scores.append({"score": "identity", "value": right_T.mean()})
    pose_N2 = out_of_fold(feature_ND, frames.pose_N2, frames.person_N, fold_N)
    residual_2 = ((frames.pose_N2 - pose_N2) ** 2).mean(axis=0)
    for name, left, whole in zip(POSE, residual_2, frames.pose_N2.var(axis=0), strict=True):
        scores.append({"score": f"R2 {name}", "value": 1 - left / whole})
    return scores


def out_of_fold(
    feature_ND: np.ndarray, target_NK: np.ndarray, person_N: np.ndarray, fold_N: np.ndarray
) -> np.ndarray:
    """(N, K) ridge predictions for people who were not fitted on; a third of the rest chooses the penalty."""
    read_NK = np.zeros(target_NK.shape)
    for fold in range(FOLDS):
        train_N = fold_N != fold
        rows_ND, rows_NK = feature_ND[train_N], target_NK[train_N]
        held_N = subject_folds(person_N[train_N], num_folds=3) == 0

        def left(strength: float, rows_ND=rows_ND, rows_NK=rows_NK, held_N=held_N) -> float:
            readout = fit_readout(rows_ND[~held_N], rows_NK[~held_N], strength=strength)
            error_NK = readout.scores(rows_ND[held_N]) - rows_NK[held_N]
            return float((error_NK**2).sum() / rows_NK.var(axis=0).sum())

        readout = fit_readout(rows_ND, rows_NK, strength=min(STRENGTHS, key=left))
        read_NK[~train_N] = readout.scores(feature_ND[~train_N])
    return read_NK


def rank_correlation(
    read_NK: np.ndarray, target_NK: np.ndarray, frames: Frames, fold_N: np.ndarray, chosen_K: np.ndarray
) -> dict[str, float]:
    """Mean Spearman correlation over the chosen columns, and its interval over people."""
    x_NK, y_NK = (
        rankdata(values_NK[:, chosen_K], axis=0) / len(values_NK) - 0.5 for values_NK in (read_NK, target_NK)
    )
    people, person_N = np.unique(frames.person_N, return_inverse=True)
    one_hot_SN = (np.arange(len(people))[:, None] == person_N).astype(float)
    sums = [one_hot_SN @ part for part in (np.ones_like(x_NK), x_NK, y_NK, x_NK**2, y_NK**2, x_NK * y_NK)]
    weight_RS = subject_weights(fold_of_subjects(frames.person_N, fold_N), seed=0, num_resamples=RESAMPLES)

    def mean_correlation(weight_RS: np.ndarray) -> np.ndarray:
        count, x, y, xx, yy, xy = (weight_RS @ part_SK for part_SK in sums)
        spread = (xx - x * x / count) * (yy - y * y / count)
        return ((xy - x * y / count) / np.sqrt(np.maximum(spread, 1e-12))).mean(axis=1)

    low, high = np.quantile(mean_correlation(weight_RS), (0.025, 0.975))
    return {"value": float(mean_correlation(np.ones((1, len(people))))[0]), "low": low, "high": high}


def strangers(pair: tuple[np.ndarray, ...], frames: Frames, fold_N: np.ndarray, training: dict) -> list[dict]:
    """The score within videos of people whom the encoder was not pretrained on; [] with fewer than five."""
    names = [name for name in np.unique(frames.person_N) if pretrained_among(training, [name]) == 0]
    rows_N = np.isin(frames.person_N, names)
    if len(names) < FOLDS:
        return []
    part = replace(frames, person_N=frames.person_N[rows_N])
    values = (values_NK[rows_N] for values_NK in pair)
    score = rank_correlation(*values, part, fold_N[rows_N], frames.moving)
    return [{"score": f"within videos, {len(names)} strangers", **score}]


def in_words(score: dict) -> str:
    interval = f" ({score['low']:.3f} to {score['high']:.3f})" if "low" in score else ""
    return f"{score['score']} {score['value']:.3f}{interval}"


if __name__ == "__main__":
    main()
