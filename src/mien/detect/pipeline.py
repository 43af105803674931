"""Frames decoded and tracked in one thread while the network reads the faces of those before, in batches."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from queue import Full, Queue
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mien.detect.rows import FaceRow, row_of_face, row_without_face
from mien.faces.tracked import FrameFaces

T = TypeVar("T")

SeenFrame = tuple[str, FrameFaces]  # the file's name as given, and what is in one frame of it
ReadCrops = Callable[[NDArray[np.uint8]], NDArray[np.float32]]  # crops_NHWC to values_NV

_MAX_FRAMES_A_BLOCK = 256  # frames without a face are not kept back for longer
_SECONDS_BETWEEN_LOOKS = 0.1


def in_background(items: Iterator[T], *, ahead: int) -> Generator[T]:
    """The same items, made in another thread, up to `ahead` before they are asked for; errors come along."""
    made: Queue[tuple[str, Any]] = Queue(maxsize=ahead)
    stop = threading.Event()
    thread = threading.Thread(target=_make, args=(items, made, stop), daemon=True)
    thread.start()
    try:
        while True:
            kind, thing = made.get()
            if kind == "item":
                yield thing
            elif kind == "error":
                raise thing
            else:
                return
    finally:
        stop.set()
        thread.join()


def read_in_batches(
    frames: Iterable[SeenFrame], read_crops: ReadCrops, *, batch_size: int
) -> Iterator[list[FaceRow]]:
    """Blocks of the rows of whole frames, each block one call of the network with `batch_size` faces or more.

    Where blocks begin depends on the frames behind the last block alone: from there, a run goes on as if it
    had not stopped, to the last bit.
    """
    block: list[SeenFrame] = []
    num_faces = 0
    for seen in frames:
        block.append(seen)
        num_faces += len(seen[1].faces)
        if num_faces >= batch_size or len(block) >= _MAX_FRAMES_A_BLOCK:
            yield rows_of_block(block, read_crops)
            block, num_faces = [], 0
    if block:
        yield rows_of_block(block, read_crops)


def rows_of_block(block: list[SeenFrame], read_crops: ReadCrops) -> list[FaceRow]:
    """A row a face, and one for every frame without."""
    crops = [face.crop_HWC for _, frame in block for face in frame.faces]
    values = iter(read_crops(np.stack(crops)) if crops else ())
    rows: list[FaceRow] = []
    for name, frame in block:
        rows += [row_of_face(name, frame, face, next(values)) for face in frame.faces]
        if not frame.faces:
            rows.append(row_without_face(name, frame))
    return rows


def _make(items: Iterator[Any], made: Queue[tuple[str, Any]], stop: threading.Event) -> None:
    try:
        for item in items:
            if not _put(made, ("item", item), stop):
                return
        _put(made, ("end", None), stop)
    except BaseException as error:  # noqa: BLE001 -- raised again where the items are used
        _put(made, ("error", error), stop)
    finally:
        if isinstance(items, Generator):
            items.close()


def _put(made: Queue[tuple[str, Any]], thing: tuple[str, Any], stop: threading.Event) -> bool:
    while not stop.is_set():
        try:
            made.put(thing, timeout=_SECONDS_BETWEEN_LOOKS)
        except Full:
            continue
        return True
    return False
