"""Media into files: a row for every frame, killed runs that go on, damage that is reported."""

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
from mien.detect.recording import UNDER_WAY, UNREADABLE, WHOLE, Journal, RecordingError, record_medium
from mien.detect.signals import Baseline, Smoothing
from mien.detect.table import Detections, FaceRow, metadata_of
from mien.video import write_video
from tests.detect.beside_video import write_beside
from tests.detect.planted_story import StoryTracking
from tests.detect.rows_by_hand import no_face_row
from tests.faces.planted_people import Planted, paint

pytestmark = pytest.mark.usefixtures("points_beside")

FACES = [[0], [0, 1], [], [1], [0, 2]] * 30


@pytest.fixture
def video(tmp_path):
    return write_beside(tmp_path / "media/clip.mp4", FACES)


def record(path, model, out, *, each_call=lambda _number, _faces: None, tracking=None, **more):
    """`record_medium`; `each_call` gets, before the network, the number of the call and its faces."""
    detector = Detector(model, batch_size=8, **more)
    network, calls = detector._engine, itertools.count()

    def run(*faces):
        each_call(next(calls), len(faces[0]))
        return network(*faces)

    run.name, run.device = network.name, network.device
    detector._engine = run
    detector._tracking = tracking or detector._tracking
    (medium,) = list_media([path]).media
    return record_medium(medium, detector, out)


def killed(path, model, out, *, at, **more):
    """A run that is interrupted at this call of its network."""

    def interrupt(number, _faces):
        if number == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        record(path, model, out, each_call=interrupt, **more)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".csv", ".parquet")}


def test_every_frame_has_its_rows_in_both_tables(video, beside_model, tmp_path):
    account = record(video, beside_model, tmp_path / "out")
    assert (account.status, account.num_frames, account.num_rows) == (WHOLE, 150, 210)
    assert (account.num_with_face, account.num_faces) == (180, 3)
    for suffix in ("csv", "parquet"):
        table = Detections.load(tmp_path / f"out/clip.{suffix}").to_pandas()
        faces = table.groupby("frame")["face_id"].apply(lambda ids: sorted(ids.dropna()))
        assert faces.tolist() == FACES
        assert np.allclose(table["timestamp"], table["frame"] / 25, atol=1e-6)
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["clip.csv", "clip.json", "clip.parquet"]
    metadata = json.loads((tmp_path / "out/clip.json").read_text())["table"]
    assert (metadata["baseline"], metadata["engine"]) == (None, "torch")
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
    whole = record(video, beside_model, tmp_path / "whole", **more)
    killed(video, beside_model, tmp_path / "out", at=killed_after, **more)
    assert json.loads((tmp_path / "out/clip.json").read_text())["account"]["status"] == UNDER_WAY
    assert not (tmp_path / "out/clip.parquet").exists()
    if not more:
        assert len(pd.read_csv(tmp_path / "out/clip.csv")) >= 64 * (killed_after // 9)
    seen = []
    assert (
        record(video, beside_model, tmp_path / "out", each_call=lambda *at: seen.append(at[1]), **more)
        == whole
    )
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert sum(seen) < (180 if more.get("faces") != "largest" else 120)  # what was read is not read again


def test_a_second_run_touches_nothing_of_one_under_way(video, beside_model, tmp_path):
    """Not even where its video looks changed, for which rows on the disk are otherwise begun anew."""
    whole, out = record(video, beside_model, tmp_path / "whole"), tmp_path / "out"

    def another_run(number, _faces):
        if number == 5:
            os.utime(video, (0, 0))
            before = {path.name: path.read_bytes() for path in out.iterdir()}
            with pytest.raises(RecordingError, match="another process is writing to it"):
                record(video, beside_model, out)
            assert {path.name: path.read_bytes() for path in out.iterdir()} == before

    assert record(video, beside_model, out, each_call=another_run) == whole
    assert contents(out) == contents(tmp_path / "whole")
    assert not list(out.glob(".*"))


def test_ids_of_a_run_that_goes_on_are_those_of_one_run(beside_model, tmp_path, monkeypatch):
    monkeypatch.setattr("mien.detect.detector.PersonLinker", PersonLinker)
    ways = [*range(0, 440, 8), *[440] * 20]
    story = [[Planted(1, 100 + way), Planted(2, 540 - way)] for way in ways]
    video = tmp_path / "cross.mp4"
    write_video(video, [paint(people) for people in story], frames_per_second=25)
    record(video, beside_model, tmp_path / "whole", tracking=StoryTracking(story))
    killed(video, beside_model, tmp_path / "out", at=10, tracking=StoryTracking(story))
    record(video, beside_model, tmp_path / "out", tracking=StoryTracking(story))
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert Detections.load(tmp_path / "out/cross.parquet").faces == [0, 1]


def test_tables_of_another_file_or_of_unknown_origin_are_not_overwritten(video, beside_model, tmp_path):
    out = tmp_path / "out"
    record(video, beside_model, out)
    before = contents(out)
    other = write_beside(tmp_path / "elsewhere" / video.name, FACES[:40], seed=1)
    with pytest.raises(RecordingError, match=r"not known to be of .*elsewhere.*give another --out"):
        record(other, beside_model, out)
    assert contents(out) == before
    (out / "clip.json").unlink()
    with pytest.raises(RecordingError, match=r"clip.csv .*is there already"):
        record(video, beside_model, out)


@pytest.mark.parametrize(("setting", "other"), [("device", "cuda"), ("engine", "onnx")])
def test_a_run_does_not_go_on_by_other_arithmetic(video, beside_model, tmp_path, setting, other):
    record(video, beside_model, tmp_path)
    plain = json.loads((tmp_path / "clip.json").read_text())
    plain["account"]["status"] = UNDER_WAY
    plain["table"][setting] = other
    (tmp_path / "clip.json").write_text(json.dumps(plain))
    with pytest.raises(RecordingError, match=rf"{setting}: '{other}' there, '(cpu|torch)' now"):
        record(video, beside_model, tmp_path)


def write_sound(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.parametrize("content", [b"", b"this is a text, not a video\n" * 50, bytes(10_000), "sound"])
def test_what_is_no_video_is_reported_by_name(beside_model, tmp_path, content):
    if content == "sound":
        write_sound(tmp_path / "no.mp4")
    else:
        (tmp_path / "no.mp4").write_bytes(content)
    account = record(tmp_path / "no.mp4", beside_model, tmp_path / "out")
    assert (account.status, account.num_frames) == (UNREADABLE, 0)
    assert "no.mp4: " in account.message
    assert content != "sound" or "no video stream" in account.message


def test_a_neutral_that_the_end_of_the_video_cut_short_is_reported(beside_model, tmp_path):
    video = write_beside(tmp_path / "clip.mp4", [[0]] * 40 + [[0, 1]] * 11)
    out = tmp_path / "out"
    record(video, beside_model, out, baseline=Baseline.parse("first:1"))
    plain = json.loads((out / "clip.json").read_text())
    assert plain["table"]["baseline_cut_short"] == {"1": pytest.approx(11 / 25)}
    assert metadata_of(pq.read_schema(out / "clip.parquet")) == plain["table"]
    assert Detections.load(out / "clip.csv").num_frames == 51


def test_it_is_imported_where_there_are_no_unix_locks():
    """As on Windows, where Python has no fcntl."""
    code = (
        "import sys, torch, pyarrow, sklearn, lightning_fabric, filelock; sys.modules['fcntl'] = None\n"
        "import mien.detect.recording, mien.data.prepare, mien.train.run_folder"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def journal_rows(count):
    generator = np.random.default_rng(0)

    def row(frame):
        at = ("a", frame, frame / 30, frame % 2, 0.9, "")
        return FaceRow(*at, generator.random(17, np.float32), generator.random(3, np.float32))

    return [no_face_row(at / 30, frame=at, name="a") if at % 4 == 3 else row(at) for at in range(count)]


def plain(rows):
    """What equal rows have in common, to the last bit."""
    return [
        [value.tobytes() if isinstance(value, np.ndarray) else value for value in vars(row).values()]
        for row in rows
    ]


@pytest.mark.parametrize("missing_bytes", [0, 1, 7, 8, 100, 1500])
def test_a_journal_cut_anywhere_goes_on_behind_its_last_whole_block(tmp_path, missing_bytes):
    path, expected = tmp_path / "rows", journal_rows(50)
    with closing(Journal(path)) as journal:
        for first in range(0, 50, 10):
            journal.write(expected[first : first + 10])
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - missing_bytes])
    with closing(Journal(path)) as journal:
        kept = len(list(journal.rows()))
        assert kept == (40 if missing_bytes else 50)
        if missing_bytes:
            journal.write(expected[kept:])
        assert plain(journal.rows()) == plain(expected)
    assert path.read_bytes() == content


@pytest.mark.parametrize("content", [b"", b"nonsense", bytes(5000)])
def test_what_is_no_journal_is_begun_anew(tmp_path, content):
    (tmp_path / "rows").write_bytes(content)
    with closing(Journal(tmp_path / "rows")) as journal:
        assert list(journal.rows()) == []
        journal.write(journal_rows(5))
        assert len(list(journal.rows())) == 5
