import numpy as np
import pytest

from mien.datasets.base import DatasetError, LabelledFrames, occurs


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


def test_not_coded_stays_not_coded():
    assert np.array_equal(
        occurs(np.array([[0.0, 2.0, np.nan]], np.float32), at=2), [[0, 1, np.nan]], equal_nan=True
    )


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
