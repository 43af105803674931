from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

import mien
from mien.detect.statistics import units_left_blank
from mien.findings.events import (
    COLUMNS,
    EventSettings,
    combinations_of,
    find_events,
    write_events,
)

THRESHOLDS = {"AU06": 0.5, "AU12": 0.5, "AU45": 0.5}
SHORT = EventSettings(shortest_seconds=0.0)


def face_table(units, *, seconds_between_frames=0.1, face=0, name="a.mp4", away=(), **more):
    """One face; probabilities per frame by unit, present above .5; frames in `away` have no face."""
    num_frames = len(next(iter(units.values())))
    table = pd.DataFrame(
        {
            "input": name,
            "frame": range(num_frames),
            "timestamp": np.arange(num_frames) * seconds_between_frames,
            "face_id": pd.array([face] * num_frames, "Int64"),
            "success": 1,
            **{unit: np.array(values, float) for unit, values in units.items()},
            **{f"{unit}_present": (np.array(values) > 0.5).astype(int) for unit, values in units.items()},
            **more,
        }
    )
    gone = table["frame"].isin(away)
    table.loc[gone, "success"] = 0
    table.loc[gone, "face_id"] = pd.NA
    return table


def spans(events):
    return [(round(event.onset, 6), round(event.offset, 6)) for event in events.itertuples()]


def test_an_event_worked_by_hand():
    table = face_table({"AU12": [0.1, 0.3, 0.9, 0.7, 0.1, 0.1]}, AU12_intensity=[0.0, 1, 2, 4, 0, 0])
    (event,) = find_events(table, THRESHOLDS).itertuples(index=False)
    assert (event.input, event.face, event.unit, event.side) == ("a.mp4", 0, "AU12", "")
    assert event.onset == pytest.approx(0.1 + 0.1 * (0.5 - 0.3) / (0.9 - 0.3))
    assert event.offset == pytest.approx(0.3 + 0.1 * (0.7 - 0.5) / (0.7 - 0.1))
    assert event.duration == pytest.approx(event.offset - event.onset)
    assert event.apex == pytest.approx(0.3)  # of the intensity
    assert (event.peak, event.mean, event.intensity) == pytest.approx((0.9, 0.8, 4))


def test_an_event_goes_on_while_the_probability_stays_near_the_threshold():
    table = face_table({"AU12": [0.0, 0.6, 0.45, 0.6, 0.39, 0.6, 0.0]})
    assert len(find_events(table, THRESHOLDS, settings=SHORT)) == 2  # .45 is above .8 x .5, .39 is not
    assert len(find_events(table, THRESHOLDS, settings=EventSettings(1.0, 0.0))) == 3


def test_shorter_events_are_left_out():
    table = face_table({"AU12": [0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0]})  # .1 s and .2 s
    assert spans(find_events(table, THRESHOLDS, settings=EventSettings(shortest_seconds=0.15))) == [
        (0.35, 0.55)
    ]


def test_a_short_gap_without_a_usable_face_is_bridged_and_a_long_one_ends_the_event():
    ones = {"AU12": [1.0] * 8}
    assert spans(find_events(face_table(ones, away=[3]), THRESHOLDS)) == [(0.0, 0.8)]
    for table in (face_table(ones, away=[3, 4]), face_table(ones, usable=[1, 1, 1, 0, 0, 1, 1, 1])):
        assert spans(find_events(table, THRESHOLDS)) == [(0.0, 0.3), (0.5, 0.8)]


def test_a_combination_lasts_while_all_its_units_are_present():
    table = face_table({"AU06": [0, 0, 1, 1, 1, 0.0], "AU12": [0, 1, 1, 0.8, 0, 0.0]})
    events = find_events(table, THRESHOLDS, combinations=("6+12",)).set_index("unit")
    assert (events.onset["6+12"], events.onset["AU06"]) == pytest.approx((0.15, 0.15))
    assert events.offset["6+12"] == events.offset["AU12"]
    assert events.peak["6+12"] == 1.0
    assert events["mean"]["6+12"] == pytest.approx(0.9)


def test_sides_are_those_of_the_stronger_intensity():
    table = face_table(
        {"AU12": [1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1.0]},
        AU12_intensity_left=[4.0, 4, 0, 0, 3, 3, 0, 0, 0, 1, 0, 0, 0.1, 0.2],
        AU12_intensity_right=[3.0, 2, 0, 0, 1, 1, 0, 0, 4, 4, 0, 0, 0.9, 0.9],
    )
    assert list(find_events(table, THRESHOLDS).side) == ["both", "left", "right", ""]


def test_eyes_closed_briefly_are_a_blink_too():
    closed = {"AU45": [0, 1, 1, 0, 0, *[1] * 8, 0.0]}
    events = find_events(face_table(closed), THRESHOLDS)
    assert [(event.unit, round(event.duration, 6)) for event in events.itertuples()] == [
        ("AU45", 0.2),
        ("blink", 0.2),
        ("AU45", 0.8),
    ]


def test_units_with_blank_presence_are_left_out_and_listed():
    table = face_table(
        {"AU06": [1, 1, 1.0], "AU12": [1, 1, 1.0]}, AU06_present=pd.array([pd.NA] * 3, "Int64")
    )
    assert units_left_blank(table) == ["AU06"]
    assert set(find_events(table, THRESHOLDS, combinations=("6+12",)).unit) == {"AU12"}


def test_faces_and_files_are_kept_apart_and_a_picture_has_no_event():
    tables = [face_table({"AU12": [1.0] * 5}, name=name, face=face) for name, face in (("a", 3), ("b", 0))]
    picture = face_table({"AU12": [1.0]}, name="c.jpg")
    events = find_events(pd.concat([*tables, picture]), THRESHOLDS)
    assert list(zip(events.input, events.face, strict=True)) == [("a", 3), ("b", 0)]
    assert find_events(picture, THRESHOLDS).columns.tolist() == list(COLUMNS)
    nobody = face_table({"AU12": [1.0] * 3}, away=[0, 1, 2], AU12_present=pd.array([pd.NA] * 3, "Int64"))
    assert find_events(nobody, {}).empty


def test_events_equal_those_of_a_loop_over_frames():
    generator = np.random.default_rng(0)
    settings = EventSettings(leave_share=0.6, shortest_seconds=0.0, longest_gap_seconds=0.1)
    for _ in range(100):
        level, seen = generator.random(40), generator.random(40) < 0.8
        table = face_table({"AU12": level}, away=np.flatnonzero(~seen))
        expected, first, last = [], None, None
        rows = np.flatnonzero(seen)
        for row, before in zip(rows, [None, *rows[:-1]], strict=True):
            ends = before is not None and row - before > 2  # more than one frame is missing
            if first is not None and (ends or level[row] <= 0.3):
                expected.append((first, last))
                first = None
            if level[row] > 0.5:
                first, last = row if first is None else first, row
        expected += [] if first is None else [(first, last)]
        found = find_events(table, THRESHOLDS, settings=settings)
        assert [round(apex * 10) for apex in found.apex] == [
            max((r for r in rows if a <= r <= b), key=lambda r: level[r]) for a, b in expected
        ]


def test_combinations_are_parsed_and_refused_by_name():
    assert combinations_of("6+12, 1+2+4") == ("6+12", "1+2+4")
    for text in ("6", "6+smile", "6+6", "6,12"):
        with pytest.raises(ValueError, match="joined by"):
            combinations_of(text)
    with pytest.raises(ValueError, match="there is no AU06, only AU12"):
        find_events(face_table({"AU12": [1.0, 1]}), THRESHOLDS, combinations=("6+12",))
    with pytest.raises(ValueError, match="no threshold of AU12"):
        find_events(face_table({"AU12": [1.0, 1]}), {})
    with pytest.raises(ValueError, match="leave_share"):
        EventSettings(leave_share=1.5)


def test_the_written_events_say_how_they_were_found(tmp_path):
    blank = pd.array([pd.NA] * 3, "Int64")
    table = face_table({"AU12": [0.1, 1.0, 1.0], "AU06": [1.0] * 3}, AU06_present=blank)
    path = tmp_path / "a.events.csv"
    write_events(find_events(table, THRESHOLDS), path, table, ("6+12",), EventSettings())
    assert pd.read_csv(path).onset.tolist() == [round(0.1 * 4 / 9, 4)]
    record = json.loads(path.with_suffix(".json").read_text())["events"]
    assert record["settings"]["shortest_seconds"] == 0.1
    assert record["combinations"] == ["6+12"]
    assert record["units_left_out"] == {"AU06": "presence is blank"}


def test_detections_give_their_events_by_their_own_thresholds(by_hand_detections):
    events = by_hand_detections.events("1+4", settings=SHORT)
    assert isinstance(by_hand_detections, mien.Detections)
    assert spans(events[events.unit == "AU01"]) == [(0.02, 0.1)]
    assert spans(events[events.unit == "1+4"]) == [(0.06, 0.1)]
