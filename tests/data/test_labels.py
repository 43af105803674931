import numpy as np
import pandas as pd
import pytest

from mien.data.labels import LabelTableError, action_unit_columns, read_frame_labels
from mien.data.store import TrackStore
from mien.datasets.rendered import Rendered, shipped_clips


@pytest.fixture
def store(disc_store):
    return TrackStore.open(disc_store)


@pytest.fixture
def table(store, tmp_path):
    """Every other frame of every video coded: AU01 is the frame, AU12 the video; beneath the folder mp4."""

    def write(*, folder="mp4/", suffix=".csv"):
        rows = [
            (f"{folder}{source}", frame, frame, video)
            for video, source in enumerate(store.tracks["source_path"].to_pylist())
            for frame in range(0, 40, 2)
        ]
        path = tmp_path / f"labels{suffix}"
        frame = pd.DataFrame(rows[::-1], columns=["path", "frame", "AU01", "AU12"])
        frame.to_csv(path, index=False) if suffix == ".csv" else frame.to_parquet(path)
        return path

    return write


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("folder", ["mp4/", "", "some/where/"])
def test_labels_are_those_of_the_frames(store, table, folder, suffix):
    labels = read_frame_labels(table(folder=folder, suffix=suffix), ["AU12", "AU01"], store)
    expected = np.array([[5, 6], [np.nan, np.nan], [5, 38]], np.float32)
    np.testing.assert_array_equal(labels.of(5, np.array([6, 7, 38])), expected)
    assert labels.share_coded == 0.5


def test_a_table_from_further_down_is_matched_by_its_tail(store, table, tmp_path):
    frame = pd.read_csv(table(folder=""))
    frame["path"] = frame["path"].str.split("/", n=1).str[1]
    frame.to_csv(tmp_path / "tail.csv", index=False)
    labels = read_frame_labels(tmp_path / "tail.csv", ["AU12"], store)
    assert labels.of(3, np.array([0])).item() == 3


def test_nine_of_an_action_unit_is_not_coded(store, table, tmp_path):
    frame = pd.read_csv(table())
    frame["AU12"], frame["expression"] = 9, 9
    frame.to_csv(tmp_path / "nine.csv", index=False)
    labels = read_frame_labels(tmp_path / "nine.csv", ["AU12", "expression"], store).of(0, np.array([6]))
    np.testing.assert_array_equal(labels, [[np.nan, 9]])


def test_the_units_of_rendered_labels_are_found_and_their_sides_are_not_taken_for_units():
    columns = action_unit_columns(shipped_clips() / "main" / "labels.parquet")
    assert columns == [f"AU{number:02d}" for number in Rendered.action_units]


def test_a_missing_column_is_named_with_the_nearest(store, table):
    with pytest.raises(LabelTableError, match="no column 'AU02'; did you mean 'AU12'"):
        read_frame_labels(table(), ["AU02"], store)


def test_a_table_of_other_videos_is_refused(store, tmp_path):
    path = tmp_path / "others.csv"
    path.write_text("path,frame,AU01\nelsewhere.mp4,0,1\n")
    with pytest.raises(LabelTableError, match="elsewhere"):
        read_frame_labels(path, ["AU01"], store)


def test_an_empty_table_is_refused(store, tmp_path):
    path = tmp_path / "empty.csv"
    path.write_text("path,frame,AU01\n")
    with pytest.raises(LabelTableError, match="no rows"):
        read_frame_labels(path, ["AU01"], store)
