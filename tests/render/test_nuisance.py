from __future__ import annotations

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from mien_render.clip import Clip, VideoSettings
from mien_render.motion import MotionSettings
from mien_render.nuisance import NuisanceSettings

VIDEO = VideoSettings(seconds=2.0)


def _clip(seed: int, *, motion: MotionSettings | None = None) -> Clip:
    return Clip.draw((4, seed), motion=motion or MotionSettings(), nuisance=NuisanceSettings(), video=VIDEO)


def test_nuisance_stays_the_same_when_the_face_does_something_else():
    one = _clip(3).nuisance
    other = _clip(3, motion=MotionSettings(base_rates={"12": 0.8}, still_share=0)).nuisance
    assert one.pose_T3.tobytes() == other.pose_T3.tobytes()
    assert one.key_direction_T3.tobytes() == other.key_direction_T3.tobytes()
    assert one.picture_seed == other.picture_seed


def test_nuisance_cannot_be_read_off_the_action_units():
    clips = [_clip(seed) for seed in range(600)]
    units = np.stack([clip.driving_TA2[25].max(axis=1) for clip in clips])
    targets = {
        "yaw": [clip.nuisance.pose_T3[25, 0] > 0 for clip in clips],
        "gaze": [clip.nuisance.gaze_T2[25, 0] > 0 for clip in clips],
        "light": [clip.nuisance.key_direction_T3[25, 0] > 0 for clip in clips],
        "exposure": [clip.nuisance.exposure_T[25] > 1 for clip in clips],
    }
    for name, target in targets.items():
        model = LogisticRegression(C=0.05).fit(units[:300], target[:300])
        auc = roc_auc_score(target[300:], model.decision_function(units[300:]))
        assert 0.4 < auc < 0.6, (name, auc)  # 300 test clips: standard error 0.033


def test_light_directions_have_unit_length():
    lengths = np.linalg.norm(_clip(1).nuisance.key_direction_T3, axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-3)


def test_gaze_jumps_and_rests():
    gaze = np.concatenate([_clip(seed).nuisance.gaze_T2 for seed in range(20)])
    moves = np.abs(np.diff(gaze[:, 0]))
    assert (moves < 0.01).mean() > 0.7
    assert moves.max() > 3
