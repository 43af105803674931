from __future__ import annotations

import numpy as np
import pytest

from mien_render.actions import UNIT_NUMBERS
from mien_render.motion import _CONFLICTS, DISFA_LIKE_RATES, MotionSettings, draw_motion, event_rates

QUIET = MotionSettings(speech_share=0, blinks_per_minute=0.0)


def _many(settings: MotionSettings, count: int) -> np.ndarray:
    clips = [
        draw_motion(np.random.default_rng([8, seed]), settings, num_frames=150, frames_per_second=25)
        for seed in range(count)
    ]
    return np.stack(clips)


@pytest.fixture(scope="module")
def quiet_clips() -> np.ndarray:
    return _many(QUIET, 400)


def test_base_rates_come_out(quiet_clips: np.ndarray):
    occurring = (quiet_clips.max(axis=3) >= QUIET.occurs_at).mean(axis=(0, 1))
    for unit, rate in DISFA_LIKE_RATES.items():
        measured = occurring[UNIT_NUMBERS.index(int(unit))]
        assert 0.5 * rate < measured < 1.6 * rate, (unit, rate, measured)


def test_single_and_joint_time_add_up_to_the_base_rate():
    rates = event_rates(QUIET)
    for unit, rate in QUIET.base_rates.items():
        assert sum(share for units, share in rates.items() if int(unit) in units) == pytest.approx(rate)
    assert min(rates.values()) >= 0


def test_every_unit_occurs_alone(quiet_clips: np.ndarray):
    active = (quiet_clips.max(axis=3) > 0.5).reshape(-1, len(UNIT_NUMBERS))
    alone = active[active.sum(axis=1) == 1].any(axis=0)
    assert [unit for unit, seen in zip(UNIT_NUMBERS, alone, strict=True) if not seen] == [45]


def test_known_pairs_occur_together_more_often_than_by_chance(quiet_clips: np.ndarray):
    active = (quiet_clips.max(axis=3) >= 1).reshape(-1, len(UNIT_NUMBERS))
    for a, b in ((1, 2), (6, 12), (4, 7), (12, 25)):
        one, other = active[:, UNIT_NUMBERS.index(a)], active[:, UNIT_NUMBERS.index(b)]
        assert (one & other).mean() > 1.3 * one.mean() * other.mean(), (a, b)


def test_units_that_exclude_each_other_never_meet(quiet_clips: np.ndarray):
    for a, b in _CONFLICTS:
        one, other = (quiet_clips[:, :, UNIT_NUMBERS.index(unit)].max(axis=2) > 0 for unit in (a, b))
        assert not (one & other).any(), (a, b)


def test_same_seed_same_motion_bit_for_bit():
    first, second = _many(MotionSettings(), 3), _many(MotionSettings(), 3)
    assert first.tobytes() == second.tobytes()


def test_intensities_lie_between_0_and_5():
    clips = _many(MotionSettings(), 20)
    assert clips.min() == 0 and clips.max() <= 5


def test_blinks_close_both_eyes_for_a_fraction_of_a_second():
    settings = MotionSettings(base_rates={}, speech_share=0, blinks_per_minute=20)
    blink = _many(settings, 40)[:, :, UNIT_NUMBERS.index(45)]
    assert (blink[..., 0] == blink[..., 1]).all()
    closed = blink[..., 0] > 2
    starts = (closed[:, 1:] & ~closed[:, :-1]).sum()
    assert 20 * 40 * 6 / 60 * 0.5 < starts < 20 * 40 * 6 / 60 * 1.3
    assert closed.sum() / starts / 25 < 0.5


def test_unknown_unit_is_refused():
    with pytest.raises(ValueError, match="99"):
        MotionSettings(base_rates={"99": 0.1})
