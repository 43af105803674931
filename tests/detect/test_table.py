"""The table: the same in memory, in Parquet and in CSV, and safe to show."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mien.detect.table import Detections, DetectionsError, TableLayout
from mien.detect.writing import TableWriter
from tests.detect.rows_by_hand import face_row, no_face_row, write_tables

LAYOUT = TableLayout((4, 12), np.array([0.5, 0.2], np.float32), np.array([True, False]))
METADATA = {"model": {"file": "m.safetensors", "digest": "0"}, "thresholds": {"AU04": 0.5, "AU12": 0.2}}
ROWS = [
    face_row(0.0, [0.75, 0.125, 2.5, np.nan], face_id=0),
    face_row(0.0, [0.5, 0.25, 0.0, np.nan], face_id=1),
    no_face_row(0.04),
    face_row(0.08, [0.0, 1.0, 5.0, np.nan], face_id=0),
]


@pytest.fixture
def detections():
    return Detections(LAYOUT.table(ROWS), METADATA)


def test_columns_stand_in_the_order_that_is_told():
    points = [f"point{k}_{axis}" for k in range(5) for axis in "xy"]
    assert LAYOUT.schema.names == [
        *("input", "frame", "timestamp", "face_id", "success", "confidence", "reason", "usable"),
        *("box_left", "box_top", "box_right", "box_bottom", *points, "yaw", "pitch", "roll"),
        *("sharpness", "brightness", "inside", "joined"),
        *("AU04", "AU12", "AU04_present", "AU12_present", "AU04_intensity", "AU12_intensity"),
    ]


def test_a_face_is_its_values_and_a_frame_without_one_is_a_row_of_nothing(detections):
    face, _, nobody, _ = detections.table.to_pylist()
    of_face = {"face_id": 0, "success": 1, "confidence": 0.875, "reason": "", "usable": 1, "box_left": 0}
    of_face |= {"point0_x": 4, "point4_y": 13, "yaw": 14, "roll": 16, "AU04": 0.75, "AU04_present": 1}
    of_face |= {"AU12_present": 0, "AU04_intensity": 2.5, "AU12_intensity": None}
    assert {name: face[name] for name in of_face} == of_face
    known = {"input": "clip.mp4", "frame": 1, "timestamp": 0.04, "success": 0, "reason": "no_face"}
    known |= {"usable": 0, "confidence": 0}
    assert {name: value for name, value in nobody.items() if value is not None} == known


def test_presence_without_a_threshold_is_blank_in_every_form(tmp_path):
    layout = TableLayout((4, 12), np.array([np.nan, 0.2], np.float32), np.array([True, False]))
    detections = Detections(layout.table(ROWS), METADATA | {"thresholds": layout.thresholds})
    assert detections.metadata["thresholds"] == {"AU12": pytest.approx(0.2)}
    assert detections.table["AU04_present"].to_pylist() == [None] * 4
    assert detections.table["AU04"].to_pylist() == [0.75, 0.5, None, 0.0]
    assert detections.to_pandas()["AU04_present"].isna().all()
    write_tables(tmp_path, layout, ROWS)
    detections.save(tmp_path / "saved.csv")
    detections.save(tmp_path / "saved.parquet")
    for name in ("t.csv", "t.parquet", "saved.csv", "saved.parquet"):
        loaded = Detections.load(tmp_path / name).table
        assert loaded.schema == layout.schema
        assert loaded.to_pylist() == detections.table.to_pylist()
    timeline = detections.plot_timeline(0).axes[0]
    assert "presence is left blank: AU04" in timeline.get_title(loc="left")
    assert len(timeline.get_yticklabels()) == 2


def test_what_is_saved_or_written_as_it_comes_is_loaded(detections, tmp_path):
    write_tables(tmp_path, LAYOUT, ROWS, metadata=METADATA)
    detections.save(tmp_path / "saved.parquet")
    detections.save(tmp_path / "saved.csv")
    for name in ("t.parquet", "t.csv", "saved.parquet", "saved.csv"):
        loaded = Detections.load(tmp_path / name)
        assert loaded.metadata == (METADATA if name != "t.csv" else {})  # `mien detect` writes its JSON
        assert loaded.table.schema == LAYOUT.schema
        assert loaded.table.to_pylist() == detections.table.to_pylist()
    assert pd.read_csv(tmp_path / "t.csv").shape == (4, 8 + 21 + 6)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["saved.csv", "saved.json", "saved.parquet", "t.csv", "t.parquet"]


def test_while_it_grows_the_csv_is_whole_up_to_its_last_row_and_given_up_there_is_no_parquet_file(tmp_path):
    table = TableWriter(tmp_path / "t.csv", tmp_path / "t.parquet", LAYOUT)
    for count, row in enumerate(ROWS, start=1):
        table.write([row])
        assert len(pd.read_csv(tmp_path / "t.csv")) == count
    table.close()
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


def test_names_with_commas_quotes_and_line_ends_come_back(tmp_path):
    name = 'a, "b"\n<script>.mp4'
    path = write_tables(tmp_path, LAYOUT, [face_row(0.0, [0.5] * 4, name=name)])
    assert pd.read_csv(path)["input"].tolist() == [name]


def test_faces_and_files_are_chosen_by_name(detections):
    assert detections.faces == [0, 1]
    assert detections.num_frames == 3
    assert detections.face(0).table["frame"].to_pylist() == [0, 2]
    assert detections.inputs == ["clip.mp4"]
    assert len(detections.of_input("clip.mp4")) == 4
    with pytest.raises(DetectionsError, match=r"no face 7 in the table; there are \[0, 1\]"):
        detections.face(7)
    with pytest.raises(DetectionsError, match="no file 'x'"):
        detections.of_input("x")


def test_pandas_keeps_whole_numbers_whole_and_presence_is_above_the_threshold_not_at_it(detections):
    frame = detections.to_pandas()
    assert frame["face_id"].tolist() == [0, 1, pd.NA, 0]
    assert frame["AU04_present"].tolist() == [1, 0, pd.NA, 0]
    assert frame["AU12_present"].tolist() == [0, 1, pd.NA, 1]
    assert frame["AU04"].mean() == pytest.approx((0.75 + 0.5 + 0.0) / 3)


def test_shown_in_a_notebook_names_are_text():
    rows = [face_row(0.0, [0.5] * 4)]
    model = {"file": "<script>", "warning": "It was <b>fitted</b> on toys."}
    shown = Detections(LAYOUT.table(rows), {"model": model})._repr_html_()
    assert shown.startswith("<p>It was &lt;b&gt;fitted&lt;/b&gt; on toys.")
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
    assert "AU04" in shown


@pytest.mark.parametrize("content", [b"", b"not a table", b"a,b\n1,2\n"])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_what_is_no_table_is_refused_by_name(tmp_path, content, suffix):
    path = tmp_path / f"t{suffix}"
    path.write_bytes(content)
    with pytest.raises(DetectionsError, match=r"t\."):
        Detections.load(path)


def test_a_table_of_other_columns_is_refused_with_what_to_do(detections, tmp_path):
    older = detections.table.drop_columns(["usable"])
    for table, missing in ((pa.table({"frame": [1]}), "input"), (older, "usable")):
        pq.write_table(table, tmp_path / "t.parquet")
        with pytest.raises(DetectionsError, match=rf"{missing} is missing\..*older version: detect again"):
            Detections.load(tmp_path / "t.parquet")


def test_plots_show_what_is_in_the_table(detections):
    labels = [label.get_text() for label in detections.plot_timeline(0).axes[0].get_yticklabels()]
    assert labels == ["AU04 brow lowerer", "AU12 lip corner puller"]


def test_plots_of_nothing_say_so():
    nothing = Detections(LAYOUT.table([no_face_row(0.0)]), {})
    with pytest.raises(DetectionsError, match="no face in the table"):
        nothing.plot_timeline()
    several = Detections(LAYOUT.table([face_row(0.0, [0.5] * 4, name=name) for name in "ab"]), {})
    with pytest.raises(DetectionsError, match="rows of several files"):
        several.plot_timeline()
