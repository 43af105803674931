"""What a corpus of the size of VoxCeleb2 costs before a picture is read: start-up, memory, an order.

    python benchmarks/sampler_scale.py           # 48 000 utterances of 180 frames, 8.6 million in all
    python benchmarks/sampler_scale.py --videos 480000

The store is made of synthetic rows, without pictures, in a temporary folder (20 bytes a frame). CPU seconds
are printed beside wall seconds: on a busy machine only the former mean something.
"""

from __future__ import annotations

import argparse
import pickle
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mien.data.clips import ClipPool
from mien.data.loader import EpochPlan
from mien.data.store import TrackStore
from mien.data.store_layout import (
    INDEX,
    INDEX_DTYPE,
    MANIFEST,
    MANIFEST_SCHEMA,
    StoreHeader,
    crops_path,
)
from mien.faces.contract import CropContract
from mien.train.method import ClipRequest

Result = TypeVar("Result")
CONTRACT = CropContract("none", "", "none", "", ((0.0, 0.0),) * 5, 0.2, 256)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=48_000)
    parser.add_argument("--frames", type=int, default=180, help="frames a video")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        _make_store(path, args.videos, args.frames)
        before = _anonymous_bytes()
        store = _timed("open the store", lambda: TrackStore.open(path))
        pool = _timed("find the legal clips", lambda: ClipPool(store, ClipRequest()))
        plan = EpochPlan(pool.num_videos, 1, 64, seed=0)
        print(f"{pool.num_videos:,} videos, {pool.num_starts:,} legal clips, {plan.steps_per_epoch:,} steps")
        last = 200 * plan.steps_per_epoch - 1
        _timed("the order of an epoch and its first step", lambda: plan.keys(0, rank=0, num_ranks=1))
        keys = _timed(
            "the keys of the run's last step, as a resume asks", lambda: plan.keys(last, rank=0, num_ranks=1)
        )
        _timed("draw its 64 clips", lambda: [pool.draw(key.video, seed=(0, 199, 0)) for key in keys])
        print(f"sent to each worker: {len(pickle.dumps(pool)) / 1e6:.1f} MB")
        print(f"memory of the process's own for all that: {(_anonymous_bytes() - before) / 1e6:.0f} MB")
        print(f"the index, mapped and shared by all processes: {(path / INDEX).stat().st_size / 1e6:.0f} MB")


def _timed(what: str, work: Callable[[], Result]) -> Result:
    began, began_cpu = time.perf_counter(), time.process_time()
    result = work()
    wall, cpu = time.perf_counter() - began, time.process_time() - began_cpu
    print(f"{what:55} {cpu:8.3f} s of CPU, {wall:8.3f} s")
    return result


def _anonymous_bytes() -> int:
    """Memory that is backed by no file, so that it is this process's alone (Linux)."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Anonymous:"))


def _make_store(path: Path, num_videos: int, num_frames: int) -> None:
    """A manifest and an index such as `mien prepare` writes; every video has a hole after its 100th slot."""
    StoreHeader(CONTRACT, {"min_run_frames": 17}).write(path)
    names = [f"id{video // 8:05d}/video{video % 8}/00001" for video in range(num_videos)]
    number = np.arange(num_videos, dtype=np.int32)
    first = min(100, num_frames)
    runs = [{"start": 0, "length": first}]
    runs += [{"start": first, "length": num_frames - first}] if num_frames > first else []
    given = {
        "track": number,
        "track_id": [f"{name}#0" for name in names],
        "identity": [name.partition("/")[0] for name in names],
        "identity_number": number // 8,
        "video": names,
        "video_number": number,
        "source_path": [f"{name}.mp4" for name in names],
        "frames_per_second": np.full(num_videos, 25.0),
        "first_row": np.arange(num_videos, dtype=np.int64) * num_frames,
        "num_frames": np.full(num_videos, num_frames),
        "runs": [runs] * num_videos,
        "crops": [crops_path(name) for name in names],
    }
    columns = [
        pa.array(given[field.name], field.type)
        if field.name == "runs"
        else pa.array(given.get(field.name, np.zeros(num_videos))).cast(field.type)
        for field in MANIFEST_SCHEMA
    ]
    table = pa.Table.from_arrays(columns, schema=MANIFEST_SCHEMA)
    pq.write_table(table, path / MANIFEST)
    index = np.lib.format.open_memmap(path / INDEX, "w+", INDEX_DTYPE, (num_videos * num_frames,))
    slot = np.arange(num_frames) + (np.arange(num_frames) >= first)
    index["slot"] = index["source_frame_index"] = np.tile(slot, num_videos)
    index.flush()


if __name__ == "__main__":
    main()
