"""Media into files: a row for every frame, killed runs that go on, damage that is told."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from contextlib import closing

import av
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from mien.detect.detector import Detector
from mien.detect.media import list_media
from mien.detect.persons import PersonLinker
from mien.detect.recording import (
    DAMAGED,
    UNDER_WAY,
    UNREADABLE,
    WHOLE,
    Journal,
    RecordingError,
    record_medium,
)
from mien.detect.signals import Baseline, Smoothing
from mien.detect.table import Detections, FaceRow, metadata_of
from mien.faces.track import track_frames
from mien.faces.tracked import TrackSettings
from mien.video import read_frames, write_video
from tests.detect.beside_video import write_beside, write_points
from tests.detect.rows_by_hand import no_face_row
from tests.faces.planted_people import Planted, PlantedFinder, paint

pytestmark = pytest.mark.usefixtures("points_beside")

FACES = [[0], [0, 1], [], [1], [0, 2]] * 30


@pytest.fixture
def video(tmp_path):
    return write_beside(tmp_path / "media/clip.mp4", FACES)


def detector_of(model, **more):
    return Detector(model, batch_size=8, **more)


def record(path, detector, out, **more):
    (medium,) = list_media([path]).media
    return record_medium(medium, detector, out, **more)


def dying(detector, *, at):
    """The detector, interrupted at the call of its network with this number."""
    network, calls = detector._engine, itertools.count()

    def run(*faces):
        if next(calls) == at:
            raise KeyboardInterrupt
        return network(*faces)

    detector._engine = in_place_of(network, run)
    return detector


def in_place_of(network, run):
    """The function as an engine of the network's name and device."""
    run.name, run.device = network.name, network.device
    return run


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".csv", ".parquet")}


def test_every_frame_has_its_rows_in_both_tables(video, beside_model, tmp_path):
    account = record(video, detector_of(beside_model), tmp_path / "out")
    assert (account.status, account.num_frames, account.num_rows) == (WHOLE, 150, 210)
    assert (account.num_with_face, account.num_faces) == (180, 3)
    for suffix in ("csv", "parquet"):
        table = Detections.load(tmp_path / f"out/clip.{suffix}").to_pandas()
        faces = table.groupby("frame")["face_id"].apply(lambda ids: sorted(ids.dropna()))
        assert faces.tolist() == FACES
        assert np.allclose(table["timestamp"], table["frame"] / 25, atol=1e-6)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("clip.csv", "clip.json", "clip.parquet"),
    ]
    metadata = json.loads((tmp_path / "out/clip.json").read_text())["table"]
    assert metadata["baseline"] is None
    assert metadata["engine"] == "torch"
    assert Detections.load(tmp_path / "out/clip.parquet").metadata == metadata


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"smoothing": Smoothing(0.4)},
        {"baseline": Baseline.parse("first:1"), "smoothing": Smoothing(0.3, "causal")},
        {"baseline": Baseline.parse("file"), "faces": "largest"},
    ],
)
@pytest.mark.parametrize("killed_after", [1, 5, 14])
def test_a_killed_run_goes_on_to_the_same_bytes(video, beside_model, tmp_path, more, killed_after):
    whole = record(video, detector_of(beside_model, **more), tmp_path / "whole")
    killed = dying(detector_of(beside_model, **more), at=killed_after)
    with pytest.raises(KeyboardInterrupt):
        record(video, killed, tmp_path / "out")
    assert json.loads((tmp_path / "out/clip.json").read_text())["account"]["status"] == UNDER_WAY
    assert not (tmp_path / "out/clip.parquet").exists()
    seen = []
    resumed = detector_of(beside_model, **more)
    resumed._engine = _counted(resumed._engine, seen)
    assert record(video, resumed, tmp_path / "out") == whole
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert sum(seen) < (180 if more.get("faces") != "largest" else 120)  # what was read is not read again


def test_a_second_run_touches_nothing_of_one_under_way(video, beside_model, tmp_path):
    """Not even where its video looks changed, for which rows on the disk are otherwise begun anew."""
    whole = record(video, detector_of(beside_model), tmp_path / "whole")
    first, second = detector_of(beside_model), detector_of(beside_model)
    network, calls, refused = first._engine, itertools.count(), []

    def interrupted_by_another_run(*faces):
        if next(calls) == 5:
            os.utime(video, (0, 0))
            before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
            with pytest.raises(RecordingError) as error:
                record(video, second, tmp_path / "out")
            refused.append(str(error.value))
            assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
        return network(*faces)

    first._engine = in_place_of(network, interrupted_by_another_run)
    assert record(video, first, tmp_path / "out") == whole
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    (said,) = refused
    assert "another process is writing to it" in said
    assert not list((tmp_path / "out").glob(".*"))


def test_a_killed_run_s_csv_holds_the_rows_of_whole_frames(video, beside_model, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        record(video, dying(detector_of(beside_model), at=12), tmp_path / "out")
    assert len(pd.read_csv(tmp_path / "out/clip.csv")) >= 64


def test_ids_of_a_run_that_goes_on_are_those_of_one_run(beside_model, tmp_path, monkeypatch):
    monkeypatch.setattr("mien.detect.detector.PersonLinker", PersonLinker)
    ways = [*range(0, 440, 8), *[440] * 20]
    story = [[Planted(1, 100 + way), Planted(2, 540 - way)] for way in ways]
    write_video(tmp_path / "cross.mp4", [paint(people) for people in story], frames_per_second=25)

    class PlantedTracking:
        def every_frame(self, path):
            finder = PlantedFinder()

            def frames():
                for frame, people in zip(read_frames(path), story, strict=True):
                    finder.people = people
                    yield frame

            return track_frames(frames(), finder=finder, settings=TrackSettings())

    def planted(dies_at=None):
        detector = Detector(beside_model, batch_size=8)
        detector._tracking = PlantedTracking()
        return dying(detector, at=dies_at)

    record(tmp_path / "cross.mp4", planted(), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        record(tmp_path / "cross.mp4", planted(dies_at=10), tmp_path / "out")
    record(tmp_path / "cross.mp4", planted(), tmp_path / "out")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert Detections.load(tmp_path / "out/cross.parquet").faces == [0, 1]


def test_a_finished_file_is_left_as_it_is(video, beside_model, tmp_path):
    detector = detector_of(beside_model)
    record(video, detector, tmp_path / "out")
    before = contents(tmp_path / "out")
    account = record(video, detector, tmp_path / "out")
    assert (account.num_frames, contents(tmp_path / "out")) == (150, before)


def test_tables_of_another_file_or_of_unknown_origin_are_not_overwritten(video, beside_model, tmp_path):
    detector = detector_of(beside_model)
    record(video, detector, tmp_path / "out")
    before = contents(tmp_path / "out")
    other = write_beside(tmp_path / "elsewhere" / video.name, FACES[:40], seed=1)
    with pytest.raises(RecordingError, match=r"clip.json is of another file, .*give another --out"):
        record(other, detector, tmp_path / "out")
    assert contents(tmp_path / "out") == before
    (tmp_path / "out/clip.json").unlink()
    with pytest.raises(RecordingError, match=r"clip.csv is there already"):
        record(video, detector, tmp_path / "out")


def test_a_run_does_not_go_on_with_other_settings(video, beside_model, tmp_path):
    record(video, detector_of(beside_model), tmp_path / "out")
    with pytest.raises(RecordingError, match="smoothing: None there"):
        record(video, detector_of(beside_model, smoothing=Smoothing(1.0)), tmp_path / "out")


def test_a_file_that_has_changed_is_read_again(video, beside_model, tmp_path):
    record(video, detector_of(beside_model), tmp_path / "out")
    write_beside(video, FACES[:40], seed=1)
    assert record(video, detector_of(beside_model), tmp_path / "out").num_frames == 40


def test_damage_ends_the_rows_and_is_told(video, beside_model, tmp_path):
    broken = tmp_path / "media/broken.avi"
    write_video(broken, [frame.image_HWC for frame in read_frames(video)], frames_per_second=25)
    content = bytearray(broken.read_bytes())
    middle = content.index(b"mdat") + 3 * len(content) // 5
    content[middle : middle + 30_000] = bytes(30_000)
    broken.write_bytes(content)
    write_points(broken, FACES)
    account = record(broken, detector_of(beside_model), tmp_path / "out")
    assert account.status == DAMAGED
    assert "broken.avi: damaged or cut short" in account.message
    table = Detections.load(tmp_path / "out/broken.parquet")
    assert table.num_frames == account.num_frames > 20


@pytest.mark.parametrize("content", [b"", b"this is a text, not a video\n" * 50, bytes(10_000)])
def test_what_is_no_video_is_told_by_name(beside_model, tmp_path, content):
    (tmp_path / "no.mp4").write_bytes(content)
    account = record(tmp_path / "no.mp4", detector_of(beside_model), tmp_path / "out")
    assert (account.status, account.num_frames) == (UNREADABLE, 0)
    assert "no.mp4: " in account.message


def test_a_sound_file_has_no_video_in_it(beside_model, tmp_path):
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    account = record(tmp_path / "sound.mp4", detector_of(beside_model), tmp_path / "out")
    assert account.status == UNREADABLE
    assert "no video stream" in account.message


def _counted(network, seen):
    def counting(*faces):
        seen.append(len(faces[0]))
        return network(*faces)

    return in_place_of(network, counting)


def test_a_neutral_that_the_end_of_the_video_cut_short_is_told(beside_model, tmp_path):
    video = write_beside(tmp_path / "clip.mp4", [[0]] * 40 + [[0, 1]] * 11)
    out = tmp_path / "out"
    record(video, detector_of(beside_model, baseline=Baseline.parse("first:1")), out)
    plain = json.loads((out / "clip.json").read_text())
    assert plain["table"]["baseline_cut_short"] == {"1": pytest.approx(11 / 25)}
    assert metadata_of(pq.read_schema(out / "clip.parquet")) == plain["table"]
    assert Detections.load(out / "clip.csv").num_frames == 51


def test_it_is_imported_where_there_are_no_unix_locks():
    """As on Windows, where Python has no fcntl."""
    code = (
        "import sys, torch, pyarrow, sklearn, lightning_fabric, filelock; sys.modules['fcntl'] = None\n"
        "import mien.detect.recording, mien.data.prepare, mien.data.merge, mien.train.run_folder"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(("setting", "other"), [("device", "cuda"), ("engine", "onnx")])
def test_a_run_does_not_go_on_by_other_arithmetic(video, beside_model, tmp_path, setting, other):
    out = tmp_path / "out"
    record(video, detector_of(beside_model), out)
    plain = json.loads((out / "clip.json").read_text())
    plain["account"]["status"] = UNDER_WAY
    plain["table"][setting] = other
    (out / "clip.json").write_text(json.dumps(plain))
    with pytest.raises(RecordingError, match=rf"{setting}: '{other}' there, '(cpu|torch)' now"):
        record(video, detector_of(beside_model), out)


def journal_rows(count):
    generator = np.random.default_rng(0)
    return [
        no_face_row(frame / 30, frame=frame, name="a")
        if frame % 4 == 3
        else FaceRow(
            "a",
            frame,
            frame / 30,
            frame % 2,
            0.9,
            "",
            generator.random(17, np.float32),
            generator.random(3, np.float32),
        )
        for frame in range(count)
    ]


def kept_rows(path):
    with closing(Journal(path)) as journal:
        return list(journal.rows())


def assert_same(found, expected):
    assert len(found) == len(expected)
    for left, right in zip(found, expected, strict=True):
        for name in ("input", "frame", "seconds", "face_id", "confidence", "reason"):
            assert getattr(left, name) == getattr(right, name)
        for name in ("place_21", "values_V"):
            assert (getattr(left, name) is None) == (getattr(right, name) is None)
            assert getattr(left, name) is None or np.array_equal(getattr(left, name), getattr(right, name))


@pytest.fixture
def journal_written(tmp_path):
    expected = journal_rows(50)
    with closing(Journal(tmp_path / "rows")) as journal:
        for first in range(0, 50, 10):
            journal.write(expected[first : first + 10])
    return tmp_path / "rows", expected


def test_rows_come_back_to_the_last_bit(journal_written):
    path, expected = journal_written
    assert_same(kept_rows(path), expected)


@pytest.mark.parametrize("missing_bytes", [1, 7, 8, 100, 1500])
def test_a_journal_cut_anywhere_goes_on_behind_its_last_whole_block(journal_written, missing_bytes):
    path, expected = journal_written
    content = path.read_bytes()
    path.write_bytes(content[:-missing_bytes])
    with closing(Journal(path)) as journal:
        kept = list(journal.rows())
        assert len(kept) == 40
        journal.write(expected[40:])
    assert_same(kept_rows(path), expected)
    assert path.read_bytes() == content


@pytest.mark.parametrize("content", [b"", b"nonsense", bytes(5000)])
def test_what_is_no_journal_is_begun_anew(tmp_path, content):
    (tmp_path / "rows").write_bytes(content)
    with closing(Journal(tmp_path / "rows")) as journal:
        assert list(journal.rows()) == []
        journal.write(journal_rows(5))
        assert len(list(journal.rows())) == 5
