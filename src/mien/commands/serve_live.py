"""Frames of a browser's camera, one after the other, through a detector that takes a stream."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
TimedPicture = tuple[float, Picture]
Stream = Callable[[Iterable[TimedPicture]], Iterator[Any]]

_LONGEST_WAIT_SECONDS = 30.0


class LiveEndedError(RuntimeError):
    """The stream has ended: closed, or an error of the detector, which is the cause."""


class LiveStream:
    """`read` takes a frame and gives the rows of it; a thread holds the stream between two frames.

    The stream asks for a frame when it has given every row of the one before: then these are all.
    """

    def __init__(self, stream: Stream) -> None:
        self._frames: queue.Queue[TimedPicture | None] = queue.Queue(1)
        self._answers: queue.Queue[list[Any] | BaseException | None] = queue.Queue()
        self._rows: list[Any] = []
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, args=(stream,), name="mien-live", daemon=True)
        self._thread.start()

    def read(self, seconds: float, picture_HWC: Picture) -> list[Any]:
        """The rows of one frame; one at a time. LiveEndedError where the stream has ended."""
        with self._lock:
            if not self._thread.is_alive():
                raise LiveEndedError("the camera's stream has ended")
            try:
                self._frames.put((seconds, picture_HWC), timeout=_LONGEST_WAIT_SECONDS)
                answer = self._answers.get(timeout=_LONGEST_WAIT_SECONDS)
            except (queue.Full, queue.Empty) as error:
                raise LiveEndedError(f"no answer in {_LONGEST_WAIT_SECONDS:.0f} s") from error
        if isinstance(answer, list):
            return answer
        raise LiveEndedError(f"the camera's stream has ended: {answer}") from answer

    def close(self) -> None:
        """End the stream."""
        with self._lock:
            if self._thread.is_alive():
                self._frames.put(None)
        self._thread.join(timeout=_LONGEST_WAIT_SECONDS)

    def _run(self, stream: Stream) -> None:
        try:
            for row in stream(self._pictures()):
                self._rows.append(row)
        except Exception as error:  # noqa: BLE001 -- it belongs to whoever asks for the next rows
            self._answers.put(error)

    def _pictures(self) -> Iterator[TimedPicture]:
        while (picture := self._frames.get()) is not None:
            self._rows = []
            yield picture
            self._answers.put(self._rows)
