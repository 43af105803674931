"""The file's own clock and numbering in the detector's tables, over many kinds of files."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest

from mien.detect.detector import Detector
from mien.detect.media import list_media
from mien.detect.recording import DAMAGED, WHOLE, record_medium
from mien.detect.statistics import unit_statistics
from mien.detect.table import Detections
from tests.detect.beside_video import HEIGHT, WIDTH, write_points

pytestmark = pytest.mark.usefixtures("points_beside")

B_FRAMES = {"x264-params": "bframes=3:b-adapt=0:b-pyramid=normal:scenecut=0:keyint=50"}
CONSTANT = list(range(0, 2000, 40))


def write(path, stamps_ms, *, codec="libx264", options=None, file_format=None, rate=25):
    """A video whose frames have these times; a face (by points beside) in each of them."""
    generator = np.random.default_rng(0)
    texture = generator.integers(0, 255, (HEIGHT, 2 * WIDTH, 3), dtype=np.uint8)
    tick = Fraction(1, rate) if file_format or path.suffix == ".avi" else Fraction(1, 1000)
    with av.open(str(path), "w", format=file_format) as out:
        stream = out.add_stream(codec, rate=rate)
        stream.width, stream.height = WIDTH, HEIGHT
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.time_base = tick
        stream.options, stream.thread_count = options or {}, 1
        for number, stamp in enumerate(stamps_ms):
            frame = av.VideoFrame.from_ndarray(texture[:, number : number + WIDTH].copy(), "rgb24")
            frame.pts, frame.time_base = round(Fraction(stamp) / 1000 / tick), tick
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    write_points(path, [[0]] * len(stamps_ms))
    return path


def damage(path, numbers):
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    for number in numbers:
        position, size = packets[number]
        content[position + 16 : position + size - 16] = b"\xff\xc4" * ((size - 32) // 2) + bytes(size % 2)
    path.write_bytes(content)
    return path


def joined(path):
    part = write(path.with_name("part.ts"), CONSTANT[:25], options={"bf": "0"})
    path.write_bytes(2 * part.read_bytes())
    write_points(path, [[0]] * 50)
    return path


KINDS = {  # what is written, and the length of the video in seconds
    "plain": (lambda folder: write(folder / "a.mp4", CONSTANT), 2.0),
    "starts late": (lambda folder: write(folder / "a.mkv", [1000 + t for t in CONSTANT]), 2.0),
    "avi with B-frames": (lambda folder: write(folder / "a.avi", CONSTANT, options=B_FRAMES), 2.0),
    "mp4 with B-frames": (lambda folder: write(folder / "a.mp4", CONSTANT, options=B_FRAMES), 2.0),
    "varying rate": (lambda folder: write(folder / "a.mkv", [0, 40, 80, 400, 440]), 0.48),
    "joined recordings": (lambda folder: joined(folder / "a.ts"), 2.0),
    "raw at 15 frames/s": (
        lambda folder: write(
            folder / "a.h264", [k * 1000 / 15 for k in range(30)], file_format="h264", rate=15
        ),
        2.0,
    ),
    "lost frames": (lambda folder: damage(write(folder / "a.avi", CONSTANT, codec="mjpeg"), [0, 9, 49]), 2.0),
}


@pytest.fixture
def detector(beside_model):
    return Detector(beside_model)


def record(path, detector, out):
    (medium,) = list_media([path]).media
    account = record_medium(medium, detector, out)
    return account, Detections.load(out / f"{medium.name}.parquet")


@pytest.mark.parametrize("kind", KINDS)
def test_times_increase_and_no_face_is_seen_for_longer_than_the_file(kind, detector, tmp_path):
    write_file, length_seconds = KINDS[kind]
    _, found = record(write_file(tmp_path), detector, tmp_path / "out")
    table = found.to_pandas()
    assert (np.diff(table["timestamp"]) > 0).all()
    seen = unit_statistics(table)["seconds_seen"].max()
    lost = int((table["success"] == 0).sum())
    assert seen <= length_seconds + 1e-3
    assert seen == pytest.approx(length_seconds - lost * 0.04, abs=2e-3)


@pytest.mark.parametrize("stamps_ms", [CONSTANT, [1000 + t for t in CONSTANT], [0, 40, 80, 400, 440]])
def test_the_table_s_clock_is_the_file_s(detector, tmp_path, stamps_ms):
    path = write(tmp_path / "a.mkv", stamps_ms)
    _, found = record(path, detector, tmp_path / "out")
    with av.open(str(path)) as container:
        expected = [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]
    assert found.table["timestamp"].to_pylist() == expected
    assert expected == pytest.approx(np.array(stamps_ms) / 1000)


def test_a_lost_frame_has_a_row_and_those_behind_keep_their_numbers(detector, tmp_path):
    path = damage(write(tmp_path / "a.avi", CONSTANT, codec="mjpeg"), [10, 17, 25])
    account, found = record(path, detector, tmp_path / "out")
    table = found.to_pandas()
    assert (account.status, account.num_frames, account.num_with_face) == (DAMAGED, 50, 47)
    assert "47 frames could be read, 3 could not" in account.message
    assert table["frame"].tolist() == list(range(50))
    assert table["timestamp"].tolist() == pytest.approx(np.arange(50) / 25)
    assert table.loc[table["success"] == 0, "frame"].tolist() == [10, 17, 25]
    assert set(table.loc[table["success"] == 0, "reason"]) == {"unreadable"}
    assert table["point0_x"][20] == pytest.approx(12 + 0.1 * 20, abs=1e-4)  # what lies beside frame 20


def test_what_is_assumed_stands_in_account_and_table(detector, tmp_path):
    path = write(tmp_path / "a.h264", [k * 1000 / 15 for k in range(30)], file_format="h264", rate=15)
    account, found = record(path, detector, tmp_path / "out")
    note = "times are assumed, a raw stream has none: 15 frames/s, as its header says"
    assert (account.status, account.notes) == (WHOLE, note)
    assert found.metadata["notes"] == [note]
    assert detector.detect(path).metadata["notes"] == [note]


def test_faces_refused_beside_others_are_counted_in_account_and_table(detector, tmp_path, monkeypatch):
    frames = detector._tracking.every_frame
    planted = {3: ("face_too_small",), 7: ("face_cut_off", "face_too_small")}

    def with_refusals(path):
        return (replace(frame, refused=planted.get(frame.source_frame_index, ())) for frame in frames(path))

    monkeypatch.setattr(detector._tracking, "every_frame", with_refusals)
    account, found = record(write(tmp_path / "a.mkv", CONSTANT), detector, tmp_path / "out")
    note = "frames that keep a face and in which another was refused: 1 face_cut_off, 2 face_too_small"
    assert (account.status, account.notes) == (WHOLE, note)
    assert found.metadata["notes"] == [note]
