"""`mien detect` as a user types it."""

from __future__ import annotations

import base64
import csv
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pandas as pd
import pytest

from mien.cli import main
from mien.data.jobs import run_jobs
from mien.detect.camera import CameraError
from mien.detect.detector import Detector
from mien.detect.table import Detections
from mien.findings.events import EventSettings
from mien.video import read_frames
from tests.detect.beside_video import write_beside, write_points
from tests.detect.rows_by_hand import face_row
from tests.detect.tiny_model import write_tiny_model
from tests.points_beside import CONTRACT
from tests.shipped import write_faces

ORANGE = (240, 138, 93)  # boxes, and bars of units that are present

using_points = pytest.mark.usefixtures("points_beside", "in_this_process")


@pytest.fixture
def in_this_process(monkeypatch):
    """Files are read where the given points are known, not in processes of their own."""
    monkeypatch.setattr(
        "mien.commands.detect.run_jobs", lambda work, media, *, workers: run_jobs(work, media, workers=0)
    )


@pytest.fixture
def folder(tmp_path):
    """Three good videos in a tree, two of one name, a text that calls itself a video, and notes."""
    root = tmp_path / "videos"
    write_beside(root / "anna/one.mp4", [[0]] * 30)
    write_beside(root / "ben/one.mp4", [[0, 1]] * 20, seed=1)
    write_beside(root / "nobody.mp4", [[]] * 10, seed=2)
    (root / "text.mp4").write_text("no video")
    (root / "notes.txt").write_text("notes")
    return root


def detect(*arguments):
    return main(["detect", *map(str, arguments)])


def accounts(out):
    with (out / "account.csv").open(newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


@using_points
def test_a_tree_becomes_tables_and_an_account(folder, beside_model, tmp_path, capsys):
    out = tmp_path / "out"
    assert detect(folder, "--model", beside_model, "--out", out) == 1
    said = capsys.readouterr().out
    assert "4 videos, 0 pictures; other files left aside: 4" in said
    assert "60 frames, 80 rows, 70 of them with a face" in said
    assert "no face in 1: nobody" in said
    assert "unreadable: text: " in said
    assert "text.mp4: not a video" in said
    assert {name: row["status"] for name, row in accounts(out).items()} == {
        "anna/one": "whole",
        "ben/one": "whole",
        "nobody": "whole",
        "text": "unreadable",
    }
    assert len(Detections.load(out / "ben/one.csv")) == 40
    assert Detections.load(out / "anna/one.parquet").num_frames == 30
    assert not list(out.rglob(".*"))
    account = accounts(out)["ben/one"]
    assert account["usable_share"] == "0.0"  # noise, in boxes of less than 48 px
    assert account["quality"].startswith(
        "face 0: 0% usable (100% small), longest gap 0.8 s; face 1: 0% usable"
    )
    assert len(pd.read_csv(out / "ben/one.events.csv")) == 0


@using_points
def test_limits_of_quality_and_events_are_set_and_recorded(folder, beside_model, tmp_path):
    out = tmp_path / "out"
    more = ("--events", "1+12", "--set", "quality.min_face_px=1", "quality.min_sharpness=0")
    more += ("--set", "events.shortest_seconds=0")
    assert detect(folder / "anna", "--model", beside_model, "--out", out, *more) == 0
    table = Detections.load(out / "one.parquet")
    assert table.metadata["quality"]["min_face_px"] == 1
    assert table.table["usable"].to_pylist() == [1] * 30
    events = pd.read_csv(out / "one.events.csv")
    settings = EventSettings(shortest_seconds=0)
    pd.testing.assert_frame_equal(events, table.events("1+12", settings=settings).round(4), check_dtype=False)
    record = json.loads((out / "one.events.json").read_text())["events"]
    assert set(record["units_left_out"]) == {"AU04"}
    assert (record["combinations"], record["settings"]["shortest_seconds"]) == (["1+12"], 0)


@using_points
def test_the_same_command_goes_on_and_other_settings_are_refused(folder, beside_model, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = (folder / "anna", folder / "ben", "--model", beside_model, "--out", out)
    assert detect(*arguments) == 0
    first = {path: path.read_bytes() for path in out.rglob("*.parquet")}
    assert len(first) == 2
    assert detect(*arguments) == 0
    assert "2 of 2 tables were finished by an earlier run" in capsys.readouterr().out
    assert detect(*arguments, "--smooth", "0.5") == 1
    assert "begun with other settings:\n  smoothing: None there" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in out.rglob("*.parquet")} == first


@using_points
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "expected videos, pictures or folders, or --camera N"),
        (["VIDEOS", "--camera", "0"], "expected videos, pictures or folders, or --camera N"),
        (["nowhere"], "nowhere does not exist"),
        (["VIDEOS", "--baseline", "last:3"], "expected first:SECONDS"),
        (["VIDEOS", "--smooth", "-1"], "smoothing over -1.0 s"),
        (["VIDEOS", "--workers", "0"], "--workers 0: expected 1 or more"),
        (["VIDEOS", "--batch", "0"], "batch_size = 0"),
        (["VIDEOS", "--engine", "torhc"], "torch"),
        (["VIDEOS", "--events", "1+27"], "there is no AU27, only AU01"),
        (["VIDEOS", "--set", "quality.max_yaw=3"], "max_yaw_degrees"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(folder, beside_model, capsys, arguments, says):
    out = folder.parent / "out"
    given = [str(folder) if word == "VIDEOS" else word for word in arguments]
    assert detect(*given, "--model", beside_model, "--out", out) == 1
    assert says in capsys.readouterr().err
    assert not out.exists()


@using_points
def test_a_camera_that_is_not_there_is_said(beside_model, tmp_path, capsys):
    status = detect("--camera", "97", "--model", beside_model, "--out", tmp_path / "out")
    assert status == 1
    assert "camera 97 cannot be opened" in capsys.readouterr().err


@pytest.fixture
def camera(monkeypatch, python_answers_interrupts):
    """camera(end): 30 pictures of a camera, then `end()` is called and 10 more come; a face in each."""

    def frames(end):
        for number in range(40):
            if number == 30:
                end()
            yield number / 25, np.zeros((48, 64, 3), np.uint8)

    def stream(detector, frames, **more):
        num_values = detector.layout.end_of_levels + len(detector.layout.other_columns)
        values = np.full(num_values, 0.5, np.float32)
        rows = (face_row(seconds, values) for seconds, _ in frames)
        yield from detector.finish(rows, list, **more)

    def make(end):
        monkeypatch.setattr("mien.detect.camera.camera_frames", lambda *_given, **_more: frames(end))
        monkeypatch.setattr(Detector, "stream", stream)

    return make


def pull_out():
    raise CameraError("camera 0 gives no picture any more")


def press_ctrl_c():
    os.kill(os.getpid(), signal.SIGINT)


@using_points
@pytest.mark.parametrize(("end", "status"), [(pull_out, 1), (press_ctrl_c, 0)])
def test_a_camera_s_rows_that_wait_for_the_baseline_are_written_at_the_end(
    camera, beside_model, tmp_path, end, status
):
    camera(end)
    out = tmp_path / "out"
    more = ("--baseline", "first:60", "--smooth", "0.2")
    assert detect("--camera", "0", "--model", beside_model, "--out", out, *more) == status
    for name in ("camera0.csv", "camera0.parquet"):
        assert Detections.load(out / name).num_frames == 30
    assert Detections.load(out / "camera0.csv").table["AU12"][0].as_py() == pytest.approx(0.05)
    for name in ("camera0.csv", "camera0.parquet"):
        assert Detections.load(out / name).metadata["baseline_cut_short"] == {"0": pytest.approx(30 / 25)}


@using_points
def test_a_second_ctrl_c_gives_up_what_waits_and_keeps_what_is_written(
    camera, beside_model, tmp_path, monkeypatch
):
    camera(press_ctrl_c)
    real = Detector.stream

    def stream(detector, frames, **more):
        for row in real(detector, frames, **more):
            if row.frame == 10:
                press_ctrl_c()
            yield row

    monkeypatch.setattr(Detector, "stream", stream)
    assert detect("--camera", "0", "--model", beside_model, "--out", tmp_path, "--baseline", "first:60") == 0
    for name in ("camera0.csv", "camera0.parquet"):
        assert Detections.load(tmp_path / name).num_frames == 10


@using_points
def test_a_page_that_cannot_be_written_costs_itself_alone(folder, beside_model, tmp_path, capsys):
    out = tmp_path / "out"
    (folder / "text.mp4").unlink()
    (out / "anna/one.html").mkdir(parents=True)
    arguments = (folder, "--model", beside_model, "--out", out, "--page")
    assert detect(*arguments) == 1
    said = capsys.readouterr().out
    assert f"not shown: anna/one: cannot write {out / 'anna/one.html'}: Is a directory" in said
    assert [name for name, row in accounts(out).items() if row["not_shown"]] == ["anna/one"]
    assert {row["status"] for row in accounts(out).values()} == {"whole"}
    assert Detections.load(out / "anna/one.parquet").num_frames == 30
    assert (out / "ben/one.html").is_file()
    assert (out / "overview.html").is_file()
    (out / "anna/one.html").rmdir()
    assert detect(*arguments) == 0
    assert (out / "anna/one.html").is_file()


@using_points
def test_a_page_is_made_again_only_where_its_video_has_changed(beside_model, tmp_path):
    video, out = tmp_path / "one.mp4", tmp_path / "out"
    arguments = (video, "--model", beside_model, "--out", out, "--page", "--video")
    write_beside(video, [[0]] * 5)
    assert detect(*arguments) == 0
    shown = [out / "one.html", out / "one.annotated.mp4"]
    first = [(path.read_bytes(), path.stat().st_mtime_ns) for path in shown]
    assert detect(*arguments) == 0
    assert [(path.read_bytes(), path.stat().st_mtime_ns) for path in shown] == first
    write_beside(video, [[0, 1]] * 9, seed=1)
    assert detect(*arguments) == 0
    assert Detections.load(out / "one.parquet").num_frames == 9
    assert all(path.read_bytes() != before for path, (before, _) in zip(shown, first, strict=True))


@using_points
def test_a_name_that_the_disk_cannot_take_costs_that_file_alone(beside_model, tmp_path, capsys):
    folder, out = tmp_path / "videos", tmp_path / "out"
    write_beside(folder / "one.mp4", [[0]] * 5)
    write_beside(folder / "one.csv/two.mp4", [[0]] * 5)  # its folder would have the name of a table
    shutil.copyfile(folder / "one.mp4", folder / f"{'x' * 245}.mp4")
    write_beside(folder / "z.mp4", [[0]] * 5)
    arguments = (folder, "--model", beside_model, "--out", out, "--page")
    for _again in range(2):
        assert detect(*arguments) == 1
        said = capsys.readouterr().out
        assert f"not written: one.csv/two: cannot write {out / 'one.csv/two'}" in said
        assert "File name too long. Its name is too long for this disk: give the source a shorter" in said
        assert {name[:7]: row["status"] for name, row in accounts(out).items()} == {
            "one": "whole",
            "one.csv": "not written",
            "xxxxxxx": "not written",
            "z": "whole",
        }
    assert Detections.load(out / "z.parquet").num_frames == 5
    assert not list(out.rglob(".*"))


@using_points
def test_a_disk_that_takes_no_more_names_the_file_and_what_to_do(beside_model, tmp_path, capsys):
    video, out = write_beside(tmp_path / "long.mp4", [[]] * 300), tmp_path / "out"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, before[1]))  # writing more fails as on a full disk
    try:
        assert detect(video, "--model", beside_model, "--out", out) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    said = capsys.readouterr().out
    assert f"not written: long: cannot write {out / 'long.*'}: File too large. Make room, then run" in said
    assert accounts(out)["long"]["status"] == "not written"


@using_points
def test_formats_settings_and_largest_faces_reach_the_table(folder, beside_model, tmp_path):
    out = tmp_path / "out"
    more = ("--format", "openface", "--baseline", "first:0.5", "--smooth", "0.2", "--faces", "largest")
    assert detect(folder / "ben", "--model", beside_model, "--out", out, *more) == 0
    assert (out / "one.csv").read_text().startswith("frame, face_id, timestamp, confidence, success, AU01_r")
    table = Detections.load(out / "one.parquet")
    assert len(table) == 20
    assert table.metadata["baseline"]["kind"] == "first"
    assert table.metadata["smoothing"]["seconds"] == 0.2
    assert table.metadata["faces"] == "largest"


@using_points
def test_a_model_no_better_than_chance_calls_nothing_present_in_any_output(folder, tmp_path, capsys):
    units = ("AU01", "AU04", "AU12", "AU25")
    model = write_tiny_model(tmp_path, contract=CONTRACT, unproven=units)
    pixels = np.random.default_rng(0).integers(0, 255, (64, 128, 3), np.uint8)
    cv2.imwrite(str(folder / "ben/face.png"), pixels)
    write_points(folder / "ben/face.png", [[0]])
    out = tmp_path / "out"
    more = ("--format", "openface", "--page", "--video")
    assert detect(folder / "ben", "--model", model, "--out", out, *more) == 0
    warning = (
        "This model was not shown to read any action unit better than chance, so presence is left blank."
    )
    assert capsys.readouterr().out.splitlines()[-1] == f"warning: {warning}"
    detections = Detections.load(out / "one.parquet")
    assert (
        detections.warning
        == json.loads((out / "one.json").read_text())["table"]["model"]["warning"]
        == warning
    )
    assert detections.metadata["thresholds"] == {}
    assert len(detections.table["AU01"].drop_null()) == 40
    assert repr(detections).startswith(warning)
    for unit in units:
        assert detections.table[f"{unit}_present"].null_count == 40
    lines = [line.split(", ") for line in (out / "one.csv").read_text().splitlines()]
    assert [name for name, cell in zip(*lines[:2], strict=True) if cell == ""] == [f"{u}_c" for u in units]
    page = (out / "one.html").read_text()
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    assert all(unit["blank"] and unit["threshold"] is None for unit in data["units"])
    assert {base64.b64decode(face["present"]).strip(b"\0") for face in data["faces"]} == {b""}
    assert "<meter" not in page
    overview = (out / "overview.html").read_text()
    assert overview.count('<th class="text" scope="row"') == 3
    assert "AU01" not in overview
    for html in (page, overview, (out / "face.png.html").read_text()):
        assert html.index(f"<b>{warning}</b>") < html.index("<section" if "<section" in html else "<table")
    first = next(iter(read_frames(out / "one.annotated.mp4"))).image_HWC
    assert first.shape[0] > 480  # the warning above the picture
    assert not (np.abs(first[:, -100:].astype(int) - ORANGE).max(axis=-1) < 40)[60:].any()


def test_help_and_import_stay_light():
    code = (
        "import sys, mien\nfrom mien.cli import main\n"
        "try: main(['detect', '--help'])\nexcept SystemExit: pass\n"
        "print(sorted({'torch', 'cv2', 'pyarrow', 'numpy'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip().endswith("[]")


def test_two_workers_write_the_tables_of_one(tmp_path):
    model = write_tiny_model(tmp_path)
    for name, faces in (("one", [0]), ("two", [0, 1])):
        write_faces(tmp_path / "videos" / f"{name}.mp4", [faces] * 8)
    for workers in (1, 2):
        out = tmp_path / f"out{workers}"
        arguments = (tmp_path / "videos", "--model", model, "--out", out, "--page")
        assert detect(*arguments, "--workers", workers) == 0
    for name in ("one.csv", "one.parquet", "two.csv", "two.parquet"):
        assert (tmp_path / "out1" / name).read_bytes() == (tmp_path / "out2" / name).read_bytes()
    assert Detections.load(tmp_path / "out2/two.csv").faces == [0, 1]


@pytest.mark.slow
def test_a_run_killed_outright_keeps_its_rows_and_goes_on_to_the_same_tables(tmp_path):
    video = write_faces(tmp_path / "long.mp4", [[0], [0, 1], []] * 150)
    whole, out = tmp_path / "whole", tmp_path / "out"
    arguments = [str(video), "--model", str(write_tiny_model(tmp_path)), "--smooth", "0.2"]
    assert detect(*arguments, "--out", whole) == 0
    command = [sys.executable, "-m", "mien", "detect", *arguments, "--out", str(out)]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while run.poll() is None and _num_lines(out / "long.csv") < 100:
        time.sleep(0.005)
    run.kill()
    assert run.wait() == -signal.SIGKILL
    kept = _num_lines(out / "long.csv")
    assert kept >= 100
    assert (whole / "long.csv").read_text().startswith((out / "long.csv").read_text())
    assert detect(*arguments, "--out", out) == 0
    for name in ("long.csv", "long.parquet"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()


def _num_lines(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0
