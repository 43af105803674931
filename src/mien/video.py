"""Frames with the file's own presentation times, read and written; pictures; the 25 fps grid. No faces here.

There is one clock, the file's: `Frame.seconds` is what ffprobe shows as `best_effort_timestamp_time`, and a
file that starts at 1.0 s starts at 1.0. Frames are numbered in the order of presentation; a frame that cannot
be decoded keeps its number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from mien.decoding import Clock, decode, frames_per_second, notes_on, opened
from mien.decoding import VideoError as VideoError  # noqa: PLC0414 -- part of this module
from mien.io import replacing
from mien.rgb import RgbConverter

SLOTS_PER_SECOND = 25
MAX_OFFSET_SECONDS = 0.060  # a slot with no source frame nearer than this is a gap

_HEIF_BRANDS = tuple(
    b"ftyp" + brand for brand in (b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1", b"hevc", b"hevx")
)


class ImageError(ValueError):
    """A file that is no picture; names the file."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One decoded frame; its pixels are converted when `image_HWC` is first asked for, and kept."""

    seconds: float  # the file's own presentation time; strictly increasing
    source_frame_index: int  # position in the order of presentation, from 0; lost frames count
    convert: Callable[[], NDArray[np.uint8]] = field(repr=False)

    @cached_property
    def image_HWC(self) -> NDArray[np.uint8]:  # noqa: N802 -- axes stand in capitals
        """uint8 RGB as it is meant to be seen: rotated, mirrored, with square pixels."""
        return self.convert()


@dataclass(frozen=True)
class LostFrame:
    """A frame that is in the file and cannot be decoded; it keeps its number and its time."""

    seconds: float
    source_frame_index: int


AnyFrame = TypeVar("AnyFrame", Frame, Frame | LostFrame)


@dataclass(frozen=True)
class VideoInfo:
    """What the file says of itself."""

    frames_per_second: float  # the average; NaN where the file does not say
    duration_seconds: float  # NaN where the file does not say
    notes: tuple[str, ...] = ()  # what was assumed or left out in reading it; sentences without a full stop


def read_frames(path: Path) -> Iterator[Frame]:
    """All frames of a video that can be decoded, in the order of presentation, one at a time.

    OSError where the file cannot be opened. VideoError where it holds no video; where some of it cannot be
    decoded, every frame that can is yielded first, then VideoError says how many could not. (A cut-off
    Matroska or WebM file does not show it.)
    """
    for frame in read_all_frames(path):
        if isinstance(frame, Frame):
            yield frame


def read_all_frames(path: Path) -> Iterator[Frame | LostFrame]:
    """The same with a LostFrame for each frame that cannot be decoded, in its place; errors as `read_frames`.

    What the container itself has lost (a zeroed block of a Matroska file, packets missing from a transport
    stream) leaves nothing to count: it is a hole in the times, and frames behind it are numbered on.
    """
    with opened(path) as (container, stream):
        stream.thread_count = 1
        stream.thread_type = "NONE"
        convert = RgbConverter(stream)
        clock = Clock.at_rate(frames_per_second(container, stream))
        problems: list[str] = []
        index, num_lost = -1, 0
        for index, (stamp, picture) in enumerate(decode(container, stream, problems)):
            seconds = clock.seconds(stamp)
            if picture is None:
                num_lost += 1
                yield LostFrame(seconds, index)
            else:
                yield Frame(seconds, index, partial(convert, picture))
        if problems:
            raise VideoError(
                f"{path}: damaged or cut short: {index + 1 - num_lost} frames could be read, {len(problems)} "
                f"could not ({problems[0]}). Fetch or export the file again."
            )
        if index < 0:
            raise VideoError(f"{path}: its video stream holds no frame")


def probe(path: Path) -> VideoInfo:
    """What the file's header and its first frame say. OSError or VideoError as `read_frames`."""
    with opened(path) as (container, stream):
        pictures = (picture for _, picture in decode(container, stream, []) if picture is not None)
        picture = next(pictures, None)
        if picture is None:
            raise VideoError(f"{path}: its video stream holds no frame that can be decoded")
        duration = container.duration
        return VideoInfo(
            frames_per_second=frames_per_second(container, stream),
            duration_seconds=math.nan if duration is None else duration / av.time_base,
            notes=notes_on(container, stream, picture),
        )


def read_image(path: Path) -> NDArray[np.uint8]:
    """A picture as (H, W, 3) uint8 RGB, turned as its EXIF orientation says. OSError, or ImageError."""
    content = path.read_bytes()
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if content else None
    except cv2.error as error:  # a header that asks for more than OpenCV is ready to allocate, say
        raise ImageError(f"{path}: a damaged picture, or one too large to decode: {error.err}") from error
    if image is None and content[4:12] in _HEIF_BRANDS:
        return _read_heif(path, content)
    if image is None:
        found = f"{len(content)} bytes that are no picture" if content else "an empty file"
        raise ImageError(f"{path}: {found}; expected JPEG, PNG, WebP, BMP, TIFF or HEIC")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _read_heif(path: Path, content: bytes) -> NDArray[np.uint8]:
    try:
        import pillow_heif
    except ImportError as error:
        raise ImageError(f"{path}: a HEIC picture; to read these: pip install 'mien[heic]'") from error
    try:
        picture = pillow_heif.read_heif(content)  # turned and mirrored as the file says
    except (ValueError, RuntimeError, OSError) as error:
        raise ImageError(f"{path}: a damaged HEIC picture ({error})") from error
    return np.ascontiguousarray(picture.to_pillow().convert("RGB"), dtype=np.uint8)


def on_grid(frames: Iterable[AnyFrame]) -> Iterator[tuple[tuple[int, ...], AnyFrame]]:
    """Every frame with the slots of the 25 fps grid that it serves, in order; one look ahead.

    Slot k is k/25 s after the first time and takes the nearest source frame, the earlier one of two equally
    near; a slot with none within 60 ms is a gap. A frame of a slow source may serve two slots, one of a fast
    source none, a lost frame none. An error of the input is raised after the last frame before it.
    """
    broken: VideoError | None = None
    origin = math.nan
    held: tuple[float, AnyFrame] | None = None
    lost: list[AnyFrame] = []  # behind the one that is held
    lower, half_step = -math.inf, 0.5 / SLOTS_PER_SECOND
    try:
        for frame in frames:
            origin = frame.seconds if math.isnan(origin) else origin
            time = frame.seconds - origin
            if isinstance(frame, LostFrame):
                lost.append(frame)
                continue
            if held is not None:
                half_step = (time - held[0]) / 2
                yield _slots_within(held[0], lower, held[0] + half_step), held[1]
                lower = held[0] + half_step
            yield from (((), frame) for frame in lost)
            lost.clear()
            held = (time, frame)
    except VideoError as error:
        broken = error
    if held is not None:
        yield _slots_within(held[0], lower, held[0] + min(half_step, MAX_OFFSET_SECONDS)), held[1]
    yield from (((), frame) for frame in lost)
    if broken is not None:
        raise broken


def write_video(
    path: Path,
    images: Iterable[NDArray[np.uint8]],
    *,
    frames_per_second: float | Fraction,
    quality_crf: int = 18,
    key_frames_only: bool = False,
) -> None:
    """(H, W, 3) uint8 RGB pictures of one size as an H.264 mp4, which appears whole or not at all.

    The same pictures give the same bytes. `quality_crf` runs from 0 (lossless) to 51. An odd width or height
    gets one more column or row, a copy of the last. Without libx264 the codec is MPEG-4. With
    `key_frames_only` no picture is predicted from another; the errors of prediction depend on how long ago
    the key frame was, which a network may learn. ValueError if there is no picture or the sizes differ;
    WriteError if the disk takes no more.
    """
    rate = Fraction(frames_per_second).limit_denominator(100_000)
    with replacing(path) as temporary, av.open(str(temporary.absolute()), "w", format="mp4") as container:
        stream: Any = None
        size: tuple[int, ...] = ()
        for index, image_HWC in enumerate(images):
            if stream is None:
                size = image_HWC.shape
                stream = _add_stream(container, size, rate, quality_crf)
                if key_frames_only:
                    stream.gop_size = 1
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


def _slots_within(time: float, lower: float, upper: float) -> tuple[int, ...]:
    """Slots k >= 0 with lower < k/25 <= upper, no further than 60 ms from `time`."""
    tolerance = 1e-6
    lower = max(lower + tolerance, time - MAX_OFFSET_SECONDS - tolerance)
    upper = min(upper + tolerance, time + MAX_OFFSET_SECONDS + tolerance)
    first = max(0, math.ceil(lower * SLOTS_PER_SECOND))
    return tuple(range(first, math.floor(upper * SLOTS_PER_SECOND) + 1))


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
    return np.pad(image_HWC, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
