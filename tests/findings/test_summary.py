from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy.stats import t as student

from mien.detect.table import PLACE, Detections
from mien.findings.study import StudyError, faces_of_study, people_csv, spans_of, tables_in, with_people
from mien.findings.summary import CurveSettings, SummarySettings, mean_with_interval, summarise
from tests.findings.test_events import face_table

GOOD = dict.fromkeys(PLACE, 0.0) | {
    **{"box_right": 100.0, "box_bottom": 100.0, "sharpness": 50.0, "brightness": 120.0, "inside": 1.0},
    "joined": float("nan"),
}


def detections(units, **more):
    """A table in memory of 10 frames a second, thresholds .5."""
    plain = face_table(units, **{"confidence": 1.0, "reason": "", "usable": 1, **GOOD, **more})
    return Detections(
        pa.Table.from_pandas(plain, preserve_index=False), {"thresholds": dict.fromkeys(units, 0.5)}
    )


def conditions(*rows, columns=("file", "condition", "start", "end")):
    return pd.DataFrame(rows, columns=list(columns))


SMILE = [*[0.0] * 10, *[0.0] * 3, *[1.0] * 4, *[0.0] * 3, *[1.0] * 10]  # 3 s: rest, a short smile, a smile
TABLES = [detections({"AU12": SMILE}, name="p1.mp4"), detections({"AU12": SMILE[::-1]}, name="p2.mp4")]


@pytest.fixture
def study():
    return faces_of_study(TABLES)


def test_a_summary_worked_by_hand():
    rows = conditions(("p1.mp4", "baseline", 0, 1), ("p1.mp4", "film", 1, 2), ("p1.mp4", "talk", 2, 3))
    found = summarise(TABLES, rows).people.set_index("condition")
    film = found.loc["film"]
    assert (film.person, film.unit, film.trials) == ("p1.mp4:0", "AU12", 1)
    assert (film.seconds, film.usable_seconds) == pytest.approx((1, 1))
    assert (film.share, film.rate, film["mean"], film.peak) == pytest.approx(
        (0.4, 120, 0.4, 1)
    )  # onsets at 1.25 and 1.95 s
    assert (film.latency, film.responses) == pytest.approx((0.25, 1))
    assert (film.share_change, film.rate_change, film.mean_change) == pytest.approx((0.4, 120, 0.4))
    assert found.loc["talk", ["share", "responses"]].tolist() == pytest.approx([1, 0])  # it began before
    assert found.loc["talk", ["latency", "mean_intensity", "mean_intensity_change"]].isna().all()
    assert found.loc["baseline", "share_change"] == 0


def test_trials_of_one_person_and_condition_are_one_row_weighted_by_usable_time():
    rows = conditions(
        ("p1", "a", "s", 0, 1), ("p1", "a", "s", 1, 1.5), ("p1", "a", "t", 2, 3), ("p1", "b", "", 1.5, 2),
        columns=("file", "condition", "stimulus", "start", "end"),
    )  # fmt: skip
    found = summarise(TABLES, rows).people.set_index(["condition", "stimulus"])
    assert found.loc[("a", "s"), ["trials", "seconds", "share"]].tolist() == pytest.approx(
        [2, 1.5, 0.2 / 1.5]
    )
    assert found.loc[("a", "t"), "trials"] == 1


def test_rows_that_are_not_usable_take_no_part_and_other_limits_can_be_set():
    table = detections({"AU12": SMILE}, brightness=[120.0] * 15 + [0.0] * 15)
    rows = conditions(("a", "film", 1, 2), ("a", "dark", 2, 3))
    plain = summarise([table], rows).people.set_index("condition")
    judged = summarise([table], rows, settings=SummarySettings(quality=_quality())).people.set_index(
        "condition"
    )
    assert plain.loc["film", "usable_seconds"] == pytest.approx(1)
    assert judged.loc["film", ["usable_seconds", "share"]].tolist() == pytest.approx([0.5, 0.4])
    assert judged.loc["dark", "usable_seconds"] == 0
    assert judged.loc["dark", ["share", "rate", "mean", "peak"]].isna().all()


def _quality():
    from mien.detect.quality import QualitySettings

    return QualitySettings(min_brightness=40)


def test_people_are_merged_renamed_and_left_out_by_hand(study, tmp_path):
    people = people_csv(study, tmp_path / "people.csv")
    assert people.to_dict("list") == {
        "file": ["p1.mp4", "p2.mp4"],
        "face": [0, 0],
        "person": ["p1.mp4:0", "p2.mp4:0"],
        "seconds": [3.0, 3.0],
    }
    (tmp_path / "people.csv").write_text("file,face,person\np1,0,Ann\np2.mp4,0,Ann\n")
    rows = conditions(("p1", "film", 0, 3), ("p2", "film", 0, 3))
    (row,) = summarise(TABLES, rows, people=tmp_path / "people.csv").people.to_dict("records")
    assert (row["person"], row["trials"], row["share"]) == ("Ann", 2, pytest.approx(14 / 30))
    assert people_csv(study, tmp_path / "people.csv")["person"].tolist() == ["p1.mp4:0", "Ann"]  # by its file
    left = with_people(study, pd.DataFrame({"file": ["p1"], "face": [0], "person": [""]}))
    assert left["file"].tolist() == ["p2.mp4"]
    with pytest.raises(StudyError, match=r"row 2, p1: no such file, .*\n  row 4, p1: a face named twice"):
        with_people(study, pd.DataFrame({"file": "p1", "face": [7, 0, 0], "person": "Ann"}))


def test_a_row_lasts_until_the_next_start_or_the_end_of_the_file(study):
    rows = pd.DataFrame({"file": ["p1", "p1", "p2"], "condition": ["a", "b", "c"], "start": ["0.5", "1", ""]})
    assert [(span.condition, span.start, span.end) for span in spans_of(study, rows).itertuples()] == [
        ("a", 0.5, 1.0),
        ("b", 1.0, pytest.approx(3.0)),
        ("c", 0.0, pytest.approx(3.0)),
    ]


def test_every_wrong_row_is_named(study, tmp_path):
    path = tmp_path / "conditions.csv"
    path.write_text(
        "file,face,condition,start,end\np1,0,a,0,1\np1,,b,0.9,2\np3,,a,0,1\np2,4,a,0,1\np2,,a,2,9\np2,,a,2,1\n"
        "p2,,a,soon,1\np2,,,0,1\n"
    )
    with pytest.raises(StudyError) as error:
        spans_of(study, path)
    assert str(error.value).splitlines() == [
        f"{path}: rows do not fit",
        "  row 3, p1: overlaps an earlier row",
        "  row 4, p3: no such file, face or person",
        "  row 5, p2: no such file, face or person",
        "  row 6, p2: start and end are not seconds within the file",
        "  row 7, p2: start and end are not seconds within the file",
        "  row 8, p2: start and end are not seconds within the file",
        "  row 9, p2: no condition",
        "  the tables have p1.mp4 face 0, p2.mp4 face 0",
    ]
    with pytest.raises(StudyError, match="no column condition"):
        spans_of(study, pd.DataFrame({"file": ["p1"]}))
    with pytest.raises(StudyError, match=r"two tables have rows of p1\.mp4"):
        faces_of_study([TABLES[0], TABLES[0]])
    with pytest.raises(StudyError, match="no Parquet table"):
        tables_in([tmp_path])


def test_curves_are_means_over_people_with_their_interval():
    settings = SummarySettings(curves=CurveSettings(0.1, 0.3, 0.1))
    rows = conditions(("p1", "film", 1, 2), ("p2", "film", 1, 2), ("p1", "late", 2.9, 3))
    curves = summarise(TABLES, rows, settings=settings).curves.set_index("condition")
    film = curves.loc["film"]
    assert film["seconds"].tolist() == pytest.approx([-0.05, 0.05, 0.15, 0.25])
    values = np.array([[0, 0, 0, 0], [1, 0, 0, 0]], float)  # of p1 and p2
    half = student.ppf(0.975, 1) * values.std(axis=0, ddof=1) / np.sqrt(2)
    assert film["mean"].tolist() == pytest.approx(values.mean(axis=0))
    assert film["high"].tolist() == pytest.approx(values.mean(axis=0) + half)
    assert film["people"].tolist() == [2] * 4
    late = curves.loc["late"]  # the file ends .1 s later; one person has no interval
    assert late["seconds"].tolist() == pytest.approx([-0.05, 0.05])
    assert late["low"].isna().all()


def intervals(values):
    """Of each column, a person per row."""
    return mean_with_interval(pd.DataFrame(values).melt().groupby("variable")["value"])


def test_the_interval_over_people_leaves_out_who_has_no_value():
    found = intervals([[1.0, np.nan], [2, 5], [4, np.nan], [np.nan, np.nan]])
    assert found["people"].tolist() == [3, 1]
    assert found["mean"].tolist() == pytest.approx([7 / 3, 5])
    half = student.ppf(0.975, 2) * np.std([1, 2, 4], ddof=1) / np.sqrt(3)
    assert found["high"][0] - found["mean"][0] == pytest.approx(half)
    assert found.loc[1, ["low", "high"]].isna().all()


@pytest.mark.parametrize("people", [2, 3, 4, 5, 12, 31, 200])
def test_the_interval_is_students(people):
    values = np.arange(people, dtype=float)[:, None]
    (row,) = intervals(values).itertuples()
    expected = student.ppf(0.975, people - 1) * values.std(ddof=1) / np.sqrt(people)
    assert (row.mean - row.low, row.high - row.mean) == pytest.approx((expected, expected), rel=1e-9)
