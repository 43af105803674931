"""Whether a browser plays a video file, the link to it, and a copy that it plays where it does not."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import av
import numpy as np
from numpy.typing import NDArray

from mien.decoding import open_container
from mien.video import VideoError, read_frames
from mien.visualise.timed_video import write_timed_video

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


def link_to(target: Path, page: Path) -> str:
    """A relative URL from the page to the file, every letter of its name kept; absolute on another drive."""
    try:
        parts = Path(os.path.relpath(target.resolve(), page.resolve().parent)).parts
    except ValueError:
        return target.resolve().as_uri()
    return "/".join(quote(os.fsencode(part), safe="") for part in parts)


def _first_frame_seconds(video: Path) -> float:
    """Where a browser shows the first frame: it counts from the start of the file's earliest stream."""
    with open_container(video) as container:
        stream = container.streams.video[0]
        if stream.start_time is None or container.start_time is None:
            return 0.0
        first = float(stream.start_time * stream.time_base)
        return float(max(0.0, first - container.start_time / av.time_base))


def _whole_frames(video: Path) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """As many frames as can be decoded; a damaged end is passed over."""
    try:
        for frame in read_frames(video):
            yield frame.seconds, frame.image_HWC
    except VideoError:
        return
