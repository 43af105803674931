"""Codings go into the files of coders' tools and come back the same to the millisecond."""

from __future__ import annotations

import json
import sys

import numpy as np
import pandas as pd
import pympi
import pytest

from mien import cli
from mien.datasets.rendered import shipped_clips
from mien.datasets.table import Table
from mien.findings.coding import CodingError, intensity_of, tier_of
from mien.findings.exchange import read_coding, write_coding
from mien.video import write_video

TIMES = ["input", "face", "unit", "side", "onset", "offset"]


@pytest.fixture
def clip_labels(tmp_path):
    """A labels table of the first two clips of the shipped set, with intensities."""
    part = shipped_clips() / "main"
    labels = pd.read_parquet(part / "labels.parquet").astype({"path": str})
    labels = labels[labels["path"].isin(labels["path"].unique()[:2])]
    units = [name for name in labels if len(name) == 4 and name.startswith("AU")]
    graded = {unit: labels[[f"{unit}_left", f"{unit}_right"]].max(axis=1).round(2) for unit in units}
    table = labels[["identity", "frame", "seconds"]].rename(columns={"identity": "subject"}).assign(**graded)
    table.insert(0, "path", [str(part / path) for path in labels["path"]])
    table.to_csv(tmp_path / "labels.csv", index=False)
    return tmp_path / "labels.csv"


def sorted_times(events):
    return events[TIMES].sort_values(TIMES).reset_index(drop=True)


@pytest.mark.parametrize("kind", ["elan", "praat", "boris", "events"])
def test_events_of_the_shipped_clips_come_back_equal_to_the_millisecond(clip_labels, tmp_path, kind):
    labels = pd.read_csv(clip_labels)
    for at, (_, rows) in enumerate(labels.groupby("path")):
        rows.to_csv(tmp_path / f"{at}.csv", index=False)
        coding = read_coding(tmp_path / f"{at}.csv", occurs_at=1)
        assert len(coding.events) > 3
        (path,) = write_coding(coding, tmp_path / f"{kind}{at}", kind)
        back = read_coding(path)
        (name,) = back.faces
        expected = coding.events if kind == "events" else coding.events.assign(input=name)
        found = back.events.assign(face=coding.events["face"].iloc[0])
        pd.testing.assert_frame_equal(sorted_times(found), sorted_times(expected.round(3)), atol=1e-9, rtol=0)
        if kind != "events":
            assert {tier[2:] for tier in back.tiers} == {
                tier[2:] for tier in coding.tiers
            }  # also unseen ones
            letters = back.events.sort_values(TIMES)["intensity"].to_numpy()
            truth = coding.events.sort_values(TIMES)["intensity"].to_numpy()
            np.testing.assert_array_equal(letters, np.clip(truth.round(), 1, 5))


def test_faces_sides_and_combinations_keep_their_tiers(coding, tmp_path):
    tiers = {
        ("a.mp4", "0", "AU12", "left"): [(0.5, 1.0), (1.0, 2.5)],
        ("a.mp4", "0", "AU12", ""): [(0.75, 1.25, 4)],
        ("a.mp4", "Child", "6+12", ""): [(3.1, 3.4567)],
        ("a.mp4", "0", "blink", ""): [],
    }
    for kind in ("elan", "praat", "boris"):
        (path,) = write_coding(coding(tiers), tmp_path / kind, kind)
        back = read_coding(path)
        (name,) = back.faces
        assert {tier[1:] for tier in tiers} <= {tier[1:] for tier in back.tiers}
        assert back.spans((name, "0"), "AU12") == [(0.5, 1.25, 4.0), (1.25, 2.5, 4.0)] or back.spans(
            (name, "0"), "AU12"
        ) == [(0.5, 2.5, 4.0)]
        assert back.spans((name, "Child"), "6+12")[0][:2] == (3.1, 3.457)


def test_a_name_of_a_tier_is_read_as_coders_write_it():
    for label, tier in {
        "AU12": ("", "AU12", ""),
        "au 4": ("", "AU04", ""),
        "12": ("", "AU12", ""),
        "L12": ("", "AU12", "left"),
        "AU02R": ("", "AU02", "right"),
        "face 3 AU06 right": ("3", "AU06", "right"),
        "Mother: AU 1": ("Mother", "AU01", ""),
        "1+2+4": ("", "1+2+4", ""),
        "face 3 AU 6": ("3", "AU06", ""),
    }.items():
        assert tier_of(label, "a.mp4") == ("a.mp4", *tier), label
    assert [tier_of(label, "a.mp4") for label in ("default", "Speech", "AU99", "face 12", "")] == [None] * 5
    assert tier_of("AU12", "a.mp4", "face 2") == ("a.mp4", "2", "AU12", "")
    read = [intensity_of(text) for text in ("A", "e", "3", "2.5", "x", "6", "")]
    np.testing.assert_array_equal(read, [1, 5, 3, 2.5, np.nan, np.nan, np.nan])


def test_an_eaf_of_a_coder_is_read_and_the_rest_of_it_named(tmp_path):
    eaf = pympi.Elan.Eaf()
    eaf.add_linked_file("file:///C:/Study/My%20video.mp4", None, "video/mp4")
    eaf.add_tier("L12", part="face 1")
    eaf.add_annotation("L12", 40, 1240, "C")
    eaf.add_tier("Speech")
    eaf.add_annotation("Speech", 0, 500, "hello")
    eaf.to_file(str(tmp_path / "coder.eaf"))
    coding = read_coding(tmp_path / "coder.eaf")
    assert coding.tiers == [("My video.mp4", "1", "AU12", "left")]
    assert coding.spans(("My video.mp4", "1"), "AU12") == [(0.04, 1.24, 3.0)]
    assert coding.left_out == ("'Speech' (1)",)


def test_points_of_praat_are_left_out_beside_a_tier_of_the_same_name(tmp_path):
    grid = pympi.Praat.TextGrid(xmax=2.0)
    grid.add_tier("AU12").add_interval(0.5, 1.0, "B")
    grid.add_tier("AU12", tier_type="TextTier").add_point(1.5, "x")
    grid.to_file(str(tmp_path / "a.TextGrid"))
    coding = read_coding(tmp_path / "a.TextGrid")
    assert coding.spans(("a", ""), "AU12") == [(0.5, 1.0, 2.0)]
    assert coding.units == {("a", ""): ["AU12"]}
    assert coding.left_out == ("'AU12' (1)",)


def test_exported_events_of_boris_are_read_in_both_layouts(tmp_path):
    whose = "Observation id,Media file name,Subject,Behavior,Modifier #1,Behavior type"
    (tmp_path / "aggregated.csv").write_text(
        f"{whose},Start (s),Stop (s)\n"
        "one,/home/x/a.mp4,No focal subject,AU12,C,STATE,0.5,1.25\n"
        "one,/home/x/a.mp4,No focal subject,AU45,,POINT,0.7,NA\n"
    )
    (tmp_path / "tabular.csv").write_text(
        f"{whose},Time\n"
        "one,/home/x/a.mp4,No focal subject,AU12,C,START,0.5\n"
        "one,/home/x/a.mp4,No focal subject,AU45,,POINT,0.7\n"
        "one,/home/x/a.mp4,No focal subject,AU12,C,STOP,1.25\n"
    )
    for name in ("aggregated.csv", "tabular.csv"):
        coding = read_coding(tmp_path / name)
        assert coding.spans(("a.mp4", ""), "AU12") == [(0.5, 1.25, 3.0)]
        assert coding.left_out == ("'AU45' (1)",)


def test_a_project_with_a_time_offset_is_read_on_the_clock_of_the_video(coding, tmp_path):
    (path,) = write_coding(coding({("a.mp4", "0", "AU12", ""): [(0.5, 1.0)]}), tmp_path, "boris")
    project = json.loads(path.read_text())
    observation = project["observations"]["a.mp4"]
    observation["time offset"] = 100.0
    for event in observation["events"]:
        event[0] += 100
    path.write_text(json.dumps(project))
    assert read_coding(path).spans(("a.mp4", "0"), "AU12") == [(0.5, 1.0, pytest.approx(np.nan, nan_ok=True))]
    del observation["events"][1]
    path.write_text(json.dumps(project))
    with pytest.raises(CodingError, match=r"'a.mp4': AU12 face 0 starts at 0.500 s and never stops"):
        read_coding(path)


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ([(-0.5, 1)], "from -0.500 to 1.000 s; expected 1 ms or more, not before 0.000 s"),
        ([(0, 2), (1, 3)], "not before 2.000 s"),
        ([(1, 1.0001)], "expected 1 ms or more"),
    ],
)
def test_events_that_a_tool_cannot_hold_are_refused_by_place(coding, tmp_path, spans, message):
    by_hand = coding({("a.mp4", "0", "AU12", ""): spans})
    for kind in ("elan", "praat", "boris"):
        with pytest.raises(CodingError, match=r"by-hand.csv, a.mp4, face 0 AU12") as raised:
            write_coding(by_hand, tmp_path, kind)
        assert message in str(raised.value)


@pytest.mark.parametrize("name", ["bad.eaf", "bad.TextGrid", "bad.boris", "bad.txt", "bad.csv"])
def test_a_file_without_a_coding_is_refused_by_name(tmp_path, name):
    (tmp_path / name).write_text("onset,offset\n1,2\n")
    with pytest.raises(ValueError, match=name):
        read_coding(tmp_path / name)


def test_corrections_of_a_coder_become_labels_that_fit_reads(coding, tmp_path):
    grey = np.zeros((10, 32, 32, 3), np.uint8)
    write_video(tmp_path / "a.mp4", list(grey), frames_per_second=25)
    tiers = {
        ("a.mp4", "0", "AU12", ""): [(0.08, 0.2)],
        ("a.mp4", "0", "AU04", ""): [],
        ("a.mp4", "0", "AU06", ""): [(0.0, 0.04, 2)],
        ("a.mp4", "0", "6+12", ""): [(0.1, 0.2)],
    }
    write_coding(coding(tiers, path="a.csv"), tmp_path / "elan", "elan")
    eaf = tmp_path / "elan" / "a.eaf"
    args = [str(eaf), "--to", "labels", "--out", str(tmp_path / "labels"), "--media", str(tmp_path / "a.mp4")]
    assert cli.main(["convert", *args]) == 0
    frames = Table(tmp_path / "labels" / "a.labels.csv").frames()
    assert frames.action_units == (4, 6, 12)
    assert (tmp_path / "labels" / frames.path_N[0]).resolve() == tmp_path / "a.mp4"
    assert frames.subject_N.tolist() == ["a"] * 10
    np.testing.assert_array_equal(frames.frame_N, np.arange(10))
    np.testing.assert_array_equal(frames.occurrence_NA[:, 0], np.zeros(10))
    np.testing.assert_array_equal(frames.occurrence_NA[:, 2], [0, 0, 1, 1, 1, 0, 0, 0, 0, 0])
    graded = Table(tmp_path / "labels" / "a.labels.csv", occurs_at=2).frames()
    np.testing.assert_array_equal(graded.intensity_NA[:, 1], [2, *[0] * 9])


def test_labels_by_frame_number_become_events_on_the_clock_of_the_video(tmp_path):
    write_video(tmp_path / "a.mp4", list(np.zeros((10, 32, 32, 3), np.uint8)), frames_per_second=25)
    rows = "".join(f"a.mp4,ann,{frame},{int(2 <= frame < 5)}\n" for frame in range(10))
    (tmp_path / "labels.csv").write_text("path,subject,frame,AU12\n" + rows)
    coding = read_coding(tmp_path / "labels.csv", media=tmp_path / "a.mp4")
    (path,) = write_coding(coding, tmp_path, "elan")
    assert read_coding(path).spans(("a.mp4", ""), "AU12")[0][:2] == (0.08, 0.2)
    with pytest.raises(CodingError, match=r"no times of the frames of a.mp4; give its folder as --media"):
        write_coding(read_coding(tmp_path / "labels.csv"), tmp_path, "elan")


def test_events_beyond_the_video_are_counted_and_named(coding, tmp_path, capsys):
    write_video(tmp_path / "a.mp4", list(np.zeros((10, 32, 32, 3), np.uint8)), frames_per_second=25)
    late = coding({("a.mp4", "0", "AU12", ""): [(0.1, 0.2), (0.3, 63.2)]})
    write_coding(late, tmp_path, "elan")
    outside = read_coding(tmp_path / "a.eaf", media=tmp_path).outside()
    assert outside == [
        f"{tmp_path / 'a.eaf'}: a.mp4, AU12: 0.300 to 63.200 s, outside the video's 0.000 to 0.400 s"
    ]
    args = [str(tmp_path / "a.eaf"), "--to", "praat", "--out", str(tmp_path), "--media", str(tmp_path)]
    assert cli.main(["convert", *args]) == 1
    assert "1 events lie outside their video" in capsys.readouterr().out


def test_without_pympi_the_message_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "a.eaf").write_text("<ANNOTATION_DOCUMENT/>")
    monkeypatch.setitem(sys.modules, "pympi", None)
    with pytest.raises(CodingError, match=r"pip install 'mien\[coders\]'"):
        read_coding(tmp_path / "a.eaf")
