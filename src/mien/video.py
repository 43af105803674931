"""Frames with their own presentation times, read and written; pictures; the 25 fps grid. No faces here."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

T = TypeVar("T")

SLOTS_PER_SECOND = 25
MAX_OFFSET_SECONDS = 0.060  # a slot with no source frame nearer than this is a gap

_REWIND_SECONDS = 0.5  # times that fall back by more are taken for a new count, not for disorder
_AS_STORED = (1.0, 0.0, 0.0, 1.0)
# Titles are not read, and may be in any encoding: PyAV 19 takes them so, and refuses to be told.
_ANY_TITLES = {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "replace"}
_LEAP_SECONDS = 30 * 86_400.0  # times that leap ahead by more are taken for damage, and for a new count
_MIN_STEP_SECONDS = 0.001  # frames out of order are set this far behind the one before


class VideoError(ValueError):
    """A file that is no video, or breaks off; names the file, what was found and what to do."""


class ImageError(ValueError):
    """A file that is no picture; names the file."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One decoded frame; its pixels are converted when `image_HWC` is first asked for, and kept."""

    seconds: float  # presentation time after the file's first frame's; strictly increasing
    source_frame_index: int  # position among the decoded frames, from 0
    convert: Callable[[], NDArray[np.uint8]] = field(repr=False)
    stamp_seconds: float | None = None  # the time that the file itself gives the frame, if it does

    @property
    def file_seconds(self) -> float:
        """The file's own time of the frame, as players and ffprobe show it; `seconds` where it has none."""
        return self.seconds if self.stamp_seconds is None else self.stamp_seconds

    @cached_property
    def image_HWC(self) -> NDArray[np.uint8]:  # noqa: N802 -- axes stand in capitals
        """uint8 RGB as it is meant to be seen: rotated, mirrored, with square pixels."""
        return self.convert()


@dataclass(frozen=True)
class VideoInfo:
    """What the file says of itself; width and height are those of `Frame.image_HWC`."""

    width_px: int
    height_px: int
    rotation_degrees: int  # counter-clockwise, already applied by `read_frames`
    frames_per_second: float  # the average; NaN where the file does not say
    duration_seconds: float  # NaN where the file does not say
    codec: str
    pixel_format: str


def read_frames(path: Path, *, threads: int = 1) -> Iterator[Frame]:
    """All frames of a video in the order of presentation, one at a time.

    OSError where the file cannot be opened. VideoError where it holds no video; where some of it cannot be
    decoded, every frame that can is yielded first, then VideoError says how many could not. (A cut-off
    Matroska or WebM file does not show it.)
    """
    with _opened(path) as (container, stream):
        stream.thread_count = threads
        stream.thread_type = "AUTO" if threads > 1 else "NONE"
        convert = _Converter(stream)
        clock = Clock(1 / _frames_per_second(stream, default=SLOTS_PER_SECOND))
        losses: list[str] = []
        index = -1
        for index, picture in enumerate(_decode(container, stream, losses)):
            stamp = picture.time
            yield Frame(clock.seconds(stamp), index, _later(convert, picture), stamp)
        if losses:
            raise VideoError(
                f"{path}: damaged or cut short: {index + 1} frames could be read, {len(losses)} could not "
                f"({losses[0]}). Fetch or export the file again."
            )
        if index < 0:
            raise VideoError(f"{path}: its video stream holds no frame")


def probe(path: Path) -> VideoInfo:
    """What the file's header and its first frame say. OSError or VideoError as `read_frames`."""
    with _opened(path) as (container, stream):
        picture = next(_decode(container, stream, []), None)
        if picture is None:
            raise VideoError(f"{path}: its video stream holds no frame that can be decoded")
        height_px, width_px = _Converter(stream)(picture).shape[:2]
        duration = container.duration
        return VideoInfo(
            width_px=width_px,
            height_px=height_px,
            rotation_degrees=picture.rotation % 360,
            frames_per_second=_frames_per_second(stream, default=math.nan),
            duration_seconds=math.nan if duration is None else duration / av.time_base,
            codec=stream.codec_context.name,
            pixel_format=picture.format.name,
        )


def read_image(path: Path) -> NDArray[np.uint8]:
    """A picture as (H, W, 3) uint8 RGB, turned as its EXIF orientation says. OSError, or ImageError."""
    content = path.read_bytes()
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if content else None
    except cv2.error as error:  # a header that asks for more than OpenCV is ready to allocate, say
        raise ImageError(f"{path}: a damaged picture, or one too large to decode: {error.err}") from error
    if image is None:
        found = f"{len(content)} bytes that are no picture" if content else "an empty file"
        raise ImageError(f"{path}: {found}; expected JPEG, PNG, WebP, BMP or TIFF")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def grid_slots(seconds: Iterable[float]) -> Iterator[tuple[int, ...]]:
    """For each source time, the slots of the 25 fps grid it serves; one look ahead.

    Slot k is time k/25 s and takes the nearest source frame, the earlier one of two equally near; a slot with
    none within 60 ms is a gap. A frame of a slow source may serve two slots, one of a fast source none. An
    error of the input is raised after the slots of the frames before it.
    """
    for slots, _ in _with_slots((time, None) for time in seconds):
        yield slots


def on_grid(frames: Iterable[Frame]) -> Iterator[tuple[tuple[int, ...], Frame]]:
    """Every frame with the slots it serves, in order; errors of the input come after the last good frame."""
    return _with_slots((frame.seconds, frame) for frame in frames)


def write_video(
    path: Path,
    images: Iterable[NDArray[np.uint8]],
    *,
    frames_per_second: float | Fraction,
    quality_crf: int = 18,
) -> None:
    """(H, W, 3) uint8 RGB pictures of one size as an H.264 mp4, which appears whole or not at all.

    The same pictures give the same bytes. `quality_crf` runs from 0 (lossless) to 51. An odd width or height
    gets one more column or row, a copy of the last. Without libx264 the codec is MPEG-4. ValueError where
    there is no picture or the sizes differ.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with av.open(str(temporary.absolute()), "w", format="mp4") as container:
            _encode(container, images, Fraction(frames_per_second).limit_denominator(100_000), quality_crf)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def open_container(path: Path) -> Any:
    """The file as PyAV's input, whatever its name or its titles look like. Errors are PyAV's.

    An absolute path is never taken for an address, as `12:30.mp4` or `concat:a.mp4` would be; titles may be
    in any encoding.
    """
    return av.open(str(path.absolute()), **_ANY_TITLES)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
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
    """The first stream of moving pictures; the cover of a song is none."""
    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic and container.format.name != "tty":
            if stream.codec_context is None:
                raise VideoError(f"{path}: its codec is not supported; convert it to H.264, say")
            return stream
    kinds = sorted({stream.type for stream in container.streams}) or ["nothing"]
    raise VideoError(f"{path}: no video stream in it, only {', '.join(kinds)}")


def _decode(container: Any, stream: Any, losses: list[str]) -> Iterator[Any]:
    """The stream's frames; what cannot be decoded is passed over and told in `losses`."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError as error:
            losses.append(error.strerror)
            return
        if packet is None:
            return
        try:
            pictures = packet.decode()
        except av.error.FFmpegError as error:
            losses.append(error.strerror)
            continue
        for picture in pictures:
            if picture.is_corrupt:
                losses.append("a frame is incomplete")
            else:
                yield picture


class Clock:
    """Turns time stamps, which may be absent, go back or leap, into times that strictly grow from 0."""

    def __init__(self, period_seconds: float) -> None:
        self._period = period_seconds
        self._origin = math.nan
        self._last = -period_seconds

    def seconds(self, stamp: float | None) -> float:
        """The next frame's time; None (or no number): a period behind the one before."""
        expected = self._last + self._period
        if stamp is None or not math.isfinite(stamp):
            time = expected
        else:
            step = stamp - self._origin - self._last
            if not -_REWIND_SECONDS <= step <= _LEAP_SECONDS:  # also at first, where the origin is NaN
                self._origin = stamp - expected
            time = max(stamp - self._origin, self._last + _MIN_STEP_SECONDS)
        self._last = time
        return time


def rising_seconds(stamps: Iterable[float], *, period_seconds: float) -> NDArray[np.float64]:
    """The `Frame.seconds` of frames with these time stamps; `period_seconds` lie between two counts."""
    clock = Clock(period_seconds)
    return np.array([clock.seconds(stamp) for stamp in stamps], np.float64)


class _Converter:
    """Decoded pictures to RGB arrays, upright and with square pixels; keeps the scaler between frames."""

    def __init__(self, stream: Any) -> None:
        self._reformatter = VideoReformatter()
        ratio = stream.sample_aspect_ratio
        self._pixel_aspect = float(ratio) if ratio and 0.2 <= ratio <= 5 else 1.0
        self._rotation: int | None = None
        self._matrix = _AS_STORED

    def __call__(self, picture: Any) -> NDArray[np.uint8]:
        width = max(1, round(picture.width * self._pixel_aspect))
        rgb = self._reformatter.reformat(picture, width=width, format="rgb24", threads=1)
        plane = rgb.planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: rgb.height]
        if picture.rotation != self._rotation:
            # Asking a picture for its side data ties it into a circle of references, so that only the garbage
            # collector frees its pixels: ask once, and again only where the rotation changes.
            self._rotation, self._matrix = picture.rotation, _display_matrix(picture)
        return _oriented(rows[:, : rgb.width * 3].reshape(rgb.height, rgb.width, 3), self._matrix)


def _later(convert: _Converter, picture: Any) -> Callable[[], NDArray[np.uint8]]:
    return lambda: convert(picture)


def _oriented(image_HWC: NDArray[np.uint8], matrix: tuple[float, ...]) -> NDArray[np.uint8]:
    """The picture turned and mirrored by a display matrix, in quarters of a turn."""
    a, b, c, d = matrix
    if matrix == _AS_STORED:
        return image_HWC
    transposed = abs(c) > abs(a)
    shown = image_HWC.transpose(1, 0, 2) if transposed else image_HWC
    x_sign, y_sign = (c, b) if transposed else (a, d)
    return np.ascontiguousarray(shown[:: -1 if y_sign < 0 else 1, :: -1 if x_sign < 0 else 1])


def _display_matrix(picture: Any) -> tuple[float, float, float, float]:
    """(a, b, c, d) of x' = a x + c y, y' = b x + d y."""
    try:
        matrix = picture.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV stumbles over kinds of side data it does not know; then mirroring is lost
        turn = math.radians(picture.rotation)
        return (math.cos(turn), -math.sin(turn), math.sin(turn), math.cos(turn))
    if matrix is None:
        return _AS_STORED
    a, b, _, c, d = np.frombuffer(memoryview(matrix), "<i4")[:5].tolist()
    return (a, b, c, d)


def _frames_per_second(stream: Any, *, default: float) -> float:
    rate = stream.average_rate or stream.guessed_rate
    return float(rate) if rate else default


def _with_slots(timed: Iterable[tuple[float, T]]) -> Iterator[tuple[tuple[int, ...], T]]:
    """The slots of each timed thing, and the thing; holds one back until the next one's time is known."""
    broken: VideoError | None = None
    held: tuple[float, T] | None = None
    lower, half_step = -math.inf, 0.5 / SLOTS_PER_SECOND
    try:
        for time, thing in timed:
            if held is not None:
                half_step = (time - held[0]) / 2
                yield _slots_within(held[0], lower, held[0] + half_step), held[1]
                lower = held[0] + half_step
            held = (time, thing)
    except VideoError as error:
        broken = error
    if held is not None:
        yield _slots_within(held[0], lower, held[0] + min(half_step, MAX_OFFSET_SECONDS)), held[1]
    if broken is not None:
        raise broken


def _slots_within(time: float, lower: float, upper: float) -> tuple[int, ...]:
    """Slots k >= 0 with lower < k/25 <= upper, no further than 60 ms from `time`."""
    tolerance = 1e-6
    lower = max(lower + tolerance, time - MAX_OFFSET_SECONDS - tolerance)
    upper = min(upper + tolerance, time + MAX_OFFSET_SECONDS + tolerance)
    first = max(0, math.ceil(lower * SLOTS_PER_SECOND))
    return tuple(range(first, math.floor(upper * SLOTS_PER_SECOND) + 1))


def _encode(container: Any, images: Iterable[NDArray[np.uint8]], rate: Fraction, quality_crf: int) -> None:
    stream: Any = None
    size: tuple[int, ...] = ()
    for index, image_HWC in enumerate(images):
        if stream is None:
            size = image_HWC.shape
            stream = _add_stream(container, size, rate, quality_crf)
        if image_HWC.shape != size or image_HWC.dtype != np.uint8 or image_HWC.ndim != 3:
            raise ValueError(
                f"picture {index}: expected uint8 {size}, got {image_HWC.dtype} {image_HWC.shape}"
            )
        picture = av.VideoFrame.from_ndarray(_even(image_HWC), format="rgb24")
        picture.pts, picture.time_base = index, 1 / rate
        container.mux(stream.encode(picture))
    if stream is None:
        raise ValueError("no picture to write a video of")
    container.mux(stream.encode(None))


def _add_stream(container: Any, size: tuple[int, ...], rate: Fraction, quality_crf: int) -> Any:
    with_x264 = "libx264" in av.codecs_available
    stream = container.add_stream("libx264" if with_x264 else "mpeg4", rate=rate)
    stream.height, stream.width = (side + side % 2 for side in size[:2])
    stream.pix_fmt = "yuv420p"
    stream.thread_count = 1  # the same bytes on every machine
    # x264's macroblock tree gives different bytes from one run to the next, even on one thread.
    # The preset takes a third of the default's time and, on faces, makes files of the same size.
    x264 = {"crf": str(quality_crf), "preset": "veryfast", "x264-params": "mbtree=0"}
    stream.options = x264 if with_x264 else {"qscale": str(1 + quality_crf // 6)}
    return stream


def _even(image_HWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = image_HWC.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return np.ascontiguousarray(image_HWC)
    return np.pad(image_HWC, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
