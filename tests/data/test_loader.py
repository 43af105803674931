from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import psutil
import pytest
import torch

from mien.data.clips import ClipPool, NoClipsError
from mien.data.loader import ClipDataset, DataSettings, EpochPlan, clip_loader
from mien.data.store import TrackStore
from mien.train.method import ClipBatch, ClipRequest

REQUEST = ClipRequest(clip_len=3, stride=2, num_far_frames=2, min_gap_frames=4)


class ArrayStore:
    """One track a video; the frame at a position shows (track, position, size) as its colour."""

    def __init__(self, num_videos, num_frames=20):
        self.num_tracks = num_videos
        self.num_frames = num_frames

    def runs(self, _track):
        return [(0, self.num_frames)]

    def slots(self, _track):
        return np.arange(self.num_frames)

    source_frame_indices = slots

    def video_number(self, track):
        return 100 + track

    def identity_number(self, track):
        return track // 2

    def read_frames(self, track, positions, *, size_px):
        frames = np.empty((len(positions), size_px, size_px, 3), np.uint8)
        frames[...] = [[[[track, position, size_px]]] for position in positions]
        return frames


def batches(*, steps=range(4), rank=0, num_ranks=1, num_videos=10, clips_per_video=2, seed=0):
    store = ArrayStore(num_videos)
    pool = ClipPool(store, REQUEST)
    plan = EpochPlan(pool.num_videos, clips_per_video, clips_per_step=6, seed=seed)
    dataset = ClipDataset(store, pool, frame_size_px=8, seed=seed)
    settings = DataSettings(clips_per_step=6, frame_size_px=8, workers=0)
    return list(clip_loader(dataset, plan, steps=steps, settings=settings, rank=rank, num_ranks=num_ranks))


def test_a_batch_holds_uint8_clips_far_frames_and_whose_they_are():
    batch = ClipBatch(*batches()[0])
    assert batch.clip_BTHWC.shape == (6, 3, 8, 8, 3)
    assert batch.far_BLHWC.shape == (6, 2, 8, 8, 3)
    track_B = batch.clip_BTHWC[:, 0, 0, 0, 0].long()
    assert torch.equal(batch.video_B, track_B + 100)
    assert torch.equal(batch.identity_B, track_B // 2)
    assert torch.equal(batch.far_BLHWC[:, 1, 0, 0, 0].long(), track_B)
    position_BT = batch.clip_BTHWC[:, :, 0, 0, 1].long()
    assert torch.equal(position_BT.diff(dim=1), torch.full((6, 2), 2))


def test_batches_do_not_depend_on_the_number_of_workers(disc_store):
    store = TrackStore.open(disc_store)
    pool = ClipPool(store, REQUEST)
    dataset = ClipDataset(store, pool, frame_size_px=8, seed=0)
    plan = EpochPlan(pool.num_videos, 2, clips_per_step=6, seed=0)
    alone, shared = (
        list(clip_loader(dataset, plan, steps=range(4), settings=DataSettings(workers=workers)))
        for workers in (0, 2)
    )
    for one, other in zip(alone, shared, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.slow
def test_workers_begin_after_the_training_process_has_used_its_thread_pools(disc_store):
    threads = cv2.getNumThreads()
    cv2.setNumThreads(4)
    cv2.GaussianBlur(np.zeros((2000, 2000, 3), np.uint8), (31, 31), 0)
    test_batches_do_not_depend_on_the_number_of_workers(disc_store)
    cv2.setNumThreads(threads)


def test_a_loader_begun_in_the_middle_gives_what_is_left():
    for whole, resumed in zip(batches(steps=range(8))[5:], batches(steps=range(5, 8)), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(whole, resumed, strict=True))


class CountingStore(ArrayStore):
    """Counts what is asked of it."""

    def __init__(self, num_videos):
        super().__init__(num_videos)
        self.frames_read = 0
        self.tracks_looked_at = 0

    def source_frame_indices(self, track):
        self.tracks_looked_at += 1
        return self.slots(track)

    def read_frames(self, track, positions, *, size_px):
        self.frames_read += len(positions)
        return np.zeros((len(positions), size_px, size_px, 3), np.uint8)


def test_a_resume_late_in_a_long_run_costs_its_own_steps_alone(monkeypatch):
    """Neither the steps before it nor the corpus's size: 10 000 videos, step 1 234 567 of the run."""
    permutations = []
    default_rng = np.random.default_rng
    monkeypatch.setattr(np.random, "default_rng", lambda seed: permutations.append(seed) or default_rng(seed))
    store = CountingStore(10_000)
    pool = ClipPool(store, REQUEST)
    assert store.tracks_looked_at == 10_000  # once each, at the start
    plan = EpochPlan(pool.num_videos, 1, clips_per_step=8, seed=7)
    dataset = ClipDataset(store, pool, frame_size_px=1, seed=7)
    settings = DataSettings(clips_per_step=8, workers=0)
    resumed = list(clip_loader(dataset, plan, steps=range(1_234_567, 1_234_569), settings=settings))
    assert len(resumed) == 2
    assert store.frames_read == 2 * 8 * (3 + 2)
    assert store.tracks_looked_at == 10_000 + 2 * 8 * 2  # the clip's starts and the far frames of each row
    assert permutations.count((7, 1_234_567 // 1_250)) == 1  # one order for the epoch
    assert len(permutations) == 1 + 2 * 8  # and one draw a clip


def test_the_ranks_shares_side_by_side_are_the_single_device_batch():
    shares = [batches(rank=rank, num_ranks=3) for rank in range(3)]
    for whole, *parts in zip(batches(), *shares, strict=True):
        together = [torch.cat(columns) for columns in zip(*parts, strict=True)]
        assert all(torch.equal(a, b) for a, b in zip(whole, together, strict=True))


def test_an_epoch_shows_every_video_once_a_round_and_drops_what_does_not_fill_a_step():
    plan = EpochPlan(num_videos=10, clips_per_video=2, clips_per_step=4, seed=3)
    assert plan.steps_per_epoch == 5
    keys = [key for step in range(5) for key in plan.keys(step, rank=0, num_ranks=1)]
    assert sorted(key.video for key in keys[:10]) == list(range(10))
    assert sorted((key.copy, key.video) for key in keys) == [(c, v) for c in range(2) for v in range(10)]
    assert EpochPlan(10, 2, 6, seed=3).steps_per_epoch == 3
    following = [key.video for key in plan.keys(5, rank=0, num_ranks=1)]
    assert following != [key.video for key in keys[:4]]
    assert {key.epoch for key in plan.keys(5, rank=0, num_ranks=1)} == {1}


def test_two_clips_of_a_video_in_one_epoch_are_drawn_apart():
    pool = ClipPool(ArrayStore(1, num_frames=250), REQUEST)
    dataset = ClipDataset(ArrayStore(1, num_frames=250), pool, frame_size_px=8, seed=0)
    plan = EpochPlan(1, clips_per_video=8, clips_per_step=8, seed=0)
    starts = {int(dataset[key].clip_BTHWC[0, 0, 0, 1]) for key in plan.keys(0, rank=0, num_ranks=1)}
    assert len(starts) > 5


def test_other_seeds_give_other_batches():
    first, other = batches(seed=0)[0], batches(seed=1)[0]
    assert not torch.equal(first.video_B, other.video_B)


def test_too_few_videos_for_one_step_is_an_error_that_says_what_to_change():
    with pytest.raises(NoClipsError, match=r"5 videos x 1 clips do not fill one step of 6 clips: lower data"):
        EpochPlan(5, 1, 6, seed=0)


KILLED = """
import time
from mien.data.clips import ClipPool
from mien.data.loader import ClipDataset, DataSettings, EpochPlan, clip_loader
from mien.data.store import TrackStore
from mien.train.method import ClipRequest

if __name__ == "__main__":
    store = TrackStore.open({store!r})
    pool = ClipPool(store, ClipRequest(clip_len=3, stride=2, num_far_frames=2, min_gap_frames=4))
    dataset = ClipDataset(store, pool, frame_size_px=8, seed=0)
    plan = EpochPlan(pool.num_videos, 2, clips_per_step=6, seed=0)
    batches = iter(clip_loader(dataset, plan, steps=None, settings=DataSettings(workers=2)))
    next(batches)
    print("reading", flush=True)
    time.sleep(600)
"""


def test_workers_end_with_a_training_process_that_is_killed_outright(disc_store, tmp_path):
    script = tmp_path / "run.py"
    script.write_text(KILLED.format(store=str(disc_store)))
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout.readline() == "reading\n"
        children = psutil.Process(run.pid).children(recursive=True)
        assert len(children) >= 3  # the server of processes and two workers
        os.kill(run.pid, signal.SIGKILL)
    end = time.monotonic() + 20
    while (alive := [child for child in children if _runs(child)]) and time.monotonic() < end:
        time.sleep(0.05)
    assert not alive


def _runs(process):
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
