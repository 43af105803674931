"""Does the memory of `mien prepare` or `mien detect` grow with the length of a video?

    python benchmarks/memory.py CLIP [--minutes 10]
    python benchmarks/memory.py CLIP --detect MODEL [--minutes 10]

The clip is looped to that length at 1280 x 720 and 25 fps (encoded once, its packets repeated) and prepared,
or read by an action-unit model with a baseline and smoothing, in this process; resident memory is read about
every second of video. It should be flat after the first minute.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import psutil

from mien.data.jobs import FrameProgress
from mien.data.prepare import prepare
from mien.data.sources import list_sources
from mien.data.store_writer import PrepareSettings
from mien.detect.detector import Detector
from mien.detect.media import list_media
from mien.detect.recording import record_medium
from mien.detect.signals import Baseline, Smoothing
from mien.faces.track import FaceTracking
from mien.faces.tracked import FrameFaces
from mien.video import read_frames, write_video


class Memory:
    """The process's resident memory, by minute of video."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._resident_MB: dict[int, list[float]] = {}

    def note(self, seconds: float) -> None:
        """Read it at this time of the video; a minute is printed when it is over."""
        minute = int(seconds // 60)
        if minute not in self._resident_MB and minute:
            values = self._resident_MB[max(self._resident_MB)]
            print(f"minute {minute}: {min(values):.0f} .. {max(values):.0f} MB", flush=True)
        self._resident_MB.setdefault(minute, []).append(self._process.memory_info().rss / 1e6)

    def in_words(self) -> str:
        """The second minute against the last."""
        medians = {minute: sorted(values)[len(values) // 2] for minute, values in self._resident_MB.items()}
        later = [median for minute, median in medians.items() if minute >= 1]
        return (
            f"median of minute 2: {later[0]:.1f} MB, of the last: {later[-1]:.1f} MB "
            f"({(later[-1] / later[0] - 1) * 100:+.1f} %)"
        )


class Measured:
    """A tracking that notes the process's memory once a second of video."""

    def __init__(self, tracking: FaceTracking, memory: Memory) -> None:
        self.tracking = tracking
        self.contract = tracking.contract
        self.memory = memory

    def __call__(self, path: Path) -> Iterator[FrameFaces]:
        """As the tracking itself."""
        for looked in self.tracking(path):
            if looked.source_frame_index % 25 == 0:
                self.memory.note(looked.seconds)
            yield looked


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clip", type=Path)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--detect", type=Path, metavar="MODEL")
    args = parser.parse_args()
    memory = Memory()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        video = folder / "videos/long.mp4"
        video.parent.mkdir()
        loop(args.clip, video, seconds=60 * args.minutes, scratch=folder / "once.mp4")
        if args.detect:
            print(measure_detect(video, folder / "tables", args.detect, memory))
        else:
            print(measure_prepare(video, folder / "store", memory))
    print(memory.in_words())


def measure_prepare(video: Path, store: Path, memory: Memory) -> str:
    settings = PrepareSettings()
    (account,) = prepare(
        list_sources([video.parent]).sources,
        store,
        Measured(FaceTracking(settings.tracking), memory),
        settings=settings,
        workers=0,
    )
    return f"{account.num_decoded} frames, {account.num_positions} positions"


def measure_detect(video: Path, out: Path, model: Path, memory: Memory) -> str:
    detector = Detector(model, baseline=Baseline.parse("first:5"), smoothing=Smoothing(0.5))
    (medium,) = list_media([video]).media

    def report(progress: FrameProgress) -> None:
        memory.note(progress.num_frames / 25)

    account = record_medium(medium, detector, out, report=report)
    return f"{account.num_frames} frames, {account.num_rows} rows, {account.num_faces} faces"


def loop(clip: Path, target: Path, *, seconds: float, scratch: Path) -> None:
    """The clip at 720p, encoded once, its packets repeated."""
    images = (cv2.resize(frame.image_HWC, (1280, 720)) for frame in read_frames(clip))
    write_video(scratch, images, frames_per_second=25)
    with av.open(str(target), "w") as output:
        stream, offset = None, 0
        while stream is None or offset * stream.time_base < seconds:
            with av.open(str(scratch)) as source:
                if stream is None:
                    stream = output.add_stream_from_template(source.streams.video[0])
                last = offset
                for packet in source.demux(video=0):
                    if packet.dts is not None:
                        packet.pts += offset
                        packet.dts += offset
                        last = max(last, packet.pts + packet.duration)
                        packet.stream = stream
                        output.mux(packet)
                offset = last


if __name__ == "__main__":
    main()
