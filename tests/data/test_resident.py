from __future__ import annotations

import pytest
import torch

from mien.data import loader
from mien.data.clips import ClipPool
from mien.data.loader import (
    ClipDataset,
    DataSettings,
    DoesNotFitError,
    EpochPlan,
    ResidentFrames,
    clip_loader,
    resident_batches,
)
from mien.data.store import TrackStore
from mien.train.method import ClipRequest

CPU = torch.device("cpu")


def test_batches_from_memory_are_the_loaders_bit_for_bit(disc_store):
    store = TrackStore.open(disc_store)
    pool = ClipPool(store, ClipRequest(clip_len=3, num_far_frames=2))
    dataset = ClipDataset(store, pool, frame_size_px=36, seed=5)
    plan = EpochPlan(pool.num_videos, 1, clips_per_step=4, seed=5)
    frames = ResidentFrames.load(store, size_px=36, device=CPU)
    assert frames.frames_NHWC.shape == (12 * 40, 36, 36, 3)
    steps = range(2, 7)
    for rank in range(2):
        shares = {"rank": rank, "num_ranks": 2}
        read = clip_loader(dataset, plan, steps=steps, settings=DataSettings(workers=0), **shares)
        gathered = resident_batches(frames, dataset, plan, steps=iter(steps), **shares)
        for one, other in zip(read, gathered, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_corpus_that_does_not_fit_is_refused_before_it_is_read(disc_store, monkeypatch):
    monkeypatch.setattr(loader, "_free_host_bytes", lambda: 3_000_000)
    store = TrackStore.open(disc_store)
    ResidentFrames.load(store, size_px=32, device=CPU)  # 480 frames of 3 kB
    monkeypatch.setattr(TrackStore, "read_frames", None)
    with pytest.raises(DoesNotFitError, match=r"480 frames of .* at 32 px x 2 processes take 0\.0 GB"):
        ResidentFrames.load(store, size_px=32, device=CPU, copies=2)
    with pytest.raises(DoesNotFitError, match=r"lower data\.frame_size_px"):
        ResidentFrames.load(store, size_px=64, device=CPU)
