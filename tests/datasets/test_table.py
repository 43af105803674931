"""A table of one's own: the same rules for CSV and Parquet, whatever the columns are called."""

import numpy as np
import pandas as pd
import pytest

from mien.datasets.base import BY_TIME, PICTURE, DatasetError
from mien.datasets.table import Table

HEADER = ["path", "subject", "AU12", "AU1"]


@pytest.fixture(params=["csv", "parquet"])
def write_table(request, tmp_path):
    def write(rows, header=HEADER):
        table = pd.DataFrame(rows, columns=header)
        path = tmp_path / f"labels.{request.param}"
        table.to_csv(path, index=False) if request.param == "csv" else table.astype(str).to_parquet(path)
        return path

    return write


def test_columns_are_sorted_by_action_unit_and_gaps_are_not_coded(write_table):
    frames = Table(write_table([["a.jpg", "p", 1, 0], ["b.jpg", "q", 9, 1], ["c.jpg", "q", "", 0]])).frames()
    assert frames.action_units == (1, 12)
    np.testing.assert_array_equal(frames.occurrence_NA, [[0, 1], [1, np.nan], [0, np.nan]])
    assert frames.frame_N.tolist() == [PICTURE] * 3
    assert frames.intensity_NA is None


def test_padded_and_plain_names_are_the_same_action_unit(write_table):
    assert Table(write_table([["a", "p", 1]], ["path", "subject", "AU06"])).frames().action_units == (6,)
    with pytest.raises(DatasetError, match="AU6 and AU06 are the same"):
        Table(write_table([["a", "p", 1, 1]], ["path", "subject", "AU6", "AU06"])).frames()


def test_intensities_need_a_stated_threshold(write_table):
    path = write_table([["a", "p", 0, 3], ["b", "p", 2.5, 1]])
    with pytest.raises(DatasetError, match=r"line 2, column AU1: found 3; .*--occurs-at"):
        Table(path).frames()
    frames = Table(path, occurs_at=2).frames()
    assert frames.occurrence_NA.tolist() == [[1, 0], [0, 1]]
    assert frames.intensity_NA.tolist() == [[3, 0], [1, 2.5]]


def test_videos_have_frames_or_seconds(write_table):
    header = ["path", "subject", "AU1", "frame"]
    assert Table(
        write_table([["v.mp4", "p", 1, 7], ["a.jpg", "p", 1, ""]], header)
    ).frames().frame_N.tolist() == [
        7,
        PICTURE,
    ]
    header = ["path", "subject", "AU1", "seconds"]
    frames = Table(write_table([["v.mp4", "p", 1, 0.5], ["a.jpg", "p", 1, ""]], header)).frames()
    assert frames.frame_N.tolist() == [BY_TIME, PICTURE]
    assert frames.seconds_N[0] == 0.5


@pytest.mark.parametrize("name", ["split", "fold"])
def test_a_split_or_fold_is_kept(write_table, name):
    path = write_table([["a", "p", 1, "x"], ["b", "q", 0, "y"]], ["path", "subject", "AU1", name])
    assert Table(path).frames().split_N.tolist() == ["x", "y"]


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        ([["a", 1]], ["path", "AU1"], "expected the columns subject; found path, AU1"),
        ([["a", "p"]], ["path", "subject"], "line 1: expected columns AU01 to AU45"),
        ([["a", "p", 1, 1]], ["path", "subject", "AU1", "AU99"], "column AU99 is no action unit"),
        ([["a", "p", "yes"]], ["path", "subject", "AU1"], "line 2, column AU1: found 'yes'"),
        ([["a", "p", 1], ["", "p", 1]], ["path", "subject", "AU1"], "line 3, column path: empty"),
        ([["a", "p", 1], ["b", "", 1]], ["path", "subject", "AU1"], "line 3, column subject: empty"),
        ([["a", "p", 1, "1.5"]], ["path", "subject", "AU1", "frame"], "column frame: found '1.5'"),
        ([["a", "p", 1, "late"]], ["path", "subject", "AU1", "seconds"], "column seconds: found 'late'"),
        ([["a", "p", 1], ["b", "p", -1]], ["path", "subject", "AU1"], "line 3, column AU1: found '-1'"),
    ],
)
def test_a_malformed_table_is_refused_with_line_and_column(write_table, rows, header, message):
    with pytest.raises(DatasetError, match=message):
        Table(write_table(rows, header)).frames()


def test_a_table_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"none.csv: no such file"):
        Table(tmp_path / "none.csv")
