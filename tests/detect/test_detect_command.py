"""`mien detect` as a user types it."""

from __future__ import annotations

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


def mien_detect(*arguments):
    return main(["detect", *map(str, arguments)])


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def detect(beside_model, out, points_beside, in_this_process):
    """detect(MEDIA, ...): its exit code, by the tiny model, into `out`, on the faces beside the files."""
    return lambda *arguments: mien_detect(*arguments, "--model", beside_model, "--out", out)


def accounts(out):
    with (out / "account.csv").open(newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def test_a_tree_becomes_tables_and_an_account(folder, detect, out, capsys):
    assert detect(folder) == 1
    said = capsys.readouterr().out
    for words in (
        "4 videos, 0 pictures; other files left aside: 4",
        "60 frames, 80 rows, 70 of them with a face",
        "no face in 1: nobody",
        "unreadable: text: ",
        "text.mp4: not a video",
    ):
        assert words in said
    status = {name: row["status"] for name, row in accounts(out).items()}
    assert status == {"anna/one": "whole", "ben/one": "whole", "nobody": "whole", "text": "unreadable"}
    assert len(Detections.load(out / "ben/one.csv")) == 40
    assert Detections.load(out / "anna/one.parquet").num_frames == 30
    assert not list(out.rglob(".*"))
    account = accounts(out)["ben/one"]
    assert account["usable_share"] == "0.0"  # noise, in boxes of less than 48 px
    quality = "face 0: 0% usable (100% small), longest gap 0.8 s; face 1: 0% usable"
    assert account["quality"].startswith(quality)
    assert len(pd.read_csv(out / "ben/one.events.csv")) == 0


def test_limits_of_quality_and_events_are_set_and_recorded(folder, detect, out):
    more = ("--events", "1+12", "--set", "quality.min_face_px=1", "quality.min_sharpness=0")
    assert detect(folder / "anna", *more, "--set", "events.shortest_seconds=0") == 0
    table = Detections.load(out / "one.parquet")
    assert table.metadata["quality"]["min_face_px"] == 1
    assert table.table["usable"].to_pylist() == [1] * 30
    events = table.events("1+12", settings=EventSettings(shortest_seconds=0))
    pd.testing.assert_frame_equal(pd.read_csv(out / "one.events.csv"), events.round(4), check_dtype=False)
    record = json.loads((out / "one.events.json").read_text())["events"]
    assert set(record["units_left_out"]) == {"AU04"}
    assert (record["combinations"], record["settings"]["shortest_seconds"]) == (["1+12"], 0)


def test_the_same_command_goes_on_and_other_settings_are_refused(folder, detect, out, capsys):
    media = (folder / "anna", folder / "ben")
    assert detect(*media) == 0
    first = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in out.rglob("one.[cp]*")}
    assert len(first) == 4
    assert detect(*media) == 0
    assert "2 of 2 tables were finished by an earlier run" in capsys.readouterr().out
    assert detect(*media, "--smooth", "0.5") == 1
    assert "begun with other settings:\n  smoothing: None there" in capsys.readouterr().err
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in first} == first


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "expected videos, pictures or folders, or --camera N"),
        (["VIDEOS", "--camera", "0"], "expected videos, pictures or folders, or --camera N"),
        (["--camera", "97"], "camera 97 cannot be opened"),
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
def test_what_cannot_be_done_is_said_in_a_line(folder, detect, capsys, arguments, says):
    assert detect(*[folder if word == "VIDEOS" else word for word in arguments]) == 1
    assert says in capsys.readouterr().err
    assert not (folder.parent / "out").exists()


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


@pytest.mark.parametrize(("end", "status"), [(pull_out, 1), (press_ctrl_c, 0)])
def test_a_camera_s_rows_that_wait_for_the_baseline_are_written_at_the_end(camera, detect, out, end, status):
    camera(end)
    assert detect("--camera", "0", "--baseline", "first:60", "--smooth", "0.2") == status
    for name in ("camera0.csv", "camera0.parquet"):
        found = Detections.load(out / name)
        assert found.num_frames == 30
        assert found.table["AU12"][0].as_py() == pytest.approx(0.05)
        assert found.metadata["baseline_cut_short"] == {"0": pytest.approx(30 / 25)}


def test_a_second_ctrl_c_gives_up_what_waits_and_keeps_what_is_written(camera, detect, out, monkeypatch):
    camera(press_ctrl_c)
    real = Detector.stream

    def stream(detector, frames, **more):
        for row in real(detector, frames, **more):
            if row.frame == 10:
                press_ctrl_c()
            yield row

    monkeypatch.setattr(Detector, "stream", stream)
    assert detect("--camera", "0", "--baseline", "first:60") == 0
    for name in ("camera0.csv", "camera0.parquet"):
        assert Detections.load(out / name).num_frames == 10


def test_a_page_that_cannot_be_written_costs_itself_alone(folder, detect, out, capsys):
    (folder / "text.mp4").unlink()
    (out / "anna/one.html").mkdir(parents=True)
    assert detect(folder, "--page") == 1
    said = capsys.readouterr().out
    assert f"not shown: anna/one: cannot write {out / 'anna/one.html'}: Is a directory" in said
    assert [name for name, row in accounts(out).items() if row["not_shown"]] == ["anna/one"]
    assert {row["status"] for row in accounts(out).values()} == {"whole"}
    assert Detections.load(out / "anna/one.parquet").num_frames == 30
    assert (out / "ben/one.html").is_file()
    assert (out / "overview.html").is_file()
    (out / "anna/one.html").rmdir()
    assert detect(folder, "--page") == 0
    assert (out / "anna/one.html").is_file()


def test_a_page_is_made_again_only_where_its_video_has_changed(detect, out, tmp_path):
    video = write_beside(tmp_path / "one.mp4", [[0]] * 5)
    assert detect(video, "--page", "--video") == 0
    shown = [out / "one.html", out / "one.annotated.mp4"]
    first = [(path.read_bytes(), path.stat().st_mtime_ns) for path in shown]
    assert detect(video, "--page", "--video") == 0
    assert [(path.read_bytes(), path.stat().st_mtime_ns) for path in shown] == first
    write_beside(video, [[0, 1]] * 9, seed=1)
    assert detect(video, "--page", "--video") == 0
    assert Detections.load(out / "one.parquet").num_frames == 9
    assert all(path.read_bytes() != before for path, (before, _) in zip(shown, first, strict=True))


def test_a_name_that_the_disk_cannot_take_costs_that_file_alone(detect, out, tmp_path, capsys):
    folder, long = tmp_path / "videos", "x" * 245
    write_beside(folder / "one.mp4", [[0]] * 5)
    write_beside(folder / "one.csv/two.mp4", [[0]] * 5)  # its folder would have the name of a table
    shutil.copyfile(folder / "one.mp4", folder / f"{long}.mp4")
    write_beside(folder / "z.mp4", [[0]] * 5)
    for _again in range(2):
        assert detect(folder, "--page") == 1
        said = capsys.readouterr().out
        assert f"not written: one.csv/two: cannot write {out / 'one.csv/two'}" in said
        assert "File name too long. Its name is too long for this disk: give the source a shorter" in said
        status = {name: row["status"] for name, row in accounts(out).items()}
        assert status == {"one": "whole", "one.csv/two": "not written", long: "not written", "z": "whole"}
    assert Detections.load(out / "z.parquet").num_frames == 5
    assert not list(out.rglob(".*"))


def test_a_disk_that_takes_no_more_names_the_file_and_what_to_do(detect, out, tmp_path, capsys):
    video = write_beside(tmp_path / "long.mp4", [[]] * 300)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, before[1]))  # writing more fails as on a full disk
    try:
        assert detect(video) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    said = capsys.readouterr().out
    assert f"not written: long: cannot write {out / 'long.*'}: File too large. Make room, then run" in said
    assert accounts(out)["long"]["status"] == "not written"


def test_formats_settings_and_largest_faces_reach_the_table(folder, detect, out):
    more = ("--format", "openface", "--baseline", "first:0.5", "--smooth", "0.2", "--faces", "largest")
    assert detect(folder / "ben", *more) == 0
    assert (out / "one.csv").read_text().startswith("frame, face_id, timestamp, confidence, success, AU01_r")
    table = Detections.load(out / "one.parquet")
    assert len(table) == 20
    assert table.metadata["baseline"]["kind"] == "first"
    assert table.metadata["smoothing"]["seconds"] == 0.2
    assert table.metadata["faces"] == "largest"


@pytest.mark.usefixtures("points_beside", "in_this_process")
def test_a_model_no_better_than_chance_calls_nothing_present_in_any_output(folder, out, tmp_path, capsys):
    units = ("AU01", "AU04", "AU12", "AU25")
    model = write_tiny_model(tmp_path, contract=CONTRACT, unproven=units)
    pixels = np.random.default_rng(0).integers(0, 255, (64, 128, 3), np.uint8)
    cv2.imwrite(str(folder / "ben/face.png"), pixels)
    write_points(folder / "ben/face.png", [[0]])
    more = ("--format", "openface", "--page", "--video")
    assert mien_detect(folder / "ben", "--model", model, "--out", out, *more) == 0
    cause = "This model was not shown to read any action unit better than chance"
    warning = f"{cause}, so presence is left blank."
    assert capsys.readouterr().out.splitlines()[-1] == f"warning: {warning}"
    detections = Detections.load(out / "one.parquet")
    metadata = json.loads((out / "one.json").read_text())["table"]
    assert detections.warning == metadata["model"]["warning"] == warning
    assert detections.metadata["thresholds"] == {}
    assert len(detections.table["AU01"].drop_null()) == 40
    assert repr(detections).startswith(warning)
    for unit in units:
        assert detections.table[f"{unit}_present"].null_count == 40
    lines = [line.split(", ") for line in (out / "one.csv").read_text().splitlines()]
    assert [name for name, cell in zip(*lines[:2], strict=True) if cell == ""] == [f"{u}_c" for u in units]
    page, overview = (out / "one.html").read_text(), (out / "overview.html").read_text()
    assert "<meter" not in page
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
        assert mien_detect(*arguments, "--workers", workers) == 0
    for name in ("one.csv", "one.parquet", "two.csv", "two.parquet"):
        assert (tmp_path / "out1" / name).read_bytes() == (tmp_path / "out2" / name).read_bytes()
    assert Detections.load(tmp_path / "out2/two.csv").faces == [0, 1]


@pytest.mark.slow
def test_a_run_killed_outright_keeps_its_rows_and_goes_on_to_the_same_tables(tmp_path):
    video = write_faces(tmp_path / "long.mp4", [[0], [0, 1], []] * 150)
    whole, out = tmp_path / "whole", tmp_path / "out"
    arguments = [str(video), "--model", str(write_tiny_model(tmp_path)), "--smooth", "0.2"]
    assert mien_detect(*arguments, "--out", whole) == 0
    command = [sys.executable, "-m", "mien", "detect", *arguments, "--out", str(out)]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while run.poll() is None and _num_lines(out / "long.csv") < 100:
        time.sleep(0.005)
    run.kill()
    assert run.wait() == -signal.SIGKILL
    kept = _num_lines(out / "long.csv")
    assert kept >= 100
    assert (whole / "long.csv").read_text().startswith((out / "long.csv").read_text())
    assert mien_detect(*arguments, "--out", out) == 0
    for name in ("long.csv", "long.parquet"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()


def _num_lines(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0
