from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mien.detect.statistics import (
    co_occurrence,
    episodes_of,
    faces_of,
    frame_seconds,
    unit_columns,
    unit_statistics,
)


def table(rows, *, name="a.mp4"):
    """Rows of (frame, seconds, face or None, {unit: probability}); present from 0.5 on."""
    made = []
    for frame, seconds, face, units in rows:
        made.append(
            {
                "input": name,
                "frame": frame,
                "timestamp": seconds,
                "face_id": face,
                "success": int(face is not None),
                **{f"AU{n:02d}": p for n, p in units.items()},
                **{f"AU{n:02d}_present": int(p >= 0.5) for n, p in units.items()},
            }
        )
    return pd.DataFrame(made)


@pytest.fixture
def by_hand():
    """Frames at 0, .1, .2, .4, .5 s; AU12 present in the first two and in the last."""
    return table(
        [
            (0, 0.0, 0, {12: 0.9, 4: 0.1}),
            (1, 0.1, 0, {12: 0.7, 4: 0.1}),
            (2, 0.2, 0, {12: 0.2, 4: 0.9}),
            (3, 0.4, None, {}),
            (4, 0.5, 0, {12: 0.6, 4: 0.8}),
        ]
    )


def test_statistics_are_those_worked_by_hand(by_hand):
    # Shown for .1, .1, .2, .1 and (the median) .1 s; seen for .1 + .1 + .2 + .1 = .5 s.
    found = unit_statistics(by_hand).set_index("unit").loc["AU12"]
    assert found.seconds_seen == pytest.approx(0.5)
    assert found.share_present == pytest.approx(0.3 / 0.5)
    assert found.episodes == 2
    assert found.mean_episode_seconds == pytest.approx(0.15)
    assert found.mean_probability == pytest.approx((0.09 + 0.07 + 0.04 + 0.06) / 0.5)


def test_a_frame_without_the_face_ends_an_episode(by_hand):
    assert unit_statistics(by_hand).set_index("unit").loc["AU04"].episodes == 2  # frames 2 and 4


def test_episodes_equal_those_of_a_loop():
    generator = np.random.default_rng(0)
    for _ in range(50):
        place = np.flatnonzero(generator.random(40) < 0.7)
        present = generator.random(len(place)) < 0.5
        expected, last = [], None
        for row, (where, is_present) in enumerate(zip(place, present, strict=True)):
            if is_present and last == where - 1 and expected:
                expected[-1] = (expected[-1][0], row)
            elif is_present:
                expected.append((row, row))
            last = where if is_present else None
        assert episodes_of(present, place) == expected


def test_files_and_faces_are_kept_apart():
    both = pd.concat(
        [
            table([(0, 0.0, 0, {1: 0.9}), (0, 0.0, 1, {1: 0.1}), (1, 1.0, 1, {1: 0.8})], name="b.mp4"),
            table([(0, 0.0, 0, {1: 0.1})], name="a.png"),
        ]
    )
    found = unit_statistics(both).set_index(["input", "face_id"])
    assert found.share_present.to_dict() == {("b.mp4", 0): 1.0, ("b.mp4", 1): 0.5, ("a.png", 0): 0.0}
    assert np.isnan(found.seconds_seen["a.png", 0])
    assert [face.face_id for face in faces_of(both)] == [0, 1, 0]


def test_a_face_in_a_single_frame_of_a_video_was_seen_for_as_long_as_that_frame():
    """One frame a second: its only frame with the face is no picture."""
    slow = table([(0, 0.0, None, {}), (1, 1.0, 0, {12: 0.9}), (2, 2.0, None, {})])
    found = unit_statistics(slow)
    assert found.seconds_seen.tolist() == [1.0] * len(found)
    assert found.set_index("unit").mean_episode_seconds["AU12"] == 1.0
    alone = unit_statistics(table([(0, 0.0, 0, {12: 0.9})]))
    assert np.isnan(alone.seconds_seen).all()


def test_co_occurrence_is_what_is_shared_of_what_is_in_either(by_hand):
    found = co_occurrence(by_hand.assign(AU01=0.0, AU01_present=0))
    assert found.loc["AU12", "AU04"] == pytest.approx(1 / 4)  # frame 4; of frames 0, 1, 2, 4
    assert found.loc["AU12", "AU12"] == 1
    assert np.isnan(found.loc["AU01", "AU01"])
    assert found.loc["AU01", "AU12"] == 0


def test_a_unit_whose_presence_is_left_blank_is_left_out(by_hand):
    blank = by_hand.assign(AU04_present=pd.NA)
    pd.testing.assert_frame_equal(
        unit_statistics(blank), unit_statistics(by_hand.drop(columns=["AU04", "AU04_present"]))
    )
    assert co_occurrence(blank).columns.tolist() == ["AU12"]
    both = pd.concat(
        [blank, by_hand.assign(input="b.mp4")]
    )  # of a model that reads it, and one that does not
    assert unit_statistics(both).groupby("input")["unit"].apply(list).to_dict() == {
        "a.mp4": ["AU12"],
        "b.mp4": ["AU12", "AU04"],
    }


def test_a_table_without_a_face_has_no_statistics():
    empty = table([(0, 0.0, None, {})]).assign(AU01=np.nan, AU01_present=np.nan)
    assert unit_statistics(empty).empty
    assert unit_columns(empty) == ["AU01"]
    assert co_occurrence(empty).empty


def test_the_last_frame_is_shown_as_long_as_the_median():
    assert frame_seconds(np.array([0.0, 0.04, 0.08, 1.0])).tolist() == pytest.approx([0.04, 0.04, 0.92, 0.04])


def test_times_that_fall_back_take_no_time_away():
    """As in labels of a recording of two parts, the second of which counts from 0 again."""
    seconds = frame_seconds(np.array([10.0, 10.04, 0.0, 0.04]))
    assert seconds == pytest.approx([0.04] * 4)
    assert frame_seconds(np.array([3.0, 3.0, 3.0])).tolist() == [1.0, 1.0, 1.0]
