"""Whether pose, light, camera or sensor can be read from the action units of a rendered set: they must not.

    python benchmarks/render_nuisance.py --recipe recipes/render-mien-bench-v1.toml [--part main]

Draws the labels of every clip, no pictures; three frames a clip. Is a factor above its median? Logistic
regression on all intensities, left and right, tested on people never seen. Prints the AUC of every factor
and its standard error by resampling people; chance is .5.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold

from mien.config import load_recipe
from mien_render.actions import coded_intensity
from mien_render.benchmark_set import SetSettings
from mien_render.clip import Clip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", type=Path, required=True)
    parser.add_argument("--part", default="main")
    args = parser.parse_args()
    settings = SetSettings.from_recipe(load_recipe(args.recipe), where=str(args.recipe))
    units_ND, factors, person_N = _labels(settings, args.part)
    print(f"{len(units_ND)} frames of {len(np.unique(person_N))} people")
    for name, value_N in factors.items():
        above_N = value_N > np.median(value_N)
        score_N = np.zeros(len(above_N))
        for train, test in GroupKFold(5).split(units_ND, above_N, person_N):
            model = LogisticRegression(C=0.01, max_iter=300).fit(units_ND[train], above_N[train])
            score_N[test] = model.decision_function(units_ND[test])
        error = _standard_error(above_N, score_N, person_N)
        print(f"{name:16s} {roc_auc_score(above_N, score_N):.3f} +- {error:.3f}")


def _labels(
    settings: SetSettings, part: str
) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]], NDArray[np.int64]]:
    """Intensities (N, 2 A), every factor (N,) and the person of each frame."""
    units, factors, people = [], [], []
    for plan in settings.plans():
        if plan.part != part:
            continue
        nuisance_settings = settings.parts[part].nuisance
        clip = Clip.draw(plan.seed, motion=settings.motion, nuisance=nuisance_settings, video=settings.video)
        coded_TD = coded_intensity(clip.driving_TA2).reshape(settings.video.num_frames, -1)
        for frame in np.linspace(0, settings.video.num_frames - 1, 5, dtype=int)[1:-1]:
            units.append(coded_TD[frame])
            factors.append(_factors(clip, int(frame)))
            people.append(plan.identity)
    by_name = {name: np.array([row[name] for row in factors]) for name in factors[0]}
    return np.array(units), by_name, np.array(people)


def _factors(clip: Clip, frame: int) -> dict[str, float]:
    nuisance = clip.nuisance
    key_x, key_y, _ = nuisance.key_direction_T3[frame]
    yaw, pitch, roll = nuisance.pose_T3[frame]
    gaze_yaw, gaze_pitch = nuisance.gaze_T2[frame]
    return {
        "yaw": yaw,
        "pitch": pitch,
        "roll": roll,
        "gaze yaw": gaze_yaw,
        "gaze pitch": gaze_pitch,
        "light from side": key_x,
        "light from above": key_y,
        "light strength": nuisance.key_strength_T[frame],
        "exposure": nuisance.exposure_T[frame],
        "distance": nuisance.half_height_T_cm[frame],
        "defocus": nuisance.defocus_px,
        "noise": nuisance.noise,
        "compression": nuisance.quality,
    }


def _standard_error(
    above_N: NDArray[np.bool_], score_N: NDArray[np.float64], person_N: NDArray[np.int64]
) -> float:
    random = np.random.default_rng(0)
    rows_of = [np.flatnonzero(person_N == person) for person in np.unique(person_N)]
    drawn = []
    for _ in range(100):
        rows = np.concatenate([rows_of[at] for at in random.integers(0, len(rows_of), len(rows_of))])
        drawn.append(roc_auc_score(above_N[rows], score_N[rows]))
    return float(np.std(drawn))


if __name__ == "__main__":
    main()
