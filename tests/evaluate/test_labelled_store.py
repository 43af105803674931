"""Every coded frame of a labelled set becomes one crop, found again by its label; mismatches are errors."""

import dataclasses
import re
from fractions import Fraction
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
from planted_finding import Dying

from mien.data.jobs import WorkersDieError
from mien.data.store import TrackStore
from mien.data.store_layout import StoreError, writing_to
from mien.data.store_writer import PrepareSettings
from mien.datasets.base import BY_TIME, PICTURE, DatasetError, LabelledFrames
from mien.evaluate.labelled_faces import (
    labelled_faces,
    labelled_set,
    match_faces,
    reasons_without_face,
    require_agreeing_times,
    same_pictures,
    warning_of_same_pictures,
)
from mien.evaluate.labelled_store import jobs_of, prepare_labelled
from mien.faces.contract import ContractMismatchError
from mien.video import write_video
from tests.points_beside import PointsTracking, write_points
from tests.shipped import crop_contract_of_finder

BESIDE = PointsTracking()
POINTS = (60, 60, 100, 60, 80, 80, 64, 100, 96, 100)
SIZE_PX = 160


def _picture(level):
    return np.full((SIZE_PX, SIZE_PX, 3), level, np.uint8)


def _landmarks(path, frames):
    write_points(path, [[frame, 0, *POINTS] for frame in frames])


def _labelled(paths, frames, seconds, subjects):
    N = len(paths)
    return LabelledFrames(
        action_units=(1,),
        path_N=np.array(paths),
        frame_N=np.array(frames, np.int64),
        seconds_N=np.array(seconds, np.float64),
        subject_N=np.array(subjects),
        occurrence_NA=(np.arange(N) % 2).astype(np.float32)[:, None],
    )


@pytest.fixture
def sequence(tmp_path):
    """Six pictures of one task, brightness 20 apart; the label of each names its picture."""
    folder = tmp_path / "set" / "F001" / "T1"
    folder.mkdir(parents=True)
    for k in range(6):
        cv2.imwrite(str(folder / f"{10 + k}.png"), _picture(20 * k + 20))
    _landmarks(tmp_path / "set/F001/T1", range(6))
    order = [3, 0, 5, 1, 2, 4]  # labels need not come in the order of time
    paths = [f"F001/T1/{10 + k}.png" for k in order]
    return tmp_path / "set", _labelled(paths, [PICTURE] * 6, [k / 25 for k in order], ["F001"] * 6), order


@pytest.fixture
def video(tmp_path):
    """Twelve frames at 30 fps, brightness 20 apart; frames 2, 3 and 9 are coded."""
    folder = tmp_path / "videos"
    folder.mkdir()
    write_video(folder / "a.mp4", (_picture(20 * k + 20) for k in range(12)), frames_per_second=30)
    _landmarks(folder / "a.mp4", range(12))
    return tmp_path, _labelled(["videos/a.mp4"] * 3, [2, 3, 9], [np.nan] * 3, ["ann"] * 3)


def _encode(path, *, codec, first=0):
    """Thirty frames at 25 fps, brightness 8 apart, the first at frame `first` of the file's clock."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=25)
        stream.width = stream.height = SIZE_PX
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for k in range(30):
            frame = av.VideoFrame.from_ndarray(_picture(8 * k + 10), "rgb24")
            frame.pts, frame.time_base = first + k, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    _landmarks(path, range(30))


def test_labels_in_seconds_are_joined_on_the_file_s_own_clock(tmp_path):
    _encode(tmp_path / "late.mkv", codec="libx264", first=25)  # starts at 1.000 s
    frames = _labelled(["late.mkv"] * 2, [BY_TIME] * 2, [1.2, 1.8], ["ann"] * 2)
    found = _matched(tmp_path, frames, tmp_path / "store")
    assert found.frames.frame_N.tolist() == [5, 20]
    assert np.allclose(_brightness(found, [0, 1]), [8 * 5 + 10, 8 * 20 + 10], atol=4)


def test_seconds_counted_from_the_first_frame_of_a_file_that_starts_late_are_noticed(tmp_path):
    _encode(tmp_path / "late.mkv", codec="libx264", first=25)  # starts at 1.000 s
    frames = _labelled(["late.mkv"] * 3, [BY_TIME] * 3, [0.2, 0.4, 1.2], ["ann"] * 3)
    found = _matched(tmp_path, frames, tmp_path / "store")
    assert found.num_not_in_video == 2
    assert "2 of 3 labels lie outside the video" in found.warnings[0]
    assert "30 frames, from 1.00 s to 2.16 s. Expected" in found.warnings[0]


def test_labels_of_frames_behind_lost_ones_are_joined_to_their_own_picture(tmp_path):
    path = tmp_path / "camera.avi"
    _encode(path, codec="mjpeg")
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    for position, size in (packets[number] for number in (4, 5, 11)):
        content[position + 16 : position + size - 16] = b"\xff\xc4" * ((size - 32) // 2) + bytes(size % 2)
    path.write_bytes(content)
    frames = _labelled(["camera.avi"] * 3, [3, 11, 20], [np.nan] * 3, ["ann"] * 3)
    (account,) = prepare_labelled(frames, tmp_path, tmp_path / "store", BESIDE, workers=0)
    assert account.not_written["unreadable"] == 3
    found = match_faces(frames, tmp_path, TrackStore.open(tmp_path / "store"))
    assert found.frames.frame_N.tolist() == [3, 20]
    assert np.allclose(_brightness(found, [0, 1]), [8 * 3 + 10, 8 * 20 + 10], atol=4)


def _matched(root, frames, store):
    prepare_labelled(frames, root, store, BESIDE, workers=0)
    return match_faces(frames, root, TrackStore.open(store))


def _brightness(labelled_faces, rows):
    return labelled_faces.faces.read(np.array(rows), size_px=64).mean(axis=(1, 2, 3))


def test_each_picture_is_found_again_by_its_label(sequence, tmp_path):
    root, frames, order = sequence
    found = _matched(root, frames, tmp_path / "store")
    assert found.frames.path_N.tolist() == frames.path_N.tolist()
    np.testing.assert_allclose(_brightness(found, range(6)), [20 * k + 20 for k in order], atol=2)
    assert found.num_without_face == 0


def test_only_coded_frames_of_a_video_are_cropped_whatever_its_rate(video, tmp_path):
    root, frames = video
    accounts = prepare_labelled(frames, root, tmp_path / "store", BESIDE, workers=0)
    found = match_faces(frames, root, TrackStore.open(tmp_path / "store"))
    assert accounts[0].num_written == 3
    assert accounts[0].not_written == {"not_coded": 9}
    np.testing.assert_allclose(_brightness(found, range(3)), [60, 80, 200], atol=6)


def test_frames_known_by_time_get_their_number(video, tmp_path):
    root, frames = video
    by_time = dataclasses.replace(
        frames, frame_N=np.full(3, BY_TIME), seconds_N=np.array([2 / 30, 3 / 30 + 0.001, 9 / 30])
    )
    found = _matched(root, by_time, tmp_path / "store")
    assert found.frames.frame_N.tolist() == [2, 3, 9]
    np.testing.assert_allclose(_brightness(found, range(3)), [60, 80, 200], atol=6)


def test_a_frame_without_a_face_is_left_out_and_counted(sequence, tmp_path):
    root, frames, _ = sequence
    _landmarks(root / "F001/T1", [0, 1, 2, 4])
    accounts = prepare_labelled(frames, root, tmp_path / "store", BESIDE, workers=0)
    found = match_faces(frames, root, TrackStore.open(tmp_path / "store"))
    assert found.num_without_face == 2
    assert sorted(found.frames.path_N.tolist()) == [f"F001/T1/{10 + k}.png" for k in (0, 1, 2, 4)]
    assert reasons_without_face(accounts) == {"no_face": 2}


def test_a_picture_that_cannot_be_read_costs_itself_alone(sequence, tmp_path):
    root, frames, _ = sequence
    (root / "F001/T1/12.png").write_bytes(b"no picture")
    (account,) = prepare_labelled(frames, root, tmp_path / "store", BESIDE, workers=0)
    assert (account.status, account.num_written, account.not_written) == ("partial", 5, {"unreadable": 1})
    assert re.search(r"1 of 6 pictures cannot be read: .*/T1/12\.png: 10 bytes", account.message)
    found = match_faces(frames, root, TrackStore.open(tmp_path / "store"))
    assert sorted(found.frames.path_N.tolist()) == [f"F001/T1/{10 + k}.png" for k in (0, 1, 3, 4, 5)]


def test_what_is_assumed_of_a_labelled_video_is_in_its_account(tmp_path):
    _encode(tmp_path / "raw.h264", codec="libx264")
    frames = _labelled(["raw.h264"] * 2, [5, 20], [np.nan] * 2, ["ann"] * 2)
    (account,) = prepare_labelled(frames, tmp_path, tmp_path / "store", BESIDE, workers=0)
    assert account.notes.startswith("times are assumed, a raw stream has none: 25 frames/s")


def test_labels_that_fit_no_video_are_reported_with_their_table(video, tmp_path):
    root, _ = video
    table = root / "labels.csv"
    table.write_text("path,subject,seconds,AU01\nvideos/a.mp4,ann,66,1\nvideos/a.mp4,ann,100,0\n")
    frames = labelled_set("table", table).frames()
    encoder = SimpleNamespace(contract=crop_contract_of_finder(), source="encoder.safetensors")
    more = {"workers": 0, "finder": None, "say": print}
    with pytest.raises(
        DatasetError, match=r"labels\.csv: no coded frame has a face.*a\.mp4, 66 s\. .*milliseconds"
    ):
        labelled_faces(frames, table, tmp_path / "store", [encoder], **more)


def test_a_second_run_does_nothing_and_a_changed_list_is_done_again(sequence, tmp_path):
    root, frames, _ = sequence
    done = []
    for labelled in (frames, frames, frames.rows([0, 1, 2])):
        before = len(done)
        prepare_labelled(labelled, root, tmp_path / "store", BESIDE, workers=0, after_video=done.append)
        done.append(None)
        assert len(done) - before - 1 == {0: 1, 2: 0, 3: 1}[before]


def test_workers_write_the_same_store(sequence, tmp_path):
    root, frames, _ = sequence
    for name, workers in (("one", 0), ("two", 1)):
        prepare_labelled(frames, root, tmp_path / name, BESIDE, workers=workers)
    one, two = ((tmp_path / name / "frames.parquet").read_bytes() for name in ("one", "two"))
    assert one == two


def test_a_store_that_was_cropped_otherwise_is_refused(sequence, tmp_path):
    root, frames, _ = sequence
    prepare_labelled(frames, root, tmp_path / "store", BESIDE, workers=0)
    other = PrepareSettings(min_run_frames=3)
    with pytest.raises(StoreError, match="min_run_frames"):
        prepare_labelled(frames, root, tmp_path / "store", BESIDE, workers=0, settings=other)
    store = TrackStore.open(tmp_path / "store")
    wider = dataclasses.replace(store.contract, margin=0.5)
    with pytest.raises(ContractMismatchError, match="margin"):
        wider.require_same(store.contract, ours="encoder", theirs="store")


def test_single_pictures_are_looked_at_one_by_one_in_parts(tmp_path):
    paths = [f"p/{k:04d}.png" for k in range(1201)]
    frames = _labelled(paths, [PICTURE] * 1201, [np.nan] * 1201, paths)
    jobs = jobs_of(frames, tmp_path)
    assert [len(job.rows) for job in jobs] == [500, 500, 201]
    assert not jobs[0].ordered
    assert sorted(row for job in jobs for row in job.rows) == list(range(1201))


def test_a_labelled_file_that_is_missing_is_named(video, tmp_path):
    root, frames = video
    gone = dataclasses.replace(frames, path_N=np.array(["videos/b.mp4"] * 3))
    with pytest.raises(DatasetError, match=r"b.mp4: no such file, but it is labelled"):
        prepare_labelled(gone, root, tmp_path / "store", BESIDE, workers=0)


def test_folders_with_a_dot_in_their_name_keep_their_own_pictures(tmp_path):
    """`s.1` and `s.2` once shared the name `s` in the store, and labels got other people's faces."""
    names = ["", "pictures", "s", "s.1", "s.2", "s.2/part00000"]
    for level, name in enumerate(names):
        folder = tmp_path / "set" / name
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / "1.png"), _picture(40 * level + 20))
        _landmarks(folder, [0])
    paths = [f"{name}/1.png".lstrip("/") for name in names]
    frames = _labelled(paths, [PICTURE] * 6, [np.nan] * 6, paths)
    found = _matched(tmp_path / "set", frames, tmp_path / "store")
    np.testing.assert_allclose(_brightness(found, range(6)), [40 * k + 20 for k in range(6)], atol=2)


PATHS = (
    "a.mp4",
    "a.avi",
    "a",
    "a.1",
    "a.2",
    "../a.mp4",
    "up/a.mp4",
    "/a.mp4",
    "%2E%2E/a.mp4",
    "%/a",
    "x/a.mp4",
)


def test_every_path_has_its_own_name_in_the_store(tmp_path):
    frames = _labelled(PATHS, [0] * len(PATHS), [np.nan] * len(PATHS), PATHS)
    names = [job.source.video for job in jobs_of(frames, tmp_path)]
    assert len(set(names)) == len(PATHS)
    assert not any(".." in name.split("/") or name.startswith("/") for name in names)


def test_two_spellings_of_one_path_are_refused(tmp_path):
    frames = _labelled(["a.mp4", "./a.mp4"], [0, 1], [np.nan] * 2, ["ann", "ann"])
    with pytest.raises(DatasetError, match=r"'\./a.mp4' and 'a.mp4' would both be called 'a.mp4'"):
        jobs_of(frames, tmp_path)


def test_frames_that_the_video_does_not_have_are_counted_apart(video, tmp_path):
    root, _ = video
    _landmarks(root / "videos/a.mp4", [0, 1, 2, 4])
    frames = _labelled(["videos/a.mp4"] * 5, [1, 2, 3, 12, 5000], [np.nan] * 5, ["ann"] * 5)
    found = _matched(root, frames, tmp_path / "store")
    assert (found.num_without_face, found.num_not_in_video) == (3, 2)
    assert found.warnings == ()


def test_times_beyond_the_end_are_counted_apart(video, tmp_path):
    root, _ = video
    frames = _labelled(["videos/a.mp4"] * 4, [BY_TIME] * 4, [0.1, 0.2, 0.5, 40.0], ["ann"] * 4)
    found = _matched(root, frames, tmp_path / "store")
    assert (found.num_without_face, found.num_not_in_video) == (2, 2)  # it ends at 0.4 s


def test_frames_counted_from_1_are_noticed(video, tmp_path):
    root, _ = video
    frames = _labelled(["videos/a.mp4"] * 12, range(1, 13), [np.nan] * 12, ["ann"] * 12)
    found = _matched(root, frames, tmp_path / "store")
    assert found.num_not_in_video == 1
    assert "1 of 12 labels lie outside the video, which has 12 frames" in found.warnings[0]
    assert "counted from 0" in found.warnings[0]


def test_a_frame_number_and_a_time_that_disagree_are_refused(video, tmp_path):
    root, _ = video
    frames = _labelled(["videos/a.mp4"] * 3, [2, 3, 9], [2 / 30, 3 / 30, 0.2], ["ann"] * 3)
    found = _matched(root, frames, tmp_path / "store")
    with pytest.raises(DatasetError, match=r"frame 9 and 0.2 s, .* lies at 0.300 s .*\(1 of 3 rows"):
        require_agreeing_times(found)


def test_times_of_the_frame_before_are_noticed(video, tmp_path):
    root, _ = video
    late = _labelled(["videos/a.mp4"] * 3, [3, 4, 10], [2 / 30, 3 / 30, 9 / 30], ["ann"] * 3)
    (warning,) = require_agreeing_times(_matched(root, late, tmp_path / "late"))
    assert "all 3 rows fit the frame before. Expected `frame` counted from 0" in warning
    right = dataclasses.replace(late, frame_N=np.array([2, 3, 9]))
    assert require_agreeing_times(_matched(root, right, tmp_path / "right")) == []


def test_a_store_without_any_face_is_an_error_in_words(video, tmp_path):
    root, frames = video
    _landmarks(root / "videos/a.mp4", [])
    prepare_labelled(frames, root, tmp_path / "store", BESIDE, workers=0)
    with pytest.raises(DatasetError, match="no coded frame has a face"):
        match_faces(frames, root, TrackStore.open(tmp_path / "store"))


def test_a_store_of_other_videos_is_refused(sequence, video, tmp_path):
    root, frames, _ = sequence
    prepare_labelled(frames, root, tmp_path / "store", BESIDE, workers=0)
    with pytest.raises(DatasetError, match="none of its frames is coded"):
        match_faces(video[1], video[0], TrackStore.open(tmp_path / "store"))


def test_a_process_that_dies_ends_the_run_after_all_others_are_done(video, tmp_path):
    root, _ = video
    (root / "videos/b.mp4").write_bytes((root / "videos/a.mp4").read_bytes())
    _landmarks(root / "videos/b.mp4", range(12))
    both = _labelled(["videos/a.mp4", "videos/b.mp4"], [2, 2], [np.nan] * 2, ["ann", "bob"])
    finding = Dying()
    done = []
    with pytest.raises(
        WorkersDieError, match=r"a\.mp4: the process .* died, killed by SIGKILL.*other 1 of 2"
    ):
        prepare_labelled(both, root, tmp_path / "store", finding, workers=1, after_video=done.append)
    assert [account.video for account in done] == ["videos/b.mp4"]
    prepare_labelled(both, root, tmp_path / "store", BESIDE, workers=0, after_video=done.append)
    assert [account.video for account in done] == ["videos/b.mp4", "videos/a.mp4"]


def test_one_video_under_two_names_is_noticed(video, tmp_path):
    root, _ = video
    (root / "videos/copy.mp4").write_bytes((root / "videos/a.mp4").read_bytes())
    _landmarks(root / "videos/copy.mp4", range(12))
    both = _labelled(
        ["videos/a.mp4"] * 3 + ["videos/copy.mp4"] * 2,
        [2, 3, 9, 3, 9],
        [np.nan] * 5,
        ["ann"] * 3 + ["bob"] * 2,
    )
    data = _matched(root, both, tmp_path / "store")
    assert same_pictures(data).tolist() == [[1, 3], [2, 4]]
    named = "videos/a.mp4, frame 3 (ann) and videos/copy.mp4, frame 3 (bob)"
    assert named in warning_of_same_pictures(data)


def test_a_still_of_one_person_is_no_alarm(sequence, tmp_path):
    root, frames, _ = sequence
    for picture in (root / "F001/T1").glob("*.png"):
        picture.write_bytes((root / "F001/T1/10.png").read_bytes())
    data = _matched(root, frames, tmp_path / "store")
    assert warning_of_same_pictures(data) == ""


def test_a_finished_store_is_read_while_another_run_holds_it(sequence, tmp_path):
    root, frames, _ = sequence
    store = tmp_path / "store"
    before = prepare_labelled(frames, root, store, BESIDE, workers=0)
    manifest = (store / "manifest.parquet").stat().st_mtime_ns
    with writing_to(store):
        assert prepare_labelled(frames, root, store, BESIDE, workers=0) == before
    assert (store / "manifest.parquet").stat().st_mtime_ns == manifest
