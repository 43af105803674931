"""Does the memory of `mien prepare` grow with the length of a video? Resident memory over a long 720p video.

    python benchmarks/memory.py CLIP [--minutes 10]

The clip is looped to that length at 1280 x 720 and 25 fps (encoded once, its packets repeated) and prepared
in this process; resident memory is read every second of video. It should be flat after the first minute.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import psutil

from mien.data.face_tracking import FaceTracking
from mien.data.prepare import PrepareSettings, Unwatched, prepare
from mien.data.sources import list_sources
from mien.faces.track import SlotFaces
from mien.video import read_frames, write_video


class Measured:
    """A tracking that notes the process's memory once a minute of video."""

    def __init__(self, tracking: FaceTracking) -> None:
        self.tracking = tracking
        self.contract = tracking.contract
        self.resident_MB: dict[int, list[float]] = {}

    def __call__(self, path: Path) -> Iterator[SlotFaces]:
        """As the tracking itself."""
        process = psutil.Process()
        for looked in self.tracking(path):
            if looked.source_frame_index % 25 == 0:
                resident = process.memory_info().rss / 1e6
                self.resident_MB.setdefault(int(looked.seconds // 60), []).append(resident)
                if len(self.resident_MB[int(looked.seconds // 60)]) == 60:
                    values = self.resident_MB[int(looked.seconds // 60)]
                    print(
                        f"minute {int(looked.seconds // 60) + 1}: {min(values):.0f} .. {max(values):.0f} MB",
                        flush=True,
                    )
            yield looked


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clip", type=Path)
    parser.add_argument("--minutes", type=float, default=10)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        video = folder / "videos/long.mp4"
        video.parent.mkdir()
        loop(args.clip, video, seconds=60 * args.minutes, scratch=folder / "once.mp4")
        settings = PrepareSettings()
        measured = Measured(FaceTracking(settings.tracking))
        (account,) = prepare(
            list_sources([video.parent]).sources,
            folder / "store",
            measured,
            settings=settings,
            workers=0,
            watcher=Unwatched(),
        )
    medians = {minute: sorted(values)[len(values) // 2] for minute, values in measured.resident_MB.items()}
    later = [median for minute, median in medians.items() if minute >= 1]
    print(f"{account.num_decoded} frames, {account.num_positions} positions")
    print(
        f"median of minute 2: {later[0]:.1f} MB, of the last: {later[-1]:.1f} MB "
        f"({(later[-1] / later[0] - 1) * 100:+.1f} %)"
    )


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
