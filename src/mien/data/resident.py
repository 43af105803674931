"""A corpus with all frames decoded in memory, so that batches are gathered instead of read."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mien.data.loader import ClipDataset, Clips, EpochPlan
from mien.data.progress import with_bar
from mien.data.store import TrackStore

_ROOM_LEFT = 0.9  # share of the free memory that may be used


class DoesNotFitError(ValueError):
    """A corpus larger than the memory; the message gives both sizes."""


class ResidentFrames:
    """uint8 RGB frames of all tracks of a store, in one tensor on the host or on a GPU."""

    def __init__(self, frames_NHWC: Tensor, first_rows: Tensor) -> None:
        self.frames_NHWC = frames_NHWC
        self.first_rows = first_rows  # of each track, on the CPU

    @classmethod
    def load(
        cls, store: TrackStore, *, size_px: int, device: torch.device, copies: int = 1
    ) -> ResidentFrames:
        """Decode all frames of `store` at `size_px` onto `device`, bit for bit as `read_frames`.

        `copies`: processes of this machine that each do so. DoesNotFitError before anything is read.
        """
        lengths = [store.num_frames(track) for track in range(store.num_tracks)]
        shape = (sum(lengths), size_px, size_px, 3)
        _require_room(shape, device, copies=copies, where=store.path)
        frames = torch.empty(shape, dtype=torch.uint8, device=device)
        first_rows = torch.tensor([0, *lengths]).cumsum(0)
        own = threading.local()  # open files of a store are not shared between threads

        def decode(track: int) -> None:
            if not hasattr(own, "store"):
                own.store = TrackStore.open(store.path)
            decoded = own.store.read_frames(track, range(lengths[track]), size_px=size_px)
            frames[first_rows[track] : first_rows[track + 1]].copy_(torch.from_numpy(decoded))

        with ThreadPoolExecutor(max(1, (os.cpu_count() or 1) // copies)) as pool:
            decoded = pool.map(decode, range(store.num_tracks))
            for _ in with_bar(decoded, total=store.num_tracks, unit="tracks", desc="decoding "):
                pass
        return cls(frames, first_rows)

    def gather(self, rows_BT: Tensor) -> Tensor:
        """(B, T, H, W, 3) frames of the given rows, on their device; does not synchronise with the host."""
        places = rows_BT.flatten().to(self.frames_NHWC.device, non_blocking=True)
        gathered = self.frames_NHWC.index_select(0, places)
        return gathered.view(*rows_BT.shape, *self.frames_NHWC.shape[1:])


def resident_batches(
    frames: ResidentFrames,
    dataset: ClipDataset,
    plan: EpochPlan,
    *,
    steps: Iterator[int],
    rank: int = 0,
    num_ranks: int = 1,
) -> Iterator[Clips]:
    """The batches of `clip_loader` for the same steps, with frames on their device and without workers."""
    first_row_of_track = frames.first_rows.numpy()
    for step in steps:
        keys = plan.keys(step, rank=rank, num_ranks=num_ranks)
        draws = [dataset.draw(key) for key in keys]
        first_B1 = first_row_of_track[[draw.track for draw in draws]][:, None]
        clip_BT = np.stack([draw.clip_positions for draw in draws]) + first_B1
        far_BL = np.stack([draw.far_positions for draw in draws]) + first_B1
        whose_B2 = torch.tensor([dataset.whose(draw) for draw in draws], dtype=torch.int64)
        yield Clips(
            frames.gather(torch.from_numpy(clip_BT)),
            frames.gather(torch.from_numpy(far_BL)),
            whose_B2[:, 0],
            whose_B2[:, 1],
            torch.from_numpy(np.stack([dataset.far_labels(draw) for draw in draws])),
        )


def _require_room(shape: tuple[int, ...], device: torch.device, *, copies: int, where: Path) -> None:
    needed = int(np.prod(shape, dtype=np.int64)) * (1 if device.type == "cuda" else copies)
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else _free_host_bytes()
    if needed > _ROOM_LEFT * free:
        times = f" x {copies} processes" if copies > 1 and device.type != "cuda" else ""
        raise DoesNotFitError(
            f"{shape[0]:,} frames of {where} at {shape[1]} px{times} take {needed / 1e9:.1f} GB, of which "
            f"{free / 1e9:.1f} GB are free on {device}: lower data.frame_size_px, or set data.in_memory = no"
        )


def _free_host_bytes() -> int:
    """Available memory, including caches."""
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
