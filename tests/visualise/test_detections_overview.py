from __future__ import annotations

import re
from urllib.parse import unquote

import cv2
import numpy as np
import pandas as pd
import pytest

from mien.detect.media import list_media
from mien.detect.statistics import co_occurrence, unit_statistics
from mien.detect.table import Detections
from mien.visualise.beside_tables import show_medium, write_overview_page
from tests.visualise.conftest import detections_of

HOSTILE = "b\"'><img src=x onerror=alert(1)>&%41#?.mp4"


def save(table, path, **metadata):
    path.parent.mkdir(parents=True, exist_ok=True)
    detections_of(table, **metadata).save(path)
    return path


def cells(html):
    rows = re.findall(r'<tr><th class="text" scope="row".*?</tr>', html)
    return [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in rows]


def test_every_face_of_every_file_has_its_shares(two_faces, tmp_path):
    tables = [two_faces("a.mp4"), two_faces("b.mp4", seed=1)]
    paths = [save(table, tmp_path / f"{name}.parquet") for name, table in zip("ab", tables, strict=True)]
    page = write_overview_page(paths, tmp_path / "overview.html")
    found = cells(page.read_text())
    expected = unit_statistics(pd.concat(tables))
    faces = expected.groupby(["input", "face_id"], sort=False)
    assert len(faces) == 4
    for ((_, face_id), rows), row in zip(faces, found, strict=False):
        assert row[0] == str(face_id)
        assert row[2:] == [f"{100 * share:.0f}" for share in rows["share_present"]]
    together = co_occurrence(pd.concat(tables)).to_numpy()
    assert found[4][1] == f"{100 * together[0, 1]:.0f}"
    assert found[6][0] == f"{100 * together[2, 0]:.0f}"


def test_files_link_to_their_pages_and_names_are_only_names(two_faces, tmp_path):
    table = save(two_faces(HOSTILE), tmp_path / "in" / f"{HOSTILE[:-4]}.parquet")
    own = table.with_name(f"{HOSTILE[:-4]}.html")
    own.write_text("page")
    html = write_overview_page([table], tmp_path / "overview.html").read_text()
    assert "<img" not in html
    (link,) = set(re.findall(r'href="([^"]*)">', html)) - {"data:,"}
    assert (tmp_path / unquote(link)).samefile(own)


def test_a_file_without_a_page_has_no_link(two_faces, tmp_path):
    html = write_overview_page([save(two_faces(), tmp_path / "two.parquet")], tmp_path / "o.html").read_text()
    assert "<a " not in html


def test_files_without_a_face_are_told(two_faces, tmp_path):
    table = two_faces()
    path = save(table[table["success"] == 0], tmp_path / "two.parquet")
    assert "No face was found" in write_overview_page([path], tmp_path / "o.html").read_text()


def test_tables_of_other_units_and_no_table_are_refused(two_faces, tmp_path):
    one = save(two_faces(), tmp_path / "one.parquet")
    other = save(two_faces(units=("AU01", "AU02")), tmp_path / "other.parquet")
    with pytest.raises(ValueError, match=r"other\.parquet: other action units"):
        write_overview_page([one, other], tmp_path / "o.html")
    with pytest.raises(ValueError, match="no table"):
        write_overview_page([], tmp_path / "o.html")


def test_the_warning_is_at_the_top_and_units_without_presence_are_left_out(two_faces, tmp_path):
    tables = [two_faces(name).assign(AU04_present=pd.NA) for name in ("a.mp4", "b.mp4")]
    model = {"model": {"warning": "Not <proven>."}}
    paths = [save(table, tmp_path / f"{k}.parquet", **model) for k, table in enumerate(tables)]
    html = write_overview_page(paths, tmp_path / "o.html").read_text()
    assert html.count("<b>Not &lt;proven&gt;.</b>") == 1
    assert html.index("Not &lt;proven&gt;.") < html.index("<table")
    assert "AU04" not in html
    assert [len(row) for row in cells(html)] == [4] * 4 + [2] * 2


def test_each_picture_gets_its_own_rows_of_a_table_that_is_read_once(two_faces, tmp_path, monkeypatch):
    """Each page and copy gets its own rows; the table is not searched again for each."""
    names = [f"p{number}.png" for number in range(3)]
    for name in names:
        cv2.imwrite(str(tmp_path / name), np.full((120, 160, 3), 90, np.uint8))
    table = pd.concat([two_faces(name, num_frames=1, seed=k) for k, name in enumerate(names)])
    save(table, tmp_path / "out/pictures.parquet")
    monkeypatch.setattr(Detections, "of_input", lambda *_: pytest.fail("the whole table was searched"))
    medium = list_media([tmp_path / name for name in names]).media[0]
    assert show_medium(medium, tmp_path / "out", page=True, annotated=True) == ""
    for name in names:
        assert f"<h1>{name}</h1>" in (tmp_path / f"out/{name}.html").read_text()
        assert (tmp_path / f"out/{name}.annotated.jpg").exists()
