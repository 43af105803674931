"""OpenFace's and py-feat's columns, read as their documentation says that they are read."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mien.detect.table import TableLayout
from tests.detect.rows_by_hand import face_row, no_face_row, write_tables

UNITS, THRESHOLD = (12, 4), np.array([0.2, 0.5], np.float32)  # not in order
WITH = TableLayout(UNITS, THRESHOLD, np.array([True, False]))
WITHOUT = TableLayout(UNITS, THRESHOLD, None)
ROWS = [
    face_row(0.0, [0.75, 0.125, 2.5, np.nan], face_id=3),
    no_face_row(0.04),
    face_row(75.2, [0.1, 0.9, 0.0, np.nan], face_id=0, frame=2),
]


def write(folder, name, layout):
    values = layout.end_of_levels
    rows = [row if row.values_V is None else replace(row, values_V=row.values_V[:values]) for row in ROWS]
    return write_tables(folder, layout, rows, name)


def read_openface(path):
    """As OpenFace's wiki shows it in R and Python: split at commas, spaces stripped from names."""
    with path.open(newline="") as file:
        lines = list(csv.reader(file, skipinitialspace=True))
    return pd.DataFrame([[float(cell or "nan") for cell in line] for line in lines[1:]], columns=lines[0])


def test_openface_s_header_is_separated_by_comma_and_space(tmp_path):
    header = write(tmp_path, "openface", WITH).read_text().splitlines()[0]
    assert header == "frame, face_id, timestamp, confidence, success, AU12_r, AU04_c, AU12_c"


def test_openface_s_r_is_the_intensity_and_c_the_presence(tmp_path):
    found = read_openface(write(tmp_path, "openface", WITH))
    assert found["frame"].tolist() == [1, 2, 3]
    assert found["face_id"].tolist() == [3, 0, 0]
    assert found["success"].tolist() == [1, 0, 1]
    assert found["confidence"].tolist() == [0.875, 0, 0.875]
    assert found["timestamp"].tolist() == [0, 0.04, 75.2]
    assert found["AU12_r"].tolist() == [2.5, 0, 0]
    assert found["AU12_c"].tolist() == [1, 0, 0]
    assert found["AU04_c"].tolist() == [0, 0, 1]


def test_openface_s_c_is_empty_in_every_line_where_presence_is_left_blank(tmp_path):
    layout = TableLayout(UNITS, np.array([0.2, np.nan], np.float32), np.array([True, False]))
    found = read_openface(write(tmp_path, "openface", layout))
    assert found["AU04_c"].isna().all()
    assert found["AU12_c"].tolist() == [1, 0, 0]
    assert found["AU12_r"].tolist() == [2.5, 0, 0]


def test_without_intensities_there_is_no_r_at_all(tmp_path):
    found = read_openface(write(tmp_path, "openface", WITHOUT))
    assert not [name for name in found if name.endswith("_r")]
    assert set(np.unique(found[["AU04_c", "AU12_c"]])) <= {0.0, 1.0}


@pytest.mark.parametrize("layout", [WITH, WITHOUT])
def test_py_feat_s_columns_are_a_box_a_pose_probabilities_and_a_person(tmp_path, layout):
    found = pd.read_csv(write(tmp_path, "pyfeat", layout))
    assert list(found) == [
        *("FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight", "FaceScore", "Pitch", "Roll", "Yaw"),
        *("AU12", "AU04", "input", "frame", "approx_time", "Identity"),
    ]
    assert [name for name in found if "AU" in name] == ["AU12", "AU04"]  # py-feat takes all of these as units
    face = found.iloc[0]
    assert face[["FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight"]].tolist() == [0, 1, 2, 2]
    assert face[["Pitch", "Roll", "Yaw"]].tolist() == [15, 16, 14]
    assert face[["AU12", "AU04", "FaceScore"]].tolist() == [0.75, 0.125, 0.875]
    assert found["Identity"].tolist()[::2] == ["Person_3", "Person_0"]
    assert found["approx_time"].tolist() == ["00:00", "00:00", "01:15"]
    assert found["frame"].tolist() == [0, 1, 2]
    assert found.iloc[1][["FaceRectX", "AU12", "Identity"]].isna().all()
