"""How much slower is preparing videos than decoding them? Frames/s of both, on the same clips, in one run.

    python benchmarks/prepare.py FOLDER_OF_CLIPS [--size 640x480] [--processes 2] [--rounds 3]

Two ratios are told: of the clock, which busy neighbours spoil, and of processor time.

Decoding is every frame to RGB with PyAV, one thread a process. Preparing is the whole of `mien prepare`:
decoding, finding, tracking, aligning, JPEG, tables. Both run over the same number of processes, started anew
each time; the two take turns. --size encodes the clips anew at that size first. Target at 640 x 480 with one
face: at least 0.25 of decoding.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.data.jobs import Finished, run_jobs
from mien.data.prepare import prepare
from mien.data.sources import Source, list_sources
from mien.data.store_writer import PrepareSettings
from mien.faces.track import FaceTracking
from mien.video import read_frames, write_video


class Decode:
    """Counts a clip's frames, each converted to RGB."""

    def __call__(self, source: Source, report: object) -> int:
        """How many."""
        return sum(frame.image_HWC.shape[2] == 3 for frame in read_frames(source.path))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clips", type=Path)
    parser.add_argument("--size", help="WIDTHxHEIGHT to encode the clips at first")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeat", type=int, default=1, help="how often each clip is listed")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clips = resized(args.clips, folder / "clips", args.size) if args.size else args.clips
        sources = repeated(list_sources([clips]).sources, folder / "links", args.repeat)
        walls, processors = [], []
        for number in range(args.rounds):
            decoding = measured(lambda: decode(sources, args.processes))
            store = folder / f"store{number}"
            preparing = measured(lambda store=store: prepare_all(sources, store, args.processes))
            walls.append(preparing[0] / decoding[0])
            processors.append(preparing[1] / decoding[1])
            print(
                f"decode {decoding[0]:,.0f} frames/s, prepare {preparing[0]:,.0f} frames/s, "
                f"ratio {walls[-1]:.3f}; in a second of processor time {decoding[1]:,.0f} and "
                f"{preparing[1]:,.0f} frames, ratio {processors[-1]:.3f}",
                flush=True,
            )
    print(
        f"median ratio over {args.processes} processes: {median(walls):.3f} by the clock, "
        f"{median(processors):.3f} by processor time"
    )


def measured(work: Callable[[], int]) -> tuple[float, float]:
    """Frames in a second of the clock, and in a second of processor time of ourselves and our processes."""
    clock, processor = time.perf_counter(), processor_seconds()
    frames = work()
    return frames / (time.perf_counter() - clock), frames / (processor_seconds() - processor)


def processor_seconds() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def decode(sources: tuple[Source, ...], processes: int) -> int:
    events = run_jobs(Decode(), sources, workers=processes)
    return sum(event.result for event in events if isinstance(event, Finished))


def prepare_all(sources: tuple[Source, ...], store: Path, processes: int) -> int:
    settings = PrepareSettings()
    tracking = FaceTracking(settings.tracking)
    accounts = prepare(sources, store, tracking, settings=settings, workers=processes)
    return sum(account.num_decoded for account in accounts)


def resized(clips: Path, folder: Path, size: str) -> Path:
    """The clips scaled to cover that size, H.264, 25 fps."""
    width, height = map(int, size.split("x"))
    folder.mkdir()
    for source in list_sources([clips]).sources:
        target = folder / f"{source.video.replace('/', '-')}.mp4"
        images = (covering(frame.image_HWC, width, height) for frame in read_frames(source.path))
        write_video(target, images, frames_per_second=25)
    return folder


def covering(image_HWC: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """The picture scaled to cover that size, what hangs over cut off on both sides alike."""
    scale = max(width / image_HWC.shape[1], height / image_HWC.shape[0])
    size = (round(image_HWC.shape[1] * scale), round(image_HWC.shape[0] * scale))
    scaled = cv2.resize(image_HWC, size, interpolation=cv2.INTER_AREA)
    top, left = (size[1] - height) // 2, (size[0] - width) // 2
    return scaled[top : top + height, left : left + width]


def repeated(sources: tuple[Source, ...], folder: Path, times: int) -> tuple[Source, ...]:
    return tuple(
        Source(source.path, f"{number}/{source.video}", source.identity, source.source_path)
        for number in range(times)
        for source in sources
    )


if __name__ == "__main__":
    main()
