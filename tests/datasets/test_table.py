"""A table of one's own: the same rules for CSV and Parquet, whatever the columns are called."""

import re

import numpy as np
import pandas as pd
import pytest

from mien.datasets.base import BY_TIME, PICTURE, DatasetError
from mien.datasets.label_files import spelling_key
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


@pytest.mark.parametrize("name", ["AU04", "AU4", "au4", "au_4", "AU 04", "AU-4", "AU04_c", "au4_C", "AU04_r"])
def test_the_spellings_that_tools_write_are_read(write_table, name):
    table = Table(write_table([["a", "p", 1, 0.9]], ["path", "subject", name, "confidence"]))
    assert table.frames().action_units == (4,)
    assert table.unread_columns == ("confidence",)


@pytest.mark.parametrize("name", ["AU1R", "AU12_left", "AU1+2", "AU12_C_", "AU.04", "AUR04", "label_AU04"])
def test_what_looks_like_an_action_unit_and_is_none_is_refused(write_table, name):
    with pytest.raises(
        DatasetError, match=re.escape(f"column {name} looks like an action unit; expected AU01")
    ):
        Table(write_table([["a", "p", 1, 1]], ["path", "subject", "AU12", name])).frames()


def test_of_openface_s_two_columns_the_intensity_is_read_with_a_threshold(write_table):
    path = write_table([["a", "p", 0.4, 1]], ["path", "subject", "AU04_r", "AU04_c"])
    assert Table(path).frames().occurrence_NA.tolist() == [[1]]
    with_threshold = Table(path, occurs_at=1)
    assert with_threshold.frames().occurrence_NA.tolist() == [[0]]
    assert with_threshold.unread_columns == ("AU04_c",)
    with pytest.raises(DatasetError, match="AU4 and AU04_c are the same"):
        Table(write_table([["a", "p", 0, 1]], ["path", "subject", "AU4", "AU04_c"])).frames()


def test_presence_without_an_intensity_beside_it_stays_presence_with_a_threshold(write_table):
    header = ["path", "subject", "AU04_r", "AU28_c"]  # OpenFace gives AU28 no intensity
    frames = Table(write_table([["a", "p", 2.5, 1], ["b", "p", 0.4, 0]], header), occurs_at=2).frames()
    assert frames.occurrence_NA.tolist() == [[1, 1], [0, 0]]
    np.testing.assert_array_equal(frames.intensity_NA, np.float32([[2.5, np.nan], [0.4, np.nan]]))
    with pytest.raises(
        DatasetError, match=r"column AU28_c: found '3'; expected 0, 1, 9 \(not coded\) or nothing$"
    ):
        Table(write_table([["a", "p", 2.5, 3]], header), occurs_at=2).frames()


def test_a_path_with_a_detour_is_the_path(write_table):
    header = ["path", "subject", "AU1", "frame"]
    frames = Table(write_table([["./v.mp4", "p", 1, 0], ["v.mp4", "p", 1, 1]], header)).frames()
    assert frames.path_N.tolist() == ["v.mp4", "v.mp4"]


def test_intensities_need_a_stated_threshold(write_table):
    path = write_table([["a", "p", 0, 3], ["b", "p", 2.5, 1]])
    with pytest.raises(DatasetError, match=r"(line 2|row 1), column AU1: found '3'; .*--occurs-at"):
        Table(path).frames()
    frames = Table(path, occurs_at=2).frames()
    assert frames.occurrence_NA.tolist() == [[1, 0], [0, 1]]
    assert frames.intensity_NA.tolist() == [[3, 0], [1, 2.5]]


def test_videos_have_frames_or_seconds(write_table):
    header = ["path", "subject", "AU1", "frame"]
    frames = Table(write_table([["v.mp4", "p", 1, 7], ["a.jpg", "p", 1, ""]], header)).frames()
    assert frames.frame_N.tolist() == [7, PICTURE]
    header = ["path", "subject", "AU1", "seconds"]
    frames = Table(write_table([["v.mp4", "p", 1, 0.5], ["a.jpg", "p", 1, ""]], header)).frames()
    assert frames.frame_N.tolist() == [BY_TIME, PICTURE]
    assert frames.seconds_N[0] == 0.5


@pytest.mark.parametrize(("name", "parts"), [("split", ["train", "test"]), ("fold", ["x", "y"])])
def test_a_split_or_fold_is_kept(write_table, name, parts):
    rows = [["a", "p", 1, parts[0]], ["b", "q", 0, parts[1]]]
    assert Table(write_table(rows, ["path", "subject", "AU1", name])).frames().split_N.tolist() == parts


def test_a_video_without_frame_numbers_may_have_times(write_table):
    header = ["path", "subject", "AU1", "frame", "seconds"]
    frames = Table(write_table([["v.mp4", "p", 1, 7, ""], ["w.mp4", "p", 1, "", 0.5]], header)).frames()
    assert frames.frame_N.tolist() == [7, BY_TIME]


@pytest.mark.parametrize("other", ["S01", "s.1", "S_1", "S-001", "s\u200b1", " S 1 "])
def test_one_name_in_another_spelling_has_the_same_key(other):
    assert spelling_key(other) == spelling_key("S 01")


def test_a_number_and_what_a_spreadsheet_makes_of_it_have_one_key():
    assert spelling_key("7.0") == spelling_key("07") == spelling_key("7")


@pytest.mark.parametrize(("one", "other"), [("1-11", "11-1"), ("S1", "S10"), ("001A", "001B"), ("7.5", "75")])
def test_names_of_different_people_have_different_keys(one, other):
    assert spelling_key(one) != spelling_key(other)


def test_blank_lines_and_blanks_around_cells_mean_nothing(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("\ufeffpath, subject , AU1\n a.jpg , p ,1\n\n,,\nb.jpg,q, 0\n")
    frames = Table(path).frames()
    assert (frames.path_N.tolist(), frames.subject_N.tolist()) == (["a.jpg", "b.jpg"], ["p", "q"])


def _place(path, row):
    """As a message names the row: a CSV's by line, its header being the first."""
    return f"labels.parquet, row {row}" if path.suffix == ".parquet" else f"labels.csv, line {row + 1}"


def _rows(text):
    """Rows separated by semicolons, cells by commas."""
    return [row.split(",") for row in text.split(";")] if text else []


@pytest.mark.parametrize(
    ("header", "rows", "row", "message"),
    [
        ("path,AU1", "a,1", None, "expected the columns subject; found path, AU1"),
        ("path,subject", "a,p", None, "line 1: expected columns AU01 to AU45; found path, subject"),
        ("path,subject,AU1,AU99", "a,p,1,1", None, "column AU99 is no action unit"),
        ("path,subject,AU1", "a,p,yes", 1, ", column AU1: found 'yes'; expected 0, 1, 9"),
        ("path,subject,AU1", "a,p,1;,p,1", 2, ", column path: found nothing"),
        ("path,subject,AU1", "a,p,1;b,,1", 2, ", column subject: found nothing"),
        ("path,subject,AU1,frame", "a,p,1,1.5", 1, ", column frame: found '1.5'"),
        ("path,subject,AU1,frame", "a,p,1,-3", 1, ", column frame: found '-3'; expected"),
        ("path,subject,AU1,seconds", "a,p,1,late", 1, ", column seconds: found 'late'"),
        ("path,subject,AU1", "a,p,1;b,p,-1", 2, ", column AU1: found '-1'"),
        ("path,subject,AU1", "", None, "no row below the columns"),
    ],
)
def test_a_malformed_table_is_refused_with_row_and_column(write_table, header, rows, row, message):
    path = write_table(_rows(rows), header.split(","))
    with pytest.raises(
        DatasetError, match=re.escape(message if row is None else _place(path, row) + message)
    ):
        Table(path).frames()


UNIT = "path,subject,AU1"
LEAKS = {
    "case": (
        UNIT,
        "a,Ann,1;b,bob,1;c,ann,0",
        3,
        ", column subject: found 'ann' where {1} has 'Ann'; expected one",
    ),
    "zeros": (UNIT, "a,S 01,1;b,S_1,1", 2, ", column subject: found 'S_1' where {1} has 'S 01'"),
    "a number": (UNIT, "a,7,1;b,7.0,1", 2, ", column subject: found '7.0' where {1} has '7'"),
    "one video under two subjects": (
        *(f"{UNIT},frame", "v.mp4,ann,1,0;v.mp4,bob,1,1", 2),
        " found 'bob' where {1} has 'ann'; expected one person per file",
    ),
    "one video by two paths": (
        *(f"{UNIT},frame", "v.mp4,ann,1,0;./v.mp4,bob,1,1", 2),
        " found 'bob' where {1} has 'ann'",
    ),
    "two folds": (
        *(f"{UNIT},fold", "a,ann,1,f1;b,ann,0,f2", 2),
        ", column fold: found 'f2' where {1} has 'f1'; expected one fold per person",
    ),
    "two spellings of a fold": (
        *(f"{UNIT},fold", "a,ann,1,f1;b,bob,0,F1", 2),
        ", column fold: found 'F1' where {1} has 'f1'",
    ),
    "a split that is none": (
        *(f"{UNIT},split", "a,ann,1,train;b,bob,0,Test", 2),
        ", column split: found 'Test'; expected train or test",
    ),
    "no fold": (f"{UNIT},fold", "a,ann,1,f1;b,bob,0,", 2, ", column fold: found nothing; expected a fold"),
    "split and fold": (
        f"{UNIT},split,fold",
        "a,ann,1,train,f2",
        None,
        "both split and fold are there; expected one",
    ),
    "one frame twice": (
        *(f"{UNIT},frame", "v.mp4,ann,1,5;v.mp4,ann,0,6;v.mp4,ann,0,5", 3),
        "/v.mp4, frame 5 is already in {1}; expected one row per frame",
    ),
    "one picture by two paths": (UNIT, "x/../a.jpg,ann,1;a.jpg,ann,1", 2, "/a.jpg is already in {1}"),
    "one time twice": (
        *(f"{UNIT},seconds", "v.mp4,ann,1,0.5;v.mp4,ann,1,0.50", 2),
        "/v.mp4 at 0.5 s is already in {1}",
    ),
    "one frame by number and by time": (
        *(f"{UNIT},frame,seconds", "v.mp4,ann,1,5,;v.mp4,ann,0,,0.2", 2),
        " found 'seconds' where {1} has 'frame'; expected one of frame and seconds per file",
    ),
}
"""Each would put one person on both sides of a split, or count a frame twice."""


@pytest.mark.parametrize(("header", "rows", "row", "message"), LEAKS.values(), ids=LEAKS)
def test_a_table_that_leaks_or_counts_twice_is_refused_with_both_rows(
    write_table, header, rows, row, message
):
    path = write_table(_rows(rows), header.split(","))
    place = [_place(path, n).split(", ")[1] for n in range(4)]
    expected = ("" if row is None else _place(path, row)) + "{gap}" + message.format(*place)
    pattern = re.escape(expected).replace(re.escape("{gap}"), ".*")
    with pytest.raises(DatasetError, match=pattern):
        Table(path).frames()


def test_a_link_to_a_video_is_that_video(tmp_path):
    (tmp_path / "v.mp4").touch()
    (tmp_path / "w.mp4").symlink_to(tmp_path / "v.mp4")
    path = tmp_path / "t.csv"
    path.write_text("path,subject,frame,AU1\nv.mp4,ann,0,1\nw.mp4,bob,0,0\n")
    with pytest.raises(DatasetError, match=r"line 3, column subject: found 'bob' where line 2 has 'ann'"):
        Table(path).frames()


def test_a_table_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"none.csv: no such file"):
        Table(tmp_path / "none.csv")
