"""Labelled frames with planted signals, and a small backbone."""

import sys
from pathlib import Path

import numpy as np
import pytest

from mien.datasets.base import PICTURE, LabelledFrames

sys.path.insert(0, str(Path(__file__).parent / "planted"))  # also for processes that are started


@pytest.fixture(scope="session")
def planted():
    """Frames of people with features: AU1 is a direction of them, AU2 noise, AU4 in part not coded."""

    def make(num_subjects=12, rows=40, *, seed=0, dim=16, split=None):
        generator = np.random.default_rng(seed)
        N = num_subjects * rows
        subject_N = np.repeat([f"s{k:02d}" for k in range(num_subjects)], rows)
        occurrence_NA = (generator.random((N, 3)) < [0.4, 0.3, 0.3]).astype(np.float32)
        features_ND = generator.normal(size=(N, dim)).astype(np.float32)
        features_ND[:, 0] = 4 * occurrence_NA[:, 0] + 0.1 * features_ND[:, 0] + 3
        features_ND[:, 1] = 4 * occurrence_NA[:, 2] + 0.1 * features_ND[:, 1]
        features_ND += (
            2
            * generator.normal(size=(num_subjects, dim)).astype(np.float32)[
                np.repeat(np.arange(num_subjects), rows)
            ]
            * (np.arange(dim) > 3)
        )
        occurrence_NA[: N // 4, 2] = np.nan
        frames = LabelledFrames(
            action_units=(1, 2, 4),
            path_N=np.array([f"{s}/{k:04d}.jpg" for k, s in enumerate(subject_N)]),
            frame_N=np.full(N, PICTURE),
            seconds_N=np.arange(N) / 25,
            subject_N=subject_N,
            occurrence_NA=occurrence_NA,
            split_N=split,
        )
        return frames, features_ND

    return make


@pytest.fixture(scope="session")
def predictions_of():
    """Predictions from planted frames and given probabilities, in three folds."""
    from mien.evaluate.predictions import About, Predictions, output_names

    def make(frames, probability_NA, *, system="x", threshold=np.nan, **changes):
        about = About(
            dataset="table",
            system=system,
            mode="frozen",
            share_of_labels=1.0,
            encoder="none",
            encoder_sha256="",
            contract_digest="c",
            protocol="p",
            protocol_source="",
            protocol_digest="d",
            frames_digest="f",
            settings={"epochs": 1},
            mien_version="0",
            seconds=1.0,
        )
        number_N = np.array([int(subject[1:]) for subject in frames.subject_N])
        return Predictions(
            about=about,
            outputs=output_names(frames.action_units, ()),
            path_N=frames.path_N,
            frame_N=frames.frame_N,
            seconds_N=frames.seconds_N,
            subject_N=frames.subject_N,
            fold_N=np.array([f"p{n % 3 + 1}" for n in number_N]),
            probability_NA=probability_NA.astype(np.float32),
            label_NA=frames.occurrence_NA,
            threshold_NA=np.full(probability_NA.shape, threshold, np.float32),
            **changes,
        )

    return make
