"""The read-out of a labelled store as a file of predictions, which `mien compare` tests against another's."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
from scipy.special import expit

from mien import __version__
from mien.evaluate.predictions import About, Predictions
from mien.evaluate.protocols import frames_digest
from mien.evaluate.store_scores import ScoredFrames, StoreScores
from mien.train.encoder_file import Encoder

STORE_FPS = 25.0


def store_predictions(
    frames: ScoredFrames,
    scores: StoreScores,
    *,
    outputs: tuple[str, ...],
    system: str,
    encoder: Encoder,
    encoder_sha256: str,
    settings: dict[str, Any],
) -> Predictions:
    """A probability above 0.5 where the read-out says present; it ranks frames and is not calibrated."""
    said = scores.out_of_fold
    fold_N = np.char.add("fold", said.fold_N.astype(np.str_))
    return Predictions(
        about=About(
            dataset=str(frames.store.path),
            system=system,
            mode="frozen",
            share_of_labels=1.0,
            encoder=encoder.source,
            encoder_sha256=encoder_sha256,
            contract_digest=encoder.contract.digest,
            protocol=f"{len(np.unique(fold_N))} folds by person",
            protocol_source="mien sweep",
            protocol_digest=_digest(dict(zip(frames.subject_N.tolist(), fold_N.tolist(), strict=True))),
            frames_digest=frames_digest(frames.path_N, frames.frame_N),
            settings=settings,
            mien_version=__version__,
            seconds=0.0,
            notes=("scores of a ridge read-out: ranked, not calibrated",),
        ),
        outputs=outputs,
        path_N=frames.path_N,
        frame_N=frames.frame_N,
        seconds_N=frames.frame_N / STORE_FPS,
        subject_N=frames.subject_N,
        fold_N=fold_N,
        probability_NA=expit(said.score_NA - said.middle_NA).astype(np.float32),
        label_NA=frames.occurrence_NA.astype(np.float32),
        threshold_NA=np.full(frames.occurrence_NA.shape, np.nan, np.float32),
    )


def _digest(fold_of_subject: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(sorted(fold_of_subject.items())).encode()).hexdigest()[:16]
