from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mien.detect.quality import QualitySettings
from mien.detect.table import PLACE
from mien.findings.quality import judged, quality_in_words, quality_report
from tests.findings.test_events import face_table


@pytest.fixture
def table():
    """Ten frames of .1 s: 0 and 5 dark, 7 to 9 turned by 50 degrees, 3 without a face."""
    good = dict.fromkeys(PLACE, 0.0)
    good |= {"box_right": 100.0, "box_bottom": 100.0, "sharpness": 50.0, "brightness": 120.0, "inside": 1.0}
    table = face_table({"AU12": [1.0] * 10}, away=[3], confidence=1.0, reason="", usable=1, **good)
    table["joined"] = np.nan
    table.loc[[0, 5], "brightness"] = 10.0
    table.loc[7:, "yaw"] = -50.0
    table.loc[3, ["reason", "usable"]] = ["no_face", 0]
    return table


def test_the_report_is_that_worked_by_hand(table):
    (report,) = quality_report(judged(table, QualitySettings())).to_dict("records")
    assert report["seconds_seen"] == pytest.approx(0.9)
    assert report["usable"] == pytest.approx(4 / 9)  # frames 1, 2, 4, 6
    assert (report["dark"], report["turned"], report["blurred"]) == pytest.approx((2 / 9, 3 / 9, 0))
    assert report["longest_gap_seconds"] == pytest.approx(0.3)
    assert quality_in_words(quality_report(judged(table, QualitySettings()))) == (
        "face 0: 44% usable (33% turned, 22% dark), longest gap 0.3 s"
    )


def test_other_limits_change_what_is_usable_and_leave_the_table_alone(table):
    wide = judged(table, QualitySettings(max_yaw_degrees=60, min_brightness=0))
    assert wide["usable"].tolist() == [1, 1, 1, 0, 1, 1, 1, 1, 1, 1]
    assert wide["reason"].tolist() == ["", "", "", "no_face", *[""] * 6]
    assert table["usable"].sum() == 9
    assert judged(wide, QualitySettings())["reason"].tolist() == [
        *("dark", "", "", "no_face", "", "dark", "", "turned", "turned", "turned")
    ]


def test_a_picture_has_shares_and_no_times():
    report = quality_report(face_table({"AU12": [1.0]}, usable=[0], reason=["blurred"]))
    assert report.loc[0, ["usable", "blurred"]].tolist() == [0.0, 1.0]
    assert report.loc[0, ["seconds_seen", "longest_gap_seconds"]].isna().all()


def test_a_table_without_faces_has_an_empty_report():
    table = face_table({"AU12": [1.0, 1.0]}, away=[0, 1], usable=0, reason="no_face")
    assert isinstance(quality_report(table), pd.DataFrame)
    assert quality_report(table).empty
