"""Batches of clips: read from a store by workers, or gathered from a corpus decoded in memory.

The clips of a step depend only on its number.
"""

from __future__ import annotations

import functools
import itertools
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from mien.data.clips import ClipDraw, ClipPool, NoClipsError
from mien.data.jobs import begin_worker, worker_context
from mien.data.labels import FrameLabels
from mien.data.progress import with_bar
from mien.data.store import TrackStore

_ROOM_LEFT = 0.9  # share of the free memory that a corpus may use


@dataclass(frozen=True)
class DataSettings:
    """The size of a step, and how it is read."""

    clips_per_step: int = 64  # on all devices together
    clips_per_video: int = 1  # random clips of each video in an epoch; more for a small corpus
    frame_size_px: int = 256  # frames are read at this size; views.output_size_px is cut from them
    workers: int = 4  # reading processes per device; 0: read in the training process
    prefetch_steps: int = 2  # steps that each worker reads ahead
    in_memory: Literal["no", "host", "device"] = "no"  # decode the whole corpus once, and gather from there
    labels: str = ""  # a table of labels, for the methods that train on them (mien.data.labels)

    def __post_init__(self) -> None:
        for name in ("clips_per_step", "clips_per_video", "frame_size_px", "prefetch_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)}: at least 1")
        if self.workers < 0:
            raise ValueError(f"workers = {self.workers}: 0 or more")


class ClipKey(NamedTuple):
    """One row of a batch: the copy-th clip of a pool's video in an epoch."""

    epoch: int
    video: int
    copy: int


class Clips(NamedTuple):
    """A batch from the workers: `mien.train.method.ClipBatch(*clips)`."""

    clip_BTHWC: Tensor
    far_BLHWC: Tensor
    identity_B: Tensor
    video_B: Tensor
    far_labels_BLK: Tensor


@dataclass(frozen=True)
class EpochPlan:
    """The clips of each step: every video once per round, in a new random order for each round.

    An epoch has clips_per_video rounds; the clips that do not fill its last step are dropped.
    """

    num_videos: int
    clips_per_video: int
    clips_per_step: int
    seed: int

    def __post_init__(self) -> None:
        if self.steps_per_epoch < 1:
            raise NoClipsError(
                f"{self.num_videos} videos x {self.clips_per_video} clips do not fill one step of "
                f"{self.clips_per_step} clips: lower data.clips_per_step or raise data.clips_per_video"
            )

    @property
    def steps_per_epoch(self) -> int:
        """Whole steps in an epoch."""
        return self.num_videos * self.clips_per_video // self.clips_per_step

    def keys(self, step: int, *, rank: int, num_ranks: int) -> list[ClipKey]:
        """The clips of one step (counted from 0 over the whole run) for one rank."""
        epoch, step_in_epoch = divmod(step, self.steps_per_epoch)
        order = _epoch_order(self.seed, epoch, self.num_videos, self.clips_per_video)
        first = step_in_epoch * self.clips_per_step
        share = self.clips_per_step // num_ranks
        mine = order[first + rank * share : first + (rank + 1) * share]
        return [ClipKey(epoch, int(video), int(copy)) for copy, video in mine]


class ClipDataset(Dataset[Clips]):
    """Reads the clip of a key; the same key gives the same frames on every worker and in every run."""

    def __init__(
        self,
        store: TrackStore,
        pool: ClipPool,
        *,
        frame_size_px: int,
        seed: int,
        labels: FrameLabels | None = None,
    ) -> None:
        self.store = store
        self.labels = labels
        self.pool = pool
        self.frame_size_px = frame_size_px
        self.seed = seed

    def __getitem__(self, key: ClipKey) -> Clips:
        draw = self.draw(key)
        positions = np.concatenate([draw.clip_positions, draw.far_positions])
        frames = torch.from_numpy(
            self.store.read_frames(draw.track, positions.tolist(), size_px=self.frame_size_px)
        )
        num_clip = len(draw.clip_positions)
        identity, video = (torch.tensor(number, dtype=torch.int64) for number in self.whose(draw))
        labels = torch.from_numpy(self.far_labels(draw))
        return Clips(frames[:num_clip], frames[num_clip:], identity, video, labels)

    def draw(self, key: ClipKey) -> ClipDraw:
        """The frames of the key."""
        return self.pool.draw(key.video, seed=(self.seed, key.epoch, key.copy))

    def whose(self, draw: ClipDraw) -> tuple[int, int]:
        """The numbers of a draw's identity and video."""
        return self.store.identity_number(draw.track), self.store.video_number(draw.track)

    def far_labels(self, draw: ClipDraw) -> NDArray[np.float32]:
        """(L, K) labels of a draw's far frames; K is 0 without labels."""
        if self.labels is None:
            return np.empty((len(draw.far_positions), 0), np.float32)
        return self.labels.of(draw.track, draw.far_positions)


def clip_loader(
    dataset: ClipDataset,
    plan: EpochPlan,
    *,
    steps: range | None,
    settings: DataSettings,
    rank: int = 0,
    num_ranks: int = 1,
    pin_memory: bool = False,
) -> DataLoader[Clips]:
    """A loader of one `Clips` per step, for the given steps (None: from 0 without end), in order.

    Workers live as long as the iterator, so there is no pause between epochs.
    """
    return DataLoader(
        dataset,
        batch_sampler=_Steps(plan, steps, rank=rank, num_ranks=num_ranks),
        collate_fn=_collate,
        num_workers=settings.workers,
        prefetch_factor=settings.prefetch_steps if settings.workers else None,
        worker_init_fn=begin_worker,
        multiprocessing_context=worker_context(__name__) if settings.workers else None,
        generator=torch.Generator(),  # otherwise the loader draws from the global state at every start
        pin_memory=pin_memory,
    )


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


class _Steps(Sampler[list[ClipKey]]):
    def __init__(self, plan: EpochPlan, steps: range | None, *, rank: int, num_ranks: int) -> None:
        self.plan = plan
        self.steps = steps
        self.rank = rank
        self.num_ranks = num_ranks

    def __iter__(self) -> Iterator[list[ClipKey]]:
        for step in itertools.count() if self.steps is None else self.steps:
            yield self.plan.keys(step, rank=self.rank, num_ranks=self.num_ranks)


@functools.lru_cache(maxsize=2)
def _epoch_order(seed: int, epoch: int, num_videos: int, clips_per_video: int) -> NDArray[np.int64]:
    """(num_videos * clips_per_video, 2): copy and video, a fresh permutation of the videos for each copy."""
    rng = np.random.default_rng((seed, epoch))
    rounds = [
        np.stack([np.full(num_videos, copy), rng.permutation(num_videos)], axis=1)
        for copy in range(clips_per_video)
    ]
    return np.concatenate(rounds)


def _collate(rows: list[Clips]) -> Clips:
    return Clips(*(torch.stack(column) for column in zip(*rows, strict=True)))


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
