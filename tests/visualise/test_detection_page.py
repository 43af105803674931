from __future__ import annotations

import base64
import json
import math
import os
import re
from html.parser import HTMLParser
from urllib.parse import unquote

import cv2
import numpy as np
import pandas as pd
import pytest

from mien.visualise.detection_page import page_data, write_detection_page
from tests.visualise.conftest import detections_of

THRESHOLDS = {"AU01": 0.5, "AU04": 0.4, "AU12": 0.6}
HOSTILE = "a b\"'><img src=x onerror=alert(1)>&;$(touch pwned)`id`%41#?\\.mp4"
VOID = {"meta", "link", "img", "input", "br"}


class Nested(HTMLParser):
    """Fails on a tag that closes what is not open; collects the tags, the attributes, the text."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.words = [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, words):
        self.words.append(words)


def parsed(html):
    page = Nested()
    page.feed(html)
    assert page.open == []
    return page


def data_of(path):
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text(), re.S)
    return json.loads(found[1])


def unpacked(text, dtype):
    return np.frombuffer(base64.b64decode(text), dtype)


@pytest.fixture
def page(two_faces, write_grey_video, tmp_path):
    video = write_grey_video(tmp_path / "two.mp4")
    detections = detections_of(two_faces(), thresholds=THRESHOLDS)
    return write_detection_page(detections, video, tmp_path / "out/two.html")


def test_the_page_holds_the_table(page, two_faces):
    table, data = two_faces(), data_of(page)
    units = [unit["column"] for unit in data["units"]]
    assert {unit["column"]: unit["threshold"] for unit in data["units"]} == THRESHOLDS
    frame, seconds = unpacked(data["frame"], "<u4"), unpacked(data["seconds"], "<f8")
    assert frame.tolist() == sorted(set(table["frame"]))
    reason = unpacked(data["reason"], "u1")
    assert np.flatnonzero(reason).tolist() == [10, 11, 12, 13, 14]
    assert data["reasons"] == ["no face"]
    rows = 0
    for face in data["faces"]:
        place = unpacked(face["place"], "<u4")
        level = unpacked(face["probability"], "u1").reshape(len(units), len(place))
        stride = math.ceil(len(place) / 8)
        bits = unpacked(face["present"], "u1").reshape(len(units), stride)
        box = unpacked(face["box"], "<u2").reshape(-1, 4)
        expected = table[table["face_id"] == face["id"]]
        assert frame[place].tolist() == expected["frame"].tolist()
        np.testing.assert_allclose(seconds[place], expected["timestamp"], atol=1e-9)
        np.testing.assert_allclose(level.T / 254, expected[units], atol=0.0021)
        present = np.unpackbits(bits, axis=1)[:, : len(place)].T
        assert present.tolist() == expected[[f"{unit}_present" for unit in units]].to_numpy().tolist()
        assert box[:, 0].tolist() == expected["box_left"].tolist()
        assert box[:, 3].tolist() == expected["box_bottom"].tolist()
        rows += len(place)
    assert rows == (table["success"] == 1).sum()


def test_a_missing_probability_stays_missing(two_faces):
    table = two_faces(num_frames=3)
    table.loc[1, "AU04"] = np.nan
    face = page_data(table, {})["faces"][0]
    assert unpacked(face["probability"], "u1").reshape(3, 3)[1, 1] == 255


def test_left_and_right_are_kept_for_the_units_that_have_them(two_faces):
    sides = {"AU12_intensity_left": 5.0, "AU12_intensity_right": 1.0}
    table = two_faces(num_frames=3).assign(**sides)
    table.loc[1, "AU12_intensity_right"] = np.nan
    data = page_data(table, {})
    assert [unit["sides"] for unit in data["units"]] == [None, None, 0]
    assert unpacked(data["faces"][0]["sides"], "u1").tolist() == [254, 254, 254, 51, 255, 51]


def test_the_page_is_well_formed_and_asks_no_other_address_for_anything(page):
    found = parsed(page.read_text())
    policy = next(tag for tag in found.tags if tag[1].get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy[1]["content"]
    assert "http" not in policy[1]["content"]
    links = [value for _, at in found.tags for name, value in at.items() if name in ("src", "href")]
    assert {link for link in links if not link.startswith("data:")} == {"../two.mp4"}
    assert not re.search(r"https?:", page.read_text())
    assert not any(name.startswith("on") for _, at in found.tags for name in at)
    assert not any("style" in at for _, at in found.tags)


def test_the_summary_tells_each_face(page):
    text = page.read_text()
    assert "50 frames in 2.0 s; a face in 45 of them (90.0 %); 2 faces, 3 action units" in text
    assert "Face 0, seen for 1.8 s" in text
    assert "Face 1, seen for 1.2 s" in text
    assert "lip corner puller" in text
    assert text.count('src="data:image/jpeg;base64,') == 2


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_a_file_name_of_html_and_shell_is_only_a_name(two_faces, write_grey_video, tmp_path):
    video = write_grey_video(tmp_path / "in" / HOSTILE)
    detections = detections_of(two_faces(HOSTILE), **{"<b>": "</script><script>alert(1)"})
    out = write_detection_page(detections, video, tmp_path / "out/page.html")
    html = out.read_text()
    found = parsed(html)
    assert "".join(found.words).count(HOSTILE) >= 2  # title and heading
    assert not any(tag == "img" and at.get("src") == "x" for tag, at in found.tags)
    assert sum(tag == "script" for tag, _ in found.tags) == 2
    link = next(at["src"] for tag, at in found.tags if tag == "video")
    assert (out.parent / unquote(link)).samefile(video)
    assert not re.search(r"[\"'<>&;$`#?\\ ]", link)
    assert not list(tmp_path.rglob("pwned"))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_a_file_name_of_other_bytes_is_found_again(two_faces, write_grey_video, tmp_path):
    name = os.fsdecode(b"caf\xe9.mp4")
    video = tmp_path / name
    write_grey_video(tmp_path / "plain.mp4").rename(video)
    html = write_detection_page(
        detections_of(two_faces("caf?.mp4")), video, tmp_path / "page.html"
    ).read_text()
    assert 'src="caf%E9.mp4"' in html


def test_a_picture_has_boxes_and_no_time_line(two_faces, tmp_path):
    picture = tmp_path / "face.png"
    cv2.imwrite(str(picture), np.full((120, 160, 3), 90, np.uint8))
    page = write_detection_page(
        detections_of(two_faces("face.png", num_frames=1)), picture, tmp_path / "face.html"
    )
    found = parsed(page.read_text())
    assert not any(tag == "video" or at.get("id") == "lane" for tag, at in found.tags)
    assert any(at.get("id") == "still" for _, at in found.tags)
    assert data_of(page)["width"] == 160


def test_a_file_without_a_face_has_a_page_that_says_so(two_faces, write_grey_video, tmp_path):
    table = two_faces()
    video = write_grey_video(tmp_path / "two.mp4")
    page = write_detection_page(detections_of(table[table["success"] == 0]), video, tmp_path / "none.html")
    assert "No face was found" in page.read_text()
    assert data_of(page)["faces"] == []
    parsed(page.read_text())


def test_tables_of_several_files_or_none_are_refused(two_faces, tmp_path):
    both = pd.concat([two_faces("a.mp4"), two_faces("b.mp4")])
    for table, says in ((both, "rows of 2 files"), (two_faces().head(0), "no row")):
        with pytest.raises(ValueError, match=says):
            write_detection_page(detections_of(table), tmp_path / "a.mp4", tmp_path / "a.html")


def test_a_unit_whose_presence_is_left_blank_has_its_probability_alone(two_faces, write_grey_video, tmp_path):
    model = {"warning": "It was fitted on <drawn> faces."}
    table = two_faces().assign(AU04_present=None)
    detections = detections_of(table, model=model, thresholds={"AU04": 0.04, "AU12": 0.25})
    page = write_detection_page(detections, write_grey_video(tmp_path / "two.mp4"), tmp_path / "two.html")
    html = page.read_text()
    assert html.index("<b>It was fitted on &lt;drawn&gt; faces.</b>") < html.index("<section")
    units = {unit["column"]: unit for unit in data_of(page)["units"]}
    assert (units["AU04"]["blank"], units["AU04"]["threshold"]) == (True, None)
    assert (units["AU12"]["blank"], units["AU12"]["threshold"]) == (False, 0.25)
    assert units["AU01"]["threshold"] is None  # not known
    for face in data_of(page)["faces"]:
        num_rows = len(unpacked(face["place"], "<u4"))
        assert not unpacked(face["present"], "u1").reshape(3, -1)[1].any()
        assert unpacked(face["probability"], "u1").reshape(3, num_rows)[1].any()
    assert html.count("<b>AU12</b> lip corner puller") == 2  # the summaries of two faces
    assert "<b>AU04</b> brow lowerer" not in html
    assert "Without presence, and so left out: AU04." in html
    page = write_detection_page(detections_of(table), tmp_path / "two.mp4", tmp_path / "two.html")
    assert "<b>Presence is left blank in the table for AU04.</b>" in page.read_text()


def test_ten_minutes_of_two_faces_and_21_units_take_a_few_megabytes(two_faces):
    units = tuple(f"AU{n:02d}" for n in range(1, 22))
    data = json.dumps(page_data(two_faces(num_frames=15_000, units=units), {}))
    assert len(data) < 2_500_000
