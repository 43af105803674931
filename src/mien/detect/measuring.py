"""What held-out people say of a model: scores an action unit, with intervals, as the card keeps them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.datasets.base import LabelledFrames
from mien.detect.calibration import sigmoid
from mien.evaluate.intervals import Interval
from mien.evaluate.metrics import Scores, always_on_f1, icc_3_1, mean_defined, scores_of
from mien.evaluate.scoring import occurrence_intervals
from mien.facs import action_unit

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class HeldOut:
    """M tested faces, each by a model that has not seen its person; rows: their numbers in the labelled set.

    logit_MA: the head's own. probability_MA, threshold_MA: calibrated and chosen on training people.
    intensity_MA: 0 to 5, NaN for units without; None where the set codes none.
    """

    rows: NDArray[np.int64]
    fold_M: NDArray[np.str_]
    logit_MA: NDArray[np.float32]
    probability_MA: NDArray[np.float32]
    threshold_MA: NDArray[np.float32]
    intensity_MA: NDArray[np.float32] | None

    @classmethod
    def joined(cls, parts: Sequence[HeldOut]) -> HeldOut:
        """Several folds as one, in the order of the rows."""
        order = np.argsort(np.concatenate([part.rows for part in parts]), kind="stable")

        def column(name: str) -> Any:
            return np.concatenate([getattr(part, name) for part in parts])[order]

        coded = parts[0].intensity_MA is not None
        return cls(
            rows=column("rows"),
            fold_M=column("fold_M"),
            logit_MA=column("logit_MA"),
            probability_MA=column("probability_MA"),
            threshold_MA=column("threshold_MA"),
            intensity_MA=column("intensity_MA") if coded else None,
        )


def measured_scores(held_out: HeldOut, frames: LabelledFrames) -> dict[str, Any]:
    """JSON: `units`, a dictionary an action unit, and their `mean`; None for what is undefined.

    frames: the tested ones, row m that of held_out.rows[m]. F1 is the mean over the folds at the thresholds
    chosen on training people, ROC-AUC is over pairs of the same fold, both with 95 % intervals that draw
    people; calibration error and log-loss are over all tested faces, `before` by the sigmoid of the logit.
    """
    before = scores_of(frames.occurrence_NA, _bounded(sigmoid(held_out.logit_MA)))
    after = scores_of(frames.occurrence_NA, held_out.probability_MA)
    f1, f1_mean, auc = occurrence_intervals(
        frames.occurrence_NA,
        held_out.probability_MA > held_out.threshold_MA,
        held_out.logit_MA,
        frames.subject_N,
        held_out.fold_M,
    )
    units = {}
    for column, number in enumerate(frames.action_units):
        units[action_unit(number).column] = {
            **_counts(frames, column),
            "f1": _plain(f1[column]),
            "always_on_f1": _number(always_on_f1(after.base_rate)[column]),
            "roc_auc": _plain(auc[column]),
            **_calibration(before, after, column),
            "intensity_icc": _icc(held_out, frames, column),
        }
    mean = {name: _mean(units, name) for name in ("roc_auc", "calibration_error", "calibration_error_before")}
    return {
        "num_frames": len(held_out.rows),
        "num_subjects": len(np.unique(frames.subject_N)),
        "num_folds": len(np.unique(held_out.fold_M)),
        "units": units,
        "mean": {"f1": _plain(f1_mean), **mean},
    }


def _counts(frames: LabelledFrames, column: int) -> dict[str, Any]:
    labels_M = frames.occurrence_NA[:, column]
    coded = int((~np.isnan(labels_M)).sum())
    present_M = labels_M == 1
    return {
        "num_coded": coded,
        "num_present": int(present_M.sum()),
        "num_people_showing_it": len(np.unique(frames.subject_N[present_M])),
        "base_rate": _number(present_M.sum() / coded if coded else math.nan),
    }


def _calibration(before: Scores, after: Scores, column: int) -> dict[str, Any]:
    return {
        "calibration_error": _number(after.calibration_error[column]),
        "calibration_error_before": _number(before.calibration_error[column]),
        "brier": _number(after.brier[column]),
        "brier_before": _number(before.brier[column]),
    }


def _icc(held_out: HeldOut, frames: LabelledFrames, column: int) -> float | None:
    if held_out.intensity_MA is None or frames.intensity_NA is None:
        return None
    pair = frames.intensity_NA[:, [column]], held_out.intensity_MA[:, [column]]
    return _number(icc_3_1(*pair)[0])


def _bounded(probability_MA: Floats) -> Floats:
    """scikit-learn's scores want probabilities, not one plus a rounding error."""
    bounded_MA: Floats = np.clip(probability_MA, 0.0, 1.0)
    return bounded_MA


def _plain(interval: Interval) -> dict[str, float | None]:
    return {name: _number(getattr(interval, name)) for name in ("value", "low", "high")}


def _number(value: float) -> float | None:
    """Four digits; JSON has no NaN."""
    return None if math.isnan(value) else round(float(value), 4)


def _mean(units: dict[str, Any], name: str) -> float | None:
    values = [unit[name]["value"] if isinstance(unit[name], dict) else unit[name] for unit in units.values()]
    return _number(mean_defined([math.nan if value is None else value for value in values]))
