import numpy as np
import pytest

from mien.datasets.base import DATASETS, DatasetError, LabelledFrames, occurs
from mien.datasets.drawn import OCCURS_AT, Drawn
from mien.render.drawn_videos import DrawnVideos, write_drawn_videos


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    write_drawn_videos(folder, DrawnVideos(num_people=2, videos_per_person=2, frames_per_video=8))
    return folder


@pytest.fixture
def three_frames():
    return LabelledFrames(
        (1, 12),
        np.array(["a.mp4", "a.mp4", "b.mp4"]),
        np.array([0, 1, 0]),
        np.array([0.0, 0.04, 0.0]),
        np.array(["s1", "s1", "s2"]),
        np.array([[0, 1], [1, np.nan], [np.nan, 0]], np.float32),
    )


def test_the_drawn_set_is_registered_and_gives_every_drawn_frame(root):
    frames = DATASETS.get("drawn")(root).frames()
    assert frames.num_frames == 2 * 2 * 8
    assert sorted(set(frames.subject_N)) == ["id00000", "id00001"]
    assert len(set(frames.path_N)) == 4


def test_an_action_unit_is_present_from_level_b(root):
    frames = Drawn(root).frames()
    assert OCCURS_AT == 2.0
    assert np.array_equal(frames.occurrence_NA, (frames.intensity_NA >= 2).astype(np.float32))


def test_a_folder_without_labels_is_refused_by_name(tmp_path):
    with pytest.raises(DatasetError, match=r"labels\.csv: no such file"):
        Drawn(tmp_path)


def test_other_columns_are_refused_with_what_was_expected(tmp_path):
    (tmp_path / "labels.csv").write_text("path,frame\na.mp4,0\n")
    with pytest.raises(DatasetError, match=r"expected .*'AU01'"):
        Drawn(tmp_path).frames()


def test_not_coded_stays_not_coded():
    assert np.array_equal(
        occurs(np.array([[0.0, 2.0, np.nan]], np.float32), at=2), [[0, 1, np.nan]], equal_nan=True
    )


def test_positions_tell_which_row_codes_a_frame_and_minus_one_where_none_does(three_frames):
    assert three_frames.positions(["b.mp4", "a.mp4", "a.mp4"], [0, 1, 7]).tolist() == [2, 1, -1]


def test_a_frame_coded_twice_is_an_error(three_frames):
    with pytest.raises(DatasetError, match=r"a\.mp4: frame 0 is coded in more than one row"):
        three_frames.rows([0, 0])


def test_a_label_other_than_0_1_or_nan_is_an_error(three_frames):
    with pytest.raises(DatasetError, match="expected 0, 1 or NaN"):
        LabelledFrames(
            (1,),
            three_frames.path_N,
            three_frames.frame_N,
            three_frames.seconds_N,
            three_frames.subject_N,
            np.array([[9], [0], [1]], np.float32),
        )
