from __future__ import annotations

import json
import multiprocessing
import pickle
import tarfile

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st
from planted_tracking import CROP_SIZE_PX, PlantedTracking, prepare_planted, sum_of_frame

from mien.data.parts import runs_of
from mien.data.store import StoreSummary, TrackStore
from mien.data.store_layout import StoreError


@pytest.fixture(scope="module")
def store(planted_tree, tmp_path_factory):
    path = tmp_path_factory.mktemp("stores") / "store"
    prepare_planted(planted_tree, path)
    return TrackStore.open(path)


def track_number(store, track_id):
    return store.tracks["track_id"].to_pylist().index(track_id)


def test_every_face_is_read_back_as_it_was_found_up_to_jpeg(store, planted_tree):
    for track, row in enumerate(store.tracks.to_pylist()):
        number = int(row["track_id"].split("#")[1])
        crops = {}
        for looked in PlantedTracking()(planted_tree / row["source_path"]):
            for face in looked.faces:
                if face.track_number == number:
                    crops |= dict.fromkeys(looked.slots, (face.crop_HWC, looked.source_frame_index))
        assert store.slots(track).tolist() == sorted(crops)
        assert store.source_frame_indices(track).tolist() == [crops[slot][1] for slot in sorted(crops)]
        frames = store.read_frames(track, range(len(crops)))
        for frame, slot in zip(frames, sorted(crops), strict=True):
            jpeg = simplejpeg.encode_jpeg(np.ascontiguousarray(crops[slot][0]), 90, "RGB", "420")
            assert np.array_equal(frame, simplejpeg.decode_jpeg(jpeg, "RGB"))


def test_tracks_are_numbered_by_video_and_know_whose_they_are(store):
    rows = store.tracks.to_pylist()
    assert [row["track"] for row in rows] == list(range(store.num_tracks))
    assert [row["video"] for row in rows] == sorted(row["video"] for row in rows)
    for number_of, name in ((store.identity_number, "identity"), (store.video_number, "video")):
        numbers = {row[name]: {number_of(row["track"])} for row in rows}
        for row in rows:
            numbers[row[name]].add(number_of(row["track"]))
        assert all(len(own) == 1 for own in numbers.values())
        assert len({min(own) for own in numbers.values()}) == len(numbers)


def test_a_smaller_face_beside_another_is_somebody_else(store):
    identities = dict(
        zip(store.tracks["track_id"].to_pylist(), store.tracks["identity"].to_pylist(), strict=True)
    )
    assert identities["id00001/bbbbbbbbbbb/00001#0"] == "id00001"
    assert identities["id00001/bbbbbbbbbbb/00001#1"] == "id00001/bbbbbbbbbbb/00001+1"
    # one after the other, never together: the person whom the path names
    assert identities["id00003/ddddddddddd/00001#0"] == identities["id00003/ddddddddddd/00001#1"] == "id00003"


def test_a_gap_ends_a_run_and_short_runs_are_counted_but_no_runs(store):
    row = store.tracks.to_pylist()[track_number(store, "id00001/aaaaaaaaaaa/00002#0")]
    assert store.runs(row["track"]) == [(5, 30)]
    assert (row["num_frames"], row["num_short_runs"], row["num_frames_in_short_runs"]) == (35, 1, 5)
    assert store.slots(row["track"]).tolist() == [*range(5), *range(8, 38)]


def test_a_slow_source_shows_a_frame_twice_but_keeps_it_once(store):
    track = track_number(store, "id00002/ccccccccccc/00002#1")
    shown = store.source_frame_indices(track)
    assert len(shown) > len(set(shown.tolist()))
    rows = pq.read_table(store.path / "frames.parquet").filter(
        pq.read_table(store.path / "frames.parquet")["track"].to_numpy() == track
    )
    assert len(set(rows["offset"].to_pylist())) == len(set(shown.tolist()))


def test_a_clip_is_the_frames_of_its_positions(store):
    clip = store.read_clip(0, 3, 9, 2)
    assert clip.shape == (9, CROP_SIZE_PX, CROP_SIZE_PX, 3)
    assert np.array_equal(clip, store.read_frames(0, range(3, 21, 2)))


@pytest.mark.parametrize(("start", "length", "stride"), [(4, 9, 2), (0, 3, 1), (33, 2, 2), (-1, 2, 1)])
def test_a_clip_that_leaves_its_run_is_refused(store, start, length, stride):
    track = track_number(store, "id00001/aaaaaaaaaaa/00002#0")
    with pytest.raises(ValueError, match="do not lie in one of its runs"):
        store.read_clip(track, start, length, stride)


@pytest.mark.parametrize("size_px", [64, 63, 56, 33, 32, 20, 8])
def test_a_smaller_size_is_the_crop_reduced(store, size_px):
    full = store.read_frames(0, [0, 7])
    small = store.read_frames(0, [0, 7], size_px=size_px)
    assert small.shape == (2, size_px, size_px, 3)
    for frame, reduced in zip(full, small, strict=True):
        expected = cv2.resize(frame, (size_px, size_px), interpolation=cv2.INTER_AREA)
        assert abs(float(reduced.mean()) - float(expected.mean())) < 2
    with pytest.raises(ValueError, match=r"crops of .* are 64 px"):
        store.read_frames(0, [0], size_px=65)


def test_positions_and_tracks_that_are_not_there_are_refused(store):
    with pytest.raises(IndexError, match=r"positions 0 \.\. 39, asked for \[40\]"):
        store.read_frames(0, [40])
    with pytest.raises(IndexError, match="positions"):
        store.read_frames(0, [-1])
    with pytest.raises(IndexError, match=r"has tracks 0 \.\. "):
        store.runs(store.num_tracks)


def test_ordinary_tools_open_the_crops(store):
    row = store.tracks.to_pylist()[0]
    with tarfile.open(store.path / row["crops"]) as tar:
        names = tar.getnames()
        content = tar.extractfile(names[5]).read()
    assert names[5] == "000/0000005.jpg"
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert np.abs(picture.astype(int) - store.read_frames(0, [5])[0]).max() <= 3  # another JPEG decoder


def test_the_store_survives_pickling_without_carrying_the_index(store):
    pickled = pickle.dumps(store)
    assert len(pickled) < 500
    assert np.array_equal(pickle.loads(pickled).read_frames(1, [2]), store.read_frames(1, [2]))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_read_side_by_side(store, method):
    expected = store.read_frames(0, range(40)).sum(axis=(1, 2, 3)).tolist()
    with multiprocessing.get_context(method).Pool(2) as pool:
        sums = pool.starmap(sum_of_frame, [(store, position) for position in range(40)])
    assert sums == expected


def test_what_is_no_finished_store_is_told(tmp_path, store):
    with pytest.raises(StoreError, match=r"is not a store: it has no store\.json"):
        TrackStore.open(tmp_path)
    (tmp_path / "store.json").write_bytes((store.path / "store.json").read_bytes())
    with pytest.raises(StoreError, match=r"not finished.*mien prepare"):
        TrackStore.open(tmp_path)
    (tmp_path / "store.json").write_text(json.dumps({"format": 99, "mien_version": "9.0"}))
    with pytest.raises(StoreError, match=r"format 99.*9\.0"):
        TrackStore.open(tmp_path)
    (tmp_path / "store.json").write_text("{")
    with pytest.raises(StoreError, match="not JSON"):
        TrackStore.open(tmp_path)


@given(st.sets(st.integers(0, 60)))
def test_runs_are_what_a_loop_finds(slots):
    ascending = sorted(slots)
    expected = []
    for position, slot in enumerate(ascending):
        if expected and slot == ascending[position - 1] + 1:
            expected[-1] = (expected[-1][0], expected[-1][1] + 1)
        else:
            expected.append((position, 1))
    assert runs_of(np.array(ascending, np.int64)) == expected


def test_the_summary_counts_what_the_tables_say(store):
    summary = StoreSummary.of(store)
    assert summary.num_positions == sum(store.num_frames(track) for track in range(store.num_tracks))
    in_runs = sum(length for track in range(store.num_tracks) for _, length in store.runs(track))
    assert summary.num_positions_in_runs == in_runs
    assert summary.num_positions_in_runs + summary.num_positions_in_short_runs == summary.num_positions
    assert f"{summary.num_tracks:,} tracks" in summary.in_words()
