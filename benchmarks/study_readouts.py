"""What can be read from the encoders of finished sweeps: action units, of few people, shifted, and nuisance.

    python benchmarks/study_readouts.py SWEEP [SWEEP ...] --store TEST --labels LABELS \
        --shifted-store SHIFTED --shifted-labels LABELS --out docs/results/study.parquet

One row a run and score, with the value and what RESAMPLES draws of the tested people make of it; the same
draws for all runs, so that differences are paired. Runs that OUT holds already are left out. All read-outs
are ridge regressions (`mien.evaluate.readout`); people are never on both sides.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from mien.data.labels import action_unit_columns, read_frame_labels
from mien.data.store import TrackStore
from mien.evaluate.features import embed_frames
from mien.evaluate.metrics import auc_resampled, fold_of_subjects, subject_weights
from mien.evaluate.protocols import subject_folds
from mien.evaluate.readout import (
    ScoredFrames,
    centred_by_video,
    choose_strength,
    fit_readout,
    identity_named,
    scored_frames,
)
from mien.train.encoder_file import Encoder, load_encoder

Floats = NDArray[np.floating[Any]]

RESAMPLES = 400
FOLDS = 3
DRAWS_OF_FEW = 3
IDENTITY_PENALTY = 0.1
NUISANCE = ("yaw_degrees", "pitch_degrees", "light_x", "exposure")
EMBED_AT_ONCE = 256


@dataclass(frozen=True)
class Faces:
    """Labelled frames in memory: N pictures, K nuisance columns."""

    scored: ScoredFrames
    picture_NHWC: NDArray[np.uint8]
    nuisance_NK: Floats

    @classmethod
    def read(cls, path: Path, labels: Path, *, size_px: int, every_frames: int) -> Faces:
        """`every_frames`-th frames of a store; the labels are 1 from FACS B on, as in the study's sweeps."""
        store = TrackStore.open(path)
        units = read_frame_labels(labels, action_unit_columns(labels), store)
        scored = scored_frames(store, units, occurs_at=1.0, every_frames=every_frames)
        nuisance = read_frame_labels(labels, list(NUISANCE), store)
        faces = scored.faces
        of_track = [
            nuisance.of(track, faces.position_N[faces.track_N == track]) for track in range(store.num_tracks)
        ]
        return cls(
            scored,
            faces.read(np.arange(len(faces.track_N)), size_px=size_px),
            np.concatenate(of_track).astype(np.float64),
        )

    def embed(self, encoder: Encoder) -> Floats:
        """(N, D) features."""
        firsts = range(0, len(self.picture_NHWC), EMBED_AT_ONCE)
        batches = [self.picture_NHWC[first : first + EMBED_AT_ONCE] for first in firsts]
        return np.concatenate([embed_frames(encoder, batch) for batch in batches])


@dataclass(frozen=True)
class Score:
    """A mean over the tested people, and over each of the R draws of them."""

    name: str
    value: float
    drawn_R: Floats


def main() -> None:
    """Add what is missing to the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sweeps", nargs="+", type=Path)
    for name in ("store", "labels", "shifted-store", "shifted-labels", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--every-frames", type=int, default=5)
    parser.add_argument("--size-px", type=int, default=72, help="data.frame_size_px of the encoders")
    args = parser.parse_args()
    places = ((args.store, args.labels), (args.shifted_store, args.shifted_labels))
    own, shifted = (
        Faces.read(store, labels, size_px=args.size_px, every_frames=args.every_frames)
        for store, labels in places
    )
    known = pd.read_parquet(args.out) if args.out.is_file() else pd.DataFrame({"encoder": [], "sweep": []})
    for facts, path in _runs(args.sweeps):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        if ((known["encoder"] == digest) & (known["sweep"] == facts["sweep"])).any():
            continue
        rows = [
            {**facts, "encoder": digest, "score": score.name, "value": score.value, "drawn": _compact(score)}
            for score in scores_of(path, own, shifted)
        ]
        known = pd.concat([known, pd.DataFrame(rows)], ignore_index=True)
        args.out.parent.mkdir(parents=True, exist_ok=True)
        known.to_parquet(args.out, compression="zstd")
        told = {row["score"]: round(row["value"], 3) for row in rows}
        print(facts["sweep"], facts["run"], facts["seed"], told, flush=True)


def scores_of(path: Path, own: Faces, shifted: Faces) -> Iterator[Score]:
    """All scores of one encoder."""
    encoder = load_encoder(path)
    feature_ND, away_ND = own.embed(encoder), shifted.embed(encoder)
    labels_NA, subject_N = own.scored.occurrence_NA, own.scored.subject_N
    fold_N = subject_folds(subject_N, num_folds=FOLDS)
    centred_ND = centred_by_video(feature_ND, own.scored.video_N)
    yield _auc("auc", labels_NA, [_out_of_fold(feature_ND, labels_NA, subject_N, fold_N)], subject_N, fold_N)
    within = [_out_of_fold(centred_ND, labels_NA, subject_N, fold_N)]
    yield _auc("auc within a video", labels_NA, within, subject_N, fold_N)
    for num_people in (5, 15):
        draws = [
            _out_of_fold(centred_ND, labels_NA, subject_N, fold_N, num_people=num_people, draw=draw)
            for draw in range(DRAWS_OF_FEW)
        ]
        yield _auc(f"auc within a video, {num_people} people", labels_NA, draws, subject_N, fold_N)
    adapted_ND = _with_own_statistics(encoder, own, fold_N)
    adapted_ND = np.stack([centred_by_video(rows_ND, own.scored.video_N) for rows_ND in adapted_ND])
    stats = [_out_of_fold(adapted_ND, labels_NA, subject_N, fold_N, features_of_fold=True)]
    yield _auc("auc within a video, batch-norm of the labelled set", labels_NA, stats, subject_N, fold_N)
    yield from _shifted(feature_ND, away_ND, own, shifted)
    yield _identity(feature_ND, subject_N, own.scored.video_N, fold_N)
    for number, name in enumerate(NUISANCE):
        yield _r2(name, feature_ND, own.nuisance_NK[:, number], subject_N, fold_N)


def _out_of_fold(
    feature_ND: Floats,
    labels_NA: Floats,
    subject_N: NDArray[Any],
    fold_N: NDArray[np.int64],
    *,
    num_people: int = 0,
    draw: int = 0,
    features_of_fold: bool = False,
) -> Floats:
    """(N, A) scores by read-outs fitted on the other folds, or on `num_people` drawn from them.

    features_of_fold: feature_ND is (FOLDS, N, D), the features to use when that fold is tested.
    """
    score_NA = np.zeros(labels_NA.shape)
    for fold in range(FOLDS):
        rows_ND = feature_ND[fold] if features_of_fold else feature_ND
        train_N = fold_N != fold
        if num_people:
            people = np.unique(subject_N[train_N])
            chosen = np.random.default_rng((draw, fold)).choice(people, num_people, replace=False)
            train_N = np.isin(subject_N, chosen)
        strength = choose_strength(rows_ND[train_N], labels_NA[train_N], subject_N[train_N])
        readout = fit_readout(rows_ND[train_N], labels_NA[train_N], strength=strength)
        score_NA[fold_N == fold] = readout.scores(rows_ND[fold_N == fold])
    return score_NA


def _auc(
    name: str,
    labels_NA: Floats,
    draws: list[Floats],
    subject_N: NDArray[Any],
    fold_N: NDArray[np.int64],
) -> Score:
    """The mean over the action units and the draws."""
    fold_S = fold_of_subjects(subject_N, fold_N)
    weight_RS = subject_weights(fold_S, seed=0, num_resamples=RESAMPLES)
    found = [
        auc_resampled(labels_NA[:, unit], score_NA[:, unit], subject_N, fold_S, weight_RS)
        for score_NA in draws
        for unit in range(labels_NA.shape[1])
    ]
    values, drawn = zip(*found, strict=True)
    return Score(name, float(np.nanmean(values)), np.nanmean(drawn, axis=0))


def _shifted(feature_ND: Floats, away_ND: Floats, own: Faces, shifted: Faces) -> Iterator[Score]:
    """Read-outs of the people of the main part, on the people of the shifted part."""
    labels_NA, away_NA = own.scored.occurrence_NA, shifted.scored.occurrence_NA
    one_fold_N = np.zeros(len(away_ND), np.int64)
    centred = centred_by_video(feature_ND, own.scored.video_N)
    away_centred = centred_by_video(away_ND, shifted.scored.video_N)
    pairs = {"auc": (feature_ND, away_ND), "auc within a video": (centred, away_centred)}
    for kind, (train_ND, test_ND) in pairs.items():
        strength = choose_strength(train_ND, labels_NA, own.scored.subject_N)
        scores = fit_readout(train_ND, labels_NA, strength=strength).scores(test_ND)
        yield _auc(f"{kind}, shifted", away_NA, [scores], shifted.scored.subject_N, one_fold_N)


def _with_own_statistics(encoder: Encoder, faces: Faces, fold_N: NDArray[np.int64]) -> Floats:
    """(FOLDS, N, D): batch-norm's statistics taken, without labels, from the people who are not tested."""
    layers = [layer for layer in encoder.backbone.modules() if isinstance(layer, nn.BatchNorm2d)]
    return np.stack([_adapted(encoder, layers, faces, fold_N != fold) for fold in range(FOLDS)])


@torch.no_grad()
def _adapted(
    encoder: Encoder, layers: list[nn.BatchNorm2d], faces: Faces, train_N: NDArray[np.bool_]
) -> Floats:
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a mean over all batches
        layer.train()
    train = np.random.default_rng(0).permutation(np.flatnonzero(train_N))
    for first in range(0, len(train) - EMBED_AT_ONCE + 1, EMBED_AT_ONCE):
        embed_frames(encoder, faces.picture_NHWC[train[first : first + EMBED_AT_ONCE]])
    for layer in layers:
        layer.eval()
    return faces.embed(encoder)


def _identity(
    feature_ND: Floats, subject_N: NDArray[Any], video_N: NDArray[Any], fold_N: NDArray[np.int64]
) -> Score:
    """Share of frames whose person is named from the first half of that person's videos."""
    right_T, shown_T = identity_named(feature_ND, subject_N, video_N, strength=IDENTITY_PENALTY)
    people = np.unique(subject_N)
    person_T = np.searchsorted(people, shown_T)
    right_S, rows_S = (np.bincount(person_T, weight_T, len(people)) for weight_T in (right_T, None))
    return _ratio("identity", right_S, rows_S, subject_N, fold_N)


def _r2(
    name: str, feature_ND: Floats, value_N: Floats, subject_N: NDArray[Any], fold_N: NDArray[np.int64]
) -> Score:
    """Share of a nuisance's variance that is read across people."""
    read_N = np.zeros(len(value_N))
    for fold in range(FOLDS):
        train_N = fold_N != fold
        readout = fit_readout(feature_ND[train_N], value_N[train_N, None], strength=IDENTITY_PENALTY)
        read_N[~train_N] = readout.scores(feature_ND[~train_N])[:, 0]
    people, person_N = np.unique(subject_N, return_inverse=True)
    gained_N = (value_N - value_N.mean()) ** 2 - (value_N - read_N) ** 2
    gained_S = np.bincount(person_N, gained_N, len(people))
    total_S = np.bincount(person_N, (value_N - value_N.mean()) ** 2, len(people))
    return _ratio(f"R2 {name}", gained_S, total_S, subject_N, fold_N)


def _ratio(
    name: str, part_S: Floats, whole_S: Floats, subject_N: NDArray[Any], fold_N: NDArray[np.int64]
) -> Score:
    weight_RS = subject_weights(fold_of_subjects(subject_N, fold_N), seed=0, num_resamples=RESAMPLES)
    return Score(name, float(part_S.sum() / whole_S.sum()), (weight_RS @ part_S) / (weight_RS @ whole_S))


def _runs(sweeps: list[Path]) -> Iterator[tuple[dict[str, Any], Path]]:
    for folder in sweeps:
        for line in pd.read_csv(folder / "results.csv").to_dict("records"):
            facts = {"sweep": folder.name, "run": line["run"], "seed": int(line["seed"])}
            facts |= {"rows": int(line["rows"]), "minutes": float(line["minutes"])}
            yield facts, folder / "runs" / f"{line['run']}-seed{line['seed']}" / "encoder.safetensors"


def _compact(score: Score) -> list[float]:
    return [round(float(value), 4) for value in score.drawn_R]


if __name__ == "__main__":
    main()
