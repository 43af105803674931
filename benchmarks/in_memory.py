"""What a batch costs read from the store and gathered from memory (data.in_memory = host), in CPU time.

    python benchmarks/in_memory.py STORE [--size 72] [--clips 16]

The two take turns on the same steps in one process of one thread; loading is timed as well.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import torch

from mien.data.clips import ClipPool
from mien.data.loader import (
    ClipDataset,
    Clips,
    DataSettings,
    EpochPlan,
    ResidentFrames,
    clip_loader,
    resident_batches,
)
from mien.data.store import TrackStore
from mien.train.method import ClipRequest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("--size", type=int, default=72, help="pixels of a frame")
    parser.add_argument("--clips", type=int, default=16, help="of a step")
    parser.add_argument("--steps", type=int, default=20)
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    store = TrackStore.open(args.store)
    pool = ClipPool(store, ClipRequest())
    dataset = ClipDataset(store, pool, frame_size_px=args.size, seed=0)
    plan = EpochPlan(pool.num_videos, max(1, args.clips), args.clips, seed=0)
    began = time.process_time()
    frames = ResidentFrames.load(store, size_px=args.size, device=torch.device("cpu"))
    loading = time.process_time() - began
    settings = DataSettings(workers=0)
    arms = {
        "read": iter(clip_loader(dataset, plan, steps=range(args.steps), settings=settings)),
        "gathered": resident_batches(frames, dataset, plan, steps=iter(range(args.steps))),
    }
    seconds = {name: [] for name in arms}
    for _ in range(args.steps):
        for name, batches in arms.items():
            seconds[name].append(_seconds_of_next(batches))
    count = frames.frames_NHWC.shape[0]
    gigabytes = frames.frames_NHWC.nbytes / 1e9
    print(f"{count:,} frames at {args.size} px, {gigabytes:.2f} GB, {loading:.1f} s to load")
    for name, values in seconds.items():
        print(f"{name:9} {1e3 * statistics.median(values):8.2f} ms of CPU a step of {args.clips} clips")


def _seconds_of_next(batches: Iterator[Clips]) -> float:
    began = time.process_time()
    next(batches)
    return time.process_time() - began


if __name__ == "__main__":
    main()
