"""A file's pictures with their times as FFmpeg decodes them: which stream, what is lost, which clock."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from mien.rgb import HDR_NAMES

# Titles may be in any encoding. PyAV 19 accepts this, and does not take the argument.
_ANY_TITLES = {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "replace"}
ASSUMED_RATE = 25  # frames/s of a stream that does not name its own
_MOST_FRAMES_PER_SECOND = 480
_REWIND_SECONDS = 0.5  # times that fall back by more are taken for a new count, not for disorder
_LEAP_SECONDS = 30 * 86_400.0  # times that leap ahead by more are taken for damage, and for a new count
_MIN_STEP_SECONDS = 0.001  # frames out of order are set this far behind the one before


class VideoError(ValueError):
    """A file that is no video, or breaks off; names the file, what was found and what to do."""


def open_container(path: Path) -> Any:
    """The file as PyAV's input, whatever its name or its titles look like. Errors are PyAV's.

    An absolute path is never taken for an address, as `12:30.mp4` or `concat:a.mp4` would be; titles may be
    in any encoding.
    """
    return av.open(str(path.absolute()), **_ANY_TITLES)


@contextmanager
def opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """The container and the stream that is read. OSError or VideoError."""
    with path.open("rb") as file:  # for the operating system's own words: missing, directory, permission
        if not file.read(1):
            raise VideoError(f"{path}: an empty file (0 bytes)")
    try:
        container = open_container(path)
    except av.error.FFmpegError as error:
        raise VideoError(
            f"{path}: not a video, or cut short before its index ({error.strerror}). "
            "Fetch or export the file again."
        ) from error
    with container:
        yield container, _video_stream(container, path)


def _video_stream(container: Any, path: Path) -> Any:
    """The stream that is read: of those with a known codec the one flagged default, then the largest."""
    streams = _moving_pictures(container)
    known = [stream for stream in streams if stream.codec_context is not None]
    if known:
        return max(known, key=lambda stream: (_is_default(stream), stream.width * stream.height))
    if streams:
        raise VideoError(f"{path}: its codec is not supported; convert it to H.264, say")
    kinds = sorted({stream.type for stream in container.streams}) or ["nothing"]
    raise VideoError(f"{path}: no video stream in it, only {', '.join(kinds)}")


def _moving_pictures(container: Any) -> list[Any]:
    """The video streams; the cover of a song is none."""
    cover = av.stream.Disposition.attached_pic
    return [
        stream
        for stream in container.streams.video
        if not stream.disposition & cover and container.format.name != "tty"
    ]


def _is_default(stream: Any) -> bool:
    return bool(stream.disposition & av.stream.Disposition.default)


def notes_on(container: Any, stream: Any, picture: Any) -> tuple[str, ...]:
    """What is assumed or left out in reading the stream, of which `picture` is the first."""
    notes = []
    for other in _moving_pictures(container):
        if other.index != stream.index:
            context = other.codec_context
            kind = (
                "of an unknown codec"
                if context is None
                else f"{context.name}, {other.width} x {other.height}"
            )
            notes.append(f"video stream {other.index} ({kind}) is left out, stream {stream.index} is read")
    if _has_no_times(container):
        rate = _header_rate(stream)
        whose = "as its header says" if rate else "its header says nothing"
        notes.append(f"times are assumed, a raw stream has none: {rate or ASSUMED_RATE:g} frames/s, {whose}")
    if picture.color_trc in HDR_NAMES:
        notes.append(f"HDR ({HDR_NAMES[picture.color_trc]}): its tones are mapped to SDR")
    return tuple(notes)


def _has_no_times(container: Any) -> bool:
    """Whether the format is a bare stream: times that FFmpeg shows then are made up."""
    return bool(container.format.flags & av.format.Flags.no_timestamps.value)


def _header_rate(stream: Any) -> float | None:
    """What the codec's own header says, in frames/s; None where it is nothing or a clock's tick (1000)."""
    rate = stream.codec_context.framerate
    return float(rate) if rate and 1 <= rate <= _MOST_FRAMES_PER_SECOND else None


def frames_per_second(container: Any, stream: Any) -> float:
    """The average; NaN where the file does not say."""
    if _has_no_times(container):
        return _header_rate(stream) or math.nan
    rate = stream.average_rate or stream.guessed_rate
    return float(rate) if rate else math.nan


def decode(container: Any, stream: Any, problems: list[str]) -> Iterator[tuple[float | None, Any]]:
    """(time stamp in seconds, picture) in the order of presentation; None for a picture that is lost.

    What is wrong is appended to `problems`: one entry for each lost picture, and one where reading stops.
    """
    time_of = _times_of(container, stream)
    lost: list[Any] = []  # packets, in the order in which they were found lost
    unseen = _Unseen(stream, problems)
    for packet, found in _decoded_packets(container, stream, problems):
        if found is None:
            lost.append(packet)
            continue
        unseen.add(packet)
        for picture in found:
            lost += unseen.passed_over_by(picture.pts)
            while (before := _first_before(picture, lost)) is not None:
                lost.remove(before)
                yield _seconds(time_of(before.pts, before.dts), stream.time_base), None
            if picture.is_corrupt:
                problems.append("a frame is incomplete")
            seconds = _seconds(time_of(picture.pts, picture.dts), stream.time_base)
            yield seconds, None if picture.is_corrupt else picture
    lost += unseen.passed_over_by(math.inf)
    for packet in sorted(lost, key=_shown_at):
        yield _seconds(time_of(packet.pts, packet.dts), stream.time_base), None


def _seconds(time: int | None, base: Fraction) -> float | None:
    return None if time is None else float(time) * base.numerator / base.denominator


def _decoded_packets(
    container: Any, stream: Any, problems: list[str]
) -> Iterator[tuple[Any, list[Any] | None]]:
    """Each packet with the pictures that came out of the decoder behind it; None where it was refused."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError as error:
            problems.append(error.strerror)
            return
        if packet is None:
            return
        try:
            pictures = packet.decode()
        except av.error.FFmpegError as error:
            if packet.is_discard:  # decoded for others' sake, never shown
                continue
            problems.append(error.strerror)
            pictures = None
        yield packet, pictures


class _Unseen:
    """Packets that the decoder took and whose pictures have not come yet.

    The HEVC decoder leaves out pictures that refer to lost ones, often without an error. Those of other
    codecs show a repaired picture, and some have packets without one, so they are not looked at.
    """

    def __init__(self, stream: Any, problems: list[str]) -> None:
        self._may_leave_out = stream.codec_context.name == "hevc"
        self._problems = problems
        self._packets: dict[int, Any] = {}
        self._last_pts: float | None = None  # of the pictures that came

    def add(self, packet: Any) -> None:
        if self._may_leave_out and packet.pts is not None and not packet.is_discard:
            self._packets[packet.pts] = packet

    def passed_over_by(self, pts: float | None) -> list[Any]:
        """Those between the last picture and the one at `pts`, which will not come any more.

        Before the first picture of a sound file there are none: a recording may begin amid a group.
        """
        if pts is None:
            return []
        after = self._last_pts
        if after is None:
            after = -math.inf if self._problems else math.inf
        self._last_pts = pts
        passed = [packet for other, packet in self._packets.items() if after < other < pts]
        seen = {pts, *(packet.pts for packet in passed)}
        self._packets = {other: packet for other, packet in self._packets.items() if other not in seen}
        self._problems += ["a frame refers to one that is lost"] * len(passed)
        return passed


def _shown_at(packet: Any) -> float:
    return -math.inf if packet.pts is None else packet.pts


def _first_before(picture: Any, lost: list[Any]) -> Any:
    """The first of the lost packets that was to be seen before the picture; None if there is none."""
    before = [
        packet for packet in lost if packet.pts is None or picture.pts is None or packet.pts < picture.pts
    ]
    return min(before, key=_shown_at, default=None)


class _BestEffort:
    """FFmpeg's best-effort time: the presentation time, unless these have fallen back more often than the
    packets' decoding times. Then the latter; None (the clock counts on) where there are none of them.
    """

    def __init__(self) -> None:
        self._last = {"pts": -math.inf, "dts": -math.inf}
        self._num_falls = {"pts": 0, "dts": 0}

    def __call__(self, pts: int | None, dts: int | None) -> int | None:
        self._see("dts", dts, instead=pts)
        self._see("pts", pts, instead=dts)
        return pts if pts is not None and self._num_falls["pts"] <= self._num_falls["dts"] else dts

    def _see(self, kind: str, time: int | None, *, instead: int | None) -> None:
        if time is not None:
            self._num_falls[kind] += time <= self._last[kind]
            self._last[kind] = time
        elif instead is not None:
            self._last[kind] = instead


class _WithoutDelay:
    """Decoding times less the decoder's delay, for pictures that an AVI file holds in another order.

    AVI has no presentation times; those that FFmpeg gives run in the order of decoding.
    """

    def __init__(self) -> None:
        self._delay: int | None = None

    def __call__(self, _pts: int | None, dts: int | None) -> int | None:
        if self._delay is None:
            self._delay = dts
        return None if dts is None or self._delay is None else dts - self._delay


def _no_time(_pts: int | None, _dts: int | None) -> None:
    """The times that FFmpeg gives a bare stream are made up."""


def _times_of(container: Any, stream: Any) -> Callable[[int | None, int | None], int | None]:
    """What makes a time of a picture's pts and dts, which are given in the order of presentation."""
    if _has_no_times(container):
        return _no_time
    is_reordered_avi = container.format.name == "avi" and stream.codec_context.has_b_frames
    return _WithoutDelay() if is_reordered_avi else _BestEffort()


class Clock:
    """Turns time stamps, which may fall back, leap or be missing, into times that strictly increase.

    They are the stamps themselves as long as these increase. Behind a fall (recordings joined end to end) or
    a leap the count goes on, a period behind the frame before.
    """

    def __init__(self, period_seconds: float) -> None:
        self._period = period_seconds
        self._shift = 0.0
        self._last: float | None = None

    @classmethod
    def at_rate(cls, frames_per_second: float) -> Clock:
        """A clock for frames at this rate; NaN: 25 a second."""
        return cls(1 / (ASSUMED_RATE if math.isnan(frames_per_second) else frames_per_second))

    def seconds(self, stamp: float | None) -> float:
        """The next frame's time; None (or no number): a period behind the one before, the first at 0."""
        is_stamp = stamp is not None and math.isfinite(stamp)
        if self._last is None:
            time = stamp if stamp is not None and is_stamp else 0.0
        elif stamp is None or not is_stamp:
            time = self._last + self._period
        else:
            step = stamp + self._shift - self._last
            if not -_REWIND_SECONDS <= step <= _LEAP_SECONDS:
                self._shift = self._last + self._period - stamp
            time = max(stamp + self._shift, self._last + _MIN_STEP_SECONDS)
        self._last = time
        return time
