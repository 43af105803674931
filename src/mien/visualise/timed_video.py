"""H.264 videos with given frame times and the sound of another file, and the video that a page shows."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from mien.decoding import open_container
from mien.io import replacing
from mien.video import VideoError, read_frames
from mien.visualise.page_parts import Picture, link_to

MOST_EMBEDDED_BYTES = 64_000_000
_CONTAINERS = {  # by suffix: what the file must be inside, so that every browser of today plays it
    ".mp4": ({"h264", "av1", "vp9"}, "video/mp4"),
    ".m4v": ({"h264"}, "video/mp4"),
    ".mov": ({"h264"}, "video/mp4"),
    ".webm": ({"vp8", "vp9", "av1"}, "video/webm"),
}
_DEMUXERS = {"video/mp4": "mov", "video/webm": "webm"}
_PIXELS = {"yuv420p", "yuvj420p"}
_PROXY_SIDE_PX = 1280
_COPY = "Browsers do not play the file itself; a copy in H.264 is shown, with the same times."
_COPY_WITH_OTHER_TIMES = "The file's times fall back; a copy is shown whose times count on."
_TIME_BASE = Fraction(1, 90_000)
_AUDIO_BITS_PER_SECOND = 128_000


def write_timed_video(
    path: Path,
    frames: Iterable[tuple[float, Picture]],
    *,
    audio_from: Path | None = None,
    quality_crf: int = 21,
    max_side_px: int | None = None,
) -> int:
    """(seconds, uint8 RGB picture) in order as an H.264 mp4, whole or not at all; returns how many.

    One frame at a time is held. Pictures are brought to the size of the first one, its longer side at most
    `max_side_px`, sides made even. The first frame is at 0 in the new file. The sound of `audio_from`, if
    any, is encoded anew as AAC, from the time of the first frame on. ValueError where there is no frame.
    """
    with replacing(path, temporary_folder=path.parent) as temporary, ExitStack() as stack:
        container = stack.enter_context(
            av.open(str(temporary.absolute()), "w", format="mp4", options={"movflags": "faststart"})
        )
        stream, sound, origin_seconds, num_frames = None, None, 0.0, 0
        for seconds, picture in frames:
            if stream is None:
                origin_seconds = seconds
                if audio_from is not None:
                    source = stack.enter_context(open_container(audio_from))
                    sound = _Sound(source, container, origin_seconds=origin_seconds)
                stream = _add_stream(container, _even_size(picture, max_side_px), quality_crf)
            passed = seconds - origin_seconds
            if sound is not None:
                sound.write_until(passed)
            container.mux(stream.encode(_video_frame(picture, passed, (stream.width, stream.height))))
            num_frames += 1
        if stream is None:
            raise ValueError(f"{path}: no frame to write a video of")
        container.mux(stream.encode(None))
        if sound is not None:
            sound.write_rest()
    return num_frames


@dataclass(frozen=True)
class PageVideo:
    """How a page finds its video: by a link or within itself; its first frame is shown at `first_seconds`."""

    link: str  # "" where it is embedded
    embedded: str  # base64, "" where it is linked
    mime: str
    first_seconds: float
    note: str


def page_video(
    video: Path, page: Path, *, embed: bool, most_bytes: int = MOST_EMBEDDED_BYTES, times_rise: bool = True
) -> PageVideo:
    """The video as `page` shows it; a copy NAME.playable.mp4 is written beside the page where it must be.

    A player has one picture a time: a file whose times fall back (`times_rise` false) gets a copy whose times
    do not. A file of more than `most_bytes` is linked, not embedded, and the note says so.
    """
    mime, first_seconds, note, shown = playable_mime(video) if times_rise else "", 0.0, "", video
    if mime:
        first_seconds = _first_frame_seconds(video)
    else:
        shown, mime = page.with_name(f"{page.stem}.playable.mp4"), "video/mp4"
        write_timed_video(
            shown, _whole_frames(video), audio_from=video, quality_crf=23, max_side_px=_PROXY_SIDE_PX
        )
        note = _COPY if times_rise else _COPY_WITH_OTHER_TIMES
    if embed and shown.stat().st_size <= most_bytes:
        embedded = base64.b64encode(shown.read_bytes()).decode()
        if shown != video:
            shown.unlink()
        return PageVideo("", embedded, mime, first_seconds, note)
    if embed:
        note += f" The video has {shown.stat().st_size / 1e6:.0f} MB and lies beside the page, not in it."
    return PageVideo(link_to(shown, page), "", mime, first_seconds, note.strip())


def playable_mime(video: Path) -> str:
    """The MIME type under which today's browsers play the file; "" where one of them would not."""
    codecs, mime = _CONTAINERS.get(video.suffix.lower(), (set(), ""))
    if not mime:
        return ""
    try:
        with open_container(video) as container:
            streams = container.streams.video
            if len(streams) != 1 or _DEMUXERS[mime] not in container.format.name.split(","):
                return ""
            codec = streams[0].codec_context
            plays = codec is not None and codec.name in codecs and codec.pix_fmt in _PIXELS
            return mime if plays else ""
    except av.error.FFmpegError:
        return ""


class _Sound:
    """The first audio stream of one container into another, as AAC, as far as the pictures have come."""

    def __init__(self, source: Any, target: Any, *, origin_seconds: float) -> None:
        self._stream = next((stream for stream in source.streams.audio if stream.codec_context), None)
        if self._stream is None:
            return
        self._target, self._out = target, target.add_stream("aac", rate=self._stream.rate or 48_000)
        self._out.bit_rate = _AUDIO_BITS_PER_SECOND
        layout = "mono" if self._stream.channels == 1 else "stereo"
        self._out.layout = layout
        self._resampler = av.AudioResampler(format="fltp", layout=layout, rate=self._out.rate)
        self._frames = self._decode(source)
        self._origin_seconds = origin_seconds
        self._held = next(self._frames, None)

    def write_until(self, seconds: float) -> None:
        """Everything that sounds before `seconds` of the pictures' time."""
        if self._stream is None:
            return
        while self._held is not None and self._seconds(self._held) < seconds:
            self._encode(self._held)
            self._held = next(self._frames, None)

    def write_rest(self) -> None:
        """What is left, and the encoder's last packets."""
        if self._stream is None:
            return
        self.write_until(float("inf"))
        for frame in self._resampler.resample(None):
            self._target.mux(self._out.encode(frame))
        self._target.mux(self._out.encode(None))

    def _decode(self, source: Any) -> Iterator[Any]:
        """Frames that can be decoded; what is damaged is left out, as it is among the pictures."""
        packets = source.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                yield from packet.decode()
            except av.error.EOFError:
                return
            except av.error.FFmpegError:
                if packet is None or packet.dts is None:
                    return

    def _seconds(self, frame: Any) -> float:
        return float(frame.time or 0.0) - self._origin_seconds

    def _encode(self, frame: Any) -> None:
        seconds = self._seconds(frame)
        if seconds < 0:
            return
        frame.pts, frame.time_base = round(seconds * frame.sample_rate), Fraction(1, frame.sample_rate)
        for ready in self._resampler.resample(frame):
            self._target.mux(self._out.encode(ready))


def _add_stream(container: Any, size: tuple[int, int], quality_crf: int) -> Any:
    with_x264 = "libx264" in av.codecs_available
    stream = container.add_stream("libx264" if with_x264 else "mpeg4", rate=30)
    stream.width, stream.height = size
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = _TIME_BASE
    # Short groups of pictures, so that a page seeks quickly.
    quality = {"crf": str(quality_crf), "preset": "veryfast", "g": "50"}
    stream.options = quality if with_x264 else {"qscale": str(1 + quality_crf // 6)}
    return stream


def _video_frame(picture_HWC: Picture, seconds: float, size: tuple[int, int]) -> Any:
    if picture_HWC.shape[1::-1] != size:
        picture_HWC = cv2.resize(picture_HWC, size, interpolation=cv2.INTER_AREA)
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture_HWC), format="rgb24")
    frame.pts, frame.time_base = round(seconds / _TIME_BASE), _TIME_BASE
    return frame


def _even_size(picture_HWC: Picture, max_side_px: int | None) -> tuple[int, int]:
    height, width = picture_HWC.shape[:2]
    scale = min(1.0, (max_side_px or max(height, width)) / max(height, width))
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)


def _first_frame_seconds(video: Path) -> float:
    """Where a browser shows the first frame: it counts from the start of the file's earliest stream."""
    with open_container(video) as container:
        stream = container.streams.video[0]
        if stream.start_time is None or container.start_time is None:
            return 0.0
        first = float(stream.start_time * stream.time_base)
        return float(max(0.0, first - container.start_time / av.time_base))


def _whole_frames(video: Path) -> Iterator[tuple[float, Picture]]:
    """As many frames as can be decoded; a damaged end is passed over."""
    try:
        for frame in read_frames(video):
            yield frame.seconds, frame.image_HWC
    except VideoError:
        return
