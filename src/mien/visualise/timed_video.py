"""A video written frame by frame with times of its own, and the sound of another file if that has any."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from mien.decoding import open_container
from mien.io import replacing

Picture = NDArray[np.uint8]

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
