"""H.264 videos with given frame times and the sound of another file, and the video that a page shows."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from mien.decoding import open_container
from mien.io import replacing
from mien.video import Frame, VideoError, read_frames
from mien.visualise.page_parts import Picture, link_to

_PLAYED = {  # by suffix: the demuxer and the codecs of files that every browser of today plays
    ".mp4": ("mov", {"h264", "av1", "vp9"}),
    ".m4v": ("mov", {"h264"}),
    ".mov": ("mov", {"h264"}),
    ".webm": ("webm", {"vp8", "vp9", "av1"}),
}
_PIXELS = {"yuv420p", "yuvj420p"}
_PROXY_SIDE_PX = 1280
_COPY = "Browsers do not play the file itself; a copy in H.264 is shown, with the same times."
_TIME_BASE = Fraction(1, 90_000)
_AUDIO_BITS_PER_SECOND = 128_000

_Encoded = tuple[float, list[Any], bool]  # seconds since the first picture, packets, whether of a picture


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
        frames = iter(frames)
        first = next(frames, None)
        if first is None:
            raise ValueError(f"{path}: no frame to write a video of")
        stream = _add_stream(container, _even_size(first[1], max_side_px), quality_crf)
        tracks = [_encoded_pictures(stream, chain([first], frames), first[0])]
        if audio_from is not None:
            source = stack.enter_context(open_container(audio_from))
            tracks.append(_encoded_sound(container, source, first[0]))
        del first
        num_frames = 0
        for _, packets, is_picture in heapq.merge(*tracks, key=itemgetter(0)):
            container.mux(packets)
            num_frames += is_picture
    return num_frames


@dataclass(frozen=True)
class PageVideo:
    """The video of a page: the link to it, the time at which it shows the first frame, and a remark."""

    link: str
    first_seconds: float
    note: str


def page_video(video: Path, page: Path) -> PageVideo:
    """The video as `page` shows it; a copy NAME.playable.mp4 is written beside the page where it must be."""
    if browsers_play(video):
        return PageVideo(link_to(video, page), _first_frame_seconds(video), "")
    copy = page.with_name(f"{page.stem}.playable.mp4")
    frames = ((frame.seconds, frame.image_HWC) for frame in until_damage(read_frames(video), []))
    write_timed_video(copy, frames, audio_from=video, quality_crf=23, max_side_px=_PROXY_SIDE_PX)
    return PageVideo(link_to(copy, page), 0.0, _COPY)


def until_damage(frames: Iterable[Frame], problems: list[VideoError]) -> Iterator[Frame]:
    """The frames that can be decoded; the VideoError that ends them is appended to `problems`."""
    try:
        yield from frames
    except VideoError as error:
        problems.append(error)


def browsers_play(video: Path) -> bool:
    """Whether every browser of today plays the file."""
    demuxer, codecs = _PLAYED.get(video.suffix.lower(), ("", set()))
    try:
        with open_container(video) as container:
            codec = container.streams.video[0].codec_context
            is_known = demuxer in container.format.name.split(",") and len(container.streams.video) == 1
            return is_known and codec is not None and codec.name in codecs and codec.pix_fmt in _PIXELS
    except (av.error.FFmpegError, IndexError):
        return False


def _encoded_pictures(
    stream: Any, frames: Iterable[tuple[float, Picture]], origin_seconds: float
) -> Iterator[_Encoded]:
    size = (stream.width, stream.height)
    for seconds, picture in frames:
        passed = seconds - origin_seconds
        same = picture.shape[1::-1] == size
        fitting = picture if same else cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(fitting), format="rgb24")
        frame.pts, frame.time_base = round(passed / _TIME_BASE), _TIME_BASE
        yield passed, stream.encode(frame), True
    yield passed, stream.encode(None), False


def _encoded_sound(container: Any, source: Any, origin_seconds: float) -> Iterator[_Encoded]:
    """The first audio stream of `source` as AAC, in a stream added at once."""
    stream = next((stream for stream in source.streams.audio if stream.codec_context), None)
    if stream is None:
        return iter(())
    layout = "mono" if stream.channels == 1 else "stereo"
    out = container.add_stream("aac", rate=stream.rate or 48_000, layout=layout)
    out.bit_rate = _AUDIO_BITS_PER_SECOND
    resampler = av.AudioResampler(format="fltp", layout=layout, rate=out.rate)

    def encoded() -> Iterator[_Encoded]:
        passed = 0.0
        for frame in _decoded(source, stream):
            passed = float(frame.time or 0.0) - origin_seconds
            if passed >= 0:
                frame.pts, frame.time_base = round(passed * frame.sample_rate), Fraction(1, frame.sample_rate)
                yield passed, [p for part in resampler.resample(frame) for p in out.encode(part)], False
        last = [packet for part in resampler.resample(None) for packet in out.encode(part)]
        yield passed, [*last, *out.encode(None)], False

    return encoded()


def _decoded(source: Any, stream: Any) -> Iterator[Any]:
    """Frames that can be decoded; what is damaged is left out, as it is among the pictures."""
    with suppress(av.error.FFmpegError):
        for packet in source.demux(stream):
            with suppress(av.error.FFmpegError):
                yield from packet.decode()


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
